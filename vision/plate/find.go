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
	farLong      = 640      // and of its second look, for plates that are far away
	farShort     = 352
	minArea      = 20  // square pixels of a candidate
	minPlate     = 0.5 // the refiner's probability that it is a plate
	refineWidth  = 128
	refineHeight = 64
)

// Candidate is a region that looks like a plate.
type Candidate struct {
	Quad  quad.Quad
	Score float64 // probability that it is a plate, 0–1
	Rows  int     // of characters, 1 or 2
	cut   bool    // it is a whole picture, cut out by someone
	paint ground  // what the refiner takes it to be painted with
	sure  float64 // how probable that is, 0–1; 0 where it was not asked
}

// paints are what the refiner tells apart, in its order (train/corners_net.py).
var paints = [...]ground{{color: "blue"}, {color: "yellow", dark: true}, {color: "white", dark: true}, {color: "black"},
	{color: "green"}, {color: "green", dark: true}}

// finder locates plates: a net over the whole picture proposes corners, a
// second one looks at each proposal closely, corrects it or drops it.
//
// A picture in which nothing is found is looked at once more, larger, and a
// still is in any case: beside a near plate there may be far ones. On real
// pictures of plates 36 to 50 pixels wide in 1280 that finds 0.87 instead of
// 0.62 of them, and of 50 to 75 pixels 0.98 instead of 0.96 (train/detector.md);
// it costs about one and a half times the first look, where no plate was found.
//
// Frames of a camera that come fast are looked at in another way (turns).
type finder struct {
	near, far [2]*view // for wide and for upright pictures
	corners   corners
	refine    *nn.Net
	cut       *warp.Cutter
	turns     turns
}

const wide, upright = 0, 1

// view is the corner net for pictures of one orientation, at one size.
type view struct {
	net    *nn.Net
	size   image.Point
	canvas gocv.Mat    // the net's input
	used   image.Point // what the last picture filled of it
}

func newFinder(cut *warp.Cutter) (*finder, error) {
	f := &finder{cut: cut}
	for i, v := range []**view{&f.near[wide], &f.near[upright], &f.far[wide], &f.far[upright]} {
		size := image.Pt(long, short)
		if i >= 2 {
			size = image.Pt(farLong, farShort)
		}
		if i%2 == upright {
			size.X, size.Y = size.Y, size.X
		}
		var err error
		if *v, err = newView(size); err != nil {
			return nil, err
		}
	}
	var err error
	f.refine, err = parse(refineNet, image.Pt(refineWidth, refineHeight))
	if err == nil {
		f.turns.beside, err = newView(image.Pt(besideLong, besideShort))
	}
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
	for _, v := range append(f.near[:], f.far[wide], f.far[upright], f.turns.beside) {
		v.net.Close()
		_ = v.canvas.Close()
	}
	f.refine.Close()
}

// find returns what both nets take for plates, with far in both looks; the
// candidates are the caller's.
func (f *finder) find(picture gocv.Mat, far bool) (found []Candidate, err error) {
	turn := wide
	if picture.Rows() > picture.Cols() {
		turn = upright
	}
	undivided := max(picture.Cols(), picture.Rows()) <= long // the near look sees all there is
	if f.turns.follows {
		defer func() { f.turns.keep(found) }()
	}
	if f.turns.fast && !undivided {
		return f.next(picture, f.near[turn], f.far[turn])
	}
	found, err = f.seen(f.near[turn], picture, nil)
	if err != nil || len(found) > 0 && !far || undivided {
		return found, err
	}
	return f.seen(f.far[turn], picture, found)
}

// seen adds what both nets take for plates in one view to what is known.
func (f *finder) seen(v *view, picture gocv.Mat, found []Candidate) ([]Candidate, error) {
	return f.seenIn(v, picture, image.Rect(0, 0, picture.Cols(), picture.Rows()), found)
}

// seenIn is seen for a part of the picture.
func (f *finder) seenIn(v *view, picture gocv.Mat, area image.Rectangle, found []Candidate) ([]Candidate, error) {
	part := picture.Region(area)
	proposed, err := f.propose(v, part)
	_ = part.Close()
	if err != nil {
		return nil, err
	}
	for _, c := range proposed {
		for i := range c.Quad {
			c.Quad[i].X += float64(area.Min.X)
			c.Quad[i].Y += float64(area.Min.Y)
		}
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
func (f *finder) propose(v *view, picture gocv.Mat) ([]Candidate, error) {
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
	if err != nil || len(out) != 10+len(paints) {
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
	c.paint, c.sure = painted(out[10:])
	return c, c.Score > minPlate, nil
}

// painted is the most probable of the paints.
func painted(logits []float32) (ground, float64) {
	best, sum := 0, 0.
	for i, l := range logits {
		if l > logits[best] {
			best = i
		}
	}
	for _, l := range logits {
		sum += math.Exp(float64(l - logits[best]))
	}
	return paints[best], 1 / sum
}
