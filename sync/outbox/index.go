package outbox

import (
	"slices"
	"strings"
)

// slot is what is known in memory of a waiting event, 16 bytes.
type slot struct {
	size     uint32 // of the record in bytes; 0: nothing waits here
	added    uint32 // Unix s by the board's clock
	priority Priority
	flags    uint8
}

const (
	hasPictures uint8 = 1 << iota
	isGap
	clockTrusted // added can be believed
	handedOut    // given to a receiver since Open: it may know it, so it is never dropped
	inFlight     // given to the present Feed, not acknowledged
	doomed       // about to become part of a gap
)

const chunkSize = 256

type chunk struct {
	slots   [chunkSize]slot
	waiting int
}

// series are the events of one boot and one account, by sequence.
type series struct {
	boot    string
	account int64
	chunks  map[uint64]*chunk // sequence / chunkSize → chunk with something waiting
	order   []uint64          // the numbers of the chunks, in order: what lies between two is never counted through
	waiting int

	// Gaps nobody has seen yet, by their two ends: they can still grow.
	starts, ends map[uint64]*gap
}

// gap is a dropped range, both ends included.
type gap struct {
	from, to uint64
	cause    string
}

// index knows all waiting events without reading the database.
type index struct {
	list    []*series // by boot
	waiting int
	bytes   int64
}

func (x *index) find(boot string) (int, bool) {
	return slices.BinarySearchFunc(x.list, boot, func(s *series, b string) int { return strings.Compare(s.boot, b) })
}

func (x *index) series(boot string) *series {
	if i, ok := x.find(boot); ok {
		return x.list[i]
	}
	return nil
}

// add makes the series of a boot.
func (x *index) add(boot string, account int64) *series {
	s := &series{boot: boot, account: account, chunks: map[uint64]*chunk{}, starts: map[uint64]*gap{}, ends: map[uint64]*gap{}}
	i, _ := x.find(boot)
	x.list = slices.Insert(x.list, i, s)
	return s
}

// forget removes series in which nothing waits, but for keep.
func (x *index) forget(keep *series) {
	x.list = slices.DeleteFunc(x.list, func(s *series) bool { return s.waiting == 0 && s != keep })
}

func (x *index) set(s *series, seq uint64, v slot) {
	x.remove(s, seq)
	n := seq / chunkSize
	c := s.chunks[n]
	if c == nil {
		c = &chunk{}
		s.chunks[n] = c
		i, _ := slices.BinarySearch(s.order, n)
		s.order = slices.Insert(s.order, i, n)
	}
	c.slots[seq%chunkSize] = v
	c.waiting++
	s.waiting++
	x.waiting++
	x.bytes += int64(v.size)
}

func (x *index) remove(s *series, seq uint64) {
	n := seq / chunkSize
	c := s.chunks[n]
	if c == nil || c.slots[seq%chunkSize].size == 0 {
		return
	}
	x.bytes -= int64(c.slots[seq%chunkSize].size)
	x.waiting--
	s.waiting--
	c.slots[seq%chunkSize] = slot{}
	if c.waiting--; c.waiting > 0 {
		return
	}
	delete(s.chunks, n)
	i, _ := slices.BinarySearch(s.order, n)
	s.order = slices.Delete(s.order, i, i+1)
}

func (x *index) get(k key) *slot {
	if s := x.series(k.boot); s != nil {
		if seq, v := s.next(k.seq); seq == k.seq {
			return v
		}
	}
	return nil
}

// next gives the first waiting event at or after a sequence; nil: none.
func (s *series) next(seq uint64) (uint64, *slot) {
	at, _ := slices.BinarySearch(s.order, seq/chunkSize)
	for _, n := range s.order[at:] {
		c := s.chunks[n]
		for i := max(seq, n*chunkSize) % chunkSize; i < chunkSize; i++ {
			if c.slots[i].size > 0 {
				return n*chunkSize + i, &c.slots[i]
			}
		}
	}
	return 0, nil
}

// each calls f for the waiting events from a key on, in order, until f says no.
func (x *index) each(from key, f func(s *series, seq uint64, v *slot) bool) {
	i, _ := x.find(from.boot)
	for ; i < len(x.list); i++ {
		s := x.list[i]
		var at uint64
		if s.boot == from.boot {
			at = from.seq
		}
		for seq, v := s.next(at); v != nil; seq, v = s.next(seq + 1) {
			if !f(s, seq, v) {
				return
			}
		}
	}
}

// seal keeps a gap as it is: somebody has seen it.
func (s *series) seal(from uint64) {
	if g := s.starts[from]; g != nil {
		delete(s.starts, g.from)
		delete(s.ends, g.to)
	}
}
