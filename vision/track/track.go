// Package track follows plates, faces and large things over a camera's frames
// and tells each passage once.
//
// A Lane follows plates: it votes over frames and characters, knows region,
// line, loop and direction, and gives an early notice as soon as the frames
// agree and the result with the passage's best picture a little later. A
// Tracker follows faces, Vehicles what moves without a plate. All of them see
// boxes in one camera's picture only: two cars of which one hides the other,
// or a turn behind the camera, they cannot tell.
package track

import (
	"math"
	"time"
)

// Sight is one plate or face in one frame.
type Sight struct {
	Text                     string  // the plate's number; empty for a face
	Score                    float64 // 0–1
	Left, Top, Width, Height int     // pixels
}

// Options of a Tracker.
type Options struct {
	// Need is the sum of scores at which an answer is given; 2 is two
	// frames read without any doubt.
	Need float64
	// Lead is by how much that sum must be above the next best text's.
	Lead float64
	// Frames is the least number of frames before an answer.
	Frames int
	// MinScore is what the best score among the winning text's frames should
	// reach; what stays below is answered too, but only at twice Need.
	MinScore float64
	// Lost is after how long out of sight a passage is over.
	Lost time.Duration
	// Same is how long the same text is not answered again after it was last
	// seen; texts that are empty are not compared.
	Same time.Duration
}

// Answer is a passage's result.
type Answer struct {
	Index  int     // into the sights of the frame that completed it
	Text   string  // what the frames agree on
	Score  float64 // best score of a frame that read Text
	Frames int     // that read Text
	ID     int     // of the passage
}

// Tracker is not safe for concurrent use.
type Tracker struct {
	o      Options
	paths  []*path
	seen   map[string]time.Time // answered texts, when last seen
	ids    int
	looked time.Time // when the last frame was
}

// path is one thing on its way through the picture.
type path struct {
	id       int
	last     Sight
	at       time.Time
	frames   int
	votes    map[string]*vote
	answered bool
}

type vote struct {
	sum, best float64
	frames    int
}

// New makes a tracker.
func New(o Options) *Tracker { return &Tracker{o: o, seen: map[string]time.Time{}} }

// Frame takes the sights of the next frame and gives the passages that became
// sure with it. At may not go back.
func (t *Tracker) Frame(at time.Time, sights []Sight) []Answer {
	t.looked = at
	t.forget(at)
	taken := map[*path]bool{}
	var answers []Answer
	for i, s := range sights {
		if last, ok := t.seen[s.Text]; ok && at.Sub(last) <= t.o.Same {
			t.seen[s.Text] = at // a parked car stays known for as long as it is seen
		}
		p := t.nearest(s, taken)
		if p == nil {
			t.ids++
			p = &path{id: t.ids, votes: map[string]*vote{}}
			t.paths = append(t.paths, p)
		}
		taken[p] = true
		p.add(s, at)
		if a, ok := t.answer(p, s.Text, at); ok {
			a.Index = i
			answers = append(answers, a)
		}
	}
	return answers
}

// Still says that nothing has moved since the last frame: what was in sight
// then is there yet.
func (t *Tracker) Still(at time.Time) {
	for _, p := range t.paths {
		if p.at.Equal(t.looked) {
			p.at = at
		}
	}
	t.looked = at
	t.forget(at)
}

// Open reports whether something is on its way that has not been answered.
func (t *Tracker) Open() bool {
	for _, p := range t.paths {
		if !p.answered {
			return true
		}
	}
	return false
}

func (t *Tracker) forget(at time.Time) {
	kept := t.paths[:0]
	for _, p := range t.paths {
		if at.Sub(p.at) <= t.o.Lost {
			kept = append(kept, p)
		}
	}
	clear(t.paths[len(kept):])
	t.paths = kept
	for text, last := range t.seen {
		if at.Sub(last) > t.o.Same {
			delete(t.seen, text)
		}
	}
}

// nearest is the path that a sight continues: the one with the same text, else
// the nearest one within the reach of a car between two frames.
func (t *Tracker) nearest(s Sight, taken map[*path]bool) *path {
	var best *path
	least := math.Inf(1)
	for _, p := range t.paths {
		if taken[p] {
			continue
		}
		d := distance(p.last, s)
		if s.Text != "" && p.votes[s.Text] != nil {
			d /= 4
		}
		if d < 1.5 && d < least {
			best, least = p, d
		}
	}
	return best
}

// distance is that of the centres, in sizes of the larger one; things whose
// sizes differ more than twofold are not the same.
func distance(a, b Sight) float64 {
	sizeA, sizeB := float64(a.Width+a.Height), float64(b.Width+b.Height)
	if sizeA <= 0 || sizeB <= 0 || sizeA > 2*sizeB || sizeB > 2*sizeA {
		return math.Inf(1)
	}
	dx := float64(2*a.Left+a.Width-2*b.Left-b.Width) / 2
	dy := float64(2*a.Top+a.Height-2*b.Top-b.Height) / 2
	return math.Hypot(dx, dy) / (max(sizeA, sizeB) / 2)
}

func (p *path) add(s Sight, at time.Time) {
	p.last, p.at = s, at
	p.frames++
	v := p.votes[s.Text]
	if v == nil {
		v = &vote{}
		p.votes[s.Text] = v
	}
	v.sum += s.Score
	v.best = max(v.best, s.Score)
	v.frames++
}

// answer decides whether the path is sure; the frame that completes it must
// itself have read the winning text, so that its picture shows it.
func (t *Tracker) answer(p *path, text string, at time.Time) (Answer, bool) {
	if p.answered || p.frames < t.o.Frames {
		return Answer{}, false
	}
	v := p.votes[text]
	for other, o := range p.votes {
		if other != text && v.sum < o.sum+t.o.Lead {
			return Answer{}, false
		}
	}
	if v.sum < t.o.Need || v.best < t.o.MinScore && v.sum < 2*t.o.Need {
		return Answer{}, false
	}
	p.answered = true
	if text != "" {
		if _, ok := t.seen[text]; ok {
			return Answer{}, false
		}
		t.seen[text] = at
	}
	return Answer{Text: text, Score: v.best, Frames: v.frames, ID: p.id}, true
}
