package track

import (
	"cmp"
	"math"
	"slices"
	"time"

	"gatehouse/vision/link"
)

// PeopleOptions of a People.
type PeopleOptions struct {
	// Frames is how many usable frames of somebody make an answer, 1 and up.
	Frames int
	// Same is the least cosine, 0–1, of two frames of one person; below it a
	// track has gone over to somebody else.
	Same float64
	// Lost is after how long out of sight somebody is gone.
	Lost time.Duration
	// Most is how many faces a frame are described at most; it bounds the time
	// a crowd costs.
	Most int
}

// People follows faces over frames and joins the features of each person's
// frames into one that is better than any of theirs. It answers once per
// person, and once more when a far better look at them comes later. It is not
// safe for concurrent use.
type People struct {
	o      PeopleOptions
	tracks []*person
	looked int64 // when the last frame was, ns
}

// person is one face on its way through the picture.
type person struct {
	box      link.Box
	at       int64 // ns
	gathered gathered
	answers  int
	answered float64 // the best worth of a frame when the last answer was given
}

// Describe gives a face its quality and feature; the feature is nil where the
// quality is not good enough.
type Describe func(face *link.Face)

// NewPeople makes a tracker that has seen nobody.
func NewPeople(o PeopleOptions) *People { return &People{o: o} }

// Frame takes the faces of the next frame, the main one first, and gives the
// people that became sure with it: where they are in this frame, with their
// joined features. At (CLOCK_MONOTONIC, ns) may not go back.
func (p *People) Frame(at int64, faces []link.Face, describe Describe) []link.Face {
	p.looked = at
	p.tracks = slices.DeleteFunc(p.tracks, func(t *person) bool { return at-t.at > int64(p.o.Lost) })
	var sure []link.Face
	for i, t := range p.turns(p.assign(at, faces)) {
		if i >= p.o.Most {
			break
		}
		f := *t.face
		describe(&f)
		if f.Quality == nil || len(f.Feature) == 0 {
			continue
		}
		if t.gathered.add(*f.Quality, f.Feature, p.o.Same) {
			t.answers, t.answered = 0, 0 // somebody else
		}
		if t.gathered.frames < p.o.Frames || t.answers > 0 && t.gathered.best < t.answered*better {
			continue
		}
		t.answers++
		t.answered = t.gathered.best
		f.Feature = t.gathered.feature()
		sure = append(sure, f)
	}
	return sure
}

// sighting is a person and their face in this frame.
type sighting struct {
	*person
	face *link.Face
}

// assign gives each face the person whom it continues, or a new one.
func (p *People) assign(at int64, faces []link.Face) []sighting {
	taken := map[*person]bool{}
	list := make([]sighting, len(faces))
	for i := range faces {
		t := p.nearest(faces[i].Box, taken)
		if t == nil {
			t = &person{}
			p.tracks = append(p.tracks, t)
		}
		taken[t] = true
		t.box, t.at = faces[i].Box, at
		list[i] = sighting{t, &faces[i]}
	}
	return list
}

// turns leaves who is described in this frame: those of whom nothing was told
// yet come first, and among them those who were described least.
func (p *People) turns(list []sighting) []sighting {
	list = slices.DeleteFunc(list, func(s sighting) bool { return !p.curious(s.person) })
	slices.SortStableFunc(list, func(a, b sighting) int {
		return cmp.Or(cmp.Compare(a.answers, b.answers), cmp.Compare(a.gathered.frames, b.gathered.frames))
	})
	return list
}

// Still says that nothing has moved since the last frame: who was in sight then
// is there yet.
func (p *People) Still(at int64) {
	for _, t := range p.tracks {
		if t.at == p.looked {
			t.at = at
		}
	}
	p.looked = at
}

// better is how much more a frame must be worth than the best one behind the
// first answer, for a second one; answersMost is how many there may be.
const (
	better      = 1.5
	answersMost = 2
	enough      = 12 // frames; who was seen that often has been seen well
)

// curious reports whether another feature of this person could be of use.
func (p *People) curious(t *person) bool {
	return t.answers == 0 || t.answers < answersMost && t.gathered.frames < enough
}

// nearest is the person whose last box lies nearest, within a face's size.
func (p *People) nearest(b link.Box, taken map[*person]bool) *person {
	var best *person
	least := 1.0
	for _, t := range p.tracks {
		if d := apart(t.box, b); !taken[t] && d < least {
			best, least = t, d
		}
	}
	return best
}

// gathered is what a person's frames have in common.
type gathered struct {
	sum    []float64
	frames int
	best   float64
}

// add joins a frame's feature; other tells that it is of somebody else than the
// ones before, which are then forgotten.
func (g *gathered) add(q link.FaceQuality, feature []float32, same float64) (other bool) {
	if g.frames > 0 && (len(feature) != len(g.sum) || dot(g.feature(), feature) < same) {
		*g, other = gathered{}, true
	}
	if g.sum == nil {
		g.sum = make([]float64, len(feature))
	}
	w := worth(q)
	for i, v := range feature {
		g.sum[i] += w * float64(v)
	}
	g.frames++
	g.best = max(g.best, w)
	return other
}

// worth weights a frame, 0–1: near, sharp and frontal ones tell most.
func worth(q link.FaceQuality) float64 {
	size := min(1, float64(q.Height)/96)
	sharp := min(1, q.Sharpness/20)
	return size * max(.05, sharp) * max(.05, q.Frontal*q.Frontal)
}

// feature is the joined feature of length 1.
func (g *gathered) feature() []float32 {
	var length float64
	for _, v := range g.sum {
		length += v * v
	}
	length = math.Sqrt(length)
	f := make([]float32, len(g.sum))
	if length == 0 {
		return f
	}
	for i, v := range g.sum {
		f[i] = float32(v / length)
	}
	return f
}

func dot(a, b []float32) (sum float64) {
	for i := range a {
		sum += float64(a[i]) * float64(b[i])
	}
	return sum
}
