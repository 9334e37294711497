package warp

import (
	"image"
	"testing"

	"gocv.io/x/gocv"

	"gatehouse/vision/plate/quad"
)

// A white square within black comes out white, at any scale and also where
// the quad reaches over the picture's edge.
func TestCut(t *testing.T) {
	picture := gocv.NewMatWithSizeFromScalar(gocv.Scalar{}, 400, 600, gocv.MatTypeCV8UC3)
	defer picture.Close() //nolint:errcheck // a Mat's Close always returns nil
	white := picture.Region(image.Rect(100, 100, 300, 200))
	white.SetTo(gocv.NewScalar(255, 255, 255, 0))
	_ = white.Close()
	c := NewCutter()
	defer c.Close()
	from := quad.Quad{{X: 100, Y: 100}, {X: 300, Y: 100}, {X: 300, Y: 200}, {X: 100, Y: 200}}
	for _, size := range []image.Point{{X: 200, Y: 100}, {X: 32, Y: 16}, {X: 800, Y: 400}} {
		out, ok := c.Cut(picture, from, Whole(size), size, gocv.InterpolationLinear)
		if !ok || out.Cols() != size.X || out.Rows() != size.Y {
			t.Fatalf("%v: %d×%d %v", size, out.Cols(), out.Rows(), ok)
		}
		if mean := out.Mean(); mean.Val1 < 235 {
			t.Errorf("%v: the mean is %.0f", size, mean.Val1)
		}
	}
	if _, ok := c.Cut(picture, from.Grow(3, 3), Whole(image.Pt(64, 32)), image.Pt(64, 32), gocv.InterpolationLinear); !ok {
		t.Error("a quad over the edge is refused")
	}
	if _, ok := c.Cut(picture, quad.Quad{}, Whole(image.Pt(64, 32)), image.Pt(64, 32), gocv.InterpolationLinear); ok {
		t.Error("a quad without area is taken")
	}
}
