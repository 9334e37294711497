package board

import (
	"time"

	"gatehouse/agent/gate"
	"gatehouse/configs"
	"gatehouse/sync/whitelist"
	"gatehouse/sync/wire"
	"gatehouse/vision/link"
)

// visionSettings is what the config says to the vision process.
func visionSettings(c configs.Config) link.Settings {
	lane := link.LaneOf(c.Lane)
	lane.FinalMayWait = finalMayWait(c)
	return link.Settings{Camera: c.Camera.Source, FPS: c.Camera.FPS, Loop: c.Camera.Loop, StallMS: time.Duration(c.Camera.StallTimeout).Milliseconds(),
		Models: c.Vision.Models, Plates: c.Vision.Plates, Faces: c.Vision.Faces, Liveness: c.Faces.Liveness, SamePlateMS: time.Duration(c.Gate.SamePlate).Milliseconds(),
		PictureBytes: 64 << 10, CropBytes: 16 << 10, MinPlateScore: c.Gate.MinPlateScore,
		Reading: link.Reading{Regions: c.Plates.Regions, Templates: c.Plates.Templates, Reader: c.Plates.Reader},
		Lane:    lane,
		Capture: link.Capture{Transport: c.Capture.Transport, Format: c.Capture.Format, Width: c.Capture.Width, Height: c.Capture.Height,
			Exposure: c.Capture.Exposure, FrameAgeMS: time.Duration(c.Capture.FrameAge).Milliseconds(), DayNight: c.Capture.DayNight}}
}

// finalMayWait reports whether each final result may wait for a better picture
// without anybody's barrier opening later for it; else only those may that the
// board has opened for itself. Servers of the push and clients of port 8131,
// whose replies may open, are told final results only, and so are those of a
// broker without early_result.
func finalMayWait(c configs.Config) bool {
	return c.Lane.EarlyResult && len(c.Push.Servers) == 0 && c.Port8131.Listen == ""
}

// nameQuick is the vendor's early result (vendor-mqtt.md, 4.2).
const nameQuick = "quick_ivs_result"

// finalWait is how long the final result of a passage may be away after its
// early notice before the notice is stored in its place: a vehicle that the
// barrier was opened for is never left out, even if the vision process dies.
const finalWait = 15 * time.Second

// early keeps what the gate did on passages whose final result is still to
// come. It is guarded by Board.mu.
type early map[uint64]*waiting

type waiting struct {
	decided
	timer *time.Timer
}

// notice keeps the decision about an early notice until its final result.
func (b *Board) notice(d decided) {
	b.mu.Lock()
	defer b.mu.Unlock()
	w := &waiting{decided: d}
	if b.early == nil {
		b.early = early{}
	}
	if old := b.early[d.result.Passage]; old != nil {
		old.timer.Stop()
	}
	b.early[d.result.Passage] = w
	w.timer = time.AfterFunc(finalWait, func() {
		b.mu.Lock()
		mine := b.early[d.result.Passage] == w
		if mine {
			delete(b.early, d.result.Passage)
		}
		b.mu.Unlock()
		if mine {
			select {
			case b.results <- unfinished(d):
			case <-time.After(finalWait): // the board is ending
			}
		}
	})
}

// unfinished makes an early notice the passage's only result.
func unfinished(d decided) decided {
	r := *d.result
	r.Event = link.EventPassage
	d.result = &r
	return d
}

// noticed takes out what the gate did on the early notice of the passage that
// the result ends.
func (b *Board) noticed(r *link.Result) (decided, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	w := b.early[r.Passage]
	if w == nil || r.Event != link.EventPassage {
		return decided{}, false
	}
	w.timer.Stop()
	delete(b.early, r.Passage)
	return w.decided, true
}

// unnoticed takes out all notices whose final result has not come.
func (b *Board) unnoticed() (all []decided) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for passage, w := range b.early {
		w.timer.Stop()
		delete(b.early, passage)
		all = append(all, unfinished(w.decided))
	}
	return all
}

// decide is the hot path: what the gate does about a result. A passage is
// decided on its early notice; its final result is decided anew only if more
// frames made another plate or a surer one of it and the barrier was not opened
// before (onResult).
func (b *Board) decide(d *decided, now time.Time) {
	r := d.result
	switch {
	case r.Event == link.EventLane:
		d.decision = gate.Decision{Reason: "lane_event"}
		return
	case teller(r) == byTimer:
		d.decision = gate.Decision{Reason: "triggered", Plate: firstPlate(r)}
		return
	}
	if r.Trigger == link.TriggerSoftware { // the client asked to see, not to open
		d.decision = gate.Decision{Reason: "triggered", Plate: firstPlate(r)}
		return
	}
	if len(r.Plates) == 0 && len(r.Faces) > 0 && now.Before(b.barred) { // a face in the blacklisted car
		d.decision = gate.Decision{Reason: whitelist.Blacklisted.String()}
		return
	}
	d.decision = b.gate.Passage(r, d.at, b.clock.Now()) // rows have times: a clock that lags is not believed
	if d.decision.Reason == whitelist.Blacklisted.String() {
		b.barred = now.Add(barredFor)
	}
}

// barredFor is how long after a blacklisted plate no face opens: plates and
// faces are told apart, and the driver's is not the next one's.
const barredFor = 10 * time.Second

func firstPlate(r *link.Result) string {
	if r == nil || len(r.Plates) == 0 {
		return ""
	}
	return r.Plates[0].Text
}

// triggerType is the vendor's (vendor-mqtt.md, 6.3).
func triggerType(r *link.Result) int {
	if r.Event == link.EventLane {
		return r.LaneEvent
	}
	return r.Trigger
}

// license is what the vendor's messages call a plate that cannot be read.
func license(p link.Plate) string {
	if p.Text == "" {
		return wire.PlateNone
	}
	return p.Text
}
