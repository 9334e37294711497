// Package quad holds the geometry of plates: four corners, clockwise from the
// plate's own top left, in pixels with the origin at the picture's top left.
package quad

import (
	"math"
	"slices"
)

// Point is a position in pixels.
type Point struct{ X, Y float64 }

// Quad is top left, top right, bottom right, bottom left.
type Quad [4]Point

// Area of a convex quad in square pixels.
func (q Quad) Area() float64 { return area(q[:]) }

func area(p []Point) float64 {
	var sum float64
	for i, a := range p {
		b := p[(i+1)%len(p)]
		sum += a.X*b.Y - b.X*a.Y
	}
	return math.Abs(sum) / 2
}

// Bounds are the least and largest coordinates.
func (q Quad) Bounds() (low, high Point) {
	low, high = q[0], q[0]
	for _, p := range q[1:] {
		low = Point{min(low.X, p.X), min(low.Y, p.Y)}
		high = Point{max(high.X, p.X), max(high.Y, p.Y)}
	}
	return low, high
}

// Size is the longer of the two widths and of the two heights.
func (q Quad) Size() (width, height float64) {
	return max(distance(q[0], q[1]), distance(q[2], q[3])), max(distance(q[0], q[3]), distance(q[1], q[2]))
}

func distance(a, b Point) float64 { return math.Hypot(a.X-b.X, a.Y-b.Y) }

// Grow adds fractions of the width and the height, half on each side.
func (q Quad) Grow(width, height float64) Quad {
	ux, uy := (q[1].X-q[0].X+q[2].X-q[3].X)/4*width, (q[1].Y-q[0].Y+q[2].Y-q[3].Y)/4*width
	vx, vy := (q[3].X-q[0].X+q[2].X-q[1].X)/4*height, (q[3].Y-q[0].Y+q[2].Y-q[1].Y)/4*height
	return Quad{{q[0].X - ux - vx, q[0].Y - uy - vy}, {q[1].X + ux - vx, q[1].Y + uy - vy},
		{q[2].X + ux + vx, q[2].Y + uy + vy}, {q[3].X - ux + vx, q[3].Y - uy + vy}}
}

// Finite tells whether every coordinate is a number within a million pixels.
func (q Quad) Finite() bool {
	for _, p := range q {
		if !(math.Abs(p.X) < 1e6 && math.Abs(p.Y) < 1e6) {
			return false
		}
	}
	return true
}

// IoU is the area of the intersection of two convex quads over that of their
// union, 0–1.
func IoU(a, b Quad) float64 {
	lowA, highA := a.Bounds()
	lowB, highB := b.Bounds()
	if highA.X <= lowB.X || highB.X <= lowA.X || highA.Y <= lowB.Y || highB.Y <= lowA.Y {
		return 0
	}
	a.turn()
	b.turn()
	inner := intersection(a, b)
	if outer := a.Area() + b.Area() - inner; outer > 0 {
		return inner / outer
	}
	return 0
}

// turn makes the corners run clockwise on the screen.
func (q *Quad) turn() {
	var sum float64
	for i, a := range q {
		b := q[(i+1)%4]
		sum += a.X*b.Y - b.X*a.Y
	}
	if sum < 0 {
		slices.Reverse(q[:])
	}
}

// intersection is the area that two convex quads share: one is cut by each
// side of the other (Sutherland and Hodgman, 1974). Each cut of a convex
// polygon adds one corner at the most; the room is for quads that are not.
func intersection(subject, by Quad) float64 {
	var rooms [2][64]Point
	in := append(rooms[0][:0], subject[:]...)
	for i, a := range by {
		b := by[(i+1)%4]
		side := func(p Point) float64 { return (b.X-a.X)*(p.Y-a.Y) - (b.Y-a.Y)*(p.X-a.X) }
		out := rooms[(i+1)%2][:0]
		for j, p := range in {
			q := in[(j+1)%len(in)]
			sp, sq := side(p), side(q)
			if sp >= 0 {
				out = append(out, p)
			}
			if sp*sq < 0 {
				t := sp / (sp - sq)
				out = append(out, Point{p.X + t*(q.X-p.X), p.Y + t*(q.Y-p.Y)})
			}
		}
		if in = out; len(in) == 0 {
			return 0
		}
	}
	return area(in)
}

// Homography maps a plane onto another, row by row.
type Homography [9]float64

// Map returns the homography that takes the corners of one quad to another's;
// ok is false where three of them lie on a line.
func Map(from, to Quad) (h Homography, ok bool) {
	var m [8][9]float64
	for i := range 4 {
		x, y, u, v := from[i].X, from[i].Y, to[i].X, to[i].Y
		m[2*i] = [9]float64{x, y, 1, 0, 0, 0, -u * x, -u * y, u}
		m[2*i+1] = [9]float64{0, 0, 0, x, y, 1, -v * x, -v * y, v}
	}
	for c := range 8 { // Gauss and Jordan, with partial pivoting
		pivot := c
		for r := c + 1; r < 8; r++ {
			if math.Abs(m[r][c]) > math.Abs(m[pivot][c]) {
				pivot = r
			}
		}
		if math.Abs(m[pivot][c]) < 1e-9 {
			return h, false
		}
		m[c], m[pivot] = m[pivot], m[c]
		for r := range 8 {
			if r == c {
				continue
			}
			f := m[r][c] / m[c][c]
			for k := c; k < 9; k++ {
				m[r][k] -= f * m[c][k]
			}
		}
	}
	for i := range 8 {
		h[i] = m[i][8] / m[i][i]
	}
	h[8] = 1
	return h, true
}

// At maps one point.
func (h Homography) At(p Point) Point {
	w := h[6]*p.X + h[7]*p.Y + h[8]
	return Point{(h[0]*p.X + h[1]*p.Y + h[2]) / w, (h[3]*p.X + h[4]*p.Y + h[5]) / w}
}
