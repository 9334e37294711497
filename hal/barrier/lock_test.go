package barrier

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestLocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		soft := NewSoftware(time.Second)
		d := NewLocks(soft, false)
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		refused := func(err error) {
			t.Helper()
			if !errors.Is(err, ErrLocked) {
				t.Fatalf("%v, want ErrLocked", err)
			}
		}
		// Held on in the middle of a pulse: the pulse's end does not lower it.
		must(d.Pulse(0, 500*time.Millisecond))
		must(d.Lock(0, HeldOn))
		time.Sleep(time.Minute)
		if !d.On(0) || d.Position() != Opened {
			t.Error("a lock that was set during a pulse ended with it")
		}
		must(d.Pulse(0, 500*time.Millisecond))
		time.Sleep(time.Minute)
		if !d.On(0) {
			t.Error("a pulse took the lock away")
		}
		refused(d.Set(0, false))
		must(d.Lock(0, Free))
		time.Sleep(time.Minute)
		if d.On(0) || d.Position() != Closed {
			t.Error("freed, it stays up")
		}
		// Held off: nothing opens.
		must(d.Pulse(0, 500*time.Millisecond))
		must(d.Lock(0, HeldOff))
		if d.On(0) || d.Moving() {
			t.Error("held off, the pulse goes on")
		}
		raised := soft.Raised()
		refused(d.Pulse(0, time.Second))
		refused(d.Set(0, true))
		must(d.Pulse(1, time.Second)) // another output is free
		if soft.Raised() != raised || d.Locks() != [Outputs]Lock{HeldOff} {
			t.Errorf("raised %d times, locks %v", soft.Raised(), d.Locks())
		}
		must(d.Lock(0, Free))
		must(d.Pulse(0, time.Second))
		must(d.Lock(0, Free)) // freeing what is free ends no pulse
		if !d.Moving() {
			t.Error("freeing a free output ended its pulse")
		}
		must(d.Lock(2, HeldOn))
		must(d.Close())
		if d.On(2) {
			t.Error("closed, an output stays on")
		}
		for _, bad := range []error{d.Lock(-1, HeldOn), d.Lock(4, HeldOn), d.Lock(0, 3), d.Pulse(9, 1), d.Set(-1, true)} {
			if bad == nil {
				t.Error("a wrong output or lock is taken")
			}
		}
	})
}

// deaf is hardware that fails.
type deaf struct{}

func (deaf) Switch(int, bool) error { return errors.New("no answer") }
func (deaf) Position() Position     { return Unknown }
func (deaf) Close() error           { return nil }

// Hardware that fails leaves the output not held on, but barred.
func TestLocksOfFailingHardware(t *testing.T) {
	d := NewLocks(NewRelays(deaf{}), true)
	if d.Lock(0, HeldOn) == nil || d.Locks()[0] != Free {
		t.Error("held on although it failed")
	}
	if d.Lock(0, HeldOff) == nil || d.Locks()[0] != HeldOff || !errors.Is(d.Pulse(0, time.Second), ErrLocked) {
		t.Error("not barred although that was asked for")
	}
}
