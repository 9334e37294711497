package track

import (
	"testing"
	"time"
)

var options = Options{Need: 2, Lead: 1, Frames: 2, MinScore: .9, Lost: time.Second, Same: 10 * time.Second}

// drive feeds one sight per frame at 10 frames/s, moving right, and gives the
// answers. An empty text is a frame without a plate.
func drive(t *Tracker, start time.Time, texts ...string) (answers []Answer, end time.Time) {
	for i, text := range texts {
		at := start.Add(time.Duration(i) * 100 * time.Millisecond)
		var sights []Sight
		if text != "" {
			sights = []Sight{{Text: text, Score: .95, Left: 100 + 8*i, Top: 200, Width: 120, Height: 40}}
		}
		answers = append(answers, t.Frame(at, sights)...)
		end = at
	}
	return answers, end
}

func TestOneAnswerPerPassage(t *testing.T) {
	tr := New(options)
	answers, end := drive(tr, time.Unix(0, 0), "A1", "A1", "A1", "A1", "A1", "A1")
	if len(answers) != 1 || answers[0].Text != "A1" || answers[0].Frames != 3 {
		t.Fatalf("got %+v", answers)
	}
	// The same car, lost from sight for two seconds and back within ten.
	again, end := drive(tr, end.Add(2*time.Second), "A1", "A1", "A1", "A1")
	if len(again) != 0 {
		t.Errorf("the same plate was answered again after two seconds: %+v", again)
	}
	again, _ = drive(tr, end.Add(11*time.Second), "A1", "A1", "A1", "A1")
	if len(again) != 1 {
		t.Errorf("a plate that comes again after its time gave %d answers", len(again))
	}
}

func TestParkedCarStaysSilent(t *testing.T) {
	tr := New(options)
	n := 0
	for i := range 600 { // a minute
		n += len(tr.Frame(time.Unix(0, 0).Add(time.Duration(i)*100*time.Millisecond),
			[]Sight{{Text: "A1", Score: .99, Left: 100, Top: 200, Width: 120, Height: 40}}))
	}
	if n != 1 {
		t.Errorf("a parked car was answered %d times", n)
	}
}

func TestMisreadsAreOutvoted(t *testing.T) {
	answers, _ := drive(New(options), time.Unix(0, 0), "B1", "A1", "B1", "A1", "A1", "A1", "A1")
	if len(answers) != 1 || answers[0].Text != "A1" {
		t.Fatalf("got %+v", answers)
	}
	if answers[0].Index != 0 {
		t.Errorf("index %d", answers[0].Index)
	}
}

func TestTwoCarsSideBySide(t *testing.T) {
	tr := New(options)
	got := map[string]int{}
	for i := range 10 {
		for _, a := range tr.Frame(time.Unix(int64(i), 0).Add(-time.Duration(i)*900*time.Millisecond), []Sight{
			{Text: "L1", Score: .95, Left: 100 + 5*i, Top: 300, Width: 120, Height: 40},
			{Text: "R1", Score: .95, Left: 800 - 5*i, Top: 300, Width: 120, Height: 40},
		}) {
			got[a.Text]++
		}
	}
	if got["L1"] != 1 || got["R1"] != 1 {
		t.Errorf("got %v", got)
	}
}

func TestUnsureTakesLonger(t *testing.T) {
	tr := New(options)
	at := time.Unix(0, 0)
	for n := 1; ; n++ {
		at = at.Add(100 * time.Millisecond)
		a := tr.Frame(at, []Sight{{Text: "A1", Score: .6, Left: 100, Top: 200, Width: 120, Height: 40}})
		if len(a) == 0 && !tr.Open() {
			t.Fatal("the unsure plate is forgotten")
		}
		if len(a) > 0 || n > 50 {
			if n != 7 || a[0].Score != .6 { // 7 × 0.6 is above 2 × 2
				t.Errorf("answered in frame %d: %+v", n, a)
			}
			return
		}
	}
}

func TestMemoryIsBounded(t *testing.T) {
	tr := New(options)
	at := time.Unix(0, 0)
	for i := range 5000 {
		at = at.Add(300 * time.Millisecond)
		text := string(rune('A'+i%26)) + time.Duration(i).String()
		for range 3 {
			at = at.Add(50 * time.Millisecond)
			tr.Frame(at, []Sight{{Text: text, Score: .95, Left: i % 900, Top: 10, Width: 100, Height: 30}})
		}
	}
	if len(tr.seen) > 50 || len(tr.paths) > 50 {
		t.Errorf("%d texts and %d paths are kept", len(tr.seen), len(tr.paths))
	}
}
