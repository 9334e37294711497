package change

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"

	"gatehouse/sync/store"
)

// Delivery is a command as it came. Clients repeat ids across different
// commands, so only topic, id and body together name one.
type Delivery struct {
	Topic string
	ID    string
	Body  []byte
}

func (d Delivery) key() []byte {
	h := sha256.New()
	for _, part := range [][]byte{[]byte(d.Topic), []byte(d.ID), d.Body} {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		h.Write(part)
	}
	return h.Sum(nil)
}

// Journal remembers the answers to commands, so that a command that is
// delivered again has no second effect: the newest journalSize of them, for
// journalAge.
type Journal struct {
	db  *store.DB
	now func() time.Time
}

var (
	journalBucket = []byte("journal")       // Delivery's key → answer
	journalOrder  = []byte("journal_order") // sequence → Unix s, Delivery's key
)

// Bounds of the journal. A broker that keeps a command for a board longer than
// journalAge is none that we know of (field-notes.md, "Brokers").
const (
	journalSize = 4096
	journalAge  = 30 * 24 * time.Hour
)

// OpenJournal opens the journal in the state database.
func OpenJournal(db *store.DB) (*Journal, error) {
	err := db.Update(func(tx *bolt.Tx) error {
		_, err1 := tx.CreateBucketIfNotExists(journalBucket)
		_, err2 := tx.CreateBucketIfNotExists(journalOrder)
		return errors.Join(err1, err2)
	})
	if err != nil {
		return nil, fmt.Errorf("cannot open the journal: %w", err)
	}
	return &Journal{db, time.Now}, nil
}

// Stored gives the answer to a command that was delivered before. A damaged
// entry is an error: acting again could be a second effect.
func (j *Journal) Stored(d Delivery) (answer []byte, ok bool, err error) {
	err = j.db.View(func(tx *bolt.Tx) error {
		v, err := store.Get(tx.Bucket(journalBucket), d.key())
		answer, ok = append([]byte(nil), v...), v != nil
		return err
	})
	return answer, ok, err
}

// Put remembers an answer in a transaction of its own. Commands that must not
// act twice put a provisional answer before they act and the final one after.
func (j *Journal) Put(d Delivery, answer any) error {
	return j.db.Update(func(tx *bolt.Tx) error { return j.put(tx, d, answer) })
}

func (j *Journal) put(tx *bolt.Tx, d Delivery, answer any) error {
	b, order := tx.Bucket(journalBucket), tx.Bucket(journalOrder)
	text, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	k := d.key()
	known := b.Get(k) != nil
	if err := store.Put(b, k, text); err != nil || known {
		return err
	}
	n, err := order.NextSequence()
	if err != nil {
		return err
	}
	now := j.now().Unix()
	if err := order.Put(binary.BigEndian.AppendUint64(nil, n), append(binary.BigEndian.AppendUint64(nil, uint64(now)), k...)); err != nil {
		return err
	}
	return forget(b, order, n, now)
}

// forget removes the oldest answers that are too many or too old; at most a few
// at a time, so that a command never waits for a great cleaning.
func forget(b, order *bolt.Bucket, newest uint64, now int64) error {
	const most = 8
	var old [][]byte
	c := order.Cursor()
	for n, v := c.First(); n != nil && len(old) < most; n, v = c.Next() {
		sound := len(n) == 8 && len(v) > 8
		if sound && newest-binary.BigEndian.Uint64(n) < journalSize && now-int64(binary.BigEndian.Uint64(v)) < int64(journalAge/time.Second) {
			break
		}
		if sound {
			if err := b.Delete(append([]byte(nil), v[8:]...)); err != nil {
				return err
			}
		}
		old = append(old, append([]byte(nil), n...))
	}
	for _, n := range old {
		if err := order.Delete(n); err != nil {
			return err
		}
	}
	return nil
}
