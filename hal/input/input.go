// Package input watches the board's digital inputs: loop coils, end switches,
// buttons. It reports a change once the line has been steady for the debounce
// time, so that a bouncing contact is one change; what the inputs mean is
// decided by their user.
//
// A line that fails, as one of a USB adapter that was pulled, is not known.
//
// Not protected: a pulse that is shorter than the debounce time is not seen,
// and a line that is cut looks like one that is open.
package input

import (
	"context"
	"fmt"
	"sync"
	"time"

	"periph.io/x/conn/v3/gpio"

	"gatehouse/hal/lines"
)

// Most is the largest number of inputs.
const Most = 8

// Line is one input; a periph gpio.PinIn.
type Line interface {
	// Read gives the level now; of a line that failed it is low.
	Read() gpio.Level
	// WaitForEdge returns true after a change, false after the time-out, or at
	// once for a line that failed.
	WaitForEdge(timeout time.Duration) bool
}

// Options of the inputs.
type Options struct {
	ActiveLow bool          // a line at 0 is a closed input
	Debounce  time.Duration // how long a line must be steady
	// OnChange is told of each change, from one goroutine per input.
	OnChange func(input int, closed bool)
}

// Inputs is safe for concurrent use. Of a nil *Inputs there are none.
type Inputs struct {
	lines []Line // nil where the board has none
	o     Options

	mu     sync.Mutex
	closed []bool
	known  []bool
}

// Open finds the lines by name (see lines.FindInput), "" for an input that the
// board does not have, and makes them inputs with a pull against the active
// level.
func Open(names []string, o Options) (*Inputs, error) {
	found := make([]Line, len(names))
	for i, name := range names {
		if name == "" {
			continue
		}
		line, err := lines.FindInput(name)
		if err != nil {
			return nil, err
		}
		pull := gpio.PullDown
		if o.ActiveLow {
			pull = gpio.PullUp
		}
		if err := line.In(pull, gpio.BothEdges); err != nil {
			return nil, fmt.Errorf("cannot use %s as an input: %w", name, err)
		}
		found[i] = line
	}
	return New(found, o)
}

// New makes inputs of lines.
func New(found []Line, o Options) (*Inputs, error) {
	if len(found) > Most {
		return nil, fmt.Errorf("cannot use %d inputs: there are at most %d", len(found), Most)
	}
	return &Inputs{lines: found, o: o, closed: make([]bool, len(found)), known: make([]bool, len(found))}, nil
}

// Closed tells an input's state; known is false for an input that the board
// does not have or that has not been steady yet.
func (i *Inputs) Closed(input int) (closed, known bool) {
	if i == nil || input < 0 || input >= len(i.lines) {
		return false, false
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.closed[input], i.known[input]
}

// Run watches the inputs until ctx ends. The states that it finds at the start
// are no changes: nothing is reported for them.
func (i *Inputs) Run(ctx context.Context) {
	if i == nil {
		return
	}
	var wait sync.WaitGroup
	for n, line := range i.lines {
		if line != nil {
			wait.Go(func() { i.watch(ctx, n, line) })
		}
	}
	wait.Wait()
}

// look is how often a line is read although no edge came: a lost edge costs no
// more than this.
const look = 200 * time.Millisecond

// watch follows one line. Each level that is steady and new is a change.
func (i *Inputs) watch(ctx context.Context, n int, line Line) {
	for first := true; ctx.Err() == nil; first = false {
		closed, steady := false, first || wait(ctx, line, look) != failed
		if steady {
			closed, steady = i.settle(ctx, line)
		}
		if ctx.Err() != nil {
			return
		}
		i.mu.Lock()
		changed := steady && i.known[n] && i.closed[n] != closed
		i.closed[n], i.known[n] = closed, steady
		i.mu.Unlock()
		if changed && i.o.OnChange != nil {
			i.o.OnChange(n, closed)
		}
	}
}

// settle waits until the line has kept its level for the debounce time; it is
// not steady if it fails or ctx ends.
func (i *Inputs) settle(ctx context.Context, line Line) (closed, steady bool) {
	for ctx.Err() == nil {
		level := line.Read()
		switch wait(ctx, line, max(i.o.Debounce, time.Millisecond)) {
		case failed:
			return false, false
		case quiet:
			if line.Read() == level {
				return bool(level) != i.o.ActiveLow, true
			}
		}
	}
	return false, false
}

// What came of waiting for an edge.
type outcome int

const (
	quiet outcome = iota
	edge
	failed
)

// wait waits for an edge, at most d. It waits for a line that failed, too: such
// a line returns at once.
func wait(ctx context.Context, line Line, d time.Duration) outcome {
	begin := time.Now()
	if line.WaitForEdge(d) {
		return edge
	}
	left := d - time.Since(begin)
	if left < d/2 {
		return quiet
	}
	select {
	case <-ctx.Done():
	case <-time.After(left):
	}
	return failed
}
