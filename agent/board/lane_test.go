package board

import (
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"gatehouse/configs"
	"gatehouse/sync/outbox"
	"gatehouse/vision/link"
)

// The barrier opens on the early notice, once; the final result says so.
func TestAPassageOpensOnce(t *testing.T) {
	b := open(t, t.TempDir())
	defer b.Close()
	if _, code := order(t, b, "white_list_operator", "1", `{"operator_type":"update_or_add","dldb_rec":{"plate":"A1","enable":1}}`); code != 0 {
		t.Fatal(code)
	}
	result := func(event, text string, passage uint64) decided {
		b.onResult(&link.Result{Event: event, Trigger: link.TriggerVideo, Passage: passage, Plates: []link.Plate{{Text: text, Score: 1}}, CaptureMonoNS: monotonic()})
		return <-b.results
	}
	for i, c := range []struct {
		event, text string
		passage     uint64
		opened      bool // as the result says
		times       int  // that the gate has opened since the start
	}{
		{link.EventQuick, "A1", 1, true, 1},
		{link.EventPassage, "A1", 1, true, 1},
		{link.EventQuick, "A2", 2, false, 1},
		{link.EventPassage, "A1", 2, true, 2}, // more frames made a listed plate of it
		{link.EventQuick, "A1", 3, true, 3},
		{link.EventPassage, "A2", 3, true, 3}, // it was opened for: that is not unsaid
		{link.EventPassage, "A1", 4, true, 4}, // without an early notice
		{link.EventLane, "A1", 4, false, 4},
		{link.EventTrigger, "A3", 0, false, 4}, // of the timer
	} {
		d := result(c.event, c.text, c.passage)
		if d.decision.Opened != c.opened || b.gate.Status().Opened != c.times {
			t.Errorf("%d: opened %v, %d times; want %v, %d", i, d.decision.Opened, b.gate.Status().Opened, c.opened, c.times)
		}
	}
	if len(b.early) != 0 {
		t.Errorf("%d notices are kept", len(b.early))
	}
}

// A vehicle that the lane and an input or the timer both see is told once and
// opened for once; what could not be decided is decided by a better reading.
func TestAVehicleIsToldOnce(t *testing.T) {
	const parked = time.Hour
	type step struct {
		event, text string
		by          int
		score       float64
		after       time.Duration
		told        bool
		opened      int // since the start
	}
	coil, timer, client, film := link.TriggerInput, link.TriggerVideo, link.TriggerSoftware, link.TriggerVideo
	for name, steps := range map[string][]step{
		"passage, then coil":             {{link.EventPassage, "A1", film, 1, 0, true, 1}, {link.EventTrigger, "A1", coil, 1, time.Second, false, 1}},
		"coil, then passage":             {{link.EventTrigger, "A1", coil, 1, 0, true, 1}, {link.EventQuick, "A1", film, 1, time.Second, false, 1}, {link.EventPassage, "A1", film, 1, time.Second, false, 1}},
		"the coil again, much later":     {{link.EventTrigger, "A1", coil, 1, 0, true, 1}, {link.EventTrigger, "A1", coil, 1, time.Minute, true, 2}},
		"a wish of its own":              {{link.EventTrigger, "A1", coil, 1, 0, true, 1}, {link.EventTrigger, "A1", coil, 1, time.Second, true, 2}},
		"listed, but after a while":      {{link.EventPassage, "A1", film, 1, 0, true, 1}, {link.EventTrigger, "A1", coil, 1, 8 * time.Second, false, 1}, {link.EventTrigger, "A1", coil, 1, 8 * time.Second, true, 2}},
		"the timer keeps no car outside": {{link.EventTrigger, "A1", coil, 1, 0, true, 1}, {link.EventTrigger, "A1", timer, 1, 8 * time.Second, false, 1}, {link.EventTrigger, "A1", coil, 1, 8 * time.Second, true, 2}},
		"coil, timer with another, film": {{link.EventTrigger, "A1", coil, 1, 0, true, 1}, {link.EventTrigger, "A1,B1", timer, 1, time.Second, true, 1}, {link.EventQuick, "A1", film, 1, time.Second, false, 1}},
		"not listed":                     {{link.EventPassage, "B1", film, 1, 0, true, 0}, {link.EventTrigger, "B1", coil, 1, time.Second, false, 0}},
		"unsure from afar":               {{link.EventPassage, "A1", film, .5, 0, true, 0}, {link.EventTrigger, "A1", coil, 1, time.Second, true, 1}},
		"early notice, coil, final":      {{link.EventQuick, "A1", film, .5, 0, true, 0}, {link.EventTrigger, "A1", coil, 1, time.Second, true, 1}, {link.EventPassage, "A1", film, 1, time.Second, true, 1}},
		"surer at last":                  {{link.EventQuick, "A1", film, .5, 0, true, 0}, {link.EventPassage, "A1", film, 1, time.Second, true, 1}},
		"another car":                    {{link.EventPassage, "B1", film, 1, 0, true, 0}, {link.EventTrigger, "A1", coil, 1, time.Second, true, 1}},
		"without plate":                  {{link.EventTrigger, "", coil, 0, 0, true, 0}, {link.EventTrigger, "", coil, 0, time.Second, true, 0}},
		"a client is always answered":    {{link.EventPassage, "A1", film, 1, 0, true, 1}, {link.EventTrigger, "A1", client, 1, time.Second, true, 1}},
		"the timer and a parked car":     {{link.EventTrigger, "A1", timer, 1, 0, true, 0}, {link.EventTrigger, "A1", timer, 1, 8 * time.Second, false, 0}, {link.EventTrigger, "A1", timer, 1, 8 * time.Second, false, 0}},
		"the timer decides nothing":      {{link.EventTrigger, "A1", timer, 1, 0, true, 0}, {link.EventPassage, "A1", film, 1, time.Second, true, 1}},
		"the lane's own repetitions":     {{link.EventPassage, "A1", film, 1, 0, true, 1}, {link.EventPassage, "A1", film, 1, time.Second, true, 2}},
		"seen again, but after too long": {{link.EventTrigger, "A1", timer, 1, 0, true, 0}, {link.EventTrigger, "A1", timer, 1, parked, true, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			b := open(t, t.TempDir())
			defer b.Close()
			if _, code := order(t, b, "white_list_operator", "1", `{"operator_type":"update_or_add","dldb_rec":{"plate":"A1","enable":1}}`); code != 0 {
				t.Fatal(code)
			}
			for i, s := range steps {
				for text, before := range b.told { // time passes
					for _, at := range []*time.Time{&before.lane, &before.input, &before.timer} {
						if !at.IsZero() {
							*at = at.Add(-s.after)
						}
					}
					b.told[text] = before
				}
				r := &link.Result{Event: s.event, Trigger: s.by, Passage: 7}
				if s.event == link.EventTrigger {
					r.Passage = 0
				}
				for text := range strings.SplitSeq(s.text, ",") {
					if text != "" {
						r.Plates = append(r.Plates, link.Plate{Text: text, Score: s.score})
					}
				}
				b.onResult(r)
				if told := len(b.results) > 0; told != s.told || b.gate.Status().Opened != s.opened {
					t.Errorf("step %d: told %v, opened %d times", i, told, b.gate.Status().Opened)
				}
				for len(b.results) > 0 {
					<-b.results
				}
			}
		})
	}
}

// What kept the barrier closed is not taken for its answer: an output that
// failed, or a row that was not there yet.
func TestAnInputIsDecidedAnew(t *testing.T) {
	b := open(t, t.TempDir())
	defer b.Close()
	see := func(event string, by int) (told bool) {
		b.onResult(&link.Result{Event: event, Trigger: by, Plates: []link.Plate{{Text: "A1", Score: 1}}})
		for len(b.results) > 0 {
			<-b.results
			told = true
		}
		return told
	}
	if !see(link.EventPassage, link.TriggerVideo) || see(link.EventTrigger, link.TriggerInput) {
		t.Error("a plate that is not listed is not told once")
	}
	if _, code := order(t, b, "white_list_operator", "1", `{"operator_type":"update_or_add","dldb_rec":{"plate":"A1","enable":1}}`); code != 0 {
		t.Fatal(code)
	}
	if !see(link.EventTrigger, link.TriggerInput) || b.gate.Status().Opened != 1 {
		t.Error("it is listed now, and the barrier stays closed")
	}
	b.told["A1"] = telling{lane: time.Now(), reason: "output_failed"}
	if !see(link.EventTrigger, link.TriggerInput) || b.gate.Status().Opened != 2 {
		t.Error("an output that failed is not tried again")
	}
}

// The driver's face does not open for a blacklisted car, although plate and
// face are told in results of their own.
func TestAFaceDoesNotOpenForABlacklistedCar(t *testing.T) {
	b := open(t, t.TempDir())
	defer b.Close()
	if _, code := order(t, b, "white_list_operator", "1", `{"operator_type":"update_or_add","dldb_rec":{"plate":"A1","enable":1,"need_alarm":1}}`); code != 0 {
		t.Fatal(code)
	}
	b.onResult(&link.Result{Event: link.EventQuick, Trigger: link.TriggerVideo, Passage: 1, Plates: []link.Plate{{Text: "A1", Score: 1}}})
	if d := <-b.results; d.decision.Reason != "blacklisted" {
		t.Fatalf("%+v", d.decision)
	}
	b.onResult(&link.Result{Event: link.EventPassage, Trigger: link.TriggerVideo, Faces: []link.Face{{Feature: make([]float32, 512)}}})
	if d := <-b.results; d.decision.Reason != "blacklisted" || d.decision.Opened {
		t.Errorf("%+v", d.decision)
	}
}

// A notice whose final result never comes is stored in its place.
func TestANoticeWithoutEndIsStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &Board{results: make(chan decided, 4)}
		notice := decided{result: &link.Result{Event: link.EventQuick, Passage: 9}}
		b.notice(notice)
		b.notice(decided{result: &link.Result{Event: link.EventQuick, Passage: 10}})
		if _, ok := b.noticed(&link.Result{Event: link.EventPassage, Passage: 10}); !ok {
			t.Error("the notice is lost")
		}
		time.Sleep(finalWait + time.Second)
		synctest.Wait()
		select {
		case d := <-b.results:
			if d.result.Event != link.EventPassage || d.result.Passage != 9 || notice.result.Event != link.EventQuick {
				t.Errorf("%+v", d.result)
			}
		default:
			t.Error("the passage is lost")
		}
		b.notice(notice)
		if left := b.unnoticed(); len(left) != 1 || len(b.early) != 0 {
			t.Errorf("%d notices at the end, %d kept", len(left), len(b.early))
		}
	})
}

func TestVisionSettings(t *testing.T) {
	c := configs.Default()
	c.Lane.Direction, c.Lane.Region = "down", []configs.LanePoint{{X: .1}, {X: .9}, {Y: 1}}
	c.Lane.Staying, c.Lane.Video = configs.Duration(time.Minute), false
	c.Plates.Regions, c.Plates.Reader = []string{"cn", "eu"}, "both"
	s := visionSettings(c)
	if len(s.Reading.Regions) != 2 || s.Reading.Reader != "both" {
		t.Errorf("%+v", s.Reading)
	}
	if s.Lane.Direction != link.DirectionDown || len(s.Lane.Region) != 3 || s.Lane.Region[0].X != .1 || s.Lane.StayingMS != 60_000 || !s.Lane.NoVideo || s.Capture.FrameAgeMS != 1000 {
		t.Errorf("%+v", s)
	}
}

// A final result waits only where nobody opens by it.
func TestFinalMayWait(t *testing.T) {
	for what, c := range map[string]struct {
		change func(*configs.Config)
		want   bool
	}{
		"the default":                   {func(*configs.Config) {}, false},
		"early results":                 {func(c *configs.Config) { c.Lane.EarlyResult = true }, true},
		"a broker with early results":   {func(c *configs.Config) { c.MQTT.Broker, c.Lane.EarlyResult = "tcp://parking:1883", true }, true},
		"push, whose replies may open":  {func(c *configs.Config) { c.Push.Servers, c.Lane.EarlyResult = []string{"http://parking"}, true }, false},
		"port 8131, whose clients open": {func(c *configs.Config) { c.Port8131.Listen, c.Lane.EarlyResult = ":8131", true }, false},
	} {
		config := configs.Default()
		c.change(&config)
		if got := visionSettings(config).Lane.FinalMayWait; got != c.want {
			t.Errorf("%s: %v", what, got)
		}
	}
}

// The gate does not wait for a disk that stands still: what opened the barrier
// is stored later, without its pictures, and the rest is counted and told.
func TestTheGateDoesNotWaitForTheDisk(t *testing.T) {
	b := open(t, t.TempDir())
	defer b.Close()
	if _, code := order(t, b, "white_list_operator", "1", `{"operator_type":"update_or_add","dldb_rec":{"plate":"A1","enable":1}}`); code != 0 {
		t.Fatal(code)
	}
	for i := range mostResults + 2 {
		text := "B1"
		if i%2 == 1 {
			text = "A1"
		}
		b.onResult(&link.Result{Event: link.EventPassage, Trigger: link.TriggerVideo, Plates: []link.Plate{{Text: text, Score: 1}}, Full: []byte("picture")})
	}
	if b.gate.Status().Opened != mostResults/2+1 || len(b.crowded) != 1 || !b.crowded[0].decision.Opened || b.crowded[0].result.Full != nil || b.dropped != 1 {
		t.Errorf("opened %d times; %d results are kept beside, %d dropped", b.gate.Status().Opened, len(b.crowded), b.dropped)
	}
	b.storeCrowded()
	if len(b.crowded) != 0 || b.dropped != 0 {
		t.Error("they are not taken out")
	}
}

// Rows have times, and a clock that has lost its own is not believed.
func TestAClockThatLagsOpensNothingThatIsOver(t *testing.T) {
	b := open(t, t.TempDir())
	defer b.Close()
	const row = `{"operator_type":"update_or_add","dldb_rec":{"plate":"A1","enable":1,"overdue_time":"2026-03-01 00:00:00"}}`
	if _, code := order(t, b, "white_list_operator", "1", row); code != 0 {
		t.Fatal(code)
	}
	b.clock.Wall = func() time.Time { return time.Unix(1000, 0) }
	b.clock.Good(time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC))
	b.onResult(&link.Result{Event: link.EventPassage, Trigger: link.TriggerVideo, Plates: []link.Plate{{Text: "A1", Score: 1}}})
	if d := <-b.results; d.decision.Reason != "out_of_time" {
		t.Errorf("%+v", d.decision)
	}
	first := b.numbered(time.Unix(1000, 0))
	if first.Year() != 2026 {
		t.Errorf("results are numbered from %s", first)
	}
}

// The cloud hears of the vision process's faults, of each once an hour.
func TestVisionFaultsAreTold(t *testing.T) {
	c := configs.Default()
	c.MQTT.Broker = "tcp://127.0.0.1:1"
	b, err := Open(c, t.TempDir(), "gatehouse-vision", "test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for range 3 {
		b.onVisionFault(link.Fault{Code: 3001, Message: "the picture cannot be decoded"})
	}
	b.onVisionFault(link.Fault{Message: "the camera is silent"})
	b.background.Wait()
	var told []string
	if err := b.outbox.Each(func(s outbox.Stored) bool {
		told = append(told, s.Name+" "+string(s.Payload))
		return true
	}); err != nil {
		t.Fatal(err)
	}
	if len(told) != 2 || !strings.Contains(strings.Join(told, "\n"), `"error_code":3001`) || !strings.Contains(strings.Join(told, "\n"), `"error_code":1106`) {
		t.Errorf("%q", told)
	}
}
