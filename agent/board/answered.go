package board

import (
	"time"

	"gatehouse/vision/link"
)

// answered keeps what was told of plates lately, so that a vehicle which both
// the lane and an input or the timer see is told once, and the barrier moves
// once for it; a parked one does not answer the timer for ever. The lane itself
// tells no passage twice. What a client asks for is always answered. Only
// onResult uses it.
type answered map[string]telling // by the plate

type telling struct {
	at     time.Time // when the plate was seen last
	asked  bool      // by an input or the timer; else the lane told it
	opened bool      // the barrier, for it
	sure   bool      // it was read surely enough to decide
}

// mostAnswered bounds the memory; what is over its time is forgotten first.
const mostAnswered = 256

// asked reports whether a result comes from an input or the timer.
func asked(r *link.Result) bool {
	return r.Event == link.EventTrigger && r.Trigger != link.TriggerSoftware
}

// repeats reports whether all of a result's plates were told of less than same
// ago. A better reading of a plate that could not be decided about is no repetition,
// nor is a face at a barrier that stayed closed.
func (a answered) repeats(r *link.Result, same time.Duration, now time.Time) bool {
	passage := r.Event == link.EventPassage || r.Event == link.EventQuick || r.Event == ""
	if same <= 0 || len(r.Plates) == 0 || !passage && !asked(r) {
		return false
	}
	for _, p := range r.Plates {
		before, ok := a[p.Text]
		if p.Text == "" || !ok || now.Sub(before.at) > same || passage && !before.asked {
			return false
		}
		decides := r.Trigger != link.TriggerVideo || !asked(r) // the timer does not
		if decides && !before.opened && (!before.sure || len(r.Faces) > 0) {
			return false
		}
	}
	for _, p := range r.Plates {
		before := a[p.Text]
		before.at = now
		a[p.Text] = before
	}
	return true
}

// note keeps what was told.
func (a answered) note(d decided, minScore float64, same time.Duration, now time.Time) {
	r := d.result
	if r.Event == link.EventLane || r.Trigger == link.TriggerSoftware {
		return
	}
	if len(a) >= mostAnswered {
		for text, before := range a {
			if now.Sub(before.at) > same {
				delete(a, text)
			}
		}
		if len(a) >= mostAnswered {
			clear(a)
		}
	}
	timer := asked(r) && r.Trigger == link.TriggerVideo
	for _, p := range r.Plates {
		if p.Text != "" {
			a[p.Text] = telling{at: now, asked: asked(r), opened: d.decision.Opened, sure: !timer && p.Score >= minScore}
		}
	}
}
