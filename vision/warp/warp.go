// Package warp takes regions out of pictures without their perspective.
package warp

import (
	"image"
	"image/color"
	"math"

	"gocv.io/x/gocv"

	"gatehouse/vision/plate/quad"
)

// Cutter keeps its buffers; the result of one call lives until the next.
// It is not safe for concurrent use.
type Cutter struct {
	matrix, small, out gocv.Mat
}

// NewCutter makes a cutter; Close frees its buffers.
func NewCutter() *Cutter {
	return &Cutter{matrix: gocv.NewMatWithSize(3, 3, gocv.MatTypeCV64F), small: gocv.NewMat(), out: gocv.NewMat()}
}

// Close frees the buffers.
func (c *Cutter) Close() {
	_ = c.matrix.Close()
	_ = c.small.Close()
	_ = c.out.Close()
}

// Cut draws the picture so that the quad from lands on the quad onto of a new
// picture; ok is false where from has no area within the picture.
func (c *Cutter) Cut(picture gocv.Mat, from, onto quad.Quad, size image.Point, how gocv.InterpolationFlags) (_ gocv.Mat, ok bool) {
	source := picture
	width, _ := from.Size()
	target, _ := onto.Size()
	if ratio := width / target; ratio > 1.7 { // shrink first, or the warp would alias
		low, high := from.Bounds()
		w, h := high.X-low.X, high.Y-low.Y
		area := image.Rect(int(math.Floor(low.X-w/2)), int(math.Floor(low.Y-h/2)), int(math.Ceil(high.X+w/2)), int(math.Ceil(high.Y+h/2))).
			Intersect(image.Rect(0, 0, picture.Cols(), picture.Rows()))
		if area.Dx() > 4 && area.Dy() > 4 {
			k := 1.3 / ratio
			to := image.Pt(max(1, int(math.Round(float64(area.Dx())*k))), max(1, int(math.Round(float64(area.Dy())*k))))
			part := picture.Region(area)
			gocv.Resize(part, &c.small, to, 0, 0, gocv.InterpolationArea)
			_ = part.Close()
			kx, ky := float64(to.X)/float64(area.Dx()), float64(to.Y)/float64(area.Dy())
			for i := range from {
				from[i].X = (from[i].X - float64(area.Min.X)) * kx
				from[i].Y = (from[i].Y - float64(area.Min.Y)) * ky
			}
			source = c.small
		}
	}
	h, ok := quad.Map(from, onto)
	if !ok {
		return c.out, false
	}
	m, err := c.matrix.DataPtrFloat64()
	if err != nil {
		return c.out, false
	}
	copy(m, h[:])
	gocv.WarpPerspectiveWithParams(source, &c.out, c.matrix, size, how, gocv.BorderReplicate, color.RGBA{})
	return c.out, true
}

// Whole is the quad of all of a picture.
func Whole(size image.Point) quad.Quad {
	w, h := float64(size.X), float64(size.Y)
	return quad.Quad{{}, {X: w}, {X: w, Y: h}, {Y: h}}
}
