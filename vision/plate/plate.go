// Package plate finds licence plates in pictures and reads them: a small net
// proposes corners, a second one corrects or drops them, the flattened plate is
// read by a CTC recogniser, and a beam search keeps to numbers that exist.
package plate

import (
	"cmp"
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

// MinScore is the least score of a plate that is reported at all.
const MinScore = 0.1

// Recognizer finds and reads plates. It is not safe for concurrent use.
type Recognizer struct {
	cut  *warp.Cutter
	find *finder
	read *reader
	hsv  gocv.Mat
	// padded is a small picture with surroundings.
	padded gocv.Mat
}

// Times are how long the stages of one picture took.
type Times struct{ Find, Read time.Duration }

// Open loads the nets; dir holds the verified models of the catalogue.
func Open(dir string) (*Recognizer, error) {
	cut := warp.NewCutter()
	find, err := newFinder(cut)
	if err != nil {
		return nil, err
	}
	read, err := newReader(dir, cut)
	if err != nil {
		return nil, err
	}
	return &Recognizer{cut: cut, find: find, read: read, hsv: gocv.NewMat(), padded: gocv.NewMat()}, nil
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
// first.
func (r *Recognizer) Recognize(picture gocv.Mat) ([]link.Plate, Times, error) {
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
		candidates, err = r.within(picture, size)
	} else {
		candidates, err = r.find.find(picture)
	}
	if err != nil {
		return nil, times, err
	}
	times.Find = time.Since(begin)
	begin = time.Now()
	var plates []link.Plate
	for _, c := range candidates {
		ground, dark := r.color(picture, c.Quad)
		v, ok, err := r.read.read(picture, c, foreign(ground, dark))
		if err != nil {
			return nil, times, err
		}
		if !ok {
			continue
		}
		if p := r.describe(picture, c, v, ground, dark); p.Score >= MinScore {
			plates = append(plates, p)
		}
	}
	if alone && len(plates) > 1 {
		slices.SortStableFunc(plates, func(a, b link.Plate) int { return cmp.Compare(b.Score, a.Score) })
		best := plates[0]
		for _, p := range plates[1:] {
			if len(p.Text) > len(best.Text) && strings.Contains(p.Text, best.Text) {
				best = p // the other one has looked at a part of the plate only
			}
		}
		plates = append(plates[:0], best)
	}
	slices.SortStableFunc(plates, func(a, b link.Plate) int { return cmp.Compare(weight(b), weight(a)) })
	times.Read = time.Since(begin)
	return plates, times, nil
}

// weight orders plates: large and surely read ones come first.
func weight(p link.Plate) float64 { return p.Score * math.Sqrt(float64(p.Box.Width*p.Box.Height)) }

// within finds the plate in a picture of little else. The nets know plates with
// surroundings only, so it gets some; the whole picture is a candidate too.
func (r *Recognizer) within(picture gocv.Mat, size image.Point) ([]Candidate, error) {
	dx, dy := size.X/2, size.Y
	gocv.CopyMakeBorder(picture, &r.padded, dy, dy, dx, dx, gocv.BorderConstant, color.RGBA{R: 96, G: 96, B: 96})
	candidates, err := r.find.find(r.padded)
	for i := range candidates {
		for k := range candidates[i].Quad {
			candidates[i].Quad[k].X -= float64(dx)
			candidates[i].Quad[k].Y -= float64(dy)
		}
	}
	return append(candidates, Candidate{Quad: warp.Whole(size), Score: 1, Rows: 1, cut: true}), err
}

// foreign is how much rarer a plate from abroad is held to be than a mainland
// one, where plates have this ground: with a province that can hardly be read,
// the rest of a mainland number would otherwise pass for a foreign one.
func foreign(ground string, dark bool) float64 {
	if ground == "blue" && !dark || ground == "green" {
		return 0.01
	}
	return 0.135
}

func (r *Recognizer) describe(picture gocv.Mat, c Candidate, v vote, color string, dark bool) link.Plate {
	p := link.Plate{Text: v.reading.Number, Score: v.score}
	if v.reading.Form == text.Overseas {
		switch {
		case color == "blue" && dark:
			color = "white" // blue plates have white characters; this is a white one in bluish light
		case (color == "blue" || color == "green") && text.Tail(v.reading.Number):
			p.Score *= foreign("", dark) // what is left of a mainland number whose province cannot be read
		}
	}
	if strings.Trim(p.Text, "0123456789") == "" {
		p.Score *= 0.5 // dates and telephone numbers are more common than such plates
	}
	k := kindOf(v.reading.Form, color, v.rows)
	p.Kind, p.Color, p.Type, p.ColorType = k.kind, k.color, k.vendorType, vendorColors[k.color]
	if k.kind == "cn_green_big" {
		p.ColorType = yellowGreen
	}
	for i, corner := range c.Quad {
		p.Corners[i] = link.Point{X: math.Round(corner.X*10) / 10, Y: math.Round(corner.Y*10) / 10}
	}
	low, high := c.Quad.Bounds()
	area := image.Rect(int(math.Floor(low.X)), int(math.Floor(low.Y)), int(math.Ceil(high.X)), int(math.Ceil(high.Y))).
		Intersect(image.Rect(0, 0, picture.Cols(), picture.Rows()))
	p.Box = link.Box{Left: area.Min.X, Top: area.Min.Y, Width: area.Dx(), Height: area.Dy()}
	return p
}

// kind is what the vendor's protocol and the evaluation call a plate.
type kind struct {
	kind, color string
	vendorType  int // vendor-mqtt.md, 6.2
}

// Vendor colours (vendor-mqtt.md, 6.1).
const yellowGreen = 6

var vendorColors = map[string]int{"unknown": 0, "blue": 1, "yellow": 2, "white": 3, "black": 4, "green": 5}

// kinds of the forms that tell the kind by themselves.
var kinds = map[text.Form]kind{
	text.GreenSmall: {"cn_green_small", "green", 19},
	text.GreenBig:   {"cn_green_big", "green", 20},
	text.Police:     {"cn_police", "white", 5},
	text.Coach:      {"cn_coach", "yellow", 13},
	text.HongKong:   {"cn_hk", "black", 11},
	text.Macao:      {"cn_macao", "black", 14},
	text.Embassy:    {"cn_embassy", "black", 10},
	text.Consulate:  {"cn_consulate", "black", 22},
	text.Aviation:   {"cn_aviation", "green", 18},
	text.Agri:       {"cn_agri_double", "green", 12},
	text.Emergency:  {"cn_emergency", "white", 21},
}

// kindOf joins what the number and the plate's look say.
func kindOf(form text.Form, color string, rows int) kind {
	if k, ok := kinds[form]; ok {
		return k
	}
	double := rows == 2
	switch form {
	case text.Overseas:
		return kind{"overseas", color, 26}
	case text.WJ:
		if double {
			return kind{"cn_wj_double", "white", 15}
		}
		return kind{"cn_wj", "white", 6}
	case text.Military:
		if double {
			return kind{"cn_military_double", "white", 9}
		}
		return kind{"cn_military", "white", 8}
	case text.Trailer:
		if double {
			return kind{"cn_yellow_double", "yellow", 4}
		}
		return kind{"cn_yellow", "yellow", 3}
	}
	switch {
	case double:
		return kind{"cn_yellow_double", "yellow", 4}
	case color == "blue":
		return kind{"cn_blue", color, 1}
	case color == "yellow":
		return kind{"cn_yellow", color, 3}
	case color == "black":
		return kind{"cn_black", color, 2}
	}
	return kind{"cn_unknown", color, 0}
}

// color names the plate's ground: blue, yellow, white, black, green or unknown;
// dark tells that the characters on a blue one are darker than it.
func (r *Recognizer) color(picture gocv.Mat, q quad.Quad) (name string, dark bool) {
	size := image.Pt(96, 32)
	patch, ok := r.cut.Cut(picture, q.Grow(-.06, -.12), warp.Whole(size), size, gocv.InterpolationLinear)
	if !ok {
		return "unknown", false
	}
	gocv.CvtColor(patch, &r.hsv, gocv.ColorBGRToHSV)
	pixels, err := r.hsv.DataPtrUint8()
	if err != nil {
		return "unknown", false
	}
	return ground(pixels)
}

// ground decides from HSV pixels (three bytes each, hue 0–179). The shares
// asked for were chosen on the training pictures.
func ground(hsv []uint8) (name string, dark bool) {
	var blue, yellow, green, bright, saturation, value, n int
	var lightOfBlue, lightOfOthers int
	for i := 0; i+2 < len(hsv); i += 3 {
		h, s, v := hsv[i], int(hsv[i+1]), int(hsv[i+2])
		n++
		saturation += s
		value += v
		light := v * (340 - s) // a saturated blue is darker than its value says
		if v >= 35 && s >= 40 && h >= 95 && h <= 135 {
			lightOfBlue += light
		} else {
			lightOfOthers += light
		}
		switch {
		case v < 35 || s < 40:
		case h >= 95 && h <= 135:
			blue++
		case h >= 12 && h < 36 && s >= 70:
			yellow++
		case h >= 36 && h < 95:
			green++
		}
	}
	if n == 0 || saturation < 12*n {
		return "unknown", false // a grey picture: infrared or black and white
	}
	for i := 2; i < len(hsv); i += 3 {
		if int(hsv[i])*n > value {
			bright++
		}
	}
	best := max(blue, yellow, green)
	switch {
	case best*10 < n*3 && bright*2 > n:
		return "white", true // most is brighter than the mean: dark characters
	case best*10 < n*3:
		return "black", false
	case best == blue:
		return "blue", blue < n && lightOfBlue/blue > lightOfOthers/(n-blue)
	case best == yellow:
		return "yellow", false
	}
	return "green", false
}
