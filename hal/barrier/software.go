package barrier

import (
	"sync"
	"time"
)

// Software is a barrier without hardware, the default: a state that can be
// looked at. It opens when output 0 goes on, and closes by itself some time
// after it went off.
type Software struct {
	*Relays
	model *model
}

// NewSoftware makes a closed barrier that closes closeAfter its last pulse.
func NewSoftware(closeAfter time.Duration) *Software {
	m := &model{closeAfter: closeAfter}
	return &Software{NewRelays(m), m}
}

// Raised counts how often output 0 was switched on.
func (s *Software) Raised() int {
	s.model.mu.Lock()
	defer s.model.mu.Unlock()
	return s.model.raised
}

type model struct {
	closeAfter time.Duration

	mu     sync.Mutex
	open   bool
	raised int
	shut   *time.Timer
}

func (m *model) Switch(output int, on bool) error {
	if output != RaiseOutput {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.shut != nil {
		m.shut.Stop()
		m.shut = nil
	}
	if on {
		m.open = true
		m.raised++
		return nil
	}
	var timer *time.Timer
	timer = time.AfterFunc(m.closeAfter, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.shut == timer {
			m.open = false
		}
	})
	m.shut = timer
	return nil
}

func (m *model) Position() Position {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.open {
		return Opened
	}
	return Closed
}

func (m *model) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.shut != nil {
		m.shut.Stop()
		m.shut = nil
	}
	return nil
}
