package gate

import (
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"gatehouse/hal/barrier"
	"gatehouse/sync/whitelist"
	"gatehouse/vision/link"
)

// list is a whitelist with fixed verdicts.
type list map[string]whitelist.Verdict

func (l list) Lookup(plate string, _ time.Time) (whitelist.Entry, whitelist.Verdict) {
	if l[plate] == whitelist.NotListed {
		return whitelist.Entry{}, whitelist.NotListed
	}
	return whitelist.Entry{Plate: plate}, l[plate]
}

// Near knows that a row with an 8 may have been read with a B.
func (l list) Near(reading string, most int, at time.Time) (whitelist.Entry, whitelist.Verdict) {
	if most < 1 {
		return whitelist.Entry{}, whitelist.NotListed
	}
	return l.Lookup(strings.ReplaceAll(reading, "B", "8"), at)
}

// nobody is an empty face library.
type nobody struct{}

func (nobody) Match([]float32) (string, float64) { return "", -1 }
func (nobody) Needed(float64) float64            { return 0 }

// broken is a driver whose outputs fail.
type broken struct{ barrier.Driver }

func (broken) Pulse(int, time.Duration) error { return errors.New("no such line") }

func plate(text string, score float64) link.Plate { return link.Plate{Text: text, Score: score} }

func TestDecisions(t *testing.T) {
	l := list{"LISTED1": whitelist.Listed, "LATE1": whitelist.OutOfTime, "OFF1": whitelist.Suspended, "BLACK1": whitelist.Blacklisted}
	for name, c := range map[string]struct {
		plates []link.Plate
		off    bool
		opened bool
		reason string
	}{
		"a listed plate":                {[]link.Plate{plate("LISTED1", 0.95)}, false, true, "listed"},
		"written another way":           {[]link.Plate{plate("listed·1", 0.95)}, false, true, "listed"},
		"just sure enough":              {[]link.Plate{plate("LISTED1", 0.9)}, false, true, "listed"},
		"not sure enough":               {[]link.Plate{plate("LISTED1", 0.89)}, false, false, "unsure"},
		"a score that is none":          {[]link.Plate{plate("LISTED1", math.NaN())}, false, false, "unsure"},
		"an empty text":                 {[]link.Plate{plate("", 1)}, false, false, "unsure"},
		"a stranger":                    {[]link.Plate{plate("OTHER1", 0.99)}, false, false, "not_listed"},
		"out of time":                   {[]link.Plate{plate("LATE1", 0.99)}, false, false, "out_of_time"},
		"suspended":                     {[]link.Plate{plate("OFF1", 0.99)}, false, false, "suspended"},
		"blacklisted":                   {[]link.Plate{plate("BLACK1", 0.99)}, false, false, "blacklisted"},
		"listed behind a stranger":      {[]link.Plate{plate("OTHER1", 0.99), plate("LISTED1", 0.99)}, false, true, "listed"},
		"listed beside a blacklisted":   {[]link.Plate{plate("LISTED1", 0.99), plate("BLACK1", 0.99)}, false, false, "blacklisted"},
		"nothing":                       {nil, false, false, "no_plate"},
		"opening by list is turned off": {[]link.Plate{plate("LISTED1", 0.99)}, true, false, "switched_off"},
	} {
		driver := barrier.NewSoftware(time.Hour)
		g := New(l, nobody{}, driver, Options{MinPlateScore: 0.9, OpenByWhitelist: !c.off, Pulse: time.Second})
		if driver.Position() == barrier.Opened {
			t.Fatal("making a gate opens it")
		}
		d := g.Passage(&link.Result{Plates: c.plates}, time.Now(), time.Now())
		if d.Opened != c.opened || d.Reason != c.reason || (driver.Position() == barrier.Opened) != c.opened || g.Status().Opened != driver.Raised() {
			t.Errorf("%s: %+v, barrier open %v; want %v, %s", name, d, (driver.Position() == barrier.Opened), c.opened, c.reason)
		}
		driver.Close()
	}
}

// Matching is exact unless tolerance is configured; then the decision shows
// that it was used, and keeps what was read.
func TestTolerance(t *testing.T) {
	l := list{"川A88888": whitelist.Listed, "川A86666": whitelist.Blacklisted, "川A87777": whitelist.OutOfTime}
	for _, c := range []struct {
		reading   string
		tolerance int
		want      Decision
	}{
		{"川A88888", 1, Decision{Opened: true, Reason: "listed", Listed: "川A88888"}},
		{"川AB8888", 0, Decision{Reason: "not_listed"}},
		{"川AB8888", 1, Decision{Opened: true, Reason: "listed", Listed: "川A88888", Tolerated: true}},
		{"川AB6666", 1, Decision{Reason: "blacklisted", Listed: "川A86666", Tolerated: true, Alarm: true}},
		{"川AB7777", 1, Decision{Reason: "out_of_time", Listed: "川A87777", Tolerated: true}},
		{"川AB9999", 1, Decision{Reason: "not_listed"}},
	} {
		driver := barrier.NewSoftware(time.Hour)
		g := New(l, nobody{}, driver, Options{MinPlateScore: 0.9, OpenByWhitelist: true, Tolerance: c.tolerance, Pulse: time.Second})
		d := g.Passage(&link.Result{Plates: []link.Plate{plate(c.reading, 0.99)}}, time.Now(), time.Now())
		if c.want.Plate = c.reading; !reflect.DeepEqual(d, c.want) || (driver.Position() == barrier.Opened) != c.want.Opened {
			t.Errorf("%s within %d: %+v, want %+v", c.reading, c.tolerance, d, c.want)
		}
		driver.Close()
	}
}

func TestAFailedOutputIsNoOpening(t *testing.T) {
	g := New(list{"A": whitelist.Listed}, nobody{}, broken{}, Options{OpenByWhitelist: true})
	if d := g.Passage(&link.Result{Plates: []link.Plate{plate("A", 1)}}, time.Now(), time.Now()); d.Opened || d.Reason != "output_failed" || g.Status().Opened != 0 {
		t.Errorf("%+v", d)
	}
}

func TestCommand(t *testing.T) {
	driver := barrier.NewSoftware(time.Hour)
	defer driver.Close()
	g := New(list{}, nobody{}, driver, Options{})
	if err := g.Command(1, 2, time.Second, time.Now()); err != nil || (driver.Position() == barrier.Opened) || g.Status().Opened != 0 {
		t.Errorf("another output opened the barrier: %v", err)
	}
	if err := g.Command(0, 2, time.Second, time.Now()); err != nil || !(driver.Position() == barrier.Opened) || g.Status().LastReason != "commanded" {
		t.Errorf("%v %+v", err, g.Status())
	}
	if g.Command(9, 2, time.Second, time.Now()) == nil {
		t.Error("output 9 is taken")
	}
}

func BenchmarkPassage(b *testing.B) {
	driver := barrier.NewSoftware(time.Hour)
	defer driver.Close()
	g := New(list{"川A12345": whitelist.NotListed}, nobody{}, driver, Options{MinPlateScore: 0.9, OpenByWhitelist: true, Pulse: time.Second})
	r := &link.Result{Plates: []link.Plate{plate("川A12345", 0.99)}}
	now := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		g.Passage(r, now, now)
	}
}

// people knows one face by the first value of its feature.
type people struct{}

func (people) Match(f []float32) (string, float64) { return "Ann", float64(f[0]) }
func (people) Needed(falseAccept float64) float64  { return 1 - falseAccept }

func TestFaces(t *testing.T) {
	l := list{"BLACK1": whitelist.Blacklisted, "LISTED1": whitelist.Listed}
	for name, c := range map[string]struct {
		plates     []link.Plate
		similarity float32
		off        bool
		opened     bool
		reason     string
	}{
		"an enrolled face":               {nil, .6, false, true, "face_known"},
		"beside a stranger's plate":      {[]link.Plate{plate("OTHER1", .99)}, .6, false, true, "face_known"},
		"beside a listed plate":          {[]link.Plate{plate("LISTED1", .99)}, .6, false, true, "listed"},
		"in a blacklisted car":           {[]link.Plate{plate("BLACK1", .99)}, .6, false, false, "blacklisted"},
		"a stranger":                     {nil, .44, false, false, "face_unknown"},
		"a feature that is none":         {nil, float32(math.NaN()), false, false, "face_unknown"},
		"opening by face is turned off":  {nil, .6, true, false, "switched_off"},
		"a stranger in a stranger's car": {[]link.Plate{plate("OTHER1", .99)}, .2, false, false, "not_listed"},
	} {
		driver := barrier.NewSoftware(time.Hour)
		g := New(l, people{}, driver, Options{MinPlateScore: .9, OpenByWhitelist: true, OpenByFace: !c.off, MinFaceSimilarity: .45, FaceFalseAccept: .6, Pulse: time.Second})
		d := g.Passage(&link.Result{Plates: c.plates, Faces: []link.Face{{Feature: []float32{c.similarity}}}}, time.Now(), time.Now())
		if d.Opened != c.opened || d.Reason != c.reason || (driver.Raised() == 1) != c.opened {
			t.Errorf("%s: %+v, raised %d", name, d, driver.Raised())
		}
		if err := driver.Close(); err != nil {
			t.Error(err)
		}
	}
}

// The larger of the two limits counts, and a picture of somebody opens nothing.
func TestFaceLimits(t *testing.T) {
	low, high := .2, .9
	for name, c := range map[string]struct {
		falseAccept float64
		live        *float64
		opened      bool
		reason      string
	}{
		"alike enough for the rate":    {.5, nil, true, "face_known"},
		"not alike enough for it":      {.3, nil, false, "face_unknown"},
		"examined and live":            {.5, &high, true, "face_known"},
		"examined and taken for print": {.5, &low, false, "face_not_live"},
	} {
		driver := barrier.NewSoftware(time.Hour)
		g := New(list{}, people{}, driver, Options{OpenByFace: true, MinFaceSimilarity: .45, FaceFalseAccept: c.falseAccept, MinLive: .5, Pulse: time.Second})
		d := g.Passage(&link.Result{Faces: []link.Face{{Feature: []float32{.6}, Live: c.live}}}, time.Now(), time.Now())
		if d.Opened != c.opened || d.Reason != c.reason {
			t.Errorf("%s: %+v", name, d)
		}
		if err := driver.Close(); err != nil {
			t.Error(err)
		}
	}
}
