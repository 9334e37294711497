package track

import (
	"math"

	"gatehouse/vision/link"
)

// course is how a plate has moved through the picture. Lengths are in plate
// sizes (the mean of its width and height), so that they mean the same for
// plates near and far.
type course struct {
	first, last link.Box
	lastAt      int64      // ns
	right, down float64    // way from the first place, in plate sizes
	far         [2]float64 // of those, the ones farthest from the first place
	vx, vy      float64    // px/ns, smoothed
	restAt      int64      // since when it has stood, ns
	rest        link.Box
}

func size(b link.Box) float64 { return max(1, float64(b.Width+b.Height)/2) }

func centre(b link.Box) (x, y float64) {
	return float64(b.Left) + float64(b.Width)/2, float64(b.Top) + float64(b.Height)/2
}

// growth is how much a plate's growing counts as a way down: one that becomes
// e times as large has come this many sizes nearer.
const growth = 2

// still is how far, in sizes, a plate may wander that stands.
const still = 0.25

func (c *course) start(b link.Box, at int64) {
	*c = course{first: b, last: b, lastAt: at, rest: b, restAt: at}
}

func (c *course) add(b link.Box, at int64) {
	x, y := centre(b)
	px, py := centre(c.last)
	s := (size(c.last) + size(b)) / 2
	if dt := float64(at - c.lastAt); dt > 0 {
		c.vx += ((x-px)/dt - c.vx) / 2
		c.vy += ((y-py)/dt - c.vy) / 2
	}
	c.right += (x - px) / s
	c.down += (y-py)/s + growth*math.Log(size(b)/size(c.last))
	if math.Abs(c.right) > math.Abs(c.far[0]) {
		c.far[0] = c.right
	}
	if math.Abs(c.down) > math.Abs(c.far[1]) {
		c.far[1] = c.down
	}
	rx, ry := centre(c.rest)
	if math.Hypot(x-rx, y-ry) > still*s || math.Abs(math.Log(size(b)/size(c.rest))) > still {
		c.rest, c.restAt = b, at
	}
	c.last, c.lastAt = b, at
}

// expected is where the plate should be now.
func (c *course) expected(at int64) link.Box {
	b := c.last
	dt := float64(min(at-c.lastAt, 500e6))
	b.Left += int(c.vx * dt)
	b.Top += int(c.vy * dt)
	return b
}

// moved is the way in plate sizes from which on a direction is known.
const moved = 0.4

// direction is a link.Direction… constant.
func (c *course) direction() int {
	switch {
	case math.Hypot(c.right, c.down) < moved:
		return link.DirectionUnknown
	case math.Abs(c.down) >= math.Abs(c.right) && c.down > 0:
		return link.DirectionDown
	case math.Abs(c.down) >= math.Abs(c.right):
		return link.DirectionUp
	case c.right > 0:
		return link.DirectionRight
	}
	return link.DirectionLeft
}

// leg is the way in plate sizes there, and back, that makes a U-turn.
const leg = 1.5

// turned reports whether the plate has gone one way and come back.
func (c *course) turned() bool {
	back := func(far, now float64) bool {
		return math.Abs(far) >= leg && (far-now)*math.Copysign(1, far) >= leg
	}
	return back(c.far[0], c.right) || back(c.far[1], c.down)
}

// foot is the middle of a box's lower edge in fractions of the picture.
func foot(b link.Box, width, height int) link.Fraction {
	return link.Fraction{X: (float64(b.Left) + float64(b.Width)/2) / float64(max(1, width)), Y: float64(b.Top+b.Height) / float64(max(1, height))}
}
