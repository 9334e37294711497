package barrier

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// Lock is what an output is held at.
type Lock int

// The locks.
const (
	Free    Lock = 0
	HeldOn  Lock = 1 // a raised barrier stays up
	HeldOff Lock = 2 // a barrier stays down, whoever asks
)

// ErrLocked is a command for an output that is locked.
var ErrLocked = errors.New("the output is locked")

// Locks is a Driver whose outputs can be held on or off, until they are freed.
//
// While an output is held off, every pulse and every Set of it fails with
// ErrLocked. While it is held on, a pulse succeeds without switching (the
// barrier is up, and stays up), and a Set fails. Locking ends a pulse that is
// under way: held on, the output stays on, held off, it goes off at once;
// freeing an output switches it off. Where the hardware fails, an output is held
// off or free all the same, and goes off as soon as it can, but not held on.
//
// Locks are not kept here: who makes the driver anew locks it again. What is
// held on is switched off when the driver is closed, unless it was made to
// leave it on.
type Locks struct {
	Driver
	leaveOn bool

	mu    sync.Mutex
	locks [Outputs]Lock
}

var _ Driver = (*Locks)(nil)

// NewLocks makes a driver of d whose outputs are free; it switches nothing.
// With leaveOn, closing it leaves on what is held on.
func NewLocks(d Driver, leaveOn bool) *Locks { return &Locks{Driver: d, leaveOn: leaveOn} }

// Lock locks or frees an output.
func (l *Locks) Lock(output int, to Lock) error {
	if err := valid(output); err != nil {
		return err
	}
	if to < Free || to > HeldOff {
		return fmt.Errorf("cannot lock output %d: there is no lock %d", output, to)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if to == Free && l.locks[output] == Free {
		return nil // a pulse under way goes on
	}
	if to != HeldOn {
		l.locks[output] = to // also if the hardware fails: it must not open, and goes off
	}
	if err := l.Driver.Set(output, to == HeldOn); err != nil {
		return err
	}
	l.locks[output] = to
	return nil
}

// Locks gives what each output is held at.
func (l *Locks) Locks() [Outputs]Lock {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.locks
}

// Set holds a free output on or off.
func (l *Locks) Set(output int, on bool) error {
	if err := valid(output); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.locks[output] != Free {
		return fmt.Errorf("cannot switch output %d: %w", output, ErrLocked)
	}
	return l.Driver.Set(output, on)
}

// Pulse switches a free output on, and off after d.
func (l *Locks) Pulse(output int, d time.Duration) error {
	if err := valid(output); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch l.locks[output] {
	case HeldOn:
		return nil
	case HeldOff:
		return fmt.Errorf("cannot switch output %d: %w", output, ErrLocked)
	}
	return l.Driver.Pulse(output, d)
}

// Close switches off what is held on, unless that was to be left, and closes
// the driver.
func (l *Locks) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var first error
	for output, lock := range l.locks {
		if lock == HeldOn && !l.leaveOn {
			first = errors.Join(first, l.Driver.Set(output, false))
		}
	}
	return errors.Join(first, l.Driver.Close())
}
