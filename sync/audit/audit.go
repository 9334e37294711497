// Package audit is a board's record of what was asked of it and refused, and
// of what changed who may ask: signatures refused, keys and policy taken over,
// binding and unbinding.
//
// It lies in the state database, each entry with its CRC, the newest Keep of
// them; what is written within a transaction stands or falls with it. Not
// protected: a board whose state is taken away; the cloud has the refusals too.
package audit

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"

	"gatehouse/sync/store"
)

// Entry is one line of the record. Secrets have no place in it.
type Entry struct {
	At       int64  `json:"at"`   // Unix s by the board's clock
	What     string `json:"what"` // refused, applied, undone, bound, unbound, keys, policy, quarantined
	Kind     string `json:"kind,omitempty"`
	ChangeID string `json:"change_id,omitempty"`
	Code     int    `json:"error_code,omitempty"`
	Detail   string `json:"detail,omitempty"` // at most MaxDetail bytes
}

// Keep is how many entries are kept, MaxDetail how long a detail may be.
const (
	Keep      = 1000
	MaxDetail = 512
)

var bucket = []byte("audit") // sequence → Entry

// Put writes an entry within tx; a zero At is now.
func Put(tx *bolt.Tx, e Entry) error {
	if e.At == 0 {
		e.At = time.Now().Unix()
	}
	e.Detail = e.Detail[:min(len(e.Detail), MaxDetail)]
	b, err := tx.CreateBucketIfNotExists(bucket)
	if err != nil {
		return fmt.Errorf("cannot open the audit record: %w", err)
	}
	n, err := b.NextSequence()
	if err != nil {
		return err
	}
	if err := store.PutJSON(b, key(n), e); err != nil {
		return err
	}
	if n <= Keep {
		return nil
	}
	return b.Delete(key(n - Keep))
}

// List gives the newest n entries, the newest first; damaged ones are left out.
func List(db *store.DB, n int) (list []Entry, err error) {
	err = db.View(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucket)
		if b == nil {
			return nil
		}
		c := b.Cursor()
		for k, _ := c.Last(); k != nil && len(list) < n; k, _ = c.Prev() {
			text, err := store.Get(b, k)
			var e Entry
			if err == nil && json.Unmarshal(text, &e) == nil {
				list = append(list, e)
			}
		}
		return nil
	})
	return list, err
}

func key(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }
