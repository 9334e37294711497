package plate

import (
	"cmp"
	"math"
	"slices"

	"gatehouse/vision/plate/quad"
)

const (
	stride     = 8   // pixels of the corner net's input per cell of its output
	channels   = 11  // centre, eight corner offsets, one row, two rows
	minCentre  = 0.3 // probability that a cell is a plate's centre
	maxOverlap = 0.3 // IoU above which two candidates are one plate
	maxPlates  = 20  // candidates a picture
)

// minLogit is minCentre as the net gives it.
var minLogit = float32(math.Log(minCentre / (1 - minCentre)))

// corners turns the output of the corner net into candidates. It keeps its
// buffers; what one call returns lives until the next.
type corners struct {
	peaks []peak
	found []Candidate
}

// peak is a cell that is more likely a plate's centre than those around it.
type peak struct {
	cell  int
	logit float32
}

// decode finds the peaks of the centre map (w×h cells) and averages the
// corners that the cells around each peak predict; best first. scale is that
// of the net's input to the picture; the middle of a pixel is a whole number
// in both.
func (c *corners) decode(out []float32, w, h int, scale float64) []Candidate {
	c.peaks, c.found = c.peaks[:0], c.found[:0]
	cells := w * h
	if len(out) < channels*cells {
		return nil
	}
	centre := out[:cells]
	for i, v := range centre {
		if v > minLogit && highest(centre, i, w, h) {
			c.peaks = append(c.peaks, peak{i, v})
		}
	}
	slices.SortStableFunc(c.peaks, func(a, b peak) int { return cmp.Compare(b.logit, a.logit) })
	for _, p := range c.peaks[:min(len(c.peaks), maxPlates)] {
		q := average(out, p, w, h, scale)
		if !q.Finite() || known(c.found, q) {
			continue
		}
		rows := 1
		if out[10*cells+p.cell] > out[9*cells+p.cell] {
			rows = 2
		}
		c.found = append(c.found, Candidate{Quad: q, Score: probability(p.logit), Rows: rows})
	}
	return c.found
}

// known reports whether one of the candidates is the plate with these corners.
func known(found []Candidate, q quad.Quad) bool {
	for i := range found {
		if quad.IoU(found[i].Quad, q) >= maxOverlap {
			return true
		}
	}
	return false
}

func probability(logit float32) float64 { return 1 / (1 + math.Exp(-float64(logit))) }

// highest reports whether no cell beside i has a greater value.
func highest(values []float32, i, w, h int) bool {
	x, y, v := i%w, i/w, values[i]
	for r := max(0, y-1); r < min(h, y+2); r++ {
		for _, other := range values[r*w+max(0, x-1) : r*w+min(w, x+2)] {
			if other > v {
				return false
			}
		}
	}
	return true
}

// average is the quad that a peak and its neighbours predict, in pixels of the
// picture; a cell counts for as much as its probability exceeds half of the
// peak's.
func average(out []float32, p peak, w, h int, scale float64) (q quad.Quad) {
	cells, half := w*h, probability(p.logit)/2
	px, py := p.cell%w, p.cell/w
	var weights float64
	for y := max(0, py-1); y < min(h, py+2); y++ {
		for x := max(0, px-1); x < min(w, px+2); x++ {
			cell := y*w + x
			weight := probability(out[cell]) - half
			if weight <= 0 {
				continue
			}
			for i := range q {
				q[i].X += weight * (float64(out[(1+2*i)*cells+cell]) + float64(x))
				q[i].Y += weight * (float64(out[(2+2*i)*cells+cell]) + float64(y))
			}
			weights += weight
		}
	}
	for i := range q {
		// A cell's middle is half a cell less half a pixel from its edge.
		q[i].X = (q[i].X/weights*stride+stride/2.)/scale - .5
		q[i].Y = (q[i].Y/weights*stride+stride/2.)/scale - .5
	}
	return q
}
