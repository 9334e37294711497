package plate

import (
	"testing"

	"gatehouse/vision/plate/quad"
	"gatehouse/vision/plate/text"
)

func TestElect(t *testing.T) {
	reading := func(number string, form text.Form, score float64) vote {
		return vote{reading: text.Reading{Number: number, Form: form}, rows: 1, score: score}
	}
	for name, c := range map[string]struct {
		votes   []vote
		foreign float64
		want    string
		least   float64
		most    float64
	}{
		"the more probable mainland number":        {[]vote{reading("川A1", text.Standard, .3), reading("川A2", text.Standard, .6)}, .135, "川A2", .6, .6},
		"a foreign number without a rival":         {[]vote{reading("LS15EBC", text.Overseas, .9)}, .135, "LS15EBC", .9, .9},
		"a foreign number against a weak rival":    {[]vote{reading("LS15EBC", text.Overseas, .9), reading("京A1", text.Standard, .01)}, .135, "LS15EBC", .8, .89},
		"a foreign number against a strong rival":  {[]vote{reading("A12345", text.Overseas, .9), reading("京A12345", text.Standard, .2)}, .135, "京A12345", .2, .2},
		"a foreign number on a mainland ground":    {[]vote{reading("A12345", text.Overseas, .9), reading("京A12345", text.Standard, .02)}, .01, "京A12345", .02, .02},
		"nothing at all is no number and no score": {nil, .135, "", 0, 0},
	} {
		got, ok := elect(c.votes, c.foreign)
		if got.reading.Number != c.want || got.score < c.least || got.score > c.most || ok != (c.want != "") {
			t.Errorf("%s: %+v %v", name, got, ok)
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
		"black on yellow":               {hsv([4]int{70, 22, 200, 220}, [4]int{30, 0, 20, 30}), "yellow", false},
		"black on green":                {hsv([4]int{70, 70, 120, 200}, [4]int{30, 0, 20, 30}), "green", false},
		"black on white":                {hsv([4]int{70, 20, 15, 230}, [4]int{30, 20, 20, 30}), "white", true},
		"white on black":                {hsv([4]int{70, 20, 30, 30}, [4]int{30, 20, 15, 230}), "black", false},
		"infrared, which has no colour": {hsv([4]int{70, 0, 0, 200}, [4]int{30, 0, 0, 40}), "unknown", false},
		"no pixels":                     {nil, "unknown", false},
	} {
		if got, dark := ground(c.pixels); got != c.want || dark != c.dark {
			t.Errorf("%s: %s, dark characters %v", name, got, dark)
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
	got := decode(out, w, h, .5)
	if len(got) != 1 || got[0].Rows != 2 || got[0].Score < .99 {
		t.Fatalf("%+v", got)
	}
	x, y := 20*stride+3.5, 10*stride+3.5
	want := quad.Quad{{X: (x - 32) * 2, Y: (y - 8) * 2}, {X: (x + 32) * 2, Y: (y - 8) * 2}, {X: (x + 32) * 2, Y: (y + 8) * 2}, {X: (x - 32) * 2, Y: (y + 8) * 2}}
	if quad.IoU(got[0].Quad, want) < .999 {
		t.Errorf("corners %v, want %v", got[0].Quad, want)
	}
	if len(decode(out[:100], w, h, 1)) != 0 {
		t.Error("too few values give plates")
	}
}
