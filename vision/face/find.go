package face

import (
	"cmp"
	"image"
	"image/color"
	"math"
	"slices"

	"gocv.io/x/gocv"

	"gatehouse/vision/link"
	"gatehouse/vision/nn"
)

const (
	priors     = 4420 // boxes that the detector answers with
	minScore   = 0.7
	maxOverlap = 0.4 // IoU above which two boxes are one face
)

// tileSize is the part of a large picture that the detector sees undivided by
// more than two: its input is 320×240, where a face must be 15 px high.
var tileSize = image.Pt(640, 480)

// Find returns the faces of a picture (H×W×3 BGR, uint8), the main one first.
// In 1280×720 it finds faces from about 50 px height on.
func (r *Recognizer) Find(picture gocv.Mat) ([]link.Face, error) {
	return r.look(picture, nil)
}

// FindFar is Find in tiles too, for stills: at 1280×720 seven looks instead of
// one, and faces from about 28 px height on.
func (r *Recognizer) FindFar(picture gocv.Mat) ([]link.Face, error) {
	return r.look(picture, tiles(image.Pt(picture.Cols(), picture.Rows())))
}

// Glance is Find with one tile a call, in turns, for the frames of a camera: a
// far face is found in one of the next few frames.
func (r *Recognizer) Glance(picture gocv.Mat) ([]link.Face, error) {
	all := tiles(image.Pt(picture.Cols(), picture.Rows()))
	if len(all) > 0 {
		r.tile = (r.tile + 1) % len(all)
		all = all[r.tile : r.tile+1]
	}
	return r.look(picture, all)
}

// mostTiles is how many tiles a picture is seen in: of larger ones the tiles are.
const mostTiles = 100

// tiles covers a picture with overlapping tiles; none where the picture is
// hardly larger than one.
func tiles(size image.Point) (list []image.Rectangle) {
	for scale := 1; ; scale++ {
		if list = tilesOf(size, tileSize.Mul(scale)); len(list) <= mostTiles {
			return list
		}
	}
}

func tilesOf(size, tileSize image.Point) (list []image.Rectangle) {
	if size.X <= tileSize.X*5/4 && size.Y <= tileSize.Y*5/4 {
		return nil
	}
	starts := func(length, of int) (at []int) {
		if length <= of {
			return []int{0}
		}
		n := (length-of+of/2-1)/(of/2) + 1 // half a tile further each time, at most
		for i := range n {
			at = append(at, i*(length-of)/(n-1))
		}
		return at
	}
	for _, y := range starts(size.Y, tileSize.Y) {
		for _, x := range starts(size.X, tileSize.X) {
			list = append(list, image.Rect(x, y, min(x+tileSize.X, size.X), min(y+tileSize.Y, size.Y)))
		}
	}
	return list
}

// look finds faces in the whole picture and in the given parts of it.
func (r *Recognizer) look(picture gocv.Mat, parts []image.Rectangle) ([]link.Face, error) {
	if err := nn.CheckPicture(picture); err != nil {
		return nil, err
	}
	found, err := r.within(picture, 0)
	if err != nil {
		return nil, err
	}
	if w, h := picture.Cols(), picture.Rows(); len(found) == 0 && max(w, h) <= 400 {
		// A face that fills the picture has no surroundings; the net knows
		// faces with some.
		found, err = r.within(picture, max(w, h)/2)
		return best(found), err
	}
	for _, area := range parts {
		part := picture.Region(area)
		more, err := r.within(part, 0)
		_ = part.Close()
		if err != nil {
			return nil, err
		}
		for _, f := range more {
			if cutOff(f.Box, area, picture) {
				continue // the neighbouring tile, or the whole picture, has all of it
			}
			f.Box.Left += area.Min.X
			f.Box.Top += area.Min.Y
			found = append(found, f)
		}
	}
	found = best(found)
	size := image.Pt(picture.Cols(), picture.Rows())
	slices.SortStableFunc(found, func(a, b link.Face) int { return cmp.Compare(weight(b, size), weight(a, size)) })
	return found, nil
}

// cutOff tells whether a face touches an edge of its tile that is not the
// picture's.
func cutOff(b link.Box, area image.Rectangle, picture gocv.Mat) bool {
	const near = 2
	return area.Min.X > 0 && b.Left <= near || area.Min.Y > 0 && b.Top <= near ||
		area.Max.X < picture.Cols() && b.Left+b.Width >= area.Dx()-near || area.Max.Y < picture.Rows() && b.Top+b.Height >= area.Dy()-near
}

// within looks for faces in the picture with a border of so many pixels.
func (r *Recognizer) within(picture gocv.Mat, border int) ([]link.Face, error) {
	w, h := picture.Cols()+2*border, picture.Rows()+2*border
	// The net squeezes what it gets to 4:3; very long or upright pictures are
	// padded first, or faces would be out of shape.
	size := image.Pt(max(w, h*11/10), max(h, w*9/16))
	if most := max(size.X, size.Y); most > mostPadded && size != image.Pt(w, h) {
		return r.shrunk(picture, float64(mostPadded)/float64(most), border)
	}
	input := picture
	if size.X > picture.Cols() || size.Y > picture.Rows() {
		gocv.CopyMakeBorder(picture, &r.padded, border, size.Y-h+border, border, size.X-w+border, gocv.BorderConstant, color.RGBA{})
		input = r.padded
	}
	values, err := r.detect.Run(input)
	if err != nil {
		return nil, err
	}
	found := boxes(values, size, image.Rect(border, border, w-border, h-border))
	for i := range found {
		found[i].Box.Left -= border
		found[i].Box.Top -= border
	}
	return found, nil
}

// mostPadded is the longest side of a picture that is padded as it is. Longer ones
// are made smaller first, or a very long and narrow one would need much memory.
const mostPadded = 2000

// shrunk is within for a picture made smaller.
func (r *Recognizer) shrunk(picture gocv.Mat, scale float64, border int) ([]link.Face, error) {
	scaled := func(length int, by float64) int { return max(1, int(math.Floor(float64(length)*by))) }
	small := gocv.NewMat()
	defer small.Close() //nolint:errcheck // a Mat's Close always returns nil
	gocv.Resize(picture, &small, image.Pt(scaled(picture.Cols(), scale), scaled(picture.Rows(), scale)), 0, 0, gocv.InterpolationArea)
	found, err := r.within(small, int(float64(border)*scale))
	x, y := float64(picture.Cols())/float64(small.Cols()), float64(picture.Rows())/float64(small.Rows())
	for i := range found {
		b := &found[i].Box
		b.Left, b.Top, b.Width, b.Height = int(float64(b.Left)*x), int(float64(b.Top)*y), scaled(b.Width, x), scaled(b.Height, y)
	}
	return found, err
}

// perPrior are the net's values of each prior: the probability of none and of a
// face, and the box's left, top, right and bottom as parts of the picture.
const perPrior = 6

// boxes keeps the probable boxes and of overlapping ones the best.
func boxes(values []float32, size image.Point, within image.Rectangle) []link.Face {
	var all []link.Face
	for i := range min(priors, len(values)/perPrior) {
		prior := values[perPrior*i:][:perPrior]
		score, c := float64(prior[1]), prior[2:]
		if !(score >= minScore) { // it may be NaN
			continue
		}
		at := func(v float32, of int) int { return int(math.Round(float64(v) * float64(of))) }
		area := image.Rect(at(c[0], size.X), at(c[1], size.Y), at(c[2], size.X), at(c[3], size.Y)).Intersect(within)
		if area.Dx() < 4 || area.Dy() < 4 {
			continue
		}
		all = append(all, link.Face{Score: min(1, score), Box: link.Box{Left: area.Min.X, Top: area.Min.Y, Width: area.Dx(), Height: area.Dy()}})
	}
	return best(all)
}

// best keeps of overlapping boxes the surest, in that order.
func best(all []link.Face) []link.Face {
	slices.SortStableFunc(all, func(a, b link.Face) int { return cmp.Compare(b.Score, a.Score) })
	var kept []link.Face
	for _, f := range all {
		if !slices.ContainsFunc(kept, func(o link.Face) bool { return o.Box.Overlap(f.Box) > maxOverlap }) {
			kept = append(kept, f)
		}
	}
	return kept
}

// weight orders faces: who presents himself is near, in the middle and whole.
func weight(f link.Face, size image.Point) float64 {
	b := f.Box
	w := f.Score * float64(b.Width*b.Height)
	off := math.Hypot(float64(2*b.Left+b.Width)/float64(size.X)-1, float64(2*b.Top+b.Height)/float64(size.Y)-1)
	w *= 1 - .5*min(1, off)
	if b.Left <= 1 || b.Top <= 1 || b.Left+b.Width >= size.X-1 || b.Top+b.Height >= size.Y-1 {
		w /= 2
	}
	return w
}
