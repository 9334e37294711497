// Package face finds faces, judges whether they can be compared, and makes
// features that tell people apart.
//
// Parties: gatehouse-vision hands it frames and gets boxes, qualities and
// features; the agent compares features. Promised: a feature has length 1 and
// comes from a face aligned by its eyes, nose and mouth. Not protected: a
// photograph held before the camera looks like a face; Liveness says what a
// model makes of that, which is little (LIVENESS.md).
package face

import (
	"errors"
	"image"
	"math"

	"gocv.io/x/gocv"

	"gatehouse/vision/link"
	"gatehouse/vision/nn"
	"gatehouse/vision/warp"
)

// Threshold is the least cosine similarity of two pictures of one person.
// agent/faces/rates.tsv says how often two pictures of different people reach
// it.
const Threshold = 0.35

// Known is the least similarity at which someone is taken for one of many
// enrolled people. With many to compare with, chance has many tries.
const Known = 0.45

// Recognizer finds faces. It is not safe for concurrent use.
type Recognizer struct {
	detect, landmark, feature *nn.Net
	live                      *nn.Net // nil until the first Liveness
	dir                       string
	cut                       *warp.Cutter
	padded, grey              gocv.Mat
	edges, mean, deviation    gocv.Mat
	tile                      int // the next one that Glance looks at
}

// Open loads the nets; dir holds the verified models of the catalogue.
func Open(dir string) (*Recognizer, error) {
	r := &Recognizer{dir: dir, cut: warp.NewCutter(), padded: gocv.NewMat(), grey: gocv.NewMat(),
		edges: gocv.NewMat(), mean: gocv.NewMat(), deviation: gocv.NewMat()}
	for _, n := range []struct {
		net   **nn.Net
		name  string
		input nn.Input
	}{
		{&r.detect, "face_detect.onnx", nn.Input{Size: image.Pt(320, 240), Mean: 127, Scale: 1. / 128, SwapRB: true}},
		{&r.landmark, "face_landmark.onnx", nn.Input{Size: image.Pt(64, 64), Scale: 1. / 256}},
		{&r.feature, "face_feature.onnx", nn.Input{Size: image.Pt(aligned, aligned), Mean: 127, Scale: 1. / 128, SwapRB: true}},
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
	for _, n := range []*nn.Net{r.detect, r.landmark, r.feature, r.live} {
		if n != nil {
			n.Close()
		}
	}
	r.cut.Close()
	for _, m := range []*gocv.Mat{&r.padded, &r.grey, &r.edges, &r.mean, &r.deviation} {
		_ = m.Close()
	}
}

// Describe judges a face's quality and gives its feature: 512 values of length
// 1, whose dot product with another face's is the cosine similarity. A face
// that is not usable has a quality and no feature, unless always is set.
func (r *Recognizer) Describe(picture gocv.Mat, box link.Box, always bool) (link.FaceQuality, []float32, error) {
	none := link.FaceQuality{Height: box.Height}
	if err := nn.CheckPicture(picture); err != nil {
		return none, nil, err
	}
	if box.Width < 4 || box.Height < 4 {
		return none, nil, errors.New("the face is smaller than 4 pixels")
	}
	marks, moved, err := r.landmarks(picture, box)
	if err != nil {
		return none, nil, err
	}
	five := marks.five()
	from, ok := square(five)
	if !ok {
		return none, nil, errors.New("the face's eyes, nose and mouth lie in one point")
	}
	size := image.Pt(aligned, aligned)
	cut, ok := r.cut.Cut(picture, from, warp.Whole(size), size, gocv.InterpolationLinear)
	if !ok {
		return none, nil, errors.New("the face has no area")
	}
	quality := r.quality(cut, five, box, moved)
	if !quality.Usable() && !always {
		return quality, nil, nil
	}
	out, err := r.feature.Run(cut)
	if err != nil {
		return quality, nil, err
	}
	feature, length, err := unit(out)
	if quality.Strength = length; quality.Usable() && length < minStrength {
		quality.Why = "unclear"
		if !always {
			feature = nil
		}
	}
	return quality, feature, err
}

// Feature is Describe for a face of any quality.
func (r *Recognizer) Feature(picture gocv.Mat, box link.Box) ([]float32, error) {
	_, feature, err := r.Describe(picture, box, true)
	return feature, err
}

// unit gives a copy of length 1, and the length before.
func unit(values []float32) (feature []float32, length float64, err error) {
	for _, v := range values {
		length += float64(v) * float64(v)
	}
	if length = math.Sqrt(length); length == 0 || math.IsNaN(length) || math.IsInf(length, 0) {
		return nil, 0, errors.New("the face has no feature")
	}
	feature = make([]float32, len(values))
	for i, v := range values {
		feature[i] = float32(float64(v) / length)
	}
	return feature, length, nil
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
