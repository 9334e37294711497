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
	mu    sync.Mutex
	level gpio.Level
	edge  chan struct{}
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
	if l.edge != nil {
		close(l.edge)
		l.edge = nil
	}
}

// Read gives the level.
func (l *Line) Read() gpio.Level {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.level
}

// WaitForEdge waits for the next Set that changes the level.
func (l *Line) WaitForEdge(timeout time.Duration) bool {
	l.mu.Lock()
	if l.edge == nil {
		l.edge = make(chan struct{})
	}
	edge := l.edge
	l.mu.Unlock()
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-edge:
		return true
	case <-timer.C:
		return false
	}
}
