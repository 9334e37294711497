package main

import (
	"fmt"
	"image"
	"image/color"
	"io"
	"math"
	"math/rand/v2"
	"text/tabwriter"

	"gocv.io/x/gocv"
)

// shown is how a face is shown to the liveness net.
type shown struct {
	name, what string
	live       bool
	show       func(*staging, gocv.Mat) gocv.Mat
}

// showings are two attacks and, as controls, live pictures that were enlarged
// or put before another background as the attacks are: a net that is worth
// something tells the controls from the attacks.
var showings = []shown{
	{"as it is", "the picture itself", true, func(_ *staging, p gocv.Mat) gocv.Mat { return p.Clone() }},
	{"enlarged", "1.6 times as large, a little noise", true, func(s *staging, p gocv.Mat) gocv.Mat { return s.noise(s.scale(p, 1.6)) }},
	{"pasted", "before another picture, nothing else changed", true, func(s *staging, p gocv.Mat) gocv.Mat { return s.place(s.scale(p, 1.6)) }},
	{"print", "washed out and softened, with a white border", false, (*staging).print},
	{"screen", "moiré, bluish, with a black border", false, (*staging).screen},
}

// staging makes the showings; background is what is behind the face, fields of colour.
type staging struct {
	chance     *rand.Rand
	background gocv.Mat
}

func (e *eyes) liveness(rows []row, seed uint64, out io.Writer) error {
	s := staging{chance: rand.New(rand.NewPCG(seed, 0)), background: gocv.NewMatWithSize(9, 16, gocv.MatTypeCV8UC3)}
	defer s.background.Close() //nolint:errcheck // a Mat's Close always returns nil
	s.each(s.background, func(_, _ int, pixel []uint8) {
		for c := range pixel {
			pixel[c] = uint8(60 + s.chance.IntN(120))
		}
	})
	scores := make([][]float64, len(showings))
	for _, r := range rows {
		if r.kind == "face_count" || grey(r.path) {
			continue
		}
		picture, err := load(r.path)
		if err != nil {
			return fmt.Errorf("%s: %w", r.path, err)
		}
		for i, how := range showings {
			if err := e.judge(how, &s, picture, &scores[i]); err != nil {
				return fmt.Errorf("%s: %w", r.path, err)
			}
		}
		_ = picture.Close()
	}
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "shown\tis live\tfaces\tmean\ttaken for live (≥ 0.5)\twhat")
	for i, how := range showings {
		var mean float64
		passed := 0
		for _, v := range scores[i] {
			mean += v / float64(len(scores[i]))
			if v >= .5 {
				passed++
			}
		}
		_, _ = fmt.Fprintf(w, "%s\t%t\t%d\t%.2f\t%s\t%s\n", how.name, how.live, len(scores[i]), mean, share(passed, len(scores[i])), how.what)
	}
	_ = w.Flush()
	_, _ = fmt.Fprintf(out, "\nrendered attacks, seed %d; no photographed prints or screens were at hand\n", seed)
	return nil
}

func (e *eyes) judge(how shown, s *staging, picture gocv.Mat, scores *[]float64) error {
	scene := how.show(s, picture)
	defer scene.Close() //nolint:errcheck // a Mat's Close always returns nil
	found, err := e.faces.Find(scene)
	if err != nil || len(found) == 0 {
		return err
	}
	v, err := e.faces.Liveness(scene, found[0].Box)
	if err == nil {
		*scores = append(*scores, v)
	}
	return err
}

func (s *staging) scale(p gocv.Mat, by float64) gocv.Mat {
	o := gocv.NewMat()
	gocv.Resize(p, &o, image.Point{}, by, by, gocv.InterpolationCubic)
	return o
}

// noise adds what a camera adds, in place.
func (s *staging) noise(p gocv.Mat) gocv.Mat {
	s.each(p, func(_, _ int, pixel []uint8) {
		n := s.chance.NormFloat64() * 2
		for c := range pixel {
			pixel[c] = clip(float64(pixel[c]) + n)
		}
	})
	return p
}

// place puts a flat thing, a little askew, before the background.
func (s *staging) place(thing gocv.Mat) gocv.Mat {
	defer thing.Close() //nolint:errcheck // a Mat's Close always returns nil
	o := gocv.NewMat()
	gocv.Resize(s.background, &o, image.Pt(1280, 720), 0, 0, gocv.InterpolationCubic)
	w, h := float64(thing.Cols()), float64(thing.Rows())
	x, y := 40+s.chance.Float64()*(1200-w), s.chance.Float64()*max(1, 700-h)
	corner := func(cx, cy float64) gocv.Point2f {
		return gocv.Point2f{X: float32(x + cx + s.chance.NormFloat64()*w*.03), Y: float32(y + cy + s.chance.NormFloat64()*h*.03)}
	}
	from := gocv.NewPoint2fVectorFromPoints([]gocv.Point2f{{}, {X: float32(w)}, {X: float32(w), Y: float32(h)}, {Y: float32(h)}})
	to := gocv.NewPoint2fVectorFromPoints([]gocv.Point2f{corner(0, 0), corner(w, 0), corner(w, h), corner(0, h)})
	defer from.Close()
	defer to.Close()
	m := gocv.GetPerspectiveTransform2f(from, to)
	defer m.Close() //nolint:errcheck // a Mat's Close always returns nil
	gocv.WarpPerspectiveWithParams(thing, &o, m, image.Pt(1280, 720), gocv.InterpolationLinear, gocv.BorderTransparent, color.RGBA{})
	return s.noise(o)
}

func (s *staging) print(p gocv.Mat) gocv.Mat {
	t := s.scale(p, 1.6)
	ink, paper := .6+.25*s.chance.Float64(), .8+.3*s.chance.Float64()
	s.each(t, func(_, _ int, pixel []uint8) {
		for c := range pixel {
			pixel[c] = clip((float64(pixel[c])-110)*ink + 110*paper)
		}
	})
	gocv.GaussianBlur(t, &t, image.Pt(0, 0), .9, .9, gocv.BorderReflect)
	gocv.CopyMakeBorder(t, &t, 20, 20, 20, 20, gocv.BorderConstant, color.RGBA{R: 230, G: 228, B: 225})
	return s.place(t)
}

func (s *staging) screen(p gocv.Mat) gocv.Mat {
	t := s.scale(p, 1.6)
	period, turn := 2.1+1.3*s.chance.Float64(), .3*s.chance.Float64()
	sin, cos := math.Sincos(turn)
	s.each(t, func(x, y int, pixel []uint8) {
		u, v := float64(x)*cos+float64(y)*sin, float64(y)*cos-float64(x)*sin
		m := 1 + .10*math.Sin(2*math.Pi*u/period) + .08*math.Sin(2*math.Pi*v/period/1.07)
		for c, tint := range [3]float64{1.15, 1, 1} {
			pixel[c] = clip(float64(pixel[c]) * m * tint)
		}
	})
	gocv.GaussianBlur(t, &t, image.Pt(0, 0), .7, .7, gocv.BorderReflect)
	gocv.CopyMakeBorder(t, &t, 40, 40, 18, 18, gocv.BorderConstant, color.RGBA{R: 12, G: 12, B: 12})
	return s.place(t)
}

// each changes the pixels (BGR) of a continuous picture in place.
func (s *staging) each(p gocv.Mat, change func(x, y int, pixel []uint8)) {
	b, err := p.DataPtrUint8()
	if err != nil {
		return
	}
	w := p.Cols()
	for i := 0; i+2 < len(b); i += 3 {
		change(i/3%w, i/3/w, b[i:i+3])
	}
}

func clip(v float64) uint8 { return uint8(min(255, max(0, math.Round(v)))) }
