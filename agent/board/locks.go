package board

import (
	"context"
	"errors"
	"time"

	bolt "go.etcd.io/bbolt"

	"gatehouse/hal/barrier"
	"gatehouse/sync/store"
)

var locksKey = []byte("locks") // the outputs' locks, see lockOutput

// lockOutput locks or frees an output and remembers it: a lock is written down
// before the output goes on, and forgotten after it went off, or where the
// hardware failed: the next start locks nothing on that this one did not.
func (b *Board) lockOutput(output int, to barrier.Lock) error {
	b.locking.Lock()
	defer b.locking.Unlock()
	if output < 0 || output >= barrier.Outputs {
		return b.barrier.Lock(output, to) // says what is wrong
	}
	next := b.barrier.Locks()
	next[output] = to
	if to != barrier.Free {
		if err := b.keepLocks(next); err != nil {
			return err
		}
	}
	err := b.barrier.Lock(output, to)
	if err == nil {
		b.leftOn[output] = false
	}
	if err != nil || to == barrier.Free {
		err = errors.Join(err, b.keepLocks(b.barrier.Locks()))
	}
	return err
}

func (b *Board) keepLocks(l [barrier.Outputs]barrier.Lock) error {
	return b.state.db.Update(func(tx *bolt.Tx) error { return store.PutJSON(tx.Bucket(boardBucket), locksKey, l) })
}

// restoreLocks brings the locks back that were there before the start. An
// output that was locked off stays so, whatever happened. One that was locked
// on is locked on again only if the config says so; else it is switched off,
// since the hardware may have kept it on while no agent ran.
func (b *Board) restoreLocks(keepOn bool) error {
	var before [barrier.Outputs]barrier.Lock
	err := b.state.db.View(func(tx *bolt.Tx) error {
		_, err := store.GetJSON(tx.Bucket(boardBucket), locksKey, &before)
		return err
	})
	if err != nil { // damaged: nothing is known to be locked
		b.log.Error("the locks of the outputs are lost", "err", err)
		return nil
	}
	now := before
	for output, l := range before {
		switch {
		case l == barrier.HeldOff || l == barrier.HeldOn && keepOn:
			if err := b.barrier.Lock(output, l); err != nil {
				b.log.Error("an output's lock could not be restored in hardware", "output", output, "err", err)
			}
		case l == barrier.HeldOn:
			now[output] = barrier.Free
			b.leftOn[output] = true
		}
	}
	b.switchOff()
	if now == before {
		return nil
	}
	return b.keepLocks(now)
}

// switchOff switches outputs off that were left on, and reports whether all are.
func (b *Board) switchOff() bool {
	b.locking.Lock()
	defer b.locking.Unlock()
	done := true
	for output, on := range b.leftOn {
		if !on {
			continue
		}
		if err := b.barrier.Set(output, false); err != nil {
			b.log.Error("an output that was locked on before the start may still be on", "output", output, "err", err)
			done = false
			continue
		}
		b.leftOn[output] = false
	}
	return done
}

// switchOffAgain goes on until all outputs that were left on are off.
func (b *Board) switchOffAgain(ctx context.Context) {
	for !b.switchOff() {
		select {
		case <-ctx.Done():
			return
		case <-time.After(5 * time.Second):
		}
	}
}
