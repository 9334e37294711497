package outbox

import (
	"errors"
	"os"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"gatehouse/sync/store"
	"gatehouse/sync/wire"
)

// enforce keeps the caps: pictures first, then old events, leaving gaps.
func (b *Outbox) enforce(now time.Time) {
	if err := b.enforcePictures(b.o.PictureQuota); err != nil {
		b.o.Log.Warn("the picture quota could not be kept", "err", err)
	}
	if b.o.Reserve > 0 && now.After(b.nextHold) {
		b.keepReserve()
	}
	var errs []error
	if b.o.MaxAge > 0 && now.After(b.nextAge) {
		b.nextAge = now.Add(min(time.Minute, b.o.MaxAge))
		errs = append(errs, b.dropOld(now))
	}
	b.mu.Lock()
	excess := b.index.waiting - b.o.MaxEvents
	b.mu.Unlock()
	if b.o.MaxEvents > 0 && excess > 0 {
		errs = append(errs, b.drop(excess+b.o.MaxEvents/10, 0, wire.GapCount))
	}
	// A cap on the file's size, not on the events': bbolt writes a page anew
	// before it frees the old one, and needs room for that.
	size, free := b.db.Room()
	if used := size - free; used > b.o.MaxBytes-max(b.o.MaxBytes/16, fileMargin) {
		errs = append(errs, b.drop(0, max(b.o.MaxBytes/16, fileMargin/4), wire.GapBytes))
	}
	errs = append(errs, b.keepFree())
	if err := errors.Join(errs...); err != nil {
		b.o.Log.Error("the outbox's caps could not be kept", "err", err)
	}
}

// fileMargin is the least room below the file's cap: for the largest commit, the
// pages it writes anew, and the step by which the file grows.
const fileMargin = 3 << 19

// victims are the events of one series that are to become gaps.
type victims struct {
	boot string
	seqs []uint64
}

// mostVictims bounds a transaction that drops events.
const mostVictims = 4096

// dropOld drops what is older than it may be. Only times of a trusted clock
// count: a clock that is set right must not make everything look old.
func (b *Outbox) dropOld(now time.Time) error {
	if !b.o.Trusted() {
		return nil
	}
	limit := now.Add(-b.o.MaxAge).Unix()
	return b.dropWhere(wire.GapAge, func(v *slot) bool {
		return v.priority < Result && v.flags&clockTrusted != 0 && int64(v.added) < limit
	})
}

// drop drops the oldest events, ordinary ones first, until count are gone and
// bytes of records are free.
func (b *Outbox) drop(count int, bytes int64, cause string) error {
	for _, level := range []Priority{Normal, Decision} {
		err := b.dropWhere(cause, func(v *slot) bool {
			if v.priority != level || count <= 0 && bytes <= 0 {
				return false
			}
			count--
			bytes -= int64(v.size) * 5 / 4 // what pages waste
			return true
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// dropWhere drops all droppable events that want names, oldest first, many
// transactions if need be. Want is asked once for each.
func (b *Outbox) dropWhere(cause string, want func(*slot) bool) error {
	var list []victims
	b.mu.Lock()
	b.index.each(key{}, func(s *series, seq uint64, v *slot) bool {
		if v.flags&(handedOut|isGap|doomed) != 0 || v.priority == Result || !want(v) {
			return true
		}
		v.flags |= doomed
		if n := len(list); n == 0 || list[n-1].boot != s.boot || len(list[n-1].seqs) == mostVictims {
			list = append(list, victims{boot: s.boot})
		}
		last := &list[len(list)-1]
		last.seqs = append(last.seqs, seq)
		return true
	})
	b.mu.Unlock()
	for i, v := range list {
		if err := b.replaceByGaps(v.boot, v.seqs, cause); err != nil {
			b.spare(list[i:])
			return err
		}
		b.mu.Lock()
		b.stats.Dropped += uint64(len(v.seqs))
		b.mu.Unlock()
		b.o.Log.Warn("events were dropped", "boot", v.boot, "events", len(v.seqs), "cause", cause)
	}
	return nil
}

// spare takes back what dropWhere has marked; a feed that has passed it by
// meanwhile comes again.
func (b *Outbox) spare(list []victims) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.spared++
	b.tell()
	for _, l := range list {
		for _, seq := range l.seqs {
			if v := b.index.get(key{l.boot, seq}); v != nil {
				v.flags &^= doomed
			}
		}
	}
}

// anyAccount marks a series whose account is not known any more: only gaps are
// left of it, which tell nothing about anybody.
const anyAccount = -1

// replaceByGaps removes events of a boot, given in order; each contiguous range
// becomes one gap event in the place of its first, or joins a gap beside it that
// nobody has seen yet.
func (b *Outbox) replaceByGaps(boot string, seqs []uint64, cause string) error {
	b.mu.Lock()
	s := b.index.series(boot)
	if s == nil {
		s = b.index.add(boot, anyAccount)
	}
	gaps, joined := s.grow(seqs, cause)
	b.mu.Unlock()

	var files []string
	sizes := map[*gap]slot{}
	err := b.db.Update(func(tx *bolt.Tx) error {
		events := tx.Bucket(eventsBucket)
		var k []byte
		for _, seq := range append(seqs, joined...) {
			id := key{boot, seq}
			k = id.append(k[:0])
			v, err := store.Get(events, k)
			if stored, parseErr := parseRecord(id, v); err == nil && parseErr == nil {
				for _, f := range stored.Files {
					files = append(files, f.Name)
				}
			}
			if err := events.Delete(k); err != nil {
				return err
			}
		}
		for g := range gaps {
			stored := gapEvent(key{boot, g.from}, s.account, *g)
			size, err := putStored(events, stored)
			if err != nil {
				return err
			}
			sizes[g] = slotOf(stored, size)
		}
		return nil
	})
	b.mu.Lock()
	if err != nil { // the records are as they were: those gaps grow no more
		for g := range gaps {
			s.seal(g.from)
		}
		b.mu.Unlock()
		return err
	}
	for _, seq := range append(seqs, joined...) {
		b.index.remove(s, seq)
	}
	for g, v := range sizes {
		b.index.set(s, g.from, v)
	}
	b.gaps++
	b.tell()
	b.mu.Unlock()
	b.deletePictures(files)
	return nil
}

// grow makes gaps of sequences in order. It gives those to write, and the first
// sequences of gaps that were joined into them.
func (s *series) grow(seqs []uint64, cause string) (changed map[*gap]bool, joined []uint64) {
	changed = map[*gap]bool{}
	for len(seqs) > 0 {
		n := 1
		for n < len(seqs) && seqs[n] == seqs[n-1]+1 {
			n++
		}
		g := &gap{seqs[0], seqs[n-1], cause}
		if left := s.ends[g.from-1]; left != nil && left.cause == cause {
			delete(s.ends, left.to)
			left.to, g = g.to, left
		}
		if right := s.starts[g.to+1]; right != nil && right.cause == cause {
			s.seal(right.from)
			delete(changed, right)
			joined = append(joined, right.from)
			g.to = right.to
		}
		s.starts[g.from], s.ends[g.to] = g, g
		changed[g] = true
		seqs = seqs[n:]
	}
	return changed, joined
}

// full reports whether err means that there is no room: on the disk, or below
// the file's cap.
func full(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, bolterrors.ErrMaxSizeReached)
}

// firstStage is where makeRoom begins and the cause it gives: pictures are not
// in the file whose cap is reached.
func firstStage(err error) (stage int, cause string) {
	if errors.Is(err, bolterrors.ErrMaxSizeReached) {
		return 2, wire.GapBytes
	}
	return 0, wire.GapDiskFull
}

// makeRoom gives up what is worth less than an event, more with each stage;
// false: there is nothing left to give up.
func (b *Outbox) makeRoom(stage int, cause string) bool {
	b.mu.Lock()
	images := b.images
	b.mu.Unlock()
	switch stage {
	case 0:
		b.o.Log.Error("no room for events: pictures are given up")
		if err := b.enforcePictures(images / 2); err != nil {
			b.o.Log.Warn("pictures could not be removed", "err", err)
		}
	case 1:
		if err := os.Remove(b.reservePath()); err == nil {
			b.o.Log.Error("no room for events: the reserve is given up, and old events")
		}
		if err := b.enforcePictures(0); err != nil {
			b.o.Log.Warn("pictures could not be removed", "err", err)
		}
		b.tight = true
		return b.dropTenth(cause)
	case 2:
		return b.dropTenth(cause)
	default:
		return false
	}
	return true
}

func (b *Outbox) dropTenth(cause string) bool {
	b.nextHold = b.o.Now().Add(time.Minute)
	b.mu.Lock()
	tenth := b.index.waiting/10 + 1
	b.mu.Unlock()
	err := b.drop(tenth, 0, cause)
	if full(err) { // a smaller transaction needs fewer pages
		err = b.drop(64, 0, cause)
	}
	if err != nil {
		b.o.Log.Error("old events could not be given up", "err", err)
	}
	return err == nil
}

// keepFree is for a disk that was full and has no reserve any more: the file
// cannot grow, and dropping events needs pages itself. So some stay free.
func (b *Outbox) keepFree() error {
	if !b.tight {
		return nil
	}
	size, free := b.db.Room()
	if want := max(size/8, 256<<10); free < want {
		return b.drop(0, want, wire.GapDiskFull)
	}
	return nil
}

func (b *Outbox) reservePath() string { return b.path + ".reserve" }

// keepReserve makes the reserve file if it is not there: blocks really
// allocated, and freed when the disk is full.
func (b *Outbox) keepReserve() {
	b.nextHold = b.o.Now().Add(time.Minute)
	if b.o.Reserve < 0 {
		return
	}
	if info, err := os.Stat(b.reservePath()); err == nil && info.Size() == b.o.Reserve {
		b.tight = false
		return
	}
	f, err := os.OpenFile(b.reservePath(), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err == nil {
		err = errors.Join(syscall.Fallocate(int(f.Fd()), 0, 0, b.o.Reserve), f.Close())
	}
	if errors.Is(err, syscall.EOPNOTSUPP) { // written instead: it must not be a hole
		err = os.WriteFile(b.reservePath(), make([]byte, b.o.Reserve), 0o600)
	}
	if err != nil {
		b.o.Log.Warn("no reserve for a full disk", "err", err)
		_ = os.Remove(b.reservePath())
		return
	}
	b.tight = false
}
