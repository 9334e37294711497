package plate

import (
	"math"
	"slices"
	"time"

	"gatehouse/vision/plate/quad"
	"gatehouse/vision/plate/text"
)

// follower remembers what PP-OCR has said of the plates that a camera sees, so
// that it need not say it again in every frame: it takes ten times as long as
// the small recogniser, which goes on reading them.
type follower struct {
	now    int64 // the frame's time, ns; 0: the picture stands alone
	newest int64 // of the frames, ns
	known  []confirmed
}

// confirmed is a number on which both recognisers agreed.
type confirmed struct {
	number     string
	form       text.Form
	middle     quad.Point
	asked      int64   // when PP-OCR was, ns
	seen       int64   // when it was read last, ns
	share, top float64 // of evidence, for PP-OCR
	times      int     // that PP-OCR has confirmed it; likelyTimes where once was enough
}

const (
	// settled is the score from which on a number need not be confirmed again, and
	// likely the one from which on that holds when it was confirmed so many times.
	settled     = 0.99
	likely      = 0.95
	likelyTimes = 2
	// moved is how far a plate may be from where it was read last, in its widths.
	moved = 1.0
	// unseen is how long it may be out of sight, and confirmedFor how long a
	// confirmation holds in any case.
	unseen       = int64(500 * time.Millisecond)
	confirmedFor = int64(5 * time.Second)
)

// goOn begins a frame. One of an earlier time is another film's.
func (f *follower) goOn(at int64) {
	if at < f.newest {
		f.known = f.known[:0]
	}
	f.now, f.newest = at, at
}

// recall gives what PP-OCR has said of a number that is where it was read last.
func (f *follower) recall(r text.Reading, q quad.Quad) (share, top float64, ok bool) {
	if f.now == 0 {
		return 0, 0, false
	}
	at := f.find(r, q)
	if at < 0 {
		return 0, 0, false
	}
	c := &f.known[at]
	return c.share, c.top, c.times >= likelyTimes && f.now-c.asked <= confirmedFor
}

// find gives the place of a number that was read in about the same place just now.
func (f *follower) find(r text.Reading, q quad.Quad) int {
	width, _ := q.Size()
	middle := middleOf(q)
	return slices.IndexFunc(f.known, func(c confirmed) bool {
		return c.number == r.Number && c.form == r.Form && f.now >= c.seen && f.now-c.seen <= unseen &&
			math.Hypot(middle.X-c.middle.X, middle.Y-c.middle.Y) <= moved*width
	})
}

// saw takes a number that was read in this frame, PP-OCR's word being recalled
// or new.
func (f *follower) saw(e evidence, score float64, q quad.Quad) {
	if f.now == 0 {
		return
	}
	f.known = slices.DeleteFunc(f.known, func(c confirmed) bool { return f.now < c.seen || f.now-c.seen > unseen })
	c := confirmed{number: e.reading.Number, form: e.reading.Form, asked: f.now, share: e.shares[ppocr], top: e.tops[ppocr]}
	if at := f.find(e.reading, q); at >= 0 {
		if e.recalled {
			c = f.known[at]
		} else {
			c.times = f.known[at].times
		}
		f.known = slices.Delete(f.known, at, at+1)
	}
	if !e.read[small] || !e.read[ppocr] || score < likely {
		return // it begins anew
	}
	if !e.recalled {
		c.times++
	}
	if score >= settled {
		c.times = likelyTimes
	}
	c.middle, c.seen = middleOf(q), f.now
	f.known = append(f.known, c)
}

func middleOf(q quad.Quad) (m quad.Point) {
	for _, p := range q {
		m.X += p.X / 4
		m.Y += p.Y / 4
	}
	return m
}
