package plate

import (
	"cmp"
	_ "embed"
	"image"
	"math"
	"slices"

	"gocv.io/x/gocv"

	"gatehouse/vision/nn"
	"gatehouse/vision/plate/quad"
	"gatehouse/vision/warp"
)

// The two nets of this project (weights/README.md).
var (
	//go:embed weights/plate_corners.onnx
	cornersNet []byte
	//go:embed weights/plate_refine.onnx
	refineNet []byte
)

const (
	long, short  = 512, 288 // input of the corner net, turned for upright pictures
	stride       = 8        // pixels of its input per cell of its output
	channels     = 11       // centre, eight corner offsets, one row, two rows
	minCentre    = 0.3      // probability that a cell is a plate's centre
	maxOverlap   = 0.3      // IoU above which two candidates are one plate
	maxPlates    = 20       // candidates a picture
	minArea      = 20       // square pixels of a candidate
	minPlate     = 0.5      // the refiner's probability that it is a plate
	refineWidth  = 128
	refineHeight = 64
)

// Candidate is a region that looks like a plate.
type Candidate struct {
	Quad  quad.Quad
	Score float64 // probability that it is a plate, 0–1
	Rows  int     // of characters, 1 or 2
	cut   bool    // it is a whole picture, cut out by someone
}

// finder locates plates: a net over the whole picture proposes corners, a
// second one looks at each proposal closely, corrects it or drops it.
type finder struct {
	landscape, portrait *nn.Net
	refine              *nn.Net
	canvas              gocv.Mat
	used                image.Point // what the last picture filled of the canvas
	cut                 *warp.Cutter
}

func newFinder(cut *warp.Cutter) (*finder, error) {
	f := &finder{canvas: gocv.NewMat(), cut: cut}
	for _, n := range []struct {
		net   **nn.Net
		bytes []byte
		size  image.Point
	}{
		{&f.landscape, cornersNet, image.Pt(long, short)},
		{&f.portrait, cornersNet, image.Pt(short, long)},
		{&f.refine, refineNet, image.Pt(refineWidth, refineHeight)},
	} {
		var err error
		if *n.net, err = nn.Parse(n.bytes, nn.Input{Size: n.size, Mean: 127.5, Scale: 1 / 127.5, SwapRB: true}); err != nil {
			return nil, err
		}
	}
	return f, nil
}

func (f *finder) close() {
	f.landscape.Close()
	f.portrait.Close()
	f.refine.Close()
	_ = f.canvas.Close()
}

// find returns what both nets take for plates.
func (f *finder) find(picture gocv.Mat) ([]Candidate, error) {
	proposed, err := f.propose(picture)
	if err != nil {
		return nil, err
	}
	var found []Candidate
	for _, c := range proposed {
		c, ok, err := f.look(picture, c)
		if err != nil {
			return nil, err
		}
		if ok && !slices.ContainsFunc(found, func(o Candidate) bool { return quad.IoU(o.Quad, c.Quad) >= maxOverlap }) {
			found = append(found, c)
		}
	}
	return found, nil
}

// propose returns the corner net's candidates, best first.
func (f *finder) propose(picture gocv.Mat) ([]Candidate, error) {
	w, h := picture.Cols(), picture.Rows()
	net, size := f.landscape, image.Pt(long, short)
	if h > w {
		net, size = f.portrait, image.Pt(short, long)
	}
	scale := min(float64(size.X)/float64(w), float64(size.Y)/float64(h))
	f.letterbox(picture, size, scale)
	out, err := net.Run(f.canvas)
	if err != nil {
		return nil, err
	}
	return decode(out, size.X/stride, size.Y/stride, scale), nil
}

// letterbox draws the picture, scaled, into the canvas's top left corner.
func (f *finder) letterbox(picture gocv.Mat, size image.Point, scale float64) {
	used := image.Pt(max(1, int(math.Round(float64(picture.Cols())*scale))), max(1, int(math.Round(float64(picture.Rows())*scale))))
	if f.canvas.Cols() != size.X || f.canvas.Rows() != size.Y || f.used != used {
		_ = f.canvas.Close()
		f.canvas = gocv.NewMatWithSizeFromScalar(gocv.Scalar{}, size.Y, size.X, gocv.MatTypeCV8UC3)
		f.used = used
	}
	part := f.canvas.Region(image.Rectangle{Max: used})
	interpolation := gocv.InterpolationArea
	if scale >= 1 {
		interpolation = gocv.InterpolationLinear
	}
	gocv.Resize(picture, &part, used, 0, 0, interpolation)
	_ = part.Close()
}

// decode finds the peaks of the centre map and averages the corners that the
// cells around each peak predict.
func decode(out []float32, w, h int, scale float64) []Candidate {
	if len(out) < channels*w*h {
		return nil
	}
	plane := func(c int) []float32 { return out[c*w*h : (c+1)*w*h] }
	centre := plane(0)
	for i, v := range centre {
		centre[i] = float32(1 / (1 + math.Exp(-float64(v))))
	}
	var peaks []int
	for i, p := range centre {
		if p > minCentre && !around(i, w, h, func(j int) bool { return centre[j] > p }) {
			peaks = append(peaks, i)
		}
	}
	slices.SortStableFunc(peaks, func(a, b int) int { return cmp.Compare(centre[b], centre[a]) })
	var found []Candidate
	for _, peak := range peaks[:min(len(peaks), maxPlates)] {
		var q quad.Quad
		var weights float64
		around(peak, w, h, func(j int) bool {
			weight := float64(centre[j]) - 0.5*float64(centre[peak])
			if weight <= 0 {
				return false
			}
			x, y := float64(j%w*stride)+(stride-1)/2., float64(j/w*stride)+(stride-1)/2.
			for c := range q {
				q[c].X += weight * (float64(plane(1 + 2*c)[j])*stride + x)
				q[c].Y += weight * (float64(plane(2 + 2*c)[j])*stride + y)
			}
			weights += weight
			return false
		})
		for c := range q {
			q[c].X /= weights * scale
			q[c].Y /= weights * scale
		}
		if !q.Finite() || slices.ContainsFunc(found, func(o Candidate) bool { return quad.IoU(o.Quad, q) >= maxOverlap }) {
			continue
		}
		rows := 1
		if plane(10)[peak] > plane(9)[peak] {
			rows = 2
		}
		found = append(found, Candidate{Quad: q, Score: float64(centre[peak]), Rows: rows})
	}
	return found
}

// around asks about a cell and its neighbours until one answers true.
func around(i, w, h int, ask func(j int) bool) bool {
	x, y := i%w, i/w
	for v := max(0, y-1); v < min(h, y+2); v++ {
		for u := max(0, x-1); u < min(w, x+2); u++ {
			if ask(v*w + u) {
				return true
			}
		}
	}
	return false
}

// inner is where a candidate lies in the refiner's input: the cut is 1.4 times
// as wide and 1.8 times as high.
var inner = quad.Quad{
	{X: refineWidth * (.5 - .5/1.4), Y: refineHeight * (.5 - .5/1.8)},
	{X: refineWidth * (.5 + .5/1.4), Y: refineHeight * (.5 - .5/1.8)},
	{X: refineWidth * (.5 + .5/1.4), Y: refineHeight * (.5 + .5/1.8)},
	{X: refineWidth * (.5 - .5/1.4), Y: refineHeight * (.5 + .5/1.8)},
}

// look has the refiner judge and correct one candidate; ok is false where it
// is no plate.
func (f *finder) look(picture gocv.Mat, c Candidate) (_ Candidate, ok bool, err error) {
	if c.Quad.Area() < minArea {
		return c, false, nil
	}
	part, ok := f.cut.Cut(picture, c.Quad, inner, image.Pt(refineWidth, refineHeight), gocv.InterpolationLinear)
	if !ok {
		return c, false, nil
	}
	out, err := f.refine.Run(part)
	if err != nil || len(out) < 10 {
		return c, false, err
	}
	back, ok := quad.Map(inner, c.Quad)
	if !ok {
		return c, false, nil
	}
	var q quad.Quad
	for i, base := range inner {
		q[i] = back.At(quad.Point{X: base.X + float64(out[2*i])*refineWidth/8, Y: base.Y + float64(out[2*i+1])*refineHeight/8})
	}
	if q.Finite() && q.Area() >= minArea {
		c.Quad = q
	}
	c.Score = 1 / (1 + math.Exp(-float64(out[8])))
	c.Rows = 1
	if out[9] > 0 {
		c.Rows = 2
	}
	return c, c.Score > minPlate, nil
}
