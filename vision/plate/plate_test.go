package plate

import (
	"math"
	"strings"
	"testing"

	"gatehouse/vision/plate/quad"
	"gatehouse/vision/plate/text"
)

func TestBestOfATally(t *testing.T) {
	reading := func(number string, form text.Form, p float64) text.Reading {
		return text.Reading{Number: number, Form: form, Log: math.Log(p)}
	}
	blue, white := ground{color: "blue"}, ground{color: "white", dark: true}
	for name, c := range map[string]struct {
		cuts   [][]text.Reading
		ground ground
		away   bool
		want   string
	}{
		"the more probable mainland number":     {[][]text.Reading{{reading("川A1", text.Standard, .3)}, {reading("川A2", text.Standard, .6)}}, blue, false, "川A2"},
		"the number that most cuts read":        {[][]text.Reading{{reading("川A1", text.Standard, .4)}, {reading("川A2", text.Standard, .6)}, {reading("川A1", text.Standard, .5)}}, blue, false, "川A1"},
		"a second choice that is everybody's":   {[][]text.Reading{{reading("川A1", text.Standard, .5), reading("川A2", text.Standard, .45)}, {reading("川A3", text.Standard, .5), reading("川A2", text.Standard, .45)}}, blue, false, "川A2"},
		"a foreign number without a rival":      {[][]text.Reading{{reading("LS15EBC", text.Overseas, .9)}}, white, false, "LS15EBC"},
		"a foreign number, a weak rival":        {[][]text.Reading{{reading("LS15EBC", text.Overseas, .9), reading("京A1", text.Standard, .01)}}, white, false, "LS15EBC"},
		"a foreign number, a strong rival":      {[][]text.Reading{{reading("A12345", text.Overseas, .9), reading("京A12345", text.Standard, .2)}}, white, false, "京A12345"},
		"a foreign number on a mainland ground": {[][]text.Reading{{reading("A12345", text.Overseas, .9), reading("京A12345", text.Standard, .02)}}, blue, false, "京A12345"},
		"a foreign number where it is at home":  {[][]text.Reading{{reading("A12345", text.Overseas, .5), reading("京A12345", text.Standard, .4)}}, white, true, "A12345"},
		"a green number on blue":                {[][]text.Reading{{reading("京AD12345", text.GreenSmall, .6), reading("京A12345", text.Standard, .3)}}, blue, false, "京A12345"},
		"nothing at all is no number":           {nil, blue, false, ""},
	} {
		var tl tally
		tl.reset(parting{})
		for _, all := range c.cuts {
			tl.add(ppocr, all, nil)
		}
		e, ok := tl.evidence(weighing{ground: c.ground, foreign: c.ground.foreign(), home: !c.away})
		if e.reading.Number != c.want || ok != (c.want != "") {
			t.Errorf("%s: %+v %v", name, e, ok)
		}
	}
}

// What one recogniser rules out is seldom right, however sure the other is; and
// a layout that PP-OCR was not asked about is not held against its word.
func TestBestOfTwoRecognisers(t *testing.T) {
	reading := func(number string, p float64) text.Reading {
		return text.Reading{Number: number, Form: text.Overseas, Log: math.Log(p)}
	}
	for name, c := range map[string]struct {
		small, ppocr []text.Reading
		want         string
	}{
		"one is ruled out, the other possible": {[]text.Reading{reading("AB12", .75), reading("AB72", .2)}, []text.Reading{reading("AB72", .7)}, "AB72"},
		"both are possible":                    {[]text.Reading{reading("AB12", .75), reading("AB72", .2)}, []text.Reading{reading("AB72", .5), reading("AB12", .3)}, "AB12"},
		"the small one is surer":               {[]text.Reading{reading("AB12", .99)}, []text.Reading{reading("AB72", .99)}, "AB12"},
	} {
		r := &reader{}
		t1 := r.fresh(parting{})
		t1.add(small, nil, c.small)
		t1.add(ppocr, nil, c.ppocr)
		r.fresh(partings[0]).add(small, nil, []text.Reading{reading("NO1", .6)})
		if e, _ := r.best(weighing{}).evidence(weighing{}); e.reading.Number != c.want {
			t.Errorf("%s: %s", name, e.reading.Number)
		}
	}
}

// hsv repeats pixels: so many of each.
func hsv(parts ...[4]int) (out []uint8) {
	for _, p := range parts {
		for range p[0] {
			out = append(out, uint8(p[1]), uint8(p[2]), uint8(p[3]))
		}
	}
	return out
}

func TestGround(t *testing.T) {
	for name, c := range map[string]struct {
		pixels []uint8
		want   string
		dark   bool
	}{
		"white on blue":                 {hsv([4]int{70, 112, 200, 140}, [4]int{30, 0, 10, 230}), "blue", false},
		"black on a bluish white":       {hsv([4]int{70, 112, 60, 220}, [4]int{30, 112, 20, 30}), "blue", true},
		"black on yellow":               {hsv([4]int{70, 22, 200, 220}, [4]int{30, 0, 20, 30}), "yellow", true},
		"black on green":                {hsv([4]int{70, 70, 120, 200}, [4]int{30, 0, 20, 30}), "green", true},
		"black on white":                {hsv([4]int{70, 20, 15, 230}, [4]int{30, 20, 20, 30}), "white", true},
		"white on black":                {hsv([4]int{70, 20, 30, 35}, [4]int{30, 20, 15, 230}), "black", false},
		"infrared, which has no colour": {hsv([4]int{70, 0, 0, 200}, [4]int{30, 0, 0, 40}), "unknown", true},
		"a plate at dusk":               {hsv([4]int{70, 112, 20, 20}, [4]int{30, 20, 15, 60}), "unknown", false},
		"no pixels":                     {nil, "unknown", false},
	} {
		if got := groundOf(c.pixels); got.color != c.want || got.dark != c.dark || got.grey != strings.HasPrefix(name, "infrared") {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// A map with one peak gives one plate, its corners where the cells say.
func TestDecodeCorners(t *testing.T) {
	const w, h = 64, 36
	out := make([]float32, channels*w*h)
	for i := range w * h {
		out[i] = -9 // nowhere a centre
	}
	cell := 10*w + 20
	out[cell] = 6
	for c, offset := range [8]float32{-4, -1, 4, -1, 4, 1, -4, 1} {
		out[(1+c)*w*h+cell] = offset
	}
	out[10*w*h+cell] = 1 // two rows
	var c corners
	got := c.decode(out, w, h, .5)
	if len(got) != 1 || got[0].Rows != 2 || got[0].Score < .99 {
		t.Fatalf("%+v", got)
	}
	// The picture is twice as large: a pixel's left edge, not its middle, is doubled.
	x, y := (20*stride+4)*2-.5, (10*stride+4)*2-.5
	want := quad.Quad{{X: x - 64, Y: y - 16}, {X: x + 64, Y: y - 16}, {X: x + 64, Y: y + 16}, {X: x - 64, Y: y + 16}}
	if quad.IoU(got[0].Quad, want) < .9999 {
		t.Errorf("corners %v, want %v", got[0].Quad, want)
	}
	if len(c.decode(out[:100], w, h, 1)) != 0 {
		t.Error("too few values give plates")
	}
}
