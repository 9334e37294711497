package whitelist

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"

	"gatehouse/sync/store"
	"gatehouse/sync/wire"
)

// On disk there is one bucket with a head, which says which set is in force,
// and for each set a bucket of rows and one of groups. A new set grows beside
// the one in force; the head is what is flipped.
var (
	bucket   = []byte("whitelist")
	headKey  = []byte("head")
	builtKey = []byte("built")
)

// head says what is in force.
type head struct {
	Set     uint64 `json:"set"`     // 0: none yet
	Next    uint64 `json:"next"`    // the last set's number that was given
	Version uint64 `json:"version"` // counts transactions that changed rows
	Digest  string `json:"digest"`  // of the set; "": it is not whole
	Rows    int    `json:"rows"`
}

// built is a set that is complete on disk and waits to be put in force.
type built struct {
	Change string `json:"change"`
	Set    uint64 `json:"set"`
	From   string `json:"from"` // digest of the set a delta was built on; empty for a full set
	Digest string `json:"digest"`
	Rows   int    `json:"rows"`
}

// builtSet is a built set with its snapshot.
type builtSet struct {
	built
	snapshot *snapshot
}

func newList(db *store.DB, zone *time.Location, log *slog.Logger) *List {
	l := &List{db: db, dir: filepath.Dir(db.Path()), log: log, zone: zone}
	removeRuns(l.dir)
	return l
}

func createBucket(tx *bolt.Tx) error {
	_, err := tx.CreateBucketIfNotExists(bucket)
	return err
}

func rowsName(set uint64) []byte   { return fmt.Appendf(nil, "rows-%016x", set) }
func groupsName(set uint64) []byte { return fmt.Appendf(nil, "groups-%016x", set) }

// rowsOf and groupsOf give a set's buckets, nil where there are none.
func rowsOf(tx *bolt.Tx, set uint64) *bolt.Bucket   { return tx.Bucket(bucket).Bucket(rowsName(set)) }
func groupsOf(tx *bolt.Tx, set uint64) *bolt.Bucket { return tx.Bucket(bucket).Bucket(groupsName(set)) }

func makeSet(tx *bolt.Tx, set uint64) (rows, groups *bolt.Bucket, err error) {
	b := tx.Bucket(bucket)
	rows, err1 := b.CreateBucketIfNotExists(rowsName(set))
	groups, err2 := b.CreateBucketIfNotExists(groupsName(set))
	return rows, groups, errors.Join(err1, err2)
}

func dropSet(tx *bolt.Tx, set uint64) error {
	b := tx.Bucket(bucket)
	for _, name := range [][]byte{rowsName(set), groupsName(set)} {
		if b.Bucket(name) == nil {
			continue
		}
		if err := b.DeleteBucket(name); err != nil {
			return err
		}
	}
	return nil
}

func readHead(tx *bolt.Tx) (h head, err error) {
	if _, err := store.GetJSON(tx.Bucket(bucket), headKey, &h); err != nil {
		return head{}, err
	}
	return h, nil
}

// writeHead puts h in force; the version counts on.
func writeHead(tx *bolt.Tx, h *head, digest string, rows int) error {
	h.Version++
	h.Digest, h.Rows = digest, rows
	return store.PutJSON(tx.Bucket(bucket), headKey, *h)
}

// dropUnfinished removes sets that are neither in force nor built, a few rows to
// a transaction.
func (l *List) dropUnfinished() error {
	var stale []uint64
	err := l.db.View(func(tx *bolt.Tx) error {
		h, err := readHead(tx)
		if err != nil {
			return nil // nothing is removed while it is not known what is in force
		}
		var b built
		if ok, err := store.GetJSON(tx.Bucket(bucket), builtKey, &b); err != nil || !ok {
			b = built{}
		}
		return tx.Bucket(bucket).ForEachBucket(func(name []byte) error {
			var n uint64
			if _, err := fmt.Sscanf(string(name), "rows-%016x", &n); err == nil && n != h.Set && n != b.Set {
				stale = append(stale, n)
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	for _, set := range stale {
		if err := l.dropRows(set); err != nil {
			return fmt.Errorf("cannot remove an unfinished set: %w", err)
		}
	}
	return nil
}

// retire removes a set that is in force no more: at once within tx where it is
// small, else tidy does it later, since other writers (a command that opens the
// barrier is written down first) must not wait for it.
func retire(tx *bolt.Tx, set uint64) (later bool, err error) {
	rows := rowsOf(tx, set)
	if rows == nil {
		return false, dropSet(tx, set)
	}
	c, n := rows.Cursor(), 0
	for k, _ := c.First(); k != nil; k, _ = c.Next() {
		if n++; n > batch {
			return true, nil
		}
	}
	return false, dropSet(tx, set)
}

// tidy removes retired sets in the background.
func (l *List) tidy() {
	l.tidying.Go(func() {
		l.building.Lock()
		defer l.building.Unlock()
		if err := l.dropUnfinished(); err != nil && !l.closed.Load() {
			l.log.Error("an old whitelist could not be removed; it is at the next start", "err", err)
		}
	})
}

// batch is how many rows one transaction writes or removes: other writers wait
// no longer than for one of them.
const batch = 2000

// dropRows empties and removes a set that nobody reads.
func (l *List) dropRows(set uint64) error {
	for more := true; more; {
		if l.closed.Load() {
			return errors.New("the agent is stopping")
		}
		err := l.db.Update(func(tx *bolt.Tx) error {
			more = false
			rows := rowsOf(tx, set)
			if rows == nil {
				return dropSet(tx, set)
			}
			var keys [][]byte
			c := rows.Cursor()
			for k, _ := c.First(); k != nil && len(keys) < batch; k, _ = c.Next() {
				keys = append(keys, k)
			}
			if len(keys) < batch {
				return dropSet(tx, set)
			}
			more = true
			for _, k := range keys {
				if err := rows.Delete(k); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// storedRows gives the rows of a set in order, in short transactions: a long
// one would keep the database's file from growing, and so the writer waiting.
type storedRows struct {
	l    *List
	set  uint64
	last []byte
	list []edit
	end  bool
}

func (s *storedRows) next() (edit, error) {
	if len(s.list) == 0 && !s.end {
		if err := s.fill(); err != nil {
			return edit{}, err
		}
	}
	if len(s.list) == 0 {
		return edit{}, io.EOF
	}
	e := s.list[0]
	s.list = s.list[1:]
	return e, nil
}

func (s *storedRows) fill() error {
	return s.l.db.View(func(tx *bolt.Tx) error {
		b := rowsOf(tx, s.set)
		if b == nil {
			s.end = true
			return nil
		}
		s.list = s.list[:0]
		c := b.Cursor()
		k, _ := c.First()
		if s.last != nil {
			if k, _ = c.Seek(s.last); string(k) == string(s.last) {
				k, _ = c.Next()
			}
		}
		for ; k != nil && len(s.list) < batch; k, _ = c.Next() {
			v, err := store.Get(b, k)
			s.last = append(s.last[:0], k...)
			if err != nil {
				s.l.log.Error("a whitelist row is damaged and does not go into the new set", "err", err)
				continue
			}
			s.list = append(s.list, edit{plate: string(k), value: append([]byte(nil), v...)})
		}
		s.end = k == nil
		return nil
	})
}

// readGroups gives the groups of a set by name.
func readGroups(tx *bolt.Tx, set uint64) (map[string]wire.WhitelistGroup, error) {
	list := map[string]wire.WhitelistGroup{}
	b := groupsOf(tx, set)
	if b == nil {
		return list, nil
	}
	return list, store.ForEach(b, func(_, v []byte, err error) error {
		var g wire.WhitelistGroup
		if err == nil && json.Unmarshal(v, &g) == nil {
			list[g.Name] = g
		}
		return nil
	})
}

// Clear removes all rows within tx; Reload follows once it is committed.
func (l *List) Clear(tx *bolt.Tx) error {
	h, err := readHead(tx)
	if err != nil { // damaged: all sets go
		h = head{Version: l.version()}
	}
	b := tx.Bucket(bucket)
	var names []string
	err = b.ForEachBucket(func(name []byte) error {
		if strings.HasPrefix(string(name), "rows-") || strings.HasPrefix(string(name), "groups-") {
			names = append(names, string(name))
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := b.DeleteBucket([]byte(name)); err != nil {
			return err
		}
	}
	if err := b.Delete(builtKey); err != nil {
		return err
	}
	h.Set = 0
	return writeHead(tx, &h, Sum{}.String(), 0)
}

// version is that of the snapshot in force.
func (l *List) version() uint64 {
	if s := l.snapshot.Load(); s != nil {
		return s.version
	}
	return 0
}
