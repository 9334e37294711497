// Package barrier drives the barrier at the gate: by a software model, by
// relays on a serial line, or by GPIO lines.
//
// A driver moves outputs and nothing else; whether the barrier may open is
// decided elsewhere (agent/gate). A driver leaves the outputs as they are when
// it is made: starting an agent never opens a gate. What a pulse switched on is
// switched off again for as long as it takes: an output that stays on keeps a
// barrier up.
package barrier

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// Outputs of a board; by custom output 0 raises the barrier.
const (
	Outputs     = 4
	RaiseOutput = 0
)

// Position is where the barrier is, as far as the driver knows.
type Position string

// The positions. Without a sensor a driver does not know.
const (
	Opened  Position = "open"
	Closed  Position = "closed"
	Unknown Position = "unknown"
)

// Driver drives the outputs. Its methods are safe for concurrent use and
// return once the output has been switched; a pulse goes on by itself.
type Driver interface {
	// Set holds an output on or off. Where it fails, an output that was not on
	// before goes off as soon as the hardware works again.
	Set(output int, on bool) error
	// Pulse switches an output on, and off after d. Of two pulses on one output
	// the later end counts.
	Pulse(output int, d time.Duration) error
	// On reports whether an output is on, as far as the driver knows: it was
	// switched on since the start.
	On(output int) bool
	// Moving reports whether an output is in a pulse, or on after it. An output
	// that was not reached, and is to go off in case it is on, does not move.
	Moving() bool
	// Position tells where the barrier is.
	Position() Position
	// Fault is why the outputs are not reached, as far as the driver knows: the
	// error of the last switching, nil where it worked.
	Fault() error
	// Close switches off what a pulse holds on.
	Close() error
}

// ErrNoOutput is a command for an output that the board does not have; the
// others are reached.
var ErrNoOutput = errors.New("the board has no such output")

// Switch is hardware that turns single outputs on and off. Its methods are
// called one at a time. Output is 0 to Outputs-1; one that is not there is
// ErrNoOutput.
type Switch interface {
	Switch(output int, on bool) error
	Position() Position
	Close() error
}

// How long after a failure an output that must go off is tried again: one that
// is not known to be on, not as often after the first time, since relays that
// do not answer take their time not to.
const (
	again  = 500 * time.Millisecond
	seldom = 5 * time.Second
)

// Relays makes a Driver of a Switch.
type Relays struct {
	mu     sync.Mutex
	to     Switch
	fault  error // of the last switching
	on     [Outputs]bool
	off    [Outputs]*time.Timer // set while an output is to go off
	until  [Outputs]time.Time   // when its pulse ends
	closed bool
}

var _ Driver = (*Relays)(nil)

// NewRelays makes a driver; it switches nothing.
func NewRelays(to Switch) *Relays { return &Relays{to: to} }

func valid(output int) error {
	if output < 0 || output >= Outputs {
		return fmt.Errorf("cannot switch output %d: there are outputs 0 to %d", output, Outputs-1)
	}
	return nil
}

// On reports whether an output is on.
func (r *Relays) On(output int) bool {
	if valid(output) != nil {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.on[output]
}

// Set holds an output on or off.
func (r *Relays) Set(output int, on bool) error {
	if err := valid(output); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	err := r.turn(output, on)
	if err != nil && on && (r.on[output] || r.off[output] != nil) {
		return err // it stays held on, or in its pulse
	}
	r.end(output)
	r.offAfter(output, err, again)
	return err
}

// Pulse switches an output on and, after d, off.
func (r *Relays) Pulse(output int, d time.Duration) error {
	if err := valid(output); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	was := r.on[output] && r.off[output] == nil
	err := r.turn(output, true)
	if err != nil && was {
		return err // it was held on before, and is not known to be off
	}
	until := time.Now().Add(d)
	if r.until[output].After(until) {
		until = r.until[output]
	}
	r.end(output)
	if errors.Is(err, ErrNoOutput) && !r.on[output] {
		return err // nothing is there to be switched off
	}
	// Also after a failure: hardware that answered badly may have switched.
	r.later(output, time.Until(until))
	r.until[output] = until
	return err
}

// turn switches. The caller holds mu.
func (r *Relays) turn(output int, on bool) error {
	if r.closed {
		return fmt.Errorf("cannot switch output %d: the driver is closed", output)
	}
	err := r.to.Switch(output, on)
	if !errors.Is(err, ErrNoOutput) {
		r.fault = err
	}
	if err != nil {
		return fmt.Errorf("cannot switch output %d: %w", output, err)
	}
	r.on[output] = on
	return nil
}

// end forgets a pulse without switching. The caller holds mu.
func (r *Relays) end(output int) {
	if t := r.off[output]; t != nil {
		t.Stop()
		r.off[output], r.until[output] = nil, time.Time{}
	}
}

// later switches the output off after d, and goes on until it is off. The
// caller holds mu.
func (r *Relays) later(output int, d time.Duration) {
	if r.closed {
		return
	}
	var timer *time.Timer
	timer = time.AfterFunc(d, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.off[output] != timer { // prolonged, set or closed meanwhile
			return
		}
		r.off[output] = nil
		err, wait := r.turn(output, false), again
		if !r.on[output] {
			wait = seldom
		}
		r.offAfter(output, err, wait)
	})
	r.off[output] = timer
}

// offAfter switches the output off some time after a failure of switching it:
// also where only the answer was lost it may be on. The caller holds mu.
func (r *Relays) offAfter(output int, err error, wait time.Duration) {
	if err != nil && (r.on[output] || !errors.Is(err, ErrNoOutput)) {
		r.later(output, wait)
	}
}

// Moving reports whether a pulse is on.
func (r *Relays) Moving() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for output, t := range r.off {
		if t != nil && (r.on[output] || time.Now().Before(r.until[output])) {
			return true
		}
	}
	return false
}

// Fault is the error of the last switching.
func (r *Relays) Fault() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.fault
}

// Position tells where the barrier is.
func (r *Relays) Position() Position {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.to.Position()
}

// Close ends all pulses and closes the hardware.
func (r *Relays) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	var first error
	for output, t := range r.off {
		if t == nil {
			continue
		}
		r.end(output)
		if err := r.turn(output, false); err != nil && first == nil {
			first = err
		}
	}
	r.closed = true
	if err := r.to.Close(); err != nil && first == nil {
		first = err
	}
	return first
}
