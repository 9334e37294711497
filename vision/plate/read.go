package plate

import (
	"image"
	"math"
	"os"
	"path/filepath"

	"gocv.io/x/gocv"

	"gatehouse/vision/nn"
	"gatehouse/vision/plate/quad"
	"gatehouse/vision/plate/text"
	"gatehouse/vision/warp"
)

const (
	lineHeight = 48
	lineWidth  = 160
)

// margins are fractions of the plate's width and height that are read with
// it: the corners are never exact, and one of the readings mostly fits.
var margins = [][2]float64{{0, 0}, {.04, .12}, {.08, .05}}

// cutMargins are for pictures that someone has cut out: there is nothing
// around the plate.
var cutMargins = [][2]float64{{0, 0}, {-.02, -.04}, {.02, .04}}

// reader turns a plate's picture into character probabilities and those into
// numbers.
type reader struct {
	net     *nn.Net
	decoder *text.Decoder
	cut     *warp.Cutter
	line    gocv.Mat
	joined  gocv.Mat
}

func newReader(dir string, cut *warp.Cutter) (*reader, error) {
	keys, err := os.ReadFile(filepath.Join(dir, "plate_keys.txt"))
	if err != nil {
		return nil, err
	}
	decoder, err := text.NewDecoder(string(keys))
	if err != nil {
		return nil, err
	}
	net, err := nn.Load(dir, "plate_read.onnx", nn.Input{Size: image.Pt(lineWidth, lineHeight), Mean: 127.5, Scale: 1 / 127.5})
	if err != nil {
		return nil, err
	}
	return &reader{net: net, decoder: decoder, cut: cut, line: gocv.NewMat(), joined: gocv.NewMat()}, nil
}

func (r *reader) close() {
	r.net.Close()
	_ = r.line.Close()
	_ = r.joined.Close()
}

// vote is what the readings at all margins say together about one number.
type vote struct {
	reading text.Reading
	rows    int
	score   float64 // mean of the number's probability over the margins
}

// read returns the most probable number; ok is false where nothing was read.
// Foreign is how much rarer plates from abroad are than mainland ones.
func (r *reader) read(picture gocv.Mat, c Candidate, foreign float64) (best vote, ok bool, err error) {
	width, height := c.Quad.Size()
	rows := []int{1}
	if c.Rows == 2 || width < 2.2*height {
		rows = []int{1, 2}
	}
	for _, n := range rows {
		v, found, err := r.vote(picture, c, n, foreign)
		if err != nil {
			return best, false, err
		}
		if found && (!ok || v.score > best.score) {
			best, ok = v, true
		}
	}
	return best, ok, nil
}

// vote reads the plate at every margin and adds up what each number got.
func (r *reader) vote(picture gocv.Mat, c Candidate, rows int, foreign float64) (best vote, ok bool, err error) {
	var votes []vote
	read := 0
	add := func(reading text.Reading, found bool) {
		if !found {
			return
		}
		p := math.Exp(reading.Log)
		for i := range votes {
			if votes[i].reading.Number == reading.Number && votes[i].reading.Form == reading.Form {
				votes[i].score += p
				return
			}
		}
		votes = append(votes, vote{reading, rows, p})
	}
	around := margins
	if c.cut {
		around = cutMargins
	}
	for _, margin := range around {
		line, ok := r.rectify(picture, c.Quad.Grow(margin[0], margin[1]), rows)
		if !ok {
			continue
		}
		steps, err := r.net.Run(line)
		if err != nil {
			return best, false, err
		}
		read++
		mainland, ok := r.decoder.Mainland(steps)
		add(mainland, ok)
		if ok && mainland.Log > math.Log(agreed) {
			if read == 2 && votes[0].score > 2*agreed {
				break // both agree: the first vote is this number's
			}
			continue // hardly anything is left for a number from abroad
		}
		add(r.decoder.Overseas(steps))
	}
	for i := range votes {
		votes[i].score /= float64(read)
	}
	best, ok = elect(votes, foreign)
	return best, ok, nil
}

// agreed is the mean probability from which on two equal readings make a third
// one needless.
const agreed = 0.97

// elect picks the most probable number. A foreign one must outdo the best
// mainland one by the prior, and is only as sure as it does.
func elect(votes []vote, foreign float64) (best vote, ok bool) {
	var mainland, overseas vote
	for _, v := range votes {
		if to := &mainland; v.reading.Form == text.Overseas {
			if v.score > overseas.score {
				overseas = v
			}
		} else if v.score > to.score {
			*to = v
		}
	}
	if weighted := overseas.score * foreign; weighted > mainland.score {
		overseas.score *= weighted / (weighted + mainland.score)
		return overseas, true
	}
	return mainland, mainland.score > 0
}

// rectify makes one line of characters of the plate, as the reader wants it.
// Two rows are put side by side.
func (r *reader) rectify(picture gocv.Mat, q quad.Quad, rows int) (gocv.Mat, bool) {
	width, height := q.Size()
	high := lineHeight * rows
	size := image.Pt(min(8*high, max(16, int(math.Round(float64(high)*width/max(1, height))))), high)
	flat, ok := r.cut.Cut(picture, q, warp.Whole(size), size, gocv.InterpolationCubic)
	if !ok {
		return r.line, false
	}
	if rows == 1 {
		gocv.Resize(flat, &r.line, image.Pt(lineWidth, lineHeight), 0, 0, gocv.InterpolationLinear)
		return r.line, true
	}
	upper := flat.Region(image.Rect(size.X*15/100, 0, size.X*85/100, size.Y*42/100))
	lower := flat.Region(image.Rect(0, size.Y*38/100, size.X, size.Y))
	defer upper.Close() //nolint:errcheck // a Mat's Close always returns nil
	defer lower.Close() //nolint:errcheck // as above
	const left, right = 64, 110
	if r.joined.Cols() != left+right {
		_ = r.joined.Close()
		r.joined = gocv.NewMatWithSize(lineHeight, left+right, gocv.MatTypeCV8UC3)
	}
	for _, part := range []struct {
		from gocv.Mat
		x, w int
	}{{upper, 0, left}, {lower, left, right}} {
		to := r.joined.Region(image.Rect(part.x, 0, part.x+part.w, lineHeight))
		gocv.Resize(part.from, &to, image.Pt(part.w, lineHeight), 0, 0, gocv.InterpolationLinear)
		_ = to.Close()
	}
	gocv.Resize(r.joined, &r.line, image.Pt(lineWidth, lineHeight), 0, 0, gocv.InterpolationLinear)
	return r.line, true
}
