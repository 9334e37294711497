package board

import (
	"time"

	"gatehouse/vision/link"
)

// answered keeps what was told of plates lately, so that a vehicle which both
// the lane and an input see is told once, and the barrier moves once for it; a
// parked one does not answer the timer for ever. The lane itself tells no passage
// twice, an input that comes again is a wish of its own, and what a client asks
// for is always answered. Only onResult uses it.
type answered map[string]telling // by the plate

type telling struct {
	lane, input time.Time // when each of them told it last
	timer       time.Time // when the timer saw it last
	opened      bool      // the barrier, for it
	reason      string    // of the decision
}

// mostAnswered bounds the memory; what is over its time is forgotten first.
const mostAnswered = 256

// Who tells a result.
const (
	byLane = iota
	byInput
	byTimer
	byOther // a client, or the lane of something else than a passage
)

func teller(r *link.Result) int {
	switch {
	case r.Event == link.EventPassage || r.Event == link.EventQuick || r.Event == "":
		return byLane
	case r.Event == link.EventTrigger && r.Trigger == link.TriggerInput:
		return byInput
	case r.Event == link.EventTrigger && r.Trigger == link.TriggerVideo:
		return byTimer
	}
	return byOther
}

// repeats reports whether all of a result's plates were told by others less
// than same ago, with the outcome that it would have too: the barrier was opened,
// or judge, which moves nothing, comes to the same reason again.
func (a answered) repeats(r *link.Result, same time.Duration, now time.Time, judge func() string) bool {
	by := teller(r)
	if same <= 0 || len(r.Plates) == 0 || by == byOther {
		return false
	}
	lately := func(at time.Time) bool { return !at.IsZero() && now.Sub(at) <= same }
	opened, reason := true, ""
	for _, p := range r.Plates {
		t, ok := a[p.Text]
		others := lately(t.lane)
		switch by {
		case byLane:
			others = lately(t.input)
		case byTimer:
			others = others || lately(t.input) || lately(t.timer)
		}
		if p.Text == "" || !ok || !others {
			return false
		}
		opened = opened && t.opened
		if reason == "" {
			reason = t.reason
		}
	}
	if by == byTimer { // it decides nothing
		for _, p := range r.Plates {
			t := a[p.Text]
			t.timer = now
			a[p.Text] = t
		}
		return true
	}
	return opened || judge() == reason
}

// note keeps what was told.
func (a answered) note(d decided, same time.Duration, now time.Time) {
	by := teller(d.result)
	if by == byOther {
		return
	}
	old := func(t telling) bool { return now.Sub(t.lane) > same && now.Sub(t.input) > same }
	if len(a) >= mostAnswered {
		for text, t := range a {
			if old(t) && now.Sub(t.timer) > same {
				delete(a, text)
			}
		}
		if len(a) >= mostAnswered {
			clear(a)
		}
	}
	for _, p := range d.result.Plates {
		t := a[p.Text]
		if old(t) {
			t.opened, t.reason = false, ""
		}
		switch by {
		case byTimer:
			t.timer = now
		case byLane:
			t.lane = now
		case byInput:
			t.input = now
		}
		if by != byTimer && !t.opened {
			t.opened, t.reason = d.decision.Opened, d.decision.Reason
		}
		if p.Text != "" {
			a[p.Text] = t
		}
	}
}
