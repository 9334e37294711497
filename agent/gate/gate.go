// Package gate decides whether the barrier opens, and opens it.
//
// It is the hot path: it reads the whitelist's snapshot and switches an
// output, with no disk and no network in between. When in doubt the barrier
// stays as it is: a plate that is not surely read, a list that is missing, an
// output that fails are all reasons not to open.
package gate

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse/hal/barrier"
	"gatehouse/sync/whitelist"
	"gatehouse/vision/link"
)

// Lister is the whitelist; a *whitelist.List.
type Lister interface {
	Lookup(plate string, at time.Time) (whitelist.Entry, whitelist.Verdict)
	// Near finds the one row that differs from a reading in at most so many
	// characters that are taken for one another; none where two rows do.
	Near(reading string, most int, at time.Time) (whitelist.Entry, whitelist.Verdict)
}

// Matcher is the face library; a *faces.Library.
type Matcher interface {
	Match(feature []float32) (name string, similarity float64)
	// Needed is the similarity at which a stranger is taken for anybody with at
	// most this probability, 0–1.
	Needed(falseAccept float64) float64
}

// Options of a Gate.
type Options struct {
	MinPlateScore     float64 // 0–1
	OpenByWhitelist   bool
	Tolerance         int // characters of a plate that may be others of their confusable pairs, 0–2; 0: exact
	OpenByFace        bool
	MinFaceSimilarity float64 // 0–1, whatever FaceFalseAccept asks for
	FaceFalseAccept   float64 // 0–1
	MinLive           float64 // 0–1, for faces that were examined
	Pulse             time.Duration
}

// Decision is what was done about a result.
type Decision struct {
	Opened bool
	Reason string // listed, not_listed, out_of_time, suspended, blacklisted, unsure, no_plate, face_known, face_not_live, face_unknown, switched_off, locked, output_failed, commanded
	Plate  string // the plate that decided, as it was read
	Listed string // the row it was taken for; empty: in none
	Group  string // of that row
	// Tolerated says that the reading differs from the row by confusable characters.
	Tolerated bool
	// Alarm says that the plate is on the black list.
	Alarm bool
	Faces []Face // as the result's faces
}

// Face is whom a face belongs to.
type Face struct {
	Name       string  // empty: nobody who is enrolled
	Similarity float64 // to the most similar person, -1 to 1
	Needed     float64 // the similarity from which on it is that person
}

// Gate is safe for concurrent use.
type Gate struct {
	list   Lister
	faces  Matcher
	driver barrier.Driver
	rules  atomic.Pointer[Options]

	mu       sync.Mutex
	opened   int
	last     Decision
	lastAt   time.Time
	waits    [512]time.Duration // frame to barrier command, a ring
	waitsLen int
}

// New makes a gate; it moves nothing.
func New(list Lister, faces Matcher, driver barrier.Driver, o Options) *Gate {
	g := &Gate{list: list, faces: faces, driver: driver}
	g.Set(o)
	return g
}

// Set has the next decisions made by other rules; it moves nothing.
func (g *Gate) Set(o Options) { g.rules.Store(&o) }

func (g *Gate) o() *Options { return g.rules.Load() }

// Passage decides about a result and opens where it may. Captured is when the
// deciding frame came, for the measured times.
func (g *Gate) Passage(r *link.Result, captured, now time.Time) Decision {
	d := g.Judge(r, now)
	if d.Opened {
		if err := g.driver.Pulse(barrier.RaiseOutput, g.o().Pulse); err != nil {
			d.Opened, d.Reason = false, "output_failed"
			if errors.Is(err, barrier.ErrLocked) {
				d.Reason = "locked"
			}
		}
	}
	g.note(d, now, time.Since(captured))
	return d
}

// Judge decides about a result and moves nothing.
func (g *Gate) Judge(r *link.Result, now time.Time) Decision {
	d := g.decide(r.Plates, now)
	g.recognise(&d, r.Faces)
	return d
}

// decide looks at all plates of a result: one that may pass opens, unless one
// of them is blacklisted.
func (g *Gate) decide(plates []link.Plate, now time.Time) Decision {
	if len(plates) == 0 {
		return Decision{Reason: "no_plate"}
	}
	d := Decision{Reason: "unsure", Plate: plates[0].Text}
	for _, p := range plates {
		if p.Text == "" || !(p.Score >= g.o().MinPlateScore) { // also for a NaN
			continue
		}
		one := g.look(p.Text, now)
		if one.Alarm {
			return one
		}
		if !d.Opened {
			d = one
		}
	}
	if d.Opened && !g.o().OpenByWhitelist {
		d.Opened, d.Reason = false, "switched_off"
	}
	return d
}

// look asks the list about one plate; where tolerance is configured and the
// reading itself is not listed, for the one row that it may have been.
func (g *Gate) look(text string, now time.Time) Decision {
	reading := whitelist.Normalize(text)
	entry, verdict := g.list.Lookup(reading, now)
	tolerated := false
	if verdict == whitelist.NotListed && g.o().Tolerance > 0 {
		entry, verdict = g.list.Near(reading, g.o().Tolerance, now)
		tolerated = verdict != whitelist.NotListed
	}
	return Decision{Opened: verdict == whitelist.Listed, Reason: verdict.String(), Plate: text, Listed: entry.Plate, Group: entry.Group,
		Tolerated: tolerated, Alarm: verdict == whitelist.Blacklisted}
}

// recognise opens for an enrolled face, unless a plate of the result is
// blacklisted.
func (g *Gate) recognise(d *Decision, found []link.Face) {
	if len(found) == 0 {
		return
	}
	var known, picture bool
	needed := max(g.o().MinFaceSimilarity, g.faces.Needed(g.o().FaceFalseAccept))
	for _, f := range found {
		who := Face{Similarity: -1, Needed: needed}
		if len(f.Feature) > 0 {
			var name string
			if name, who.Similarity = g.faces.Match(f.Feature); who.Similarity >= needed {
				who.Name = name
				if f.Live == nil || *f.Live >= g.o().MinLive {
					known = true
				} else {
					picture = true // it names somebody, but opens nothing
				}
			}
		}
		d.Faces = append(d.Faces, who)
	}
	switch {
	case d.Opened || d.Reason == whitelist.Blacklisted.String():
	case known && g.o().OpenByFace:
		d.Opened, d.Reason = true, "face_known"
	case known:
		d.Reason = "switched_off"
	case picture:
		d.Reason = "face_not_live"
	case d.Reason == "no_plate":
		d.Reason = "face_unknown"
	}
}

// Command switches an output for a client; value is 0 off, 1 on, 2 pulse.
func (g *Gate) Command(output, value int, pulse time.Duration, now time.Time) error {
	var err error
	if value == 2 {
		err = g.driver.Pulse(output, pulse)
	} else {
		err = g.driver.Set(output, value == 1)
	}
	if err == nil && output == barrier.RaiseOutput && value != 0 {
		g.note(Decision{Opened: true, Reason: "commanded"}, now, -1)
	}
	return err
}

func (g *Gate) note(d Decision, now time.Time, wait time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.last, g.lastAt = d, now
	if d.Opened {
		g.opened++
	}
	if d.Opened && wait >= 0 {
		g.waits[g.waitsLen%len(g.waits)] = wait
		g.waitsLen++
	}
}

// Status is the gate's state for people.
type Status struct {
	Opened     int     `json:"opened"` // since the start
	LastReason string  `json:"last_reason"`
	LastPlate  string  `json:"last_plate"`
	LastAt     int64   `json:"last_at"` // Unix s
	FrameP50MS float64 `json:"frame_to_barrier_p50_ms"`
	FrameP95MS float64 `json:"frame_to_barrier_p95_ms"`
}

// Status tells what the gate did.
func (g *Gate) Status() Status {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := Status{Opened: g.opened, LastReason: g.last.Reason, LastPlate: g.last.Plate}
	if !g.lastAt.IsZero() {
		s.LastAt = g.lastAt.Unix()
	}
	if n := min(g.waitsLen, len(g.waits)); n > 0 {
		sorted := slices.Sorted(slices.Values(g.waits[:n]))
		s.FrameP50MS = float64(sorted[n/2].Microseconds()) / 1000
		s.FrameP95MS = float64(sorted[n*95/100].Microseconds()) / 1000
	}
	return s
}
