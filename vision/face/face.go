// Package face finds faces and makes features that tell people apart.
package face

import (
	"cmp"
	"errors"
	"image"
	"image/color"
	"math"
	"slices"

	"gocv.io/x/gocv"

	"gatehouse/vision/link"
	"gatehouse/vision/nn"
	"gatehouse/vision/plate/quad"
	"gatehouse/vision/warp"
)

const (
	priors     = 4420 // boxes that the detector answers with
	minScore   = 0.7
	maxOverlap = 0.4 // IoU above which two boxes are one face
)

// Threshold is the least cosine similarity of two pictures of one person:
// press photographs of different people reach 0.30, strangers among a hundred
// people 0.44 (800 pairs).
const Threshold = 0.35

// Known is the least similarity at which someone is taken for one of many
// enrolled people. With many to compare with, chance has many tries.
const Known = 0.45

// Recognizer finds faces. It is not safe for concurrent use.
type Recognizer struct {
	detect, landmark, feature *nn.Net
	cut                       *warp.Cutter
	padded, grey              gocv.Mat
}

// Open loads the nets; dir holds the verified models of the catalogue.
func Open(dir string) (*Recognizer, error) {
	r := &Recognizer{cut: warp.NewCutter(), padded: gocv.NewMat(), grey: gocv.NewMat()}
	for _, n := range []struct {
		net   **nn.Net
		name  string
		input nn.Input
	}{
		{&r.detect, "face_detect.onnx", nn.Input{Size: image.Pt(320, 240), Mean: 127, Scale: 1. / 128, SwapRB: true}},
		{&r.landmark, "face_landmark.onnx", nn.Input{Size: image.Pt(64, 64), Scale: 1. / 256}},
		{&r.feature, "face_feature.onnx", nn.Input{Size: image.Pt(112, 112), Mean: 127, Scale: 1. / 128, SwapRB: true}},
	} {
		var err error
		if *n.net, err = nn.Load(dir, n.name, n.input); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// Close frees the nets.
func (r *Recognizer) Close() {
	r.detect.Close()
	r.landmark.Close()
	r.feature.Close()
	r.cut.Close()
	_ = r.padded.Close()
	_ = r.grey.Close()
}

// Find returns the faces of a picture (H×W×3 BGR, uint8), the main one first,
// without features.
func (r *Recognizer) Find(picture gocv.Mat) ([]link.Face, error) {
	if err := nn.CheckPicture(picture); err != nil {
		return nil, err
	}
	found, err := r.find(picture, 0)
	if w, h := picture.Cols(), picture.Rows(); err != nil || len(found) > 0 || max(w, h) > 400 {
		return found, err
	}
	// A face that fills the picture has no surroundings; the net knows faces
	// with some.
	return r.find(picture, max(picture.Cols(), picture.Rows())/2)
}

// find looks for faces in the picture with a border of so many pixels.
func (r *Recognizer) find(picture gocv.Mat, border int) ([]link.Face, error) {
	w, h := picture.Cols()+2*border, picture.Rows()+2*border
	// The net squeezes what it gets to 4:3; very long or upright pictures are
	// padded first, or faces would be out of shape.
	size := image.Pt(max(w, h*11/10), max(h, w*9/16))
	input := picture
	if size.X > picture.Cols() || size.Y > picture.Rows() {
		gocv.CopyMakeBorder(picture, &r.padded, border, size.Y-h+border, border, size.X-w+border, gocv.BorderConstant, color.RGBA{})
		input = r.padded
	}
	var scores []float32
	var found []link.Face
	err := r.detect.RunNamed(input, []string{"scores", "boxes"}, func(i int, values []float32) {
		if i == 0 {
			scores = append(scores, values...)
			return
		}
		found = boxes(scores, values, size, image.Rect(border, border, w-border, h-border))
	})
	for i := range found {
		found[i].Box.Left -= border
		found[i].Box.Top -= border
	}
	return found, err
}

// boxes keeps the probable boxes and of overlapping ones the best.
func boxes(scores, corners []float32, size image.Point, within image.Rectangle) []link.Face {
	var all []link.Face
	for i := range min(priors, len(scores)/2, len(corners)/4) {
		score := float64(scores[2*i+1])
		if score < minScore {
			continue
		}
		c := corners[4*i : 4*i+4]
		at := func(v float32, of int) int { return int(math.Round(float64(v) * float64(of))) }
		area := image.Rect(at(c[0], size.X), at(c[1], size.Y), at(c[2], size.X), at(c[3], size.Y)).Intersect(within)
		if area.Dx() < 4 || area.Dy() < 4 {
			continue
		}
		all = append(all, link.Face{Score: min(1, score), Box: link.Box{Left: area.Min.X, Top: area.Min.Y, Width: area.Dx(), Height: area.Dy()}})
	}
	slices.SortStableFunc(all, func(a, b link.Face) int { return cmp.Compare(b.Score, a.Score) })
	var kept []link.Face
	for _, f := range all {
		if !slices.ContainsFunc(kept, func(o link.Face) bool { return o.Box.Overlap(f.Box) > maxOverlap }) {
			kept = append(kept, f)
		}
	}
	slices.SortStableFunc(kept, func(a, b link.Face) int { return cmp.Compare(weight(b), weight(a)) })
	return kept
}

// weight orders faces: the large one in front is the main one.
func weight(f link.Face) float64 { return f.Score * float64(f.Box.Width*f.Box.Height) }

// template is where eyes, nose and mouth corners lie in the feature net's
// input (ArcFace, Deng et al., 2019).
var template = [5]quad.Point{{X: 38.2946, Y: 51.6963}, {X: 73.5318, Y: 51.5014}, {X: 56.0252, Y: 71.7366}, {X: 41.5493, Y: 92.3655}, {X: 70.7299, Y: 92.2041}}

// Feature returns 512 values of length 1; their dot product with another
// face's is the cosine similarity.
func (r *Recognizer) Feature(picture gocv.Mat, box link.Box) ([]float32, error) {
	if err := nn.CheckPicture(picture); err != nil {
		return nil, err
	}
	if box.Width < 4 || box.Height < 4 {
		return nil, errors.New("the face is smaller than 4 pixels")
	}
	points, err := r.points(picture, box)
	if err != nil {
		return nil, err
	}
	from, ok := aligned(points)
	if !ok {
		return nil, errors.New("the face's eyes, nose and mouth lie in one point")
	}
	size := image.Pt(112, 112)
	cut, ok := r.cut.Cut(picture, from, warp.Whole(size), size, gocv.InterpolationLinear)
	if !ok {
		return nil, errors.New("the face has no area")
	}
	out, err := r.feature.Run(cut)
	if err != nil {
		return nil, err
	}
	var length float64
	for _, v := range out {
		length += float64(v) * float64(v)
	}
	if length = math.Sqrt(length); length == 0 || math.IsNaN(length) {
		return nil, errors.New("the face has no feature")
	}
	feature := make([]float32, len(out))
	for i, v := range out {
		feature[i] = float32(float64(v) / length)
	}
	return feature, nil
}

// points are the eye centres, the nose tip and the mouth corners.
func (r *Recognizer) points(picture gocv.Mat, box link.Box) (five [5]quad.Point, err error) {
	side := float64(box.Height)
	left, top := float64(box.Left)+(float64(box.Width)-side)/2, float64(box.Top)
	square := quad.Quad{{X: left, Y: top}, {X: left + side, Y: top}, {X: left + side, Y: top + side}, {X: left, Y: top + side}}
	size := image.Pt(64, 64)
	cut, ok := r.cut.Cut(picture, square, warp.Whole(size), size, gocv.InterpolationLinear)
	if !ok {
		return five, errors.New("the face has no area")
	}
	gocv.CvtColor(cut, &r.grey, gocv.ColorBGRToGray)
	out, err := r.landmark.Run(r.grey)
	if err != nil {
		return five, err
	}
	if len(out) < 136 {
		return five, errors.New("the landmark net answers with too few values")
	}
	for i, of := range [5][]int{{37, 38, 40, 41}, {43, 44, 46, 47}, {30}, {48, 60}, {54, 64}} {
		for _, p := range of {
			five[i].X += float64(out[2*p]) / float64(len(of))
			five[i].Y += float64(out[2*p+1]) / float64(len(of))
		}
		five[i] = quad.Point{X: left + side*five[i].X, Y: top + side*five[i].Y}
	}
	return five, nil
}

// aligned is the square of the picture that the best similarity transform (in
// the sense of least squares) takes onto the feature net's input.
func aligned(five [5]quad.Point) (q quad.Quad, ok bool) {
	// Find a, b, tx, ty with x' = a·x - b·y + tx, y' = b·x + a·y + ty from the
	// template to the picture.
	var mean, to quad.Point
	for i := range template {
		mean.X, mean.Y = mean.X+template[i].X/5, mean.Y+template[i].Y/5
		to.X, to.Y = to.X+five[i].X/5, to.Y+five[i].Y/5
	}
	var a, b, n float64
	for i := range template {
		x, y := template[i].X-mean.X, template[i].Y-mean.Y
		u, v := five[i].X-to.X, five[i].Y-to.Y
		a += x*u + y*v
		b += x*v - y*u
		n += x*x + y*y
	}
	a, b = a/n, b/n
	for i, corner := range warp.Whole(image.Pt(112, 112)) {
		x, y := corner.X-mean.X, corner.Y-mean.Y
		q[i] = quad.Point{X: a*x - b*y + to.X, Y: b*x + a*y + to.Y}
	}
	return q, q.Finite() && q.Area() > 16
}

// Similarity is the cosine of two features of length 1, -1 to 1; 0 where
// their lengths differ.
func Similarity(a, b []float32) float64 {
	if len(a) != len(b) {
		return 0
	}
	var sum float64
	for i := range a {
		sum += float64(a[i]) * float64(b[i])
	}
	return sum
}
