// Package barrier drives the barrier at the gate.
//
// A driver moves outputs and nothing else; whether the barrier may open is
// decided elsewhere (agent/gate). A driver leaves the outputs as they are when
// it is made: starting an agent never opens a gate.
package barrier

import (
	"fmt"
	"sync"
	"time"
)

// Outputs of a board; by custom output 0 raises the barrier.
const (
	Outputs     = 4
	RaiseOutput = 0
)

// Driver drives the outputs. Its methods are safe for concurrent use and
// return once the output has been switched; a pulse goes on by itself.
type Driver interface {
	// Set holds an output on or off.
	Set(output int, on bool) error
	// Pulse switches an output on, and off after d. A pulse on an output that
	// is in a pulse prolongs it.
	Pulse(output int, d time.Duration) error
	// Moving reports whether an output is in a pulse.
	Moving() bool
	// Close switches off what a pulse holds on.
	Close() error
}

// Software is a barrier without hardware, the default: a state that can be
// looked at. It opens on a pulse of output 0 and closes by itself.
type Software struct {
	closeAfter time.Duration

	mu     sync.Mutex
	on     [Outputs]bool
	off    [Outputs]*time.Timer // set while an output is in a pulse
	open   bool
	pulses int
	shut   *time.Timer
}

var _ Driver = (*Software)(nil)

// NewSoftware makes a closed barrier that closes closeAfter its last pulse.
func NewSoftware(closeAfter time.Duration) *Software { return &Software{closeAfter: closeAfter} }

// Open reports whether the barrier is up.
func (s *Software) Open() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open
}

// Pulses counts the pulses on output 0.
func (s *Software) Pulses() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pulses
}

// On reports whether an output is on.
func (s *Software) On(output int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.on[output]
}

func valid(output int) error {
	if output < 0 || output >= Outputs {
		return fmt.Errorf("cannot switch output %d: there are outputs 0 to %d", output, Outputs-1)
	}
	return nil
}

// Set holds an output on or off; output 0 held on keeps the barrier up.
func (s *Software) Set(output int, on bool) error {
	if err := valid(output); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.off[output]; t != nil {
		t.Stop()
		s.off[output] = nil
	}
	s.on[output] = on
	if output == RaiseOutput {
		if s.shut != nil {
			s.shut.Stop()
		}
		if s.open = s.open || on; !on && s.open {
			s.lower()
		}
	}
	return nil
}

// lower closes the barrier after its time. The caller holds mu.
func (s *Software) lower() {
	s.shut = time.AfterFunc(s.closeAfter, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.open = s.on[RaiseOutput]
	})
}

// Pulse switches an output on and, after d, off.
func (s *Software) Pulse(output int, d time.Duration) error {
	if err := valid(output); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.off[output]; t != nil {
		t.Stop()
	}
	s.on[output] = true
	if output == RaiseOutput {
		s.open = true
		s.pulses++
		if s.shut != nil {
			s.shut.Stop()
		}
	}
	var timer *time.Timer
	timer = time.AfterFunc(d, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.off[output] != timer { // prolonged or set meanwhile
			return
		}
		s.off[output], s.on[output] = nil, false
		if output == RaiseOutput {
			s.lower()
		}
	})
	s.off[output] = timer
	return nil
}

// Moving reports whether a pulse is on.
func (s *Software) Moving() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.off {
		if t != nil {
			return true
		}
	}
	return false
}

// Close ends all pulses.
func (s *Software) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, t := range s.off {
		if t != nil {
			t.Stop()
			s.off[i], s.on[i] = nil, false
		}
	}
	if s.shut != nil {
		s.shut.Stop()
	}
	return nil
}
