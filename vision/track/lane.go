// Package track follows plates and people over a camera's frames and tells each
// passage and each person once: with what the frames agree on, as soon as they
// do, and with the best picture there was.
//
// Parties: the vision process hands it what its nets saw in each frame and
// passes on the notes. Promised: the same frames give the same notes; a plate
// that was told is not told again while it is seen. Not protected: two plates
// that hide each other may change places.
package track

import (
	"math"
	"slices"
	"time"

	"gatehouse/vision/link"
)

// Shot is a picture that is kept for as long as somebody needs it.
type Shot interface {
	Keep()
	Drop()
}

// View is what was seen in one frame.
type View struct {
	At            int64 // CLOCK_MONOTONIC, ns
	Width, Height int
	Plates        []link.Plate
	Quality       []float64 // of each plate's picture, any scale
	Shot          Shot
}

// Note is something that the lane has to tell.
type Note struct {
	Event      string // a link.Event… constant but EventTrigger
	LaneEvent  int
	Passage    uint64
	Plate      link.Plate // Text is empty where it cannot be read
	Votes      link.Votes
	Direction  int
	Begin, End int64 // CLOCK_MONOTONIC, ns
	// Shot is the picture in which Plate is where Plate says; nil in an early
	// notice. Who takes the note drops it.
	Shot   Shot
	ShotAt int64
}

// LaneOptions of a Lane.
type LaneOptions struct {
	link.Lane
	// Need, Lead and Frames say when a text is sure: the sum of its frames'
	// scores, by how much that is above the next text's, and how many frames.
	Need, Lead float64
	Frames     int
	// MinScore is what the gate asks for. A text that stays below it needs twice
	// the sum and a vehicle that stands; one that never becomes sure is told
	// below it when the vehicle is gone.
	MinScore float64
	// Lost is after how long out of sight a passage is over.
	Lost time.Duration
	// Same is how long the same plate is not told again after it was last seen.
	Same time.Duration
}

// Lane follows the plates of the vehicles that pass and tells each passage
// once. It is not safe for concurrent use.
type Lane struct {
	o      LaneOptions
	paths  []*passage
	seen   map[string]telling // plates told
	rested []*passage         // over; their vehicles stood when they were seen last
	last   struct {           // the passage told last
		at        int64
		id        uint64
		text      string
		direction int
	}
	looked  int64 // when the last frame was
	plateAt int64 // when any plate was seen last, also one whose passage is over; 0: never
	ids     uint64
}

// telling is a plate that was told.
type telling struct {
	at    int64 // when it was last seen
	opens bool  // it was told with the score that the gate asks for
}

// passage is one vehicle on its way.
type passage struct {
	id        uint64
	begin, at int64 // ns
	votes     votes
	leading   string // what the frames agree on, once they do
	frames    int
	course    course
	best      float64 // quality of shot
	shot      Shot
	shotAt    int64
	shotPlate link.Plate
	triggered bool   // over the line or in the loop, where there is one
	told      int64  // when it became sure; 0: not yet
	opens     bool   // it was told with the score that the gate asks for
	mayWait   bool   // nobody opens by its final result any more
	finished  bool   // its result is given, or it shall have none
	given     bool   // its result is given
	silent    bool   // it shall have none
	known     bool   // its vehicle was told, in this passage or in one that it goes on
	text      string // as what; empty: unreadable
	staying   bool
	turned    bool
	before    *passage // what it may go on: a vehicle stood in its place
}

// restFor is how long a vehicle that stood still is known in its place although
// its plate cannot be read for a while.
const restFor = 30 * time.Second

// sameBox is from which overlap on, intersection over union, a plate is in the
// place of one that stood.
const sameBox = 0.5

// NewLane makes a lane without vehicles.
func NewLane(o LaneOptions) *Lane { return &Lane{o: o, seen: map[string]telling{}} }

// Frame takes what is seen in the next frame and gives what is to be told. At
// may not go back.
func (l *Lane) Frame(v View) []Note {
	l.looked = v.At
	notes := l.forget(v.At)
	for i, p := range l.match(v) {
		if p != nil {
			l.see(p, v, i)
		}
	}
	return append(notes, l.tell(v)...)
}

// Still says that nothing has moved since the last frame: what was there is
// there yet.
func (l *Lane) Still(v View) []Note {
	for _, p := range l.paths {
		if p.at == l.looked {
			p.at, l.plateAt = v.At, v.At
			l.refresh(p)
		}
	}
	l.looked = v.At
	return append(l.forget(v.At), l.tell(v)...)
}

// Open reports whether a vehicle is there that has not been told of yet.
func (l *Lane) Open() bool {
	return slices.ContainsFunc(l.paths, func(p *passage) bool { return !p.finished })
}

// Busy reports whether a plate was seen since the given time.
func (l *Lane) Busy(since int64) bool { return l.plateAt != 0 && l.plateAt >= since }

// MayWait says that nobody opens by the final result of a passage any more.
func (l *Lane) MayWait(passage uint64) {
	for _, p := range l.paths {
		p.mayWait = p.mayWait || p.id == passage
	}
}

// End gives what is to be told when no more frames come.
func (l *Lane) End() []Note {
	var notes []Note
	for _, p := range l.paths {
		notes = append(notes, l.end(p)...)
	}
	for _, p := range l.rested {
		notes = append(notes, l.left(p)...)
	}
	l.paths, l.rested = nil, nil
	return notes
}

// forget gives what there is to tell of vehicles that stood and do not come
// into sight again.
func (l *Lane) forget(at int64) (notes []Note) {
	for text, t := range l.seen {
		if at-t.at > int64(l.o.Same) {
			delete(l.seen, text)
		}
	}
	l.rested = slices.DeleteFunc(l.rested, func(p *passage) bool {
		over := at-p.at > int64(restFor)
		if over {
			notes = append(notes, l.left(p)...)
		}
		return over
	})
	return notes
}

// match gives each plate the passage that it continues, a new one, or nil where
// it does not count: nearest pairs first.
func (l *Lane) match(v View) []*passage {
	type pair struct {
		plate    int
		path     *passage
		distance float64
	}
	var pairs []pair
	out := make([]*passage, len(v.Plates))
	counts := make([]bool, len(v.Plates))
	for i, s := range v.Plates {
		counts[i] = Counts(l.o.Lane, s.Box, v.Width, v.Height)
		if !counts[i] {
			continue
		}
		for _, p := range l.paths {
			if p.contradicts(s) {
				continue // the next car, close behind
			}
			d := apart(p.course.expected(v.At), s.Box)
			if s.Text != "" && p.votes.texts[s.Text] != nil {
				d = min(d/4, 1)
			}
			if d < 1.5 {
				pairs = append(pairs, pair{i, p, d})
			}
		}
	}
	slices.SortStableFunc(pairs, func(a, b pair) int {
		if a.distance < b.distance {
			return -1
		}
		return 1
	})
	taken := map[*passage]bool{}
	for _, c := range pairs {
		if out[c.plate] == nil && !taken[c.path] {
			out[c.plate], taken[c.path] = c.path, true
		}
	}
	for i := range out {
		if out[i] == nil && counts[i] {
			out[i] = l.begin(v, i)
		}
	}
	return out
}

// contradicts reports whether the passage's plate is sure and the sight shows
// quite another one.
func (p *passage) contradicts(s link.Plate) bool {
	const surely = 0.4
	return s.Score >= surely && s.Text != "" && p.leading != "" && unlike(p.leading, s.Text)
}

// apart is the distance of two boxes' centres in sizes of the larger one;
// things whose sizes differ more than twofold are not the same.
func apart(a, b link.Box) float64 {
	if size(a) > 2*size(b) || size(b) > 2*size(a) {
		return math.Inf(1)
	}
	ax, ay := centre(a)
	bx, by := centre(b)
	return math.Hypot(ax-bx, ay-by) / max(size(a), size(b))
}

func (l *Lane) begin(v View, i int) *passage {
	l.ids = max(l.ids+1, uint64(v.At))
	p := &passage{id: l.ids, begin: v.At, votes: votes{texts: map[string]*ballot{}}}
	p.course.start(v.Plates[i].Box, v.At)
	for _, r := range l.rested {
		if r.course.last.Overlap(p.course.first) > sameBox {
			p.before = r
		}
	}
	p.triggered = len(l.o.TriggerLine) < 2 && len(l.o.Loop) < 3
	l.paths = append(l.paths, p)
	return p
}

// see adds a sight to a passage.
func (l *Lane) see(p *passage, v View, i int) {
	s := v.Plates[i]
	before := foot(p.course.last, v.Width, v.Height)
	p.frames++
	p.at, l.plateAt = v.At, v.At
	p.course.add(s.Box, v.At)
	now := foot(s.Box, v.Width, v.Height)
	switch {
	case p.triggered:
	case len(l.o.Loop) >= 3:
		p.triggered = link.Within(l.o.Loop, now)
	case crosses(l.o.TriggerLine[0], l.o.TriggerLine[1], before, now):
		p.triggered = true
	}
	if s.Text != "" {
		p.votes.add(s)
		if w, ok := p.votes.elect(); ok && w.sum >= l.o.Need && w.lead >= l.o.Lead {
			p.leading = w.text
		}
	}
	l.refresh(p)
	quality := 0.
	if i < len(v.Quality) {
		quality = v.Quality[i] * (.1 + s.Score)
	}
	if !p.finished && v.Shot != nil && (p.shot == nil || quality > p.best*1.05) {
		v.Shot.Keep()
		if p.shot != nil {
			p.shot.Drop()
		}
		p.shot, p.shotAt, p.shotPlate, p.best = v.Shot, v.At, s, quality
	}
}

// refresh keeps a plate that was told known for as long as it is seen.
func (l *Lane) refresh(p *passage) {
	for text := range p.votes.texts {
		if t, ok := l.seen[text]; ok && t.at < p.at {
			l.seen[text] = telling{p.at, t.opens}
		}
	}
}
