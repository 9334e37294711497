package face

import (
	"image"
	"math"

	"gocv.io/x/gocv"

	"gatehouse/vision/link"
	"gatehouse/vision/nn"
)

// surround is how much of the picture around a face the liveness net sees, in
// boxes of the face (the model's own code).
const surround = 2.7

// Liveness is what the liveness net holds for the probability, 0–1, that a face
// is no print and no screen. The net is loaded at the first call. What it is
// worth was measured and is little (LIVENESS.md): it hardly opens for prints
// and screens, but takes many a live face for one, above all in enlarged or
// softened pictures. So it is off by default.
func (r *Recognizer) Liveness(picture gocv.Mat, box link.Box) (float64, error) {
	if err := nn.CheckPicture(picture); err != nil {
		return 0, err
	}
	if r.live == nil {
		live, err := nn.Load(r.dir, "face_live.onnx", nn.Input{Size: image.Pt(128, 128), Scale: 1})
		if err != nil {
			return 0, err
		}
		r.live = live
	}
	part := picture.Region(around(box, image.Pt(picture.Cols(), picture.Rows())))
	defer part.Close() //nolint:errcheck // a Mat's Close always returns nil
	out, err := r.live.Run(part)
	if err != nil {
		return 0, err
	}
	return softmax(out), nil
}

// around is the face with its surroundings, moved and shrunk to lie within the
// picture.
func around(box link.Box, size image.Point) image.Rectangle {
	w, h := float64(max(1, box.Width)), float64(max(1, box.Height))
	scale := min(surround, float64(size.X-1)/w, float64(size.Y-1)/h)
	w, h = w*scale, h*scale
	place := func(centre, length float64, of int) (int, int) {
		from := min(max(0, centre-length/2), max(0, float64(of)-length))
		return int(from), int(math.Ceil(from + length))
	}
	var a image.Rectangle
	a.Min.X, a.Max.X = place(float64(box.Left)+float64(box.Width)/2, w, size.X)
	a.Min.Y, a.Max.Y = place(float64(box.Top)+float64(box.Height)/2, h, size.Y)
	a = a.Intersect(image.Rectangle{Max: size})
	if a.Empty() {
		return image.Rectangle{Max: size}
	}
	return a
}

// softmax is the first of the probabilities that the values stand for.
func softmax(values []float32) float64 {
	if len(values) == 0 {
		return 0
	}
	top := values[0]
	for _, v := range values {
		top = max(top, v)
	}
	var sum float64
	for _, v := range values {
		sum += math.Exp(float64(v - top))
	}
	return math.Exp(float64(values[0]-top)) / sum
}
