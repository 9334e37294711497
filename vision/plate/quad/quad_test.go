package quad

import (
	"math"
	"testing"
)

func square(x, y, side float64) Quad {
	return Quad{{x, y}, {x + side, y}, {x + side, y + side}, {x, y + side}}
}

func TestMeasures(t *testing.T) {
	q := square(10, 20, 4)
	if math.Abs(math.Abs(q.Area())-16) > 1e-9 {
		t.Error(q.Area())
	}
	if w, h := q.Size(); w != 4 || h != 4 {
		t.Error(w, h)
	}
	if low, high := q.Bounds(); low != (Point{10, 20}) || high != (Point{14, 24}) {
		t.Error(low, high)
	}
	if w, h := q.Grow(.5, .25).Size(); math.Abs(w-8) > 1e-9 && math.Abs(w-6) > 1e-9 || h <= 4 {
		t.Error(w, h)
	}
	if !q.Finite() || (Quad{{math.NaN(), 0}}).Finite() || (Quad{{math.Inf(1), 0}}).Finite() {
		t.Error("Finite")
	}
}

func TestIoU(t *testing.T) {
	for _, c := range []struct {
		a, b Quad
		want float64
	}{
		{square(0, 0, 2), square(0, 0, 2), 1},
		{square(0, 0, 2), square(1, 0, 2), 1. / 3},
		{square(0, 0, 2), square(5, 5, 2), 0},
		{square(0, 0, 2), Quad{{1, 0}, {2, 1}, {1, 2}, {0, 1}}, .5}, // a diamond within
	} {
		if got := IoU(c.a, c.b); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("IoU of %v and %v is %v, not %v", c.a, c.b, got, c.want)
		}
	}
}

func TestMapTakesCornersToCorners(t *testing.T) {
	from := Quad{{12, 7}, {110, 20}, {101, 66}, {5, 41}}
	to := Quad{{0, 0}, {160, 0}, {160, 48}, {0, 48}}
	h, ok := Map(from, to)
	if !ok {
		t.Fatal("there is none")
	}
	for i := range from {
		if p := h.At(from[i]); math.Hypot(p.X-to[i].X, p.Y-to[i].Y) > 1e-6 {
			t.Errorf("corner %d lands on %v", i, p)
		}
	}
	if _, ok := Map(Quad{{1, 1}, {1, 1}, {1, 1}, {1, 1}}, to); ok {
		t.Error("a point has a map")
	}
}
