package board

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse/agent/camtcp"
	"gatehouse/agent/push"
	"gatehouse/hal/barrier"
	"gatehouse/hal/input"
	"gatehouse/sync/errcode"
)

// part is something without which the board still sees, decides, tells and takes
// changes: a channel to parking systems, the inputs, the barrier's lines. One
// that cannot be opened, or ends, is told and shown, and tried again.
type part struct {
	component string // in status and faults
	open      func() error
	run       func(ctx context.Context) error // until ctx ends; nil: nothing goes on
}

// partsAgain is how long after a failure a part is tried again.
const partsAgain = 30 * time.Second

// troubles are the parts that do not work.
type troubles struct {
	troubling sync.Mutex
	parts     map[string]trouble // by component; guarded by troubling
	again     time.Duration      // 0: partsAgain
}

type trouble struct {
	reason string
	told   bool // the cloud
}

// Troubles are the parts that do not work and are tried again, each "component: reason".
func (t *troubles) Troubles() []string {
	t.troubling.Lock()
	defer t.troubling.Unlock()
	list := []string{}
	for _, component := range slices.Sorted(maps.Keys(t.parts)) {
		list = append(list, component+": "+t.parts[component].reason)
	}
	return list
}

// troubled are the components of Troubles.
func (t *troubles) troubled() []string {
	t.troubling.Lock()
	defer t.troubling.Unlock()
	return slices.Collect(maps.Keys(t.parts))
}

// openEach opens parts. A config on trial under which one fails that did not
// before is refused with the reason.
func (b *Board) openEach(o Options, list []part) error {
	onTrial := o.Candidate != nil && o.Candidate.ChangeID != "" && o.Candidate.Failure == nil
	for _, p := range list {
		err := p.open()
		if err != nil && onTrial && !slices.Contains(o.troubled, p.component) {
			return err
		}
		b.note(p, err)
	}
	return nil
}

// runEach runs parts until ctx ends, and opens again those that do not work.
func (b *Board) runEach(ctx context.Context, list []part) {
	var wait sync.WaitGroup
	for _, p := range list {
		wait.Go(func() { b.runOne(ctx, p) })
	}
	wait.Wait()
}

func (b *Board) runOne(ctx context.Context, p part) {
	for {
		if !slices.Contains(b.troubled(), p.component) {
			if p.run == nil {
				return
			}
			err := p.run(ctx)
			if ctx.Err() != nil || err == nil {
				return
			}
			b.note(p, err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(cmp.Or(b.again, partsAgain)):
		}
		b.note(p, p.open())
	}
}

// note keeps whether a part works. The cloud is told once of each trouble, as
// soon as there is a cloud to tell. Of one part it is called by one goroutine.
func (b *Board) note(p part, err error) {
	b.troubling.Lock()
	before, was := b.parts[p.component]
	if err == nil {
		delete(b.parts, p.component)
	}
	b.troubling.Unlock()
	if err == nil {
		if was {
			b.log.Info("a part of the board works again", "component", p.component)
		}
		return
	}
	now := trouble{err.Error(), before.told}
	if now.reason != before.reason {
		b.log.Error("a part of the board does not work; the board runs without it and tries it again", "component", p.component, "err", err)
	}
	if !now.told {
		now.told = b.tellFault(p.component, errcode.New(errcode.RequestFailed, strings.ToUpper(now.reason[:1])+now.reason[1:]+"!"))
	}
	b.troubling.Lock()
	defer b.troubling.Unlock()
	if b.parts == nil {
		b.parts = map[string]trouble{}
	}
	b.parts[p.component] = now
}

// What a part is once it was opened; nil before.
type (
	pusher  struct{ atomic.Pointer[push.Pusher] }
	server  struct{ atomic.Pointer[camtcp.Server] }
	ioLines struct{ atomic.Pointer[input.Inputs] }
)

// Closed tells an input's state, as input.Inputs does.
func (l *ioLines) Closed(n int) (closed, known bool) { return l.Load().Closed(n) }

// lateLines are the barrier's GPIO lines, which may not be there yet: whoever
// switches one looks for them.
type lateLines struct {
	find func() (barrier.Switch, error)

	mu    sync.Mutex
	lines barrier.Switch // nil: not found
}

var _ barrier.Switch = (*lateLines)(nil)

func (l *lateLines) open() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lines != nil {
		return nil
	}
	lines, err := l.find()
	if err != nil {
		return fmt.Errorf("%w (/barrier/gpio/lines)", err)
	}
	l.lines = lines
	return nil
}

// Switch switches an output.
func (l *lateLines) Switch(output int, on bool) error {
	if err := l.open(); err != nil {
		return err
	}
	return l.lines.Switch(output, on)
}

// Position tells where the barrier is: lines do not know.
func (l *lateLines) Position() barrier.Position { return barrier.Unknown }

// Close closes the lines.
func (l *lateLines) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lines == nil {
		return nil
	}
	return l.lines.Close()
}
