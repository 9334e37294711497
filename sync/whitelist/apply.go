package whitelist

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	bolt "go.etcd.io/bbolt"

	"gatehouse/sync/errcode"
	"gatehouse/sync/fault"
	"gatehouse/sync/store"
	"gatehouse/sync/wire"
)

// smallSet is how many edits go in within the one transaction that records the
// change; more are written beside the set in force first.
const smallSet = 2000

// edits are what a content says, sorted.
type edits struct {
	mode   string
	rows   *sorter
	groups []wire.WhitelistGroup
	remove []string // groups
}

// gather reads a content. The caller closes rows.
func (l *List) gather(ctx context.Context, open func() (io.ReadCloser, error)) (*edits, error) {
	e := &edits{rows: &sorter{dir: l.dir, limit: maxRun}}
	mode, err := readFrom(open, visitor{
		row: func(_ int, r wire.WhitelistRecord) error {
			value, err := json.Marshal(r)
			if err != nil {
				return err
			}
			return errors.Join(context.Cause(ctx), e.rows.add(edit{plate: r.Plate, value: value}))
		},
		remove: func(plate string) error { return errors.Join(context.Cause(ctx), e.rows.add(edit{plate: plate})) },
		group: func(g wire.WhitelistGroup) error {
			e.groups = append(e.groups, g)
			return nil
		},
		removeGroup: func(name string) error {
			e.remove = append(e.remove, name)
			return nil
		},
	})
	e.mode = mode
	if err != nil {
		e.rows.close()
		return nil, err
	}
	return e, nil
}

func (e *edits) small() bool { return e.rows.inMemory() && e.rows.count <= smallSet }

// errBase is a delta for another set than the one in force.
var errBase = errcode.New(errcode.RequestFailed, "The delta starts from another set than the applied one; send the full set!")

// Build writes the set that a change makes beside the one in force, a few
// thousand rows to a transaction, so that Swap has only to put it in its place.
// A small change needs no building: Swap does it all. Base, for a delta, is the
// digest of the set it starts from; empty: whatever is there. It may be called
// again after a power cut, and ends early when ctx does.
func (l *List) Build(ctx context.Context, id, base string, open func() (io.ReadCloser, error)) error {
	l.building.Lock()
	defer l.building.Unlock()
	if done, err := l.isBuilt(id); err != nil || done {
		return err
	}
	if err := l.dropUnfinished(); err != nil {
		return err
	}
	e, err := l.gather(ctx, open)
	if err != nil {
		return err
	}
	defer e.rows.close()
	now := l.snapshot.Load()
	if e.mode == modeDelta && base != "" && base != now.sum.String() {
		return errBase
	}
	if e.small() {
		return nil
	}
	b := built{Change: id}
	build := newBuilder()
	sources := e.rows.sources()
	groups := map[string]wire.WhitelistGroup{}
	err = l.db.Update(func(tx *bolt.Tx) error {
		h, err := l.headForWriting(tx)
		if err != nil {
			return err
		}
		if e.mode == modeDelta {
			if h.Digest != now.sum.String() && h.Set != 0 {
				return errBase // rows were damaged, or came in this moment
			}
			b.From = now.sum.String()
			sources = append(sources, &storedRows{l: l, set: h.Set})
			if groups, err = readGroups(tx, h.Set); err != nil {
				return err
			}
		}
		h.Next++
		b.Set = h.Next
		return store.PutJSON(tx.Bucket(bucket), headKey, h)
	})
	if err != nil {
		return err
	}
	m, err := newMerge(sources)
	if err != nil {
		return err
	}
	if err := l.writeRows(ctx, b.Set, m, build); err != nil {
		return err
	}
	err = l.db.Update(func(tx *bolt.Tx) error {
		_, stored, err := makeSet(tx, b.Set)
		if err != nil {
			return err
		}
		for _, g := range e.groups {
			groups[g.Name] = g
		}
		for _, name := range e.remove {
			delete(groups, name)
		}
		for _, g := range groups {
			if err := l.putGroup(stored, g, build); err != nil {
				return err
			}
		}
		b.Digest, b.Rows = build.sum.String(), build.rows
		return store.PutJSON(tx.Bucket(bucket), builtKey, b)
	})
	if err != nil {
		return err
	}
	fault.Point("whitelist.built")
	l.built = &builtSet{built: b, snapshot: build.snapshot(0)}
	return nil
}

func (l *List) isBuilt(id string) (done bool, err error) {
	err = l.db.View(func(tx *bolt.Tx) error {
		var b built
		ok, err := store.GetJSON(tx.Bucket(bucket), builtKey, &b)
		done = ok && err == nil && b.Change == id && rowsOf(tx, b.Set) != nil
		return nil
	})
	return done, err
}

// writeRows writes merged rows into a new set, a batch to a transaction.
func (l *List) writeRows(ctx context.Context, set uint64, m *merge, build *builder) error {
	for more := true; more; {
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		list := make([]edit, 0, batch)
		for len(list) < batch && more {
			e, ok, err := m.next()
			if err != nil {
				return fmt.Errorf("cannot sort the rows: %w", err)
			}
			if more = ok; ok {
				list = append(list, e)
			}
		}
		err := l.db.Update(func(tx *bolt.Tx) error {
			rows, _, err := makeSet(tx, set)
			if err != nil {
				return err
			}
			rows.FillPercent = 0.95 // they come in order
			for _, e := range list {
				if err := store.Put(rows, []byte(e.plate), e.value); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("cannot write the new set: %w", err)
		}
		fault.Point("whitelist.batch")
		for _, e := range list {
			var r wire.WhitelistRecord
			if err := json.Unmarshal(e.value, &r); err != nil {
				return err
			}
			if err := build.add(r, e.value, l.zone); err != nil {
				return err
			}
		}
		if build.rows > MaxRows {
			return errcode.Param("/rows", fmt.Sprintf("make a set of more than %d", MaxRows))
		}
	}
	return nil
}

func (l *List) putGroup(b *bolt.Bucket, g wire.WhitelistGroup, build *builder) error {
	value, err := json.Marshal(g)
	if err != nil {
		return err
	}
	if err := build.setGroup(g, value, l.zone); err != nil {
		return err
	}
	return store.Put(b, []byte(g.Name), value)
}

// Swap puts a change in force within tx: the set that Build has made, or, of a
// small change, all of it. It gives the digest of the set. Committed follows
// once tx is committed.
func (l *List) Swap(tx *bolt.Tx, id, base string, open func() (io.ReadCloser, error)) (digest string, err error) {
	h, err := l.headForWriting(tx)
	if err != nil {
		return "", err
	}
	var b built
	if ok, err := store.GetJSON(tx.Bucket(bucket), builtKey, &b); err != nil || !ok || b.Change != id {
		return l.swapSmall(tx, &h, base, open)
	}
	if b.From != "" && b.From != h.Digest {
		return "", errBase
	}
	if _, ok := parseSum(b.Digest); !ok {
		return "", errcode.New(errcode.RequestFailed, "The new set is damaged; send it again!")
	}
	old := h.Set
	h.Set = b.Set
	later, err := retire(tx, old)
	if err := errors.Join(err, writeHead(tx, &h, b.Digest, b.Rows), tx.Bucket(bucket).Delete(builtKey)); err != nil {
		return "", err
	}
	l.untidy = later
	l.committed = nil // read from the disk, if the process has restarted in between
	if l.built != nil && l.built.built == b {
		s := *l.built.snapshot
		s.version = h.Version
		l.latest, l.committed = &s, &s
	}
	l.built = nil
	return b.Digest, nil
}

func (l *List) swapSmall(tx *bolt.Tx, h *head, base string, open func() (io.ReadCloser, error)) (string, error) {
	e, err := l.gather(context.Background(), open)
	if err != nil {
		return "", err
	}
	defer e.rows.close()
	if !e.small() {
		return "", errcode.New(errcode.RequestFailed, "The new set was not written; apply the change again!")
	}
	if e.mode == modeDelta && base != "" && base != l.current(h).sum.String() {
		return "", errBase
	}
	if e.mode == modeReplace {
		if l.untidy, err = retire(tx, h.Set); err != nil {
			return "", err
		}
		h.Set = 0
	}
	l.committed, err = l.edit(tx, h, e.rows.order(), e.groups, e.remove)
	if err != nil {
		return "", err
	}
	return l.committed.sum.String(), nil
}

// current is the snapshot that belongs to h, nil-safe: an empty one where the
// set is new.
func (l *List) current(h *head) *snapshot {
	if s := l.latest; s != nil && s.version == h.Version {
		return s
	}
	return l.snapshot.Load()
}

// edit changes single rows and groups of the set in force within tx and gives
// the snapshot that is to be published once it is committed.
func (l *List) edit(tx *bolt.Tx, h *head, list []edit, groups []wire.WhitelistGroup, remove []string) (*snapshot, error) {
	from := l.current(h)
	if h.Set == 0 {
		from = newBuilder().snapshot(0)
		h.Next++
		h.Set = h.Next
	}
	rows, stored, err := makeSet(tx, h.Set)
	if err != nil {
		return nil, err
	}
	build := newBuilderFrom(append([]group(nil), from.groups...))
	build.rows, build.sum, build.doubted = from.rows, from.sum, from.doubted
	for _, e := range list {
		old, err := store.Get(rows, []byte(e.plate))
		if err == nil && old != nil { // a damaged row was not counted
			build.rows--
			build.sum = build.sum.minus(rowSum(old))
		}
		if e.value == nil {
			err = rows.Delete([]byte(e.plate))
		} else {
			build.rows++
			build.sum = build.sum.plus(rowSum(e.value))
			err = store.Put(rows, []byte(e.plate), e.value)
		}
		if err != nil {
			return nil, err
		}
	}
	if build.rows > MaxRows {
		return nil, errcode.Param("/rows", fmt.Sprintf("make a set of more than %d", MaxRows))
	}
	for _, name := range remove {
		build.dropGroup(name)
		if err := stored.Delete([]byte(name)); err != nil {
			return nil, err
		}
	}
	for _, g := range groups {
		if err := l.putGroup(stored, g, build); err != nil {
			return nil, err
		}
	}
	next, err := from.apply(list, build, l.zone)
	if err != nil {
		return nil, err
	}
	digest := next.sum.String()
	if next.doubted {
		digest = "" // so that it is doubted after a restart too
	}
	if err := writeHead(tx, h, digest, next.rows); err != nil {
		return nil, err
	}
	next.version = h.Version
	l.latest = next
	return next, nil
}

// Committed puts in force what Swap did, once its transaction is committed.
func (l *List) Committed() error {
	s := l.committed
	l.committed = nil
	if l.untidy {
		l.untidy = false
		defer l.tidy()
	}
	if s == nil {
		return l.Reload()
	}
	l.publish(s)
	return nil
}

// Abandon removes what Build has written for a change that is not applied.
func (l *List) Abandon(id string) error {
	err := l.db.Update(func(tx *bolt.Tx) error {
		var b built
		ok, err := store.GetJSON(tx.Bucket(bucket), builtKey, &b)
		if err == nil && (!ok || b.Change != id) {
			return nil
		}
		return tx.Bucket(bucket).Delete(builtKey)
	})
	l.built = nil
	if err != nil {
		return err
	}
	l.building.Lock()
	defer l.building.Unlock()
	return l.dropUnfinished()
}

// headForWriting is the head, or where it is damaged one that begins anew: no
// row counts until a set or a row command comes.
func (l *List) headForWriting(tx *bolt.Tx) (head, error) {
	h, err := readHead(tx)
	if err == nil {
		return h, nil
	}
	if !errors.Is(err, store.ErrDamaged) {
		return h, err
	}
	h = head{Version: l.version()}
	err = tx.Bucket(bucket).ForEachBucket(func(name []byte) error {
		var n uint64
		if text, ok := strings.CutPrefix(string(name), "rows-"); ok {
			if _, err := fmt.Sscanf(text, "%016x", &n); err == nil {
				h.Next = max(h.Next, n)
			}
		}
		return nil
	})
	return h, err
}
