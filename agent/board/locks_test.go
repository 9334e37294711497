package board

import (
	"errors"
	"log/slog"
	"testing"

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
