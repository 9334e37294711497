package plate

import (
	"image"
	"math"
	"time"

	"gocv.io/x/gocv"

	"gatehouse/vision/plate/quad"
)

// turns are how the frames of a camera are looked at where they come fast, so that
// none takes the time of all looks: a whole frame has the near look or the far
// one, in turns, and a plate that the last frame showed is looked for around its
// place there, at a tenth of the cost. While all are found so, only every third
// frame is looked at whole, and not in one in which PP-OCR is going to read.
type turns struct {
	on    bool // the next picture is such a frame
	rest  bool // PP-OCR will hardly be asked about the plates of the last one
	far   bool // the far look has its turn
	close *view
	last  []quad.Quad // plates of the last frame
	since int         // frames since one was looked at whole
}

const (
	// fast is how soon after another a frame comes at the most.
	fast = 150 * time.Millisecond
	// closeLong and closeShort are the close look's input (multiples of 32, as the net
	// wants them), and around how many times
	// a plate's width it looks: plates are 64 pixels wide in it.
	closeLong, closeShort = 256, 160
	around                = 4
	// mostClose is how many plates are looked at so.
	mostClose = 3
	// leastSince and mostSince are how many frames need not be looked at whole, with
	// PP-OCR at rest and in any case.
	leastSince = 2
	mostSince  = 5
)

// next is find for the camera's next frame; looks are the near and the far one.
func (f *finder) next(picture gocv.Mat, looks [2]*view) (found []Candidate, err error) {
	t := &f.turns
	whole := func() (err error) {
		v := looks[0]
		if t.far {
			v = looks[1]
		}
		t.far, t.since = !t.far, 0
		found, err = f.seen(v, picture, found)
		return err
	}
	due := len(t.last) == 0 || len(t.last) > mostClose || t.since >= mostSince || t.since >= leastSince && t.rest
	if t.since++; due {
		if err := whole(); err != nil {
			return nil, err
		}
	}
	lost := false
	for _, q := range t.last[:min(len(t.last), mostClose)] {
		if known(found, q) {
			continue
		}
		before := len(found)
		if found, err = f.within(t.close, picture, neighbourhood(q, image.Pt(picture.Cols(), picture.Rows())), found); err != nil {
			return nil, err
		}
		lost = lost || len(found) == before
	}
	if lost && !due {
		if err := whole(); err != nil {
			return nil, err
		}
	}
	t.last = t.last[:0]
	for _, c := range found {
		t.last = append(t.last, c.Quad)
	}
	return found, nil
}

// neighbourhood is the part of a picture of a size in which a plate is looked for
// that was there a moment ago.
func neighbourhood(q quad.Quad, size image.Point) image.Rectangle {
	width, height := q.Size()
	w := int(math.Ceil(around * max(width, height*closeLong/closeShort/2)))
	h := w * closeShort / closeLong
	w, h = min(w, size.X), min(h, size.Y)
	middle := middleOf(q)
	x := min(max(0, int(middle.X)-w/2), size.X-w)
	y := min(max(0, int(middle.Y)-h/2), size.Y-h)
	return image.Rect(x, y, x+w, y+h)
}
