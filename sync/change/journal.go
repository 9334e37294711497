package change

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

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

// Journal remembers the answers to commands, the newest journalSize of them,
// so that a command that is delivered again has no second effect.
type Journal struct{ db *store.DB }

var (
	journalBucket = []byte("journal") // key → sequence, answer; and "#" sequence → key, for the order
	orderPrefix   = byte('#')
)

const journalSize = 4096

// OpenJournal opens the journal in the state database.
func OpenJournal(db *store.DB) (*Journal, error) {
	err := db.Update(func(tx *bolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(journalBucket)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot open the journal: %w", err)
	}
	return &Journal{db}, nil
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
	b := tx.Bucket(journalBucket)
	text, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	k := d.key()
	known := b.Get(k) != nil
	if err := store.Put(b, k, text); err != nil || known {
		return err
	}
	n, err := b.NextSequence()
	if err != nil {
		return err
	}
	err = b.Put(orderKey(n), k)
	if n <= journalSize {
		return err
	}
	old := b.Get(orderKey(n - journalSize))
	if old != nil {
		err = errors.Join(err, b.Delete(append([]byte(nil), old...)), b.Delete(orderKey(n-journalSize)))
	}
	return err
}

// orderKey cannot be a Delivery's key: it is shorter.
func orderKey(n uint64) []byte { return binary.BigEndian.AppendUint64([]byte{orderPrefix}, n) }
