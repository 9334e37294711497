package plate

import (
	"image"
	"math"
	"testing"
	"time"

	"gatehouse/vision/plate/quad"
	"gatehouse/vision/plate/text"
	"gatehouse/vision/warp"
)

// at is a plate 100 pixels wide with its left top corner at x.
func at(x float64) quad.Quad {
	return quad.Quad{{X: x, Y: 50}, {X: x + 100, Y: 50}, {X: x + 100, Y: 80}, {X: x, Y: 80}}
}

// openSmall is a reader with the small recogniser alone.
func openSmall(t *testing.T) *reader {
	t.Helper()
	cut := warp.NewCutter()
	r, err := newReader("", Options{Readers: ReadSmall}, cut)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.close()
		cut.Close()
	})
	return r
}

// count gives a check of how often PP-OCR was asked since the last one.
func count(t *testing.T, asked *int) func(what string, n int) {
	return func(what string, n int) {
		t.Helper()
		if *asked != n {
			t.Errorf("%s: PP-OCR was asked %d times, want %d", what, *asked, n)
		}
		*asked = 0
	}
}

// PP-OCR's word holds for the same number in the same place, for a while, and
// only where the small recogniser is sure of it.
func TestAConfirmedNumberIsFollowed(t *testing.T) {
	r := openSmall(t)
	w := weighing{home: true, foreign: .1}
	// look has the small recogniser read a number, and PP-OCR too where its word is
	// not recalled.
	asked := 0
	look := func(now time.Duration, number string, sure, score float64, q quad.Quad) {
		t.Helper()
		r.follow.goOn(int64(now))
		r.used = 0
		tally := r.fresh(parting{})
		line := func(p float64) []text.Reading {
			return []text.Reading{{Number: number, Form: text.Standard, Log: math.Log(p), Chars: []float64{p}}}
		}
		tally.add(small, line(sure), nil)
		recalled := r.recall(Candidate{Quad: q}, w)
		if !recalled {
			asked++
			tally.add(ppocr, line(.98), nil)
		}
		e, ok := tally.evidence(w)
		if !ok || !e.read[ppocr] || math.Abs(e.shares[ppocr]-.98) > 1e-9 || e.tops[ppocr] != 1 {
			t.Errorf("%s is %+v", number, e)
		}
		e.recalled = recalled
		r.follow.saw(e, score, q)
	}
	expect := count(t, &asked)
	const frame = time.Second / 15
	now := time.Second
	for range 60 {
		look(now, "川A12345", .98, .995, at(10))
		now += frame
	}
	expect("a plate that stands", 1)
	look(now, "川A12345", .98, .995, at(80))
	expect("it moves", 0)
	look(now, "川A12345", .98, .995, at(600))
	expect("it is elsewhere", 1)
	look(now, "川A12346", .98, .995, at(80))
	expect("another number there", 1)
	look(now, "川A12345", .75, .995, at(80))
	expect("the small recogniser does not think so", 1)
	now += time.Second
	for i := range 10 {
		look(now+time.Duration(i)*frame, "川A12345", .98, .94, at(80))
	}
	expect("a number that is not likely enough", 10)
	now += 2 * time.Second
	for i := range 10 {
		look(now+time.Duration(i)*frame, "川A12345", .98, .97, at(80))
	}
	expect("one that is confirmed twice", 2)
	now += 3 * time.Second
	look(now, "川A12345", .98, .995, at(80))
	look(now+2*time.Second, "川A12345", .98, .995, at(80))
	expect("it was out of sight", 2)
	for i := range 12 * 15 {
		look(now+4*time.Second+time.Duration(i)*frame, "川A12345", .98, .995, at(80))
	}
	expect("it stands for twelve seconds", 3)
	last := now + 4*time.Second + 12*15*frame
	look(last, "川A12345", .98, .995, at(80))
	expect("it stands there yet", 0)
	look(time.Second, "川A12345", .98, .995, at(80))
	look(last+frame, "川A12345", .98, .995, at(80))
	expect("another film begins, and another one", 2)
	look(0, "川A12345", .98, .995, at(80))
	expect("a picture that stands alone", 1)
}

// Where the small recogniser thinks of another number too, PP-OCR has its say.
func TestADoubtfulNumberIsConfirmedAnew(t *testing.T) {
	r := openSmall(t)
	reading := func(number string, p float64) text.Reading {
		return text.Reading{Number: number, Form: text.Standard, Log: math.Log(p), Chars: []float64{p}}
	}
	r.follow.now = int64(time.Second)
	for range likelyTimes {
		r.follow.saw(evidence{reading: reading("川A12345", .98), shares: [engines]float64{.98, .98}, read: [engines]bool{true, true}}, .97, at(10))
	}
	for rival, want := range map[float64]bool{.05: true, .14: false} {
		r.used = 0
		r.fresh(parting{}).add(small, []text.Reading{reading("川A12345", .84), reading("川A12346", rival)}, nil)
		if got := r.recall(Candidate{Quad: at(10)}, weighing{home: true, foreign: .1}); got != want {
			t.Errorf("with a rival of %.2f it is recalled: %v", rival, got)
		}
	}
}

// PP-OCR is asked twice about a number that stays in doubt, then in every other
// frame, as long as the small recogniser reads the same in the same place.
func TestADoubtIsSettledInEveryOtherFrame(t *testing.T) {
	var f follower
	likeliest := text.Reading{Number: "B58D23", Form: text.Overseas}
	answer := []text.Reading{{Number: "粤B58D23", Form: text.Standard, Log: -.1}}
	asked := 0
	look := func(now time.Duration, r text.Reading, layout parting, q quad.Quad) {
		t.Helper()
		f.goOn(int64(now))
		d := f.heard(r, layout, q)
		if r.Number == likeliest.Number && layout.rows() == 1 && f.holds(q) != (d != nil) {
			t.Errorf("%v: that it holds is %v, foretold %v", now, d != nil, f.holds(q))
		}
		if d == nil {
			asked++
			f.asked(r, layout, q, answer, nil)
		} else if len(d.mainland) != 1 || d.mainland[0].Number != answer[0].Number {
			t.Errorf("it has read %v", d.mainland)
		}
	}
	expect := count(t, &asked)
	const frame = time.Second / 15
	now := time.Second
	for range 10 {
		now += frame
		look(now, likeliest, parting{}, at(10))
	}
	expect("ten frames", 6) // 1, 2, 4, 6, 8, 10
	look(now+frame, likeliest, parting{}, at(600))
	expect("it is elsewhere", 1)
	look(now+2*frame, likeliest, partings[0], at(10))
	expect("two rows", 1)
	look(now+3*frame, text.Reading{Number: "B58D28", Form: text.Overseas}, parting{}, at(10))
	expect("the small recogniser reads something else", 1)
	look(now+4*frame, likeliest, parting{}, at(10))
	expect("frames later", 1)
	now += time.Second
	look(now, likeliest, parting{}, at(10))
	look(now+frame, likeliest, parting{}, at(10))
	look(now+2*frame, likeliest, parting{}, at(10))
	expect("it was out of sight", 2)
	look(time.Second, likeliest, parting{}, at(10))
	expect("another film", 1)
	f.now = 0
	if f.asked(likeliest, parting{}, at(10), answer, nil); f.heard(likeliest, parting{}, at(10)) != nil {
		t.Error("it holds for a picture that stands alone")
	}
	f.forget()
	for i := range 6 { // it contradicts itself
		answer = []text.Reading{{Number: []string{"粤B58D23", "粤B58D28"}[i%2], Form: text.Standard, Log: -.1}}
		look(10*time.Second+time.Duration(i)*frame, likeliest, parting{}, at(10))
	}
	expect("PP-OCR is in doubt itself", 6)
}

// What PP-OCR has read in the last frame does not confirm what is read in this one.
func TestOnlyANewWordConfirms(t *testing.T) {
	var f follower
	read := evidence{reading: text.Reading{Number: "川A12345", Form: text.Standard}, shares: [engines]float64{.98, .98}, read: [engines]bool{true, true}}
	f.goOn(int64(time.Second))
	read.recalled = true
	if f.saw(read, .995, at(10)); len(f.known) != 0 {
		t.Errorf("an old word makes it known: %+v", f.known)
	}
	read.recalled = false
	f.saw(read, .96, at(10))
	read.recalled = true
	if f.saw(read, .995, at(10)); len(f.known) != 1 || f.known[0].times != 1 {
		t.Errorf("an old word confirms it: %+v", f.known)
	}
	read.recalled = false
	if f.saw(read, .96, at(10)); len(f.known) != 1 || f.known[0].times != 2 {
		t.Errorf("a new one does not: %+v", f.known)
	}
}

// A number whose O could be a 0 is told with little confidence, but read as
// surely as any: PP-OCR need not be asked in every frame for it.
func TestANumberWithATwinIsFollowed(t *testing.T) {
	c, err := parseConfidence(confidenceFile, ReadBoth)
	if err != nil {
		t.Fatal(err)
	}
	r := &Recognizer{read: openSmall(t), confidence: c}
	quad := quad.Quad{{X: 10, Y: 10}, {X: 170, Y: 10}, {X: 170, Y: 50}, {X: 10, Y: 50}}
	clear := evidence{reading: text.Reading{Number: "AO123BC", Form: text.Overseas, Chars: []float64{.99, .99, .99, .99, .99, .99, .99}},
		rows: 1, lead: 1e6, shares: [engines]float64{.998, .998}, tops: [engines]float64{1, 1}, read: [engines]bool{true, true}}
	p, ok := r.describe(image.Pt(200, 100), Candidate{Quad: quad, Score: .999, Rows: 1}, clear, true, ground{color: "white", dark: true}, MinScore)
	if !ok || !r.read.ambiguous(p.Text) || p.Score > undecided || p.read < settled {
		t.Errorf("it is read at %.3f and told with %.3f: %+v", p.read, p.Score, p.Plate)
	}
}
