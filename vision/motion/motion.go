// Package motion says whether anything moves in the lane, so that the nets
// can rest while nothing does.
//
// It compares each frame, scaled down and grey, with a background that follows
// within about two seconds: a car that has stopped becomes background, and so
// does a change of light. It promises to be cheap and not to be trapped by
// light, noise or leaves for long; it does not promise to see everything, so
// whoever uses it looks at the whole picture every few seconds all the same.
package motion

import (
	"image"
	"math"
	"time"

	"gocv.io/x/gocv"

	"gatehouse/vision/link"
)

// across is the width in pixels of the scaled picture's longer side.
const across = 160

// Gate watches a camera's frames. It is not safe for concurrent use.
type Gate struct {
	region      []link.Fraction
	sensitivity int
	small, grey gocv.Mat
	ground      *ground
}

// NewGate makes a gate for the given part of the picture; empty is all of it.
// Sensitivity is 1 to 100.
func NewGate(region []link.Fraction, sensitivity int) *Gate {
	return &Gate{region: region, sensitivity: sensitivity, small: gocv.NewMat(), grey: gocv.NewMat()}
}

// Close frees the gate's pictures.
func (g *Gate) Close() {
	_ = g.small.Close()
	_ = g.grey.Close()
}

// Activity is what moves in a frame.
type Activity struct {
	Moving bool
	// Share is how much of the region moves, 0 to 1.
	Share float64
	// Blob is the largest thing that moves: left, top, right, bottom in
	// fractions of the picture, and its share of the region.
	Blob      [4]float64
	BlobShare float64
	// Light is true where so much changes that it must be the light.
	Light bool
	// Brightness is the picture's mean, 0 to 255.
	Brightness float64
}

// Look takes the next frame (H×W×3 BGR or H×W grey, uint8), at is its time in
// ns. The first frame, and the first of another size, moves.
func (g *Gate) Look(picture gocv.Mat, at int64) Activity {
	if picture.Empty() || picture.Type() != gocv.MatTypeCV8UC3 && picture.Type() != gocv.MatTypeCV8UC1 {
		return Activity{}
	}
	w, h := picture.Cols(), picture.Rows()
	scale := float64(across) / float64(max(w, h))
	size := image.Pt(max(8, int(math.Round(float64(w)*scale))), max(8, int(math.Round(float64(h)*scale))))
	gocv.Resize(picture, &g.small, size, 0, 0, gocv.InterpolationLinear)
	grey := &g.small
	if picture.Type() == gocv.MatTypeCV8UC3 {
		gocv.CvtColor(g.small, &g.grey, gocv.ColorBGRToGray)
		grey = &g.grey
	}
	pixels, err := grey.DataPtrUint8()
	if err != nil || len(pixels) < size.X*size.Y {
		return Activity{}
	}
	if g.ground == nil || g.ground.size != size {
		g.ground = newGround(size, g.region, g.sensitivity)
	}
	return g.ground.look(pixels, at)
}

// Forget makes the next frame count as the first: it moves.
func (g *Gate) Forget() { g.ground = nil }

// Times and levels of the background, chosen by hand: a car that stops is
// background after about two of follow.
const (
	follow     = 1500 * time.Millisecond // the background's time constant
	learn      = 20 * time.Second        // that of each pixel's own noise
	usualNoise = 2.                      // grey levels, until it is learnt
	noiseLimit = 20.                     // grey levels, the most noise that is believed
	lightShare = 0.7                     // of the region: more is light
	block      = 5                       // pixels of a block's side
	blockNeed  = 6                       // changed pixels that make a block move
)
