package plate

import (
	_ "embed"
	"image"
	"math"

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
	landscape, portrait *view
	corners             corners
	refine              *nn.Net
	cut                 *warp.Cutter
}

// view is the corner net for pictures of one orientation.
type view struct {
	net    *nn.Net
	size   image.Point
	canvas gocv.Mat    // the net's input
	used   image.Point // what the last picture filled of it
}

func newFinder(cut *warp.Cutter) (*finder, error) {
	f := &finder{cut: cut}
	var err error
	if f.landscape, err = newView(image.Pt(long, short)); err != nil {
		return nil, err
	}
	if f.portrait, err = newView(image.Pt(short, long)); err != nil {
		return nil, err
	}
	f.refine, err = parse(refineNet, image.Pt(refineWidth, refineHeight))
	return f, err
}

func newView(size image.Point) (*view, error) {
	net, err := parse(cornersNet, size)
	if err != nil {
		return nil, err
	}
	return &view{net: net, size: size, canvas: gocv.NewMatWithSizeFromScalar(gocv.Scalar{}, size.Y, size.X, gocv.MatTypeCV8UC3)}, nil
}

func parse(net []byte, size image.Point) (*nn.Net, error) {
	return nn.Parse(net, nn.Input{Size: size, Mean: 127.5, Scale: 1 / 127.5, SwapRB: true})
}

func (f *finder) close() {
	for _, v := range []*view{f.landscape, f.portrait} {
		v.net.Close()
		_ = v.canvas.Close()
	}
	f.refine.Close()
}

// find returns what both nets take for plates; the candidates are the
// caller's.
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
		if ok && !known(found, c.Quad) {
			found = append(found, c)
		}
	}
	return found, nil
}

// propose returns the corner net's candidates, best first; they are valid
// until the next call.
func (f *finder) propose(picture gocv.Mat) ([]Candidate, error) {
	v := f.landscape
	if picture.Rows() > picture.Cols() {
		v = f.portrait
	}
	scale := v.show(picture)
	out, err := v.net.Run(v.canvas)
	if err != nil {
		return nil, err
	}
	return f.corners.decode(out, v.size.X/stride, v.size.Y/stride, scale), nil
}

// show draws the picture into the canvas's top left corner, as large as it
// fits, and returns its scale.
func (v *view) show(picture gocv.Mat) float64 {
	w, h := picture.Cols(), picture.Rows()
	scale := min(float64(v.size.X)/float64(w), float64(v.size.Y)/float64(h))
	used := image.Pt(fit(w, scale, v.size.X), fit(h, scale, v.size.Y))
	if used != v.used { // nothing of the last picture may stay beside this one
		v.canvas.SetTo(gocv.Scalar{})
		v.used = used
	}
	part := v.canvas.Region(image.Rectangle{Max: used})
	how := gocv.InterpolationArea
	if scale >= 1 {
		how = gocv.InterpolationLinear
	}
	gocv.Resize(picture, &part, used, 0, 0, how)
	_ = part.Close()
	return scale
}

// fit is a scaled length, 1 to most pixels.
func fit(length int, scale float64, most int) int {
	return min(max(1, int(math.Round(float64(length)*scale))), most)
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
