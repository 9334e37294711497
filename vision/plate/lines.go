package plate

import (
	"image"
	"math"

	"gocv.io/x/gocv"

	"gatehouse/vision/plate/quad"
	"gatehouse/vision/warp"
)

// The picture of one line of characters that the recognisers take.
const (
	lineHeight = 48
	lineWidth  = 160
)

// cut is one way to make a line of a plate.
type cut struct {
	// wide and high are the fractions of the plate's width and height that are
	// read with it: the corners are never exact, and one of the readings mostly
	// fits.
	wide, high float64
	parting
}

// parting is where the rows of a plate of two part.
type parting struct {
	split float64 // fraction of the plate's height; 0 for a plate of one row
	even  bool    // the upper row is as wide as the lower one
}

func (p parting) rows() int {
	if p.split > 0 {
		return 2
	}
	return 1
}

// liner makes lines; the result of one call lives until the next.
type liner struct {
	cut  *warp.Cutter
	line gocv.Mat
	flat gocv.Mat // two rows, one above the other
}

func newLiner(cutter *warp.Cutter) *liner {
	return &liner{cut: cutter, line: gocv.NewMatWithSize(lineHeight, lineWidth, gocv.MatTypeCV8UC3), flat: gocv.NewMat()}
}

func (l *liner) close() {
	_ = l.line.Close()
	_ = l.flat.Close()
}

// make flattens the plate into one line of lineWidth × lineHeight. Two rows are
// put side by side, the upper one left; on mainland plates it holds two or three
// characters and is narrower.
func (l *liner) make(picture gocv.Mat, q quad.Quad, c cut) (_ gocv.Mat, ok bool) {
	q = q.Grow(c.wide, c.high)
	width, height := q.Size()
	high := lineHeight * c.rows()
	wide := min(8*high, max(16, int(math.Round(float64(high)*width/max(1, height)))))
	size := image.Pt(wide, high)
	flat, ok := l.cut.Cut(picture, q, warp.Whole(size), size, gocv.InterpolationCubic)
	if !ok {
		return l.line, false
	}
	if c.split == 0 {
		gocv.Resize(flat, &l.line, image.Pt(lineWidth, lineHeight), 0, 0, gocv.InterpolationLinear)
		return l.line, true
	}
	left := lineWidth * 64 / 174 // the rows' widths are as 64 to 110
	upper := [2]int{size.X * 15 / 100, size.X * 85 / 100}
	if c.even {
		left, upper = lineWidth/2, [2]int{0, size.X}
	}
	at := func(share float64) int { return int(math.Round(share * float64(size.Y))) }
	l.put(flat, image.Rect(upper[0], 0, upper[1], at(c.split)), image.Rect(0, 0, left, lineHeight))
	l.put(flat, image.Rect(0, at(c.split-.03), size.X, size.Y), image.Rect(left, 0, lineWidth, lineHeight))
	return l.line, true
}

// put scales a part of flat into a part of the line.
func (l *liner) put(flat gocv.Mat, from, to image.Rectangle) {
	source, target := flat.Region(from), l.line.Region(to)
	gocv.Resize(source, &target, to.Size(), 0, 0, gocv.InterpolationLinear)
	_ = source.Close()
	_ = target.Close()
}
