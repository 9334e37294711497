package face

import (
	"math"

	"gatehouse/vision/link"
)

// Gather joins the features of one person's frames into a better one, while
// the person is followed through the picture. The zero value is empty.
type Gather struct {
	sum    []float64
	weight float64
	frames int
	best   float64
}

// Agrees is the least similarity of a frame to what was gathered; below it the
// track has gone over to somebody else, and gathering starts anew.
const agrees = Threshold

// Enough frames make a feature as good as it gets.
const enough = 5

// Add takes a usable face's feature; anew tells that it is of somebody else
// than the ones before.
func (g *Gather) Add(q link.FaceQuality, feature []float32) (anew bool) {
	if len(feature) == 0 || !q.Usable() {
		return false
	}
	if g.frames > 0 && Similarity(g.feature(), feature) < agrees {
		*g, anew = Gather{}, true
	}
	if g.sum == nil {
		g.sum = make([]float64, len(feature))
	}
	w := worth(q)
	for i, v := range feature {
		g.sum[i] += w * float64(v)
	}
	g.weight += w
	g.frames++
	g.best = max(g.best, w)
	return anew
}

// worth weights a frame: near, sharp and frontal ones tell most.
func worth(q link.FaceQuality) float64 {
	size := min(1, float64(q.Height)/96)
	sharp := min(1, q.Sharpness/20)
	return size * sharp * math.Max(.05, q.Frontal*q.Frontal)
}

// Frames is how many frames of the same person were added.
func (g *Gather) Frames() int { return g.frames }

// Done tells that further frames are not worth their time.
func (g *Gather) Done() bool { return g.frames >= enough }

// Feature is the joined feature of length 1, nil where there is none.
func (g *Gather) Feature() []float32 {
	if g.frames == 0 {
		return nil
	}
	return g.feature()
}

func (g *Gather) feature() []float32 {
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
