// Package inputtest has an input line that a test closes and opens.
package inputtest

import (
	"sync"
	"time"

	"periph.io/x/conn/v3/gpio"

	"gatehouse/hal/input"
)

// Line is an input in a test. The zero value is at low level.
type Line struct {
	mu     sync.Mutex
	level  gpio.Level
	edge   chan struct{}
	failed bool
	waits  int
}

var _ input.Line = (*Line)(nil)

// Set gives the line a level.
func (l *Line) Set(high bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.level == gpio.Level(high) {
		return
	}
	l.level = gpio.Level(high)
	l.wake()
}

// Fail has the line fail, or work again.
func (l *Line) Fail(failed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed = failed
	l.wake()
}

// Waits is how often WaitForEdge was called.
func (l *Line) Waits() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.waits
}

// wake ends WaitForEdge. The caller holds mu.
func (l *Line) wake() {
	if l.edge != nil {
		close(l.edge)
		l.edge = nil
	}
}

// Read gives the level, low while the line fails.
func (l *Line) Read() gpio.Level {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.level && gpio.Level(!l.failed)
}

// WaitForEdge waits for the next Set that changes the level, but not while the
// line fails.
func (l *Line) WaitForEdge(timeout time.Duration) bool {
	l.mu.Lock()
	l.waits++
	if l.failed {
		l.mu.Unlock()
		return false
	}
	if l.edge == nil {
		l.edge = make(chan struct{})
	}
	edge := l.edge
	l.mu.Unlock()
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-edge:
		l.mu.Lock()
		defer l.mu.Unlock()
		return !l.failed
	case <-timer.C:
		return false
	}
}
