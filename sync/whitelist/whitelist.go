// Package whitelist is the board's black and white list: who may pass, when.
//
// A lookup reads a snapshot in memory: it never waits for the disk or for a
// new set going in, and allocates nothing. A set comes as a change (package
// change): a full one, or what is different from a named base. It is written
// beside the set in force, in small transactions, and put in its place in the
// one that records the change's result, so that a power cut leaves the old set
// or the new one. Rows also come one by one from a parking system (the vendor's
// white_list_operator).
//
// When in doubt a plate is not listed: a row that is damaged on disk is left
// out and reported, a time that cannot be read is refused when the row comes.
// Where anything of a set is damaged or missing, rows whose group nothing
// describes do not pass, until a full set comes.
//
// Not protected here: who may send sets and rows (package signed, the broker).
package whitelist

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"

	"gatehouse/sync/store"
	"gatehouse/sync/wire"
)

// Verdict is what the list says of a plate at a moment.
type Verdict int

const (
	NotListed Verdict = iota
	Listed            // may pass
	Suspended         // listed, but not enabled
	OutOfTime         // listed, but not valid at this moment
	Blacklisted
)

func (v Verdict) String() string {
	return [...]string{"not_listed", "listed", "suspended", "out_of_time", "blacklisted"}[v]
}

// Entry is what a lookup tells of a row; Record has the rest.
type Entry struct {
	Plate string // normalised
	Group string // empty: in none
}

// List is safe for concurrent use.
type List struct {
	db       *store.DB
	dir      string // of the database; runs are sorted there
	log      *slog.Logger
	zone     *time.Location
	snapshot atomic.Pointer[snapshot]
	damaged  atomic.Int64

	// latest is the snapshot of the last transaction that changed rows, whether
	// it was committed or not. It is touched within write transactions only.
	latest *snapshot
	// committed is what Committed puts in force; built what the step before the
	// swap has prepared; untidy says that the swap has left a large set behind. They
	// are touched by the engine's calls only.
	committed *snapshot
	built     *builtSet
	untidy    bool

	// building is held while sets are written and removed beside the one in force.
	building sync.Mutex
	tidying  sync.WaitGroup
	closed   atomic.Bool
}

// Limits of a set.
const (
	MaxRows   = 2_000_000
	MaxGroups = 1000
)

// Open reads the list from the state database. Times of rows are local times in zone.
func Open(db *store.DB, zone *time.Location, log *slog.Logger) (*List, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	l := newList(db, zone, log)
	if err := db.Update(createBucket); err != nil {
		return nil, fmt.Errorf("cannot open the whitelist: %w", err)
	}
	if err := l.dropUnfinished(); err != nil {
		return nil, fmt.Errorf("cannot open the whitelist: %w", err)
	}
	return l, l.Reload()
}

// Close ends what runs in the background; the database is closed after it.
func (l *List) Close() {
	l.closed.Store(true)
	l.tidying.Wait()
}

// Reload makes the snapshot anew from the database.
func (l *List) Reload() error {
	begin := time.Now()
	var s *snapshot
	damaged := 0
	err := l.db.View(func(tx *bolt.Tx) error {
		head, err := readHead(tx)
		if err != nil {
			// Which of the sets is in force is not known: none is.
			l.log.Error("the whitelist's head is damaged and no row counts", "err", err)
			damaged++
		}
		build := newBuilder()
		each := func(b *bolt.Bucket, f func(value []byte) error) error {
			if b == nil {
				return nil
			}
			return store.ForEach(b, func(k, v []byte, err error) error {
				if err == nil {
					err = f(v)
				}
				if err != nil {
					l.log.Error("a whitelist row or group is damaged and does not count", "key", string(k), "err", err)
					damaged++
				}
				return nil
			})
		}
		err1 := each(groupsOf(tx, head.Set), func(v []byte) error {
			var g wire.WhitelistGroup
			if err := json.Unmarshal(v, &g); err != nil {
				return err
			}
			return build.setGroup(g, v, l.zone)
		})
		err2 := each(rowsOf(tx, head.Set), func(v []byte) error {
			var r wire.WhitelistRecord
			if err := json.Unmarshal(v, &r); err != nil {
				return err
			}
			return build.add(r, v, l.zone)
		})
		if head.Set != 0 && damaged == 0 && build.sum.String() != head.Digest {
			l.log.Error("the whitelist is not the set that was put in force: something is missing", "digest", build.sum.String(), "wanted", head.Digest)
			damaged++
		}
		if damaged > 0 {
			build.doubt()
		}
		s = build.snapshot(head.Version)
		if err1 != nil {
			return err1
		}
		return err2
	})
	if err != nil {
		return fmt.Errorf("cannot read the whitelist: %w", err)
	}
	l.damaged.Store(int64(damaged))
	l.publish(s)
	l.log.Debug("the whitelist is read", "rows", s.rows, "took", time.Since(begin))
	return nil
}

// publish puts a committed snapshot in force, unless a later one is already.
func (l *List) publish(s *snapshot) {
	for {
		old := l.snapshot.Load()
		if old != nil && old.version > s.version {
			return
		}
		if l.snapshot.CompareAndSwap(old, s) {
			return
		}
	}
}

// Digest names the applied set: "sha256:" and the sum modulo 2^256 of the
// SHA-256 of all rows and groups, so that their order does not matter.
func (l *List) Digest() string { return l.snapshot.Load().sum.String() }

// Len is the number of rows.
func (l *List) Len() int { return l.snapshot.Load().rows }

// Damaged is the number of rows that were left out as damaged.
func (l *List) Damaged() int { return int(l.damaged.Load()) }

// Lookup says what the list says of a plate at a moment. The plate must be
// normalised. It does not block and does not allocate.
func (l *List) Lookup(plate string, at time.Time) (Entry, Verdict) {
	return l.snapshot.Load().lookup(plate, at.In(l.zone))
}

// Record gives a row with all its fields, from the disk; ok is false where
// there is none. The plate must be normalised.
func (l *List) Record(plate string) (r wire.WhitelistRecord, ok bool, err error) {
	err = l.db.View(func(tx *bolt.Tx) error {
		head, err := readHead(tx)
		if err != nil {
			return err
		}
		if b := rowsOf(tx, head.Set); b != nil {
			ok, err = store.GetJSON(b, []byte(plate), &r)
		}
		return err
	})
	return r, ok, err
}
