package face

import (
	"image"
	"math"
	"testing"

	"gatehouse/vision/plate/quad"
)

func TestBoxes(t *testing.T) {
	scores := []float32{.1, .9, .2, .8, .9, .1, 0, .95}
	corners := []float32{
		.1, .1, .3, .4, // a face
		.11, .1, .31, .4, // the same one again
		.5, .5, .6, .6, // none
		.7, .7, 1.2, .9, // half outside
	}
	got := boxes(scores, corners, image.Pt(200, 100), image.Rect(0, 0, 200, 100))
	if len(got) != 2 {
		t.Fatalf("%+v", got)
	}
	for _, f := range got {
		if f.Box.Left+f.Box.Width > 200 || f.Box.Top+f.Box.Height > 100 || f.Score < minScore {
			t.Errorf("%+v", f)
		}
	}
	if len(boxes(scores[:3], corners[:2], image.Pt(9, 9), image.Rect(0, 0, 9, 9))) != 0 {
		t.Error("too few values give faces")
	}
}

// Points that are the template, turned, scaled and moved, give back exactly
// that square.
func TestAligned(t *testing.T) {
	sin, cos := math.Sincos(.3)
	move := func(p quad.Point) quad.Point {
		return quad.Point{X: 2*(cos*p.X-sin*p.Y) + 40, Y: 2*(sin*p.X+cos*p.Y) - 7}
	}
	var five [5]quad.Point
	for i, p := range template {
		five[i] = move(p)
	}
	got, ok := square(five)
	for i, c := range (quad.Quad{{}, {X: 112}, {X: 112, Y: 112}, {Y: 112}}) {
		if want := move(c); !ok || math.Hypot(got[i].X-want.X, got[i].Y-want.Y) > 1e-9 {
			t.Errorf("corner %d is %v, not %v", i, got[i], want)
		}
	}
	if _, ok := square([5]quad.Point{}); ok {
		t.Error("five points in one place are a face")
	}
}

func TestSimilarity(t *testing.T) {
	a, b := []float32{1, 0}, []float32{.6, .8}
	if s := Similarity(a, b); math.Abs(s-.6) > 1e-6 || Similarity(a, a) != 1 || Similarity(a, b[:1]) != 0 {
		t.Error(s)
	}
}
