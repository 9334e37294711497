package plate

import (
	"math"
	"slices"
	"time"

	"gatehouse/vision/plate/quad"
	"gatehouse/vision/plate/text"
)

// follower remembers what PP-OCR has said of the plates that a camera sees, so
// that it need not say it again in every frame: it takes eight times as long
// as the small recogniser, which goes on reading them.
type follower struct {
	now    int64 // the frame's time, ns; 0: the picture stands alone
	last   int64 // of the frame before it, ns
	before int64 // and of the one before that
	newest int64 // of the frames, ns
	known  []confirmed
	doubts []doubt
}

// spot is where a number was read, and when last, in ns.
type spot struct {
	number string
	form   text.Form
	middle quad.Point
	seen   int64
}

// confirmed is a number on which both recognisers agreed.
type confirmed struct {
	spot
	asked      int64   // when PP-OCR was, ns
	share, top float64 // of evidence, for PP-OCR
	times      int     // that PP-OCR has confirmed it; likelyTimes where once was enough
}

// doubt is a number of the small recogniser's about which PP-OCR was asked, and
// what it has read instead.
type doubt struct {
	spot
	layout             parting
	times              int // that it was asked in a row, both reading the same each time
	mainland, overseas []text.Reading
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
	// doubted is how often PP-OCR is asked about a number that stays in doubt before
	// its word holds for the next frame too: then it is asked in every other one.
	doubted = 2
)

// forget is for another film or camera.
func (f *follower) forget() { *f = follower{known: f.known[:0], doubts: f.doubts[:0]} }

// goOn begins a frame. One that is not later is another film's.
func (f *follower) goOn(at int64) {
	if at <= f.newest {
		f.forget()
	}
	f.now, f.last, f.before, f.newest = at, f.newest, f.last, at
}

// is tells whether a number that is read now is the one of a spot.
func (f *follower) is(s spot, r text.Reading, q quad.Quad) bool {
	return s.number == r.Number && s.form == r.Form && f.at(s, q)
}

// at tells whether a plate is in the place of a spot.
func (f *follower) at(s spot, q quad.Quad) bool {
	width, _ := q.Size()
	middle := middleOf(q)
	return !f.gone(s) && math.Hypot(middle.X-s.middle.X, middle.Y-s.middle.Y) <= moved*width
}

// holds tells whether PP-OCR's word about the plate in this place will hold for
// this frame, as far as can be told before it is read.
func (f *follower) holds(q quad.Quad) bool {
	for _, d := range slices.Backward(f.doubts) {
		if f.at(d.spot, q) && (d.seen == f.last || d.seen == f.before) {
			return d.seen == f.last && d.times >= doubted
		}
	}
	return slices.ContainsFunc(f.known, func(c confirmed) bool { return c.times >= likelyTimes && f.at(c.spot, q) })
}

// gone tells whether a spot's number is out of sight.
func (f *follower) gone(s spot) bool { return f.now < s.seen || f.now-s.seen > unseen }

// here is the spot of a number that is read now.
func (f *follower) here(r text.Reading, q quad.Quad) spot {
	return spot{number: r.Number, form: r.Form, middle: middleOf(q), seen: f.now}
}

// heard gives what PP-OCR has read in the last frame of the number that the small
// recogniser takes for the likeliest, in this layout and place; nil where it is
// to be asked.
func (f *follower) heard(r text.Reading, layout parting, q quad.Quad) *doubt {
	if f.now == 0 {
		return nil
	}
	for i := range f.doubts {
		if d := &f.doubts[i]; d.seen == f.last && d.times >= doubted && d.layout == layout && f.is(d.spot, r, q) {
			return d
		}
	}
	return nil
}

// asked keeps what PP-OCR has read of that number now.
func (f *follower) asked(r text.Reading, layout parting, q quad.Quad, mainland, overseas []text.Reading) {
	if f.now == 0 {
		return
	}
	d := doubt{spot: f.here(r, q), layout: layout, times: 1, mainland: mainland, overseas: overseas}
	f.doubts = slices.DeleteFunc(f.doubts, func(old doubt) bool {
		same := old.layout == layout && f.is(old.spot, r, q)
		if same && likeliest(mainland, overseas).Number == likeliest(old.mainland, old.overseas).Number {
			d.times = old.times + 1
		}
		return same || f.gone(old.spot)
	})
	f.doubts = append(f.doubts, d)
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
	return slices.IndexFunc(f.known, func(c confirmed) bool { return f.is(c.spot, r, q) })
}

// saw takes a number that was read in this frame. Only a new word of PP-OCR's
// confirms it.
func (f *follower) saw(e evidence, score float64, q quad.Quad) {
	if f.now == 0 {
		return
	}
	f.known = slices.DeleteFunc(f.known, func(c confirmed) bool { return f.gone(c.spot) })
	c := confirmed{asked: f.now, share: e.shares[ppocr], top: e.tops[ppocr]}
	at := f.find(e.reading, q)
	switch {
	case at < 0 && e.recalled:
		return
	case at >= 0:
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
		if score >= settled {
			c.times = likelyTimes
		}
	}
	c.spot = f.here(e.reading, q)
	f.known = append(f.known, c)
}

func middleOf(q quad.Quad) (m quad.Point) {
	for _, p := range q {
		m.X += p.X / 4
		m.Y += p.Y / 4
	}
	return m
}
