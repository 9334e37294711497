package board

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"gatehouse/configs"
	"gatehouse/hal/barrier"
)

// startLocked opens a board that locks on again what was locked on.
func startLocked(t *testing.T, dir string) *Board {
	t.Helper()
	c := configs.Default()
	c.Ports.KeepLocks = true
	b, err := Open(c, dir, "gatehouse-vision", "test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A lock on that the hardware refused, or that was taken away while the
// hardware failed, does not open the barrier at the next start.
func TestAFailedLockIsNotRestored(t *testing.T) {
	for _, before := range []barrier.Lock{barrier.Free, barrier.HeldOn} {
		dir := t.TempDir()
		b := startLocked(t, dir)
		relays := &unplugged{}
		b.barrier = barrier.NewLocks(barrier.NewRelays(relays), true)
		if err := b.lockOutput(0, before); err != nil {
			t.Fatal(err)
		}
		relays.err = errors.New("it does not answer")
		if b.lockOutput(0, barrier.HeldOn-before) == nil { // on, or free
			t.Error("hardware that fails counts as switched")
		}
		b.Close()
		b = startLocked(t, dir)
		if b.barrier.Locks()[0] != barrier.Free || b.barrier.Position() != barrier.Closed {
			t.Errorf("lock %d before: it is locked on", before)
		}
		b.Close()
	}
}

// lcus is a relay board on a pseudo-terminal that keeps its outputs while no
// agent runs.
type lcus struct {
	mu sync.Mutex
	on [barrier.Outputs]bool
}

func newLCUS(t *testing.T) (*lcus, string) {
	t.Helper()
	line, tty, err := pty.Open()
	if err != nil {
		t.Skip("no pseudo-terminals here:", err)
	}
	mode, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	mode.Iflag, mode.Oflag, mode.Lflag = 0, 0, 0 // a serial line neither echoes nor translates
	if err := unix.IoctlSetTermios(int(tty.Fd()), unix.TCSETS, mode); err != nil {
		t.Fatal(err)
	}
	l := &lcus{}
	var wait sync.WaitGroup
	wait.Go(func() { l.serve(line) })
	t.Cleanup(func() {
		tty.Close()
		line.Close()
		wait.Wait()
	})
	return l, tty.Name()
}

func (l *lcus) serve(line *os.File) {
	for f := make([]byte, 4); ; {
		if _, err := io.ReadFull(line, f); err != nil {
			return
		}
		l.set(int(f[1])-1, f[2] == 1)
	}
}

func (l *lcus) set(output int, on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.on[output] = on
}

func (l *lcus) wait(t *testing.T, when string, want [barrier.Outputs]bool) {
	t.Helper()
	var on [barrier.Outputs]bool
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		l.mu.Lock()
		on = l.on
		l.mu.Unlock()
		if on == want {
			return
		}
	}
	t.Errorf("%s: on %v, want %v", when, on, want)
}

// What a process that died left on is switched off at the next start, but for
// what is locked on; a restart for a config leaves on what a client switched
// on.
func TestWhatAStartFindsOn(t *testing.T) {
	relays, port := newLCUS(t)
	dir := t.TempDir()
	c := configs.Default()
	c.Ports.KeepLocks = true
	c.Barrier.Driver, c.Barrier.Serial.Port, c.Barrier.Serial.Protocol = "serial", port, "lcus"
	start := func() *Board {
		t.Helper()
		b, err := Open(c, dir, "gatehouse-vision", "test", slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	// Output 3 shows that the relays took all that was sent before.
	mark := func(b *Board) { t.Helper(); must(b.barrier.Set(3, true)) }
	died := func() { calm.Delete(dir) } // as a process forgets

	relays.set(0, true)
	relays.set(1, true)
	b := start()
	mark(b)
	relays.wait(t, "first start", [4]bool{3: true})
	must(b.lockOutput(2, barrier.HeldOn))
	must(b.barrier.Set(1, true))
	b.Close()
	relays.set(3, false)
	b = start()
	mark(b)
	relays.wait(t, "another config", [4]bool{1: true, 2: true, 3: true})
	b.Close()
	died()
	relays.set(0, true)
	b = start()
	mark(b)
	relays.wait(t, "after a death", [4]bool{2: true, 3: true})
	must(b.barrier.Set(1, true))
	must(b.barrier.Pulse(0, time.Hour))
	b.Close()
	relays.set(0, true) // as if its off had failed
	b = start()
	mark(b)
	relays.wait(t, "after a stop in a pulse", [4]bool{2: true, 3: true})
	b.Close()
}

// An output that was left on is tried until it is off; one that is not there is not.
func TestWhatWasLeftOnGoesOffLater(t *testing.T) {
	for _, c := range []struct {
		err   error
		tries bool
	}{{errors.New("it does not answer"), true}, {barrier.ErrNoOutput, false}} {
		b := open(t, t.TempDir())
		relays := &leftOn{err: c.err}
		b.barrier = barrier.NewLocks(barrier.NewRelays(relays), false)
		if err := b.restoreLocks(false); err != nil {
			t.Fatal(err)
		}
		if b.hold() != "" {
			t.Error("changes wait:", b.hold())
		}
		time.Sleep(time.Second)
		relays.mu.Lock()
		if tries := relays.tries > 4; tries != c.tries {
			t.Errorf("%v: switched %d times", c.err, relays.tries)
		}
		relays.mu.Unlock()
		b.Close()
	}
}

// leftOn is relays that fail.
type leftOn struct {
	mu    sync.Mutex
	tries int
	err   error
}

func (l *leftOn) Switch(_ int, on bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tries++
	return l.err
}
func (*leftOn) Position() barrier.Position { return barrier.Unknown }
func (*leftOn) Close() error               { return nil }
