// Package plate finds licence plates in pictures and reads them: a small net
// proposes corners, a second one corrects or drops them, the flattened plate is
// read by a CTC recogniser, and a beam search keeps to numbers that exist.
package plate

import (
	"cmp"
	"errors"
	"fmt"
	"image"
	"image/color"
	"math"
	"slices"
	"strings"
	"time"

	"gocv.io/x/gocv"

	"gatehouse/vision/link"
	"gatehouse/vision/nn"
	"gatehouse/vision/plate/quad"
	"gatehouse/vision/plate/text"
	"gatehouse/vision/warp"
)

// MinScore is the least score of a number that is reported at all; below it a
// plate is one that nobody can read.
const MinScore = 0.3

// ErrOption is an option that cannot be followed; its text says which and why.
var ErrOption = errors.New("cannot read plates as the settings say")

// Options say how plates are read. The zero value reads mainland plates and,
// as rarer ones, those of all countries.
type Options struct {
	// Regions are those whose numbers are read (text.Regions).
	Regions []string
	// Templates is a file of further number templates (text.Abroad), or empty.
	Templates string
	// Readers is one of the Read… constants; empty is DefaultReader.
	Readers string
}

// Recognizer finds and reads plates. It is not safe for concurrent use.
type Recognizer struct {
	cut  *warp.Cutter
	find *finder
	read *reader
	hsv  gocv.Mat
	// confidence turns evidence into probabilities.
	confidence Confidence
	// padded is a small picture with surroundings.
	padded gocv.Mat
}

// Times are how long the stages of one picture took.
type Times struct {
	Find, Read time.Duration
	Confirmed  bool // PP-OCR has read, too, which takes most of the time
}

// Open loads the nets; dir holds the verified models of the catalogue.
func Open(dir string) (*Recognizer, error) { return OpenWith(dir, Options{}) }

// OpenWith is Open with options; the error names the option that is wrong.
func OpenWith(dir string, o Options) (*Recognizer, error) {
	if !slices.Contains([]string{"", ReadBoth, ReadSmall, ReadPPOCR}, o.Readers) {
		return nil, fmt.Errorf("%w: there is no reader %q: both, small or pp", ErrOption, o.Readers)
	}
	if o.Readers == "" {
		o.Readers = DefaultReader
	}
	confidence, err := parseConfidence(confidenceFile, o.Readers)
	if err != nil {
		return nil, err
	}
	cut := warp.NewCutter()
	find, err := newFinder(cut)
	if err != nil {
		cut.Close()
		return nil, err
	}
	read, err := newReader(dir, o, cut)
	if err != nil {
		find.close()
		cut.Close()
		return nil, err
	}
	return &Recognizer{confidence: confidence, cut: cut, find: find, read: read, hsv: gocv.NewMat(), padded: gocv.NewMat()}, nil
}

// Close frees the nets.
func (r *Recognizer) Close() {
	r.find.close()
	r.read.close()
	r.cut.Close()
	_ = r.hsv.Close()
	_ = r.padded.Close()
}

// Recognize returns the plates of a picture (H×W×3 BGR, uint8), the main one
// first. One that is sure to be a plate but cannot be read has no text.
//
// With far, for stills, small plates are looked for beside large ones too, at
// two and a half times the time of the search.
func (r *Recognizer) Recognize(picture gocv.Mat, far bool) ([]link.Plate, Times, error) {
	judged, times, err := r.Judge(picture, far, MinScore)
	var plates []link.Plate
	for _, j := range judged {
		plates = append(plates, j.Plate)
	}
	return plates, times, err
}

// Follow is Recognize for one of a camera's frames, which come in their order;
// at is its time in ns, above 0. A plate that both recognisers have read surely is
// read on by the small one alone, while it says the same and the plate is seen; one
// that stays in doubt is read by both in every other frame.
// With idle nothing moves, and there are other things to do: such frames are looked
// at in turns too, though they do not come fast.
func (r *Recognizer) Follow(picture gocv.Mat, at int64, idle bool) ([]link.Plate, Times, error) {
	after := time.Duration(0)
	if r.read.follow.newest > 0 {
		after = time.Duration(at - r.read.follow.newest)
	}
	r.read.follow.goOn(at)
	r.find.turns.begin(after, idle, func(q quad.Quad) bool { return !r.read.both() || r.read.follow.holds(q) })
	defer func() {
		r.read.follow.now = 0
		r.find.turns.end()
	}()
	return r.Recognize(picture, false)
}

// Forget is for another film or camera: what the frames so far have shown is no
// longer true.
func (r *Recognizer) Forget() {
	r.read.follow.forget()
	r.find.turns.forget()
}

// Judged is a plate with what its confidence was calculated from.
type Judged struct {
	link.Plate
	Features Features
	read     float64 // how surely these characters were read, whatever twins they have, 0–1
}

// Judge is Recognize with the least score of a number that is reported, and
// with the features of each.
func (r *Recognizer) Judge(picture gocv.Mat, far bool, least float64) ([]Judged, Times, error) {
	var times Times
	if err := nn.CheckPicture(picture); err != nil {
		return nil, times, err
	}
	begin := time.Now()
	size := image.Pt(picture.Cols(), picture.Rows())
	// So small and so long: likely a plate that someone has cut out.
	alone := size.Y <= 200 && size.X <= 400 && size.X*10 >= size.Y*14 && size.X <= size.Y*7
	var candidates []Candidate
	var err error
	if alone {
		r.find.turns.end() // it is padded, and small
		candidates, err = r.within(picture, size)
	} else {
		candidates, err = r.find.find(picture, far)
	}
	if err != nil {
		return nil, times, err
	}
	times.Find = time.Since(begin)
	begin = time.Now()
	r.read.confirmed = false
	var plates []Judged
	for _, c := range candidates {
		g := r.ground(picture, c)
		e, ok, err := r.read.read(picture, c, g)
		if err != nil {
			return nil, times, err
		}
		if p, ok := r.describe(size, c, e, ok, g, least); ok {
			plates = append(plates, p)
			r.read.follow.saw(e, p.read, c.Quad)
		}
	}
	if alone && len(plates) > 1 {
		plates = append(plates[:0], whole(plates))
	}
	slices.SortStableFunc(plates, func(a, b Judged) int { return cmp.Compare(weight(b.Plate), weight(a.Plate)) })
	times.Read, times.Confirmed = time.Since(begin), r.read.confirmed
	return plates, times, nil
}

// whole picks the best reading of the one plate that a cut-out picture shows.
func whole(plates []Judged) Judged {
	slices.SortStableFunc(plates, func(a, b Judged) int { return cmp.Compare(b.Score, a.Score) })
	best := plates[0]
	for _, p := range plates[1:] {
		if len(p.Text) > len(best.Text) && strings.Contains(p.Text, best.Text) {
			best = p // the other one has looked at a part of the plate only
		}
	}
	return best
}

// weight orders plates: large and surely read ones come first.
func weight(p link.Plate) float64 { return p.Score * math.Sqrt(float64(p.Box.Width*p.Box.Height)) }

// within finds the plate in a picture of little else. The nets know plates with
// surroundings only, so it gets some; the whole picture is a candidate too.
func (r *Recognizer) within(picture gocv.Mat, size image.Point) ([]Candidate, error) {
	dx, dy := size.X/2, size.Y
	gocv.CopyMakeBorder(picture, &r.padded, dy, dy, dx, dx, gocv.BorderConstant, color.RGBA{R: 96, G: 96, B: 96})
	candidates, err := r.find.find(r.padded, false)
	for i := range candidates {
		for k := range candidates[i].Quad {
			candidates[i].Quad[k].X -= float64(dx)
			candidates[i].Quad[k].Y -= float64(dy)
		}
	}
	return append(candidates, Candidate{Quad: warp.Whole(size), Score: 1, Rows: 1, cut: true}), err
}

// describe makes a result of what was read; ok is false where it is none.
func (r *Recognizer) describe(size image.Point, c Candidate, e evidence, read bool, g ground, least float64) (p Judged, ok bool) {
	if read {
		p.Features = features(c, e, g)
		p.read = r.confidence.Of(p.Features)
		p.Score = p.read
		if e.reading.Form == text.Overseas && r.read.ambiguous(e.reading.Number) {
			p.Score = min(p.Score, undecided)
		}
	}
	if !read || p.Score < least {
		if !unreadable(c) {
			return p, false
		}
		p.Score, e = 0, evidence{rows: c.Rows}
	}
	p.Text, p.CharScores, p.Country = e.reading.Number, e.reading.Chars, e.reading.Country
	if e.reading.Form == text.Overseas && g.color == "blue" && g.dark {
		g.color = "white" // a white plate in bluish light; blue ones have light characters
	}
	k := kindOf(e.reading.Form, g, e.rows)
	p.Kind, p.Color, p.Type, p.ColorType = k.name, k.color, k.vendorType, vendorColors[k.color]
	if p.Text == "" {
		p.Kind, p.Type = "unreadable", 0
	}
	for i, corner := range c.Quad {
		p.Corners[i] = link.Point{X: math.Round(corner.X*10) / 10, Y: math.Round(corner.Y*10) / 10}
	}
	low, high := c.Quad.Bounds()
	area := image.Rect(int(math.Floor(low.X)), int(math.Floor(low.Y)), int(math.Ceil(high.X)), int(math.Ceil(high.Y))).
		Intersect(image.Rectangle{Max: size})
	p.Box = link.Box{Left: area.Min.X, Top: area.Min.Y, Width: area.Dx(), Height: area.Dy()}
	return p, true
}

// undecided is the most that a number is given whose O or 0, I or 1 no picture
// tells apart: enough for a gate, which compares it with a list, and less than
// what may be relied upon.
const undecided = 0.94

// surePlate is the refiner's probability from which on something that cannot be
// read is still told as a plate, and leastWidth its width in pixels.
const (
	surePlate  = 0.995
	leastWidth = 40
)

// unreadable reports whether a candidate is a plate though nobody can read it.
func unreadable(c Candidate) bool {
	width, _ := c.Quad.Size()
	return !c.cut && c.Score >= surePlate && width >= leastWidth
}
