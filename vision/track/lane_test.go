package track

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"gatehouse/vision/link"
)

const (
	frame  = 100 * time.Millisecond
	width  = 1280
	height = 720
)

func laneOptions(lane link.Lane) LaneOptions {
	if lane.SettleMS == 0 {
		lane.SettleMS = 300
	}
	return LaneOptions{Lane: lane, Need: 2, Lead: 1, Frames: 2, MinScore: .9, Lost: time.Second, Same: 10 * time.Second}
}

// counted is a picture that counts who needs it.
type counted struct{ needed *int }

func (c counted) Keep() { *c.needed++ }
func (c counted) Drop() { *c.needed-- }

// road drives plates through a lane and collects what is told.
type road struct {
	t      *testing.T
	lane   *Lane
	at     int64
	notes  []Note
	needed int
}

func newRoad(t *testing.T, lane link.Lane) *road {
	return &road{t: t, lane: NewLane(laneOptions(lane)), at: int64(time.Hour)}
}

func (r *road) take(notes []Note) {
	for _, n := range notes {
		if n.Shot != nil {
			n.Shot.Drop()
		}
		if n.Event == link.EventPassage && n.Shot == nil {
			r.t.Errorf("a passage without a picture: %+v", n)
		}
		if n.Event == link.EventQuick && n.Shot != nil {
			r.t.Error("an early notice with a picture")
		}
	}
	r.notes = append(r.notes, notes...)
}

func plateAt(text string, score float64, x, y, w int) link.Plate {
	return link.Plate{Text: text, Score: score, Box: link.Box{Left: x, Top: y, Width: w, Height: w / 3}}
}

func (r *road) see(plates ...link.Plate) {
	r.at += int64(frame)
	quality := make([]float64, len(plates))
	for i, p := range plates {
		quality[i] = float64(p.Box.Width)
	}
	r.take(r.lane.Frame(View{At: r.at, Width: width, Height: height, Plates: plates, Quality: quality, Shot: counted{&r.needed}}))
}

func (r *road) empty(d time.Duration) {
	for end := r.at + int64(d); r.at < end; {
		r.see()
	}
}

// pass drives one plate down the picture, a text per frame; "" is unreadable.
func (r *road) pass(score float64, texts ...string) {
	for i, text := range texts {
		r.see(plateAt(text, score, 600, 100+30*i, 120+4*i))
	}
	r.empty(2 * time.Second)
}

// told lists events as "event text direction".
func (r *road) told() (all []string) {
	for _, n := range r.notes {
		what := n.Event
		if n.LaneEvent != 0 {
			what = fmt.Sprint(what, n.LaneEvent)
		}
		all = append(all, fmt.Sprintf("%s %s %d", what, n.Plate.Text, n.Direction))
	}
	if r.needed != 0 {
		r.t.Errorf("%d pictures are still needed", r.needed)
	}
	return all
}

func expect(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s: told %q, want %q", what, got, want)
	}
}

func repeat(text string, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = text
	}
	return all
}

func TestAPassageIsToldOnce(t *testing.T) {
	r := newRoad(t, link.Lane{})
	r.pass(.95, repeat("京A12345", 12)...)
	expect(t, "a passage", r.told(), "quick 京A12345 4", "passage 京A12345 4")
	quick, final := r.notes[0], r.notes[1]
	if quick.Passage == 0 || quick.Passage != final.Passage || final.Plate.Score != .95 || final.Votes.Share != 1 || final.Begin == 0 || final.End <= final.Begin {
		t.Errorf("%+v, %+v", quick, final)
	}
	r.pass(.95, repeat("京A12345", 12)...)
	expect(t, "the same again at once", r.told(), "quick 京A12345 4", "passage 京A12345 4")
	r.empty(11 * time.Second)
	r.pass(.95, repeat("京A12345", 12)...)
	if n := len(r.notes); n != 4 || r.notes[2].Passage == quick.Passage {
		t.Errorf("after its time it is told %d times", n)
	}
}

func TestVotesOverCharacters(t *testing.T) {
	for what, c := range map[string]struct {
		texts  []string
		want   string
		opens  bool
		frames int
	}{
		"one text":              {repeat("京A12345", 6), "京A12345", true, 6},
		"a misread is outvoted": {[]string{"京A12346", "京A12345", "京A12345", "京A12345", "京A12345", "京A12345", "京A12345"}, "京A12345", true, 7},
		"a lost character":      {[]string{"京A1234", "京A12345", "京A12345", "京A12345", "京A12345", "京A12345", "京A12345"}, "京A12345", true, 7},
		"no frame is right":     {[]string{"京A12X45", "京A1Y345", "京AZ2345", "沪A12345"}, "京A12345", false, 4},
		"half and half":         {[]string{"京A12345", "京A12346", "京A12345", "京A12346", "京A12345", "京A12346", "京A12345"}, "京A12345", false, 7},
		"one frame":             {[]string{"京A12345"}, "京A12345", false, 1},
	} {
		r := newRoad(t, link.Lane{SettleMS: 3000})
		r.pass(.95, c.texts...)
		r.told()
		var final *Note
		for i := range r.notes {
			if r.notes[i].Event == link.EventPassage {
				final = &r.notes[i]
			}
		}
		if final == nil || final.Plate.Text != c.want || final.Plate.Score >= .9 != c.opens || final.Votes.Frames != c.frames {
			t.Errorf("%s: %+v", what, final)
		}
	}
}

// Looks that agree lift a score a little, copies of one look do not.
func TestLooksThatAgree(t *testing.T) {
	const text, other = "LS15EBC", "LS15E8C"
	type seen struct {
		text  string
		score float64
		n     int // frames
		step  int // px between them, of a plate of 120 × 40
	}
	for what, c := range map[string]struct {
		seen []seen
		want float64
	}{
		"one frame":                       {[]seen{{text, .886, 1, 0}}, .886},
		"two looks":                       {[]seen{{text, .886, 2, 60}}, .892},
		"three looks":                     {[]seen{{text, .886, 3, 60}}, .898},
		"four looks":                      {[]seen{{text, .886, 4, 60}}, .902},
		"a hundred looks":                 {[]seen{{text, .886, 100, 60}}, .919},
		"a car that stands":               {[]seen{{text, .886, 300, 0}}, .886},
		"one that trembles":               {[]seen{{text, .886, 1, 0}, {text, .886, 5, 5}}, .886},
		"one that creeps":                 {[]seen{{text, .886, 29, 5}}, .902},
		"one look is the best":            {[]seen{{text, .7, 9, 60}, {text, .886, 1, 0}}, .914},
		"looks that read it hardly":       {[]seen{{text, .45, 9, 60}, {text, .886, 1, 0}}, .886},
		"far looks only":                  {[]seen{{text, .8, 100, 60}}, .855},
		"nearly far ones":                 {[]seen{{text, .85, 100, 60}}, .893},
		"not above what is given to an O": {[]seen{{text, .93, 100, 60}}, .94},
		"nor less than the best":          {[]seen{{text, .985, 100, 60}}, .985},
		"one in ten reads otherwise":      {[]seen{{text, .886, 18, 60}, {other, .886, 2, 60}}, .903},
		"one in five":                     {[]seen{{text, .886, 16, 60}, {other, .886, 4, 60}}, .886},
		"two in five":                     {[]seen{{text, .886, 12, 60}, {other, .886, 8, 60}}, .664},
	} {
		v := votes{texts: map[string]*ballot{}}
		for _, s := range c.seen {
			for i := range s.n {
				p := plateAt(s.text, s.score, 100+i*s.step, 300, 120)
				p.CharScores = []float64{s.score, 1, 1, 1, 1, 1, 1}
				v.add(p)
			}
		}
		if w, ok := v.elect(); !ok || w.text != text || math.Abs(w.score-c.want) > .0015 || len(w.plate.CharScores) != len(text) {
			t.Errorf("%s: %s with %.4f, want %.3f", what, w.text, w.score, c.want)
		}
	}
	// What frames put together and none has read is not lifted.
	v := votes{texts: map[string]*ballot{}}
	for i, text := range []string{"LS15EBX", "LS1YEBC", "LZ15EBC"} {
		for k := range 4 {
			v.add(plateAt(text, .89, 100+60*k, 100*i, 120))
		}
	}
	if w, _ := v.elect(); w.text != "LS15EBC" || w.score >= .89 {
		t.Errorf("put together: %s with %.3f", w.text, w.score)
	}
}

// A far look is no reason to give up: what is told waits for the nearer one.
func TestANearerLookIsWaitedFor(t *testing.T) {
	r := newRoad(t, link.Lane{})
	for i := range 20 {
		score := .6
		if i > 10 {
			score = .96
		}
		r.see(plateAt("京A12345", score, 600, 100+20*i, 120+4*i))
	}
	r.empty(2 * time.Second)
	expect(t, "a car that comes near", r.told(), "quick 京A12345 4", "passage 京A12345 4")
	if s := r.notes[0].Plate.Score; s != .96 {
		t.Error("told at", s)
	}
	r = newRoad(t, link.Lane{})
	for range 40 {
		r.see(plateAt("京A12345", .6, 600, 300, 120))
	}
	expect(t, "a car that stands and is read badly", r.told(), "quick 京A12345 0", "passage 京A12345 0")
}

// What was told below the gate's score, standing in a queue, is told once more
// when it comes near enough to be sure: it must not stay before the barrier.
func TestAQueueIsNotItsEnd(t *testing.T) {
	for what, lost := range map[string]bool{"seen all the time": false, "out of sight between": true} {
		r := newRoad(t, link.Lane{})
		for range 40 {
			r.see(plateAt("京A12345", .6, 600, 300, 120))
		}
		if lost {
			r.empty(2 * time.Second)
		}
		for i := range 30 {
			r.see(plateAt("京A12345", .6+.35*float64(min(i, 8))/8, 600, 300+12*i, 130+2*i))
		}
		r.empty(2 * time.Second)
		told := r.told()
		if len(told) != 4 || !strings.HasPrefix(told[2], "quick 京A12345") || !strings.HasPrefix(told[3], "passage 京A12345") ||
			r.notes[1].Plate.Score >= .9 || r.notes[2].Plate.Score < .9 || r.notes[3].Plate.Score < .9 || r.notes[3].Shot == nil || r.notes[1].Passage == r.notes[2].Passage {
			t.Errorf("%s: %q", what, told)
		}
	}
}

// The final result has the passage's best picture where it may wait for it,
// and never keeps somebody waiting who opens by it.
func TestTheBestPictureIsWaitedFor(t *testing.T) {
	const may = true
	coming := func(i int) link.Plate { // from 60 px to 218 px in two and a half seconds
		return plateAt("京A12345", .95, 600, 100+15*i, int(60*math.Pow(1.053, float64(min(i, 25)))))
	}
	for what, c := range map[string]struct {
		wait        bool
		frames      int // then it is out of sight
		see         func(i int) link.Plate
		least, most int           // width of the plate in the picture
		after       time.Duration // the early notice
	}{
		"a plate that grows":                   {may, 40, coming, 200, 220, 3 * time.Second},
		"where others open by it":              {!may, 40, coming, 75, 85, 400 * time.Millisecond},
		"a plate that leaves the picture":      {may, 12, coming, 100, 110, 1900 * time.Millisecond},
		"a plate that stands":                  {may, 40, func(int) link.Plate { return plateAt("京A12345", .95, 600, 300, 120) }, 120, 120, time.Second},
		"a plate that grows for half a minute": {may, 300, func(i int) link.Plate { return plateAt("京A12345", .95, 600, 100, 60+9*i/2) }, 100, 210, 3 * time.Second},
		"another text than the early one": {may, 40, func(i int) link.Plate {
			p := coming(i)
			if i > 2 {
				p.Text, p.Score = "京A12346", .97
			}
			return p
		}, 75, 95, 600 * time.Millisecond},
	} {
		r := newRoad(t, link.Lane{SettleMS: 400, FinalMayWait: c.wait})
		early, final := int64(0), int64(0)
		for i := range c.frames + 20 {
			if i < c.frames {
				r.see(c.see(i))
			} else {
				r.see()
			}
			if early == 0 && len(r.notes) == 1 {
				early = r.at
			}
			if final == 0 && len(r.notes) == 2 {
				final = r.at
			}
		}
		if len(r.told()) != 2 {
			t.Fatalf("%s: told %q", what, r.told())
		}
		if w := r.notes[1].Plate.Box.Width; w < c.least || w > c.most || final-early > int64(c.after) {
			t.Errorf("%s: a plate of %d px, %s after the early notice", what, w, time.Duration(final-early))
		}
	}
}

func TestUnreadableAndNoise(t *testing.T) {
	r := newRoad(t, link.Lane{Unreadable: true})
	r.pass(0, repeat("", 8)...)
	expect(t, "an unreadable plate", r.told(), "passage  4")
	if s := r.notes[0].Plate.Score; s >= .9 {
		t.Error("its score is", s)
	}
	r = newRoad(t, link.Lane{Unreadable: true})
	r.pass(.2, "京A12345", "B2")
	expect(t, "two weak sights", r.told())
	r = newRoad(t, link.Lane{})
	r.pass(0, repeat("", 8)...)
	expect(t, "an unreadable plate, switched off", r.told())
}

func TestParkedCars(t *testing.T) {
	r := newRoad(t, link.Lane{StayingMS: 5000})
	parked := plateAt("京A12345", .95, 500, 300, 130)
	for i := range 1200 { // two minutes; at times it cannot be read for three seconds
		if i%100 < 70 {
			r.see(parked)
		} else {
			r.see()
		}
	}
	n := 0
	for _, note := range r.notes {
		if note.Event == link.EventPassage {
			n++
		}
	}
	if n != 1 {
		t.Errorf("a parked car is told %d times", n)
	}
	// Where nothing moves, nobody looks, and it stays all the same.
	r = newRoad(t, link.Lane{StayingMS: 5000})
	for range 8 {
		r.see(parked)
	}
	for range 600 {
		r.at += int64(frame)
		r.take(r.lane.Still(View{At: r.at, Width: width, Height: height, Shot: counted{&r.needed}}))
	}
	r.empty(restFor + 2*time.Second)
	expect(t, "a car that stays a minute", r.told(), "quick 京A12345 0", "passage 京A12345 0", "lane64 京A12345 0", "lane65 京A12345 0")
}

// A vehicle that stands is the same one however often its plate is lost.
func TestAParkedPlateThatIsLostNowAndThen(t *testing.T) {
	const text = "京A12345"
	stand := func(text string, score float64) link.Plate { return plateAt(text, score, 500, 300, 130) }
	for what, c := range map[string]struct {
		first      int // frames at the beginning
		seen, lost int // frames, over and over
		plate      func(i int) link.Plate
		want       []string
	}{
		"an unreadable plate": {0, 70, 30, func(int) link.Plate { return stand("", 0) },
			[]string{"lane64  0", "passage  0", "lane65  0"}},
		"one that is soon seen for a second only": {30, 10, 30, func(i int) link.Plate { return stand("", 0) }, []string{"passage  0"}},
		"a plate that is read": {0, 70, 30, func(int) link.Plate { return stand(text, .95) },
			[]string{"quick 京A12345 0", "passage 京A12345 0", "lane64 京A12345 0", "lane65 京A12345 0"}},
		"one that is read after a minute": {0, 70, 30, func(i int) link.Plate {
			if i < 600 {
				return stand("", 0)
			}
			return stand(text, .95)
		}, []string{"lane64  0", "passage  0", "quick 京A12345 0", "passage 京A12345 0", "lane65 京A12345 0"}},
		"one that is read now and then, and badly": {0, 70, 30, func(i int) link.Plate {
			if i%40 == 0 {
				return stand(fmt.Sprintf("京A%05d", 7*i), .45)
			}
			return stand("", 0)
		}, []string{"lane64 京A00000 0", "passage 京A00000 0", "lane65 京A07840 0"}},
		"another car in its place": {0, 70, 30, func(i int) link.Plate {
			if i < 600 {
				return stand(text, .95)
			}
			return stand("沪B98765", .95)
		}, []string{"quick 京A12345 0", "passage 京A12345 0", "lane64 京A12345 0", "quick 沪B98765 0", "passage 沪B98765 0", "lane64 沪B98765 0", "lane65 京A12345 0", "lane65 沪B98765 0"}},
	} {
		r := newRoad(t, link.Lane{Unreadable: true, StayingMS: 5000})
		for i := range c.first {
			r.see(c.plate(i))
		}
		for i := range 1200 {
			if i%(c.seen+c.lost) < c.seen {
				r.see(c.plate(i))
			} else {
				r.see()
			}
		}
		r.empty(restFor + 2*time.Second)
		expect(t, what, r.told(), c.want...)
	}
}

// A vehicle that stood where it does not count is told when it does.
func TestACarThatStandsShortOfTheLine(t *testing.T) {
	r := newRoad(t, link.Lane{TriggerLine: []link.Fraction{{X: 0, Y: .5}, {X: 1, Y: .5}}})
	for range 30 {
		r.see(plateAt("京A12345", .95, 600, 200, 120))
	}
	r.empty(2 * time.Second) // somebody walks before it
	for i := range 40 {
		r.see(plateAt("京A12345", .95, 600, 200+10*max(0, i-20), 120))
	}
	r.empty(2 * time.Second)
	expect(t, "a car that waits short of the line", r.told(), "quick 京A12345 4", "passage 京A12345 4")
}

func TestLineLoopRegionDirection(t *testing.T) {
	line := []link.Fraction{{X: 0, Y: .5}, {X: 1, Y: .5}}
	loop := []link.Fraction{{X: .3, Y: .6}, {X: .7, Y: .6}, {X: .7, Y: .9}, {X: .3, Y: .9}}
	right := []link.Fraction{{X: .6, Y: 0}, {X: 1, Y: 0}, {X: 1, Y: 1}, {X: .6, Y: 1}}
	told := []string{"quick 京A12345 4", "passage 京A12345 4"}
	for what, c := range map[string]struct {
		lane link.Lane
		n    int // frames, 30 px down each
		want []string
	}{
		"over the line":     {link.Lane{TriggerLine: line}, 14, told},
		"short of the line": {link.Lane{TriggerLine: line}, 5, nil},
		"into the loop":     {link.Lane{Loop: loop}, 16, told},
		"short of the loop": {link.Lane{Loop: loop}, 8, nil},
		"beside the region": {link.Lane{Region: right}, 14, nil},
		"the wanted way":    {link.Lane{Direction: link.DirectionDown}, 14, told},
		"another way":       {link.Lane{Direction: link.DirectionUp}, 14, nil},
		"too small":         {link.Lane{MinPlateWidth: .2}, 14, nil},
		"large enough":      {link.Lane{MinPlateWidth: .05}, 14, told},
	} {
		r := newRoad(t, c.lane)
		r.pass(.95, repeat("京A12345", c.n)...)
		expect(t, what, r.told(), c.want...)
	}
	r := newRoad(t, link.Lane{TriggerLine: line})
	for i := range 14 {
		r.see(plateAt("京A12345", .95, 600, 100+30*i, 120))
		if y := r.lane.paths[0].course.last.Top + 40; len(r.notes) > 0 && y < 330 {
			t.Fatalf("told at %d, before the line", y)
		}
	}
}

// A car that creeps up to the barrier and stands there is told, however little
// of its way was seen; one that went the other way is not.
func TestACarThatStandsBeforeItsWayIsKnown(t *testing.T) {
	for way, told := range map[int]bool{0: true, 10: true, 24: true, 30: true, 40: true, -30: true, -40: false} {
		r := newRoad(t, link.Lane{Direction: link.DirectionDown})
		stand := func(y int) { r.see(plateAt("京A12345", .95, 600, 300+y, 120)) }
		for i := range 5 {
			stand(way * i / 5)
		}
		if len(r.notes) > 0 && way < 40 {
			t.Errorf("%d px: told on the way", way)
		}
		for range 600 {
			stand(way)
		}
		r.empty(2 * time.Second)
		if got := r.told(); (len(got) == 2) != told || !told && len(got) > 0 {
			t.Errorf("%d px and then a minute: told %q", way, got)
		}
	}
}

func TestTurnsAndTailGating(t *testing.T) {
	r := newRoad(t, link.Lane{UTurn: true, TailGatingMS: 3000, Passing: true})
	for i := range 24 {
		y := 100 + 30*i
		if i > 12 {
			y = 100 + 30*(24-i)
		}
		r.see(plateAt("京A12345", .95, 600, y, 120))
	}
	r.empty(2 * time.Second)
	expect(t, "a U-turn", r.told(), "quick 京A12345 4", "passage 京A12345 4", "lane66 京A12345 4")
	r = newRoad(t, link.Lane{UTurn: true, TailGatingMS: 3000, Passing: true})
	for i := range 30 {
		var plates []link.Plate
		if i < 14 {
			plates = append(plates, plateAt("京A12345", .95, 600, 150+40*i, 120))
		}
		if i > 8 {
			plates = append(plates, plateAt("京B67890", .95, 600, 50+30*(i-8), 110))
		}
		r.see(plates...)
	}
	r.empty(2 * time.Second)
	expect(t, "two close behind each other", r.told(), "quick 京A12345 4", "passage 京A12345 4", "quick 京B67890 4", "lane68 京B67890 4",
		"passage 京B67890 4", "lane67 京A12345 4", "lane67 京B67890 4")
}

// Two cars side by side, each with its own passage; the order in which they
// are seen does not matter.
func TestCarsSideBySide(t *testing.T) {
	r := newRoad(t, link.Lane{})
	for i := range 12 {
		a, b := plateAt("京A11111", .95, 200+10*i, 300, 120), plateAt("京B22222", .95, 900-10*i, 300, 120)
		if i%2 == 0 {
			a, b = b, a
		}
		r.see(a, b)
	}
	r.empty(2 * time.Second)
	got := map[string]int{}
	for _, line := range r.told() {
		got[line]++
	}
	if len(got) != 4 || got["passage 京A11111 2"] != 1 || got["passage 京B22222 1"] != 1 {
		t.Errorf("told %v", got)
	}
}

// The next car stands where the first one was a moment ago.
func TestAnotherCarInTheSamePlace(t *testing.T) {
	r := newRoad(t, link.Lane{})
	for _, text := range []string{"京A12345", "沪C67890"} {
		for range 6 {
			r.see(plateAt(text, .95, 600, 400, 120))
		}
	}
	r.empty(2 * time.Second)
	expect(t, "two cars in one place", r.told(), "quick 京A12345 0", "passage 京A12345 0", "quick 沪C67890 0", "passage 沪C67890 0")
}

func TestEndGivesTheOpenPassages(t *testing.T) {
	r := newRoad(t, link.Lane{})
	for i := range 3 {
		r.see(plateAt("京A12345", .95, 600, 100+30*i, 120))
	}
	r.take(r.lane.End())
	expect(t, "a film that ends", r.told(), "quick 京A12345 4", "passage 京A12345 4")
}

func TestLaneForgets(t *testing.T) {
	r := newRoad(t, link.Lane{Unreadable: true})
	for i := range 3000 {
		text := fmt.Sprintf("京A%05d", i)
		for k := range 3 {
			r.see(plateAt(text, .95, i%1000, 100+20*k, 100))
		}
		r.at += int64(2 * time.Second)
		r.notes = r.notes[:0]
	}
	if len(r.lane.seen) > 50 || len(r.lane.paths) > 50 || len(r.lane.rested) > 50 {
		t.Errorf("%d texts, %d paths, %d resting", len(r.lane.seen), len(r.lane.paths), len(r.lane.rested))
	}
}

func TestAlike(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{{"京A12345", "京A12345", true}, {"京A12345", "京A12346", true}, {"京A12345", "A12345", true}, {"京A12345", "京A1245", true},
		{"京A12345", "京A12354", false}, {"京A12345", "沪B12345", false}, {"AB", "AC", false}, {"", "", true}} {
		if alike(c.a, c.b) != c.want || alike(c.b, c.a) != c.want {
			t.Errorf("%s and %s", c.a, c.b)
		}
	}
}

func FuzzAlign(f *testing.F) {
	f.Add("京A12345", "京A1245")
	f.Add("", "A")
	f.Fuzz(func(t *testing.T, a, b string) {
		if len(a) > 60 || len(b) > 60 {
			return
		}
		x, y := []rune(a), []rune(b)
		last := -1
		for _, j := range align(x, y) {
			if j >= len(y) || j >= 0 && j <= last {
				t.Fatal("out of order")
			}
			last = max(last, j)
		}
		v := votes{texts: map[string]*ballot{}}
		v.add(link.Plate{Text: a, Score: .9})
		v.add(link.Plate{Text: b, Score: .9})
		if w, ok := v.elect(); ok && (w.score > .9 || w.share > 1) {
			t.Fatalf("%+v", w)
		}
	})
}

// The frame that made a waiting car sure is its picture where no other comes.
func TestTheFrameThatMadeItSureIsKept(t *testing.T) {
	r := newRoad(t, link.Lane{})
	for range 40 {
		r.see(plateAt("京A12345", .6, 600, 300, 120))
	}
	r.see(plateAt("京A12345", .95, 600, 330, 128))
	r.empty(2 * time.Second) // take complains of a passage without a picture
	if told := r.told(); len(told) != 4 || r.notes[3].Plate.Box.Width != 128 {
		t.Errorf("%q", told)
	}
}

// Another car that stops where one stood is told, though its plate cannot be
// read at first.
func TestAnotherCarInThePlaceOfOneThatStoodIsTold(t *testing.T) {
	r := newRoad(t, link.Lane{})
	for range 40 {
		r.see(plateAt("京A12345", .96, 600, 300, 120))
	}
	r.empty(3 * time.Second)
	for range 25 {
		r.see(plateAt("", 0, 600, 300, 120))
	}
	r.see(plateAt("沪C98761", .7, 600, 300, 120))
	r.see(plateAt("沪C98761", .7, 600, 300, 120))
	r.empty(3 * time.Second)
	if told := r.told(); len(told) != 3 || told[2] != "passage 沪C98761 0" {
		t.Errorf("%q", told)
	}
}
