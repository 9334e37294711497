package outbox

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"gatehouse/sync/store"
	"gatehouse/sync/wire"
)

// nextBoot counts a boot and names it: counter and chance, in hex, so that a
// board whose database was lost does not repeat an earlier name.
func nextBoot(meta *bolt.Bucket) (string, error) {
	var n uint32
	if v, err := store.Get(meta, bootKey); err == nil && len(v) == 4 {
		n = binary.BigEndian.Uint32(v)
	}
	n++
	var chance [4]byte
	if _, err := rand.Read(chance[:]); err != nil {
		return "", err
	}
	return fmt.Sprintf("%08x-%x", n, chance), store.Put(meta, bootKey, binary.BigEndian.AppendUint32(nil, n))
}

// Put stores an event and returns its id when it is on disk. Events put at the
// same time share a commit; a Decision or Result is committed at once.
func (b *Outbox) Put(ctx context.Context, e Event) (wire.EventID, error) {
	p := &pending{event: e, done: make(chan struct{})}
	select {
	case b.in <- p:
	case <-b.closed:
		return wire.EventID{}, ErrClosed
	case <-ctx.Done():
		return wire.EventID{}, ctx.Err()
	}
	select {
	case <-p.done:
		return p.id, p.err
	case <-b.ended: // it came behind the last one that was written or refused
		select {
		case <-p.done:
			return p.id, p.err
		default:
			return wire.EventID{}, ErrClosed
		}
	case <-ctx.Done(): // it may still be stored
		return wire.EventID{}, ctx.Err()
	}
}

// write collects events and commits them, until Close.
func (b *Outbox) write() {
	defer close(b.ended)
	const most = 256
	for {
		var group []*pending
		select {
		case p := <-b.in:
			group = append(group, p)
		case <-b.closed:
			b.refuse()
			return
		}
		wait := time.NewTimer(b.o.FlushEvery)
		for hurry := group[0].event.Priority > Normal; !hurry && len(group) < most; {
			select {
			case p := <-b.in:
				group = append(group, p)
				hurry = p.event.Priority > Normal
			case <-wait.C:
				hurry = true
			case <-b.closed:
				hurry = true
			}
		}
		wait.Stop()
		b.commit(group)
	}
}

// refuse answers what was put too late.
func (b *Outbox) refuse() {
	for {
		select {
		case p := <-b.in:
			p.err = ErrClosed
			close(p.done)
		default:
			return
		}
	}
}

// commit stores a group in one transaction. Pictures are written before, so
// that a stored event's pictures are there; those of a failed commit are swept
// at the next start.
func (b *Outbox) commit(group []*pending) {
	now := time.Now()
	stored := make([]Stored, len(group))
	sizes := make([]int64, len(group))
	for i, p := range group {
		b.seq++
		p.id = wire.EventID{Boot: b.boot, Seq: b.seq, MonoMS: now.Sub(b.begin).Milliseconds(), WallMS: now.UnixMilli(), Trusted: b.o.Trusted()}
		stored[i] = Stored{Event: p.event, ID: p.id, Files: b.writePictures(p), AddedMS: now.UnixMilli()}
	}
	err := b.db.Update(func(tx *bolt.Tx) error {
		events := tx.Bucket(eventsBucket)
		for i := range stored {
			text, err := json.Marshal(stored[i])
			if err != nil {
				return err
			}
			sizes[i] = int64(len(text))
			if err := store.Put(events, key{b.boot, stored[i].ID.Seq}.bytes(), text); err != nil {
				return err
			}
		}
		return nil
	})
	b.mu.Lock()
	if err == nil {
		for i, s := range stored {
			b.waiting[key{b.boot, s.ID.Seq}] = sizes[i]
			b.bytes += sizes[i]
		}
		b.stats.Commits++
		b.stats.Written += uint64(len(group))
		close(b.added)
		b.added = make(chan struct{})
	} else {
		b.seq -= uint64(len(group)) // the numbers were given to nobody: the sequence stays contiguous
	}
	b.mu.Unlock()
	if err == nil {
		b.enforce(now)
	}
	for _, p := range group {
		if err != nil {
			p.err = fmt.Errorf("cannot store the event: %w", err)
		}
		close(p.done)
	}
}

// writePictures writes an event's pictures; one that cannot be written is
// missing from the event, which matters more than its picture.
func (b *Outbox) writePictures(p *pending) map[string]string {
	if len(p.event.Pictures) == 0 {
		return nil
	}
	files := map[string]string{}
	for field, jpeg := range p.event.Pictures {
		name := fmt.Sprintf("%s-%012d-%s.jpg", p.id.Boot, p.id.Seq, field)
		if err := os.WriteFile(filepath.Join(b.o.PictureDir, name), jpeg, 0o600); err != nil {
			b.o.Log.Warn("a picture is lost", "file", name, "err", err)
			continue
		}
		files[field] = name
		b.countPictures(int64(len(jpeg)))
	}
	return files
}

// enforce keeps the caps: pictures first, then old events, leaving gaps.
func (b *Outbox) enforce(now time.Time) {
	if err := b.enforcePictures(); err != nil {
		b.o.Log.Warn("the picture quota could not be kept", "err", err)
	}
	b.mu.Lock()
	excess := len(b.waiting) - b.o.MaxEvents
	over := b.bytes > b.o.MaxBytes
	b.mu.Unlock()
	aging := b.o.MaxAge > 0 && now.After(b.nextAge)
	if excess <= 0 && !over && !aging {
		return
	}
	b.nextAge = now.Add(min(time.Minute, b.o.MaxAge))
	if err := b.drop(now, excess, over); err != nil {
		b.o.Log.Error("the outbox's caps could not be kept", "err", err)
	}
}

// drop removes the oldest droppable events until a tenth of the cap is free
// again, and those that are too old.
func (b *Outbox) drop(now time.Time, excess int, over bool) error {
	b.mu.Lock()
	keys := make([]key, 0, len(b.waiting))
	for k := range b.waiting {
		keys = append(keys, k)
	}
	target := b.bytes
	if over {
		target = b.o.MaxBytes - b.o.MaxBytes/10
	}
	free := b.bytes
	b.mu.Unlock()
	if excess > 0 {
		excess += b.o.MaxEvents / 10
	}
	slices.SortFunc(keys, func(x, y key) int { return slices.Compare(x.bytes(), y.bytes()) })
	var victims []key
	cause := "count"
	for _, level := range []Priority{Normal, Decision} {
		stored, err := b.read(keys)
		if err != nil {
			return err
		}
		for _, s := range stored {
			k := key{s.ID.Boot, s.ID.Seq}
			aged := b.o.MaxAge > 0 && now.UnixMilli()-s.AddedMS > b.o.MaxAge.Milliseconds()
			if s.Priority != level || !(aged || excess > len(victims) || free > target) {
				continue
			}
			switch {
			case aged:
				cause = "age"
			case free > target:
				cause = "bytes"
			}
			b.mu.Lock()
			free -= b.waiting[k]
			b.mu.Unlock()
			victims = append(victims, k)
		}
	}
	if len(victims) == 0 {
		return nil
	}
	return b.replaceByGaps(victims, cause)
}

// replaceByGaps removes events; each contiguous range leaves one gap event in
// the place of its first.
func (b *Outbox) replaceByGaps(victims []key, cause string) error {
	slices.SortFunc(victims, func(x, y key) int { return slices.Compare(x.bytes(), y.bytes()) })
	var gaps []wire.Gap
	for _, k := range victims {
		if n := len(gaps); n > 0 && gaps[n-1].Boot == k.boot && gaps[n-1].To+1 == k.seq {
			gaps[n-1].To = k.seq
			continue
		}
		gaps = append(gaps, wire.Gap{Boot: k.boot, From: k.seq, To: k.seq, Cause: cause})
	}
	files, err := b.remove(victims, func(events *bolt.Bucket) error {
		for _, g := range gaps {
			payload, err := json.Marshal(wire.Body{Body: g})
			if err != nil {
				return err
			}
			s := Stored{Event: Event{Name: wire.NameGap, Payload: payload, Priority: Result}, ID: wire.EventID{Boot: g.Boot, Seq: g.From}}
			if err := store.PutJSON(events, key{g.Boot, g.From}.bytes(), s); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	b.mu.Lock()
	for _, g := range gaps {
		b.waiting[key{g.Boot, g.From}] = 128
		b.bytes += 128
	}
	b.stats.Dropped += uint64(len(victims))
	b.mu.Unlock()
	b.deletePictures(files)
	b.o.Log.Warn("events were dropped", "events", len(victims), "gaps", len(gaps), "cause", cause)
	return nil
}

func (b *Outbox) countPictures(bytes int64) {
	b.mu.Lock()
	b.images += bytes
	b.mu.Unlock()
}

func (b *Outbox) deletePictures(files []string) {
	for _, f := range files {
		path := filepath.Join(b.o.PictureDir, f)
		info, err := os.Stat(path)
		if err == nil {
			err = os.Remove(path)
		}
		if err == nil {
			b.countPictures(-info.Size())
		} else if !errors.Is(err, os.ErrNotExist) {
			b.o.Log.Warn("a picture could not be removed", "err", err)
		}
	}
}

// enforcePictures removes the oldest pictures above the quota. The directory is
// read only when the count says so.
func (b *Outbox) enforcePictures() error {
	b.mu.Lock()
	within := b.images <= b.o.PictureQuota
	b.mu.Unlock()
	if within {
		return nil
	}
	entries, err := os.ReadDir(b.o.PictureDir) // sorted by name: boot, sequence
	if err != nil {
		return err
	}
	var total int64
	sizes := make([]int64, len(entries))
	for i, e := range entries {
		if info, err := e.Info(); err == nil {
			sizes[i] = info.Size()
			total += sizes[i]
		}
	}
	for i := 0; i < len(entries) && total > b.o.PictureQuota; i++ {
		if err := os.Remove(filepath.Join(b.o.PictureDir, entries[i].Name())); err != nil {
			return err
		}
		total -= sizes[i]
	}
	b.mu.Lock()
	b.images = total
	b.mu.Unlock()
	return nil
}

// sweep removes pictures that no stored event refers to.
func (b *Outbox) sweep(referred map[string]bool) error {
	entries, err := os.ReadDir(b.o.PictureDir)
	if err != nil {
		return fmt.Errorf("cannot read the picture directory: %w", err)
	}
	for _, e := range entries {
		if info, err := e.Info(); referred[e.Name()] && err == nil {
			b.countPictures(info.Size())
		}
		if !referred[e.Name()] {
			if err := os.Remove(filepath.Join(b.o.PictureDir, e.Name())); err != nil {
				return fmt.Errorf("cannot remove an old picture: %w", err)
			}
		}
	}
	return nil
}
