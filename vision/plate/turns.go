package plate

import (
	"cmp"
	"image"
	"math"
	"slices"
	"time"

	"gocv.io/x/gocv"

	"gatehouse/vision/plate/quad"
)

// turns are how the frames of a camera are looked at where they come fast, so that
// none takes the time of all looks: a whole frame has the near look or the far
// one, in turns, and a plate that the last frame showed is looked for around its
// place there, at a quarter of the cost. While all are found so, only every third
// frame is looked at whole, and not one in which PP-OCR is going to read.
type turns struct {
	follows bool // the next picture is a camera's next frame
	fast    bool // and has one look at most beside those around plates
	idle    bool // nothing moves there: the frame is looked at whole
	rest    bool // PP-OCR will hardly be asked about the plates of the last one
	far     bool // the far look has its turn
	beside  *view
	last    []quad.Quad // plates of the last frame, the largest first
	since   int         // frames since one was looked at whole
}

const (
	// fast is how soon after another a frame comes at the most.
	fast = 150 * time.Millisecond
	// besideLong and besideShort are the input of the look around a plate (multiples
	// of 32, as the net wants them), and vicinity is how many times a plate's width
	// it takes in: there plates are 64 pixels wide.
	besideLong, besideShort = 256, 160
	vicinity                = 4
	// mostBesides is how many plates are looked at so.
	mostBesides = 3
	// leastSince and mostSince are how many frames need not be looked at whole, with
	// PP-OCR at rest and in any case.
	leastSince = 2
	mostSince  = 5
)

// begin says that the next picture is a camera's next frame, so long after the
// last one; end, that it has been looked at.
func (t *turns) begin(after time.Duration, idle bool, holds func(q quad.Quad) bool) {
	t.follows, t.idle, t.fast = true, idle, after > 0 && (idle || after <= fast)
	if after <= 0 {
		t.forget()
	}
	t.rest = !slices.ContainsFunc(t.last, func(q quad.Quad) bool { return !holds(q) })
}

func (t *turns) end() { t.follows, t.fast = false, false }

// forget is for another film or camera.
func (t *turns) forget() { t.far, t.since, t.last = false, 0, t.last[:0] }

// keep remembers what a frame showed.
func (t *turns) keep(found []Candidate) {
	t.last = t.last[:0]
	for _, c := range found {
		t.last = append(t.last, c.Quad)
	}
	slices.SortStableFunc(t.last, func(a, b quad.Quad) int { return cmp.Compare(b.Area(), a.Area()) })
}

// due reports whether the frame must be looked at whole.
func (t *turns) due() bool {
	return t.idle || len(t.last) == 0 || len(t.last) > mostBesides || t.since >= mostSince || t.since >= leastSince && t.rest
}

// next is find for a camera's next frame; looks are the near and the far one.
func (f *finder) next(picture gocv.Mat, near, far *view) (found []Candidate, err error) {
	t := &f.turns
	whole := func() (err error) {
		v := near
		if t.far {
			v = far
		}
		t.far, t.since = !t.far, 0
		found, err = f.seen(v, picture, found)
		return err
	}
	due := t.due()
	if t.since++; due {
		if err := whole(); err != nil {
			return nil, err
		}
	}
	missed := false
	for _, q := range t.last[:min(len(t.last), mostBesides)] {
		if known(found, q) {
			continue
		}
		before := len(found)
		if found, err = f.seenIn(t.beside, picture, neighbourhood(q, image.Pt(picture.Cols(), picture.Rows())), found); err != nil {
			return nil, err
		}
		missed = missed || len(found) == before
	}
	if missed && !due {
		if err := whole(); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// neighbourhood is the part of a picture of a size in which a plate is looked for
// that was there a moment ago.
func neighbourhood(q quad.Quad, size image.Point) image.Rectangle {
	width, height := q.Size()
	w := int(math.Ceil(vicinity * max(width, height)))
	h := w * besideShort / besideLong
	w, h = min(w, size.X), min(h, size.Y)
	middle := middleOf(q)
	x := min(max(0, int(middle.X)-w/2), size.X-w)
	y := min(max(0, int(middle.Y)-h/2), size.Y-h)
	return image.Rect(x, y, x+w, y+h)
}
