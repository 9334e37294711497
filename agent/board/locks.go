package board

import (
	"errors"
	"sync"

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
	if err != nil || to == barrier.Free {
		err = errors.Join(err, b.keepLocks(b.barrier.Locks()))
	}
	return err
}

func (b *Board) keepLocks(l [barrier.Outputs]barrier.Lock) error {
	return b.state.db.Update(func(tx *bolt.Tx) error { return store.PutJSON(tx.Bucket(boardBucket), locksKey, l) })
}

// calm has the state directories of boards that this process closed while no
// output was in a pulse and all were reached: what is on there is to be on.
var calm sync.Map

// restoreLocks brings the locks back that were there before the start. An
// output that was locked off stays so, whatever happened. One that was locked
// on is locked on again only if the config says so; else it is switched off,
// since the hardware may have kept it on while no agent ran. So is every other
// output, unless this process was calm before: a process that died in a pulse
// left it on. The driver goes on until they are off.
func (b *Board) restoreLocks(keepOn bool) error {
	var before [barrier.Outputs]barrier.Lock
	err := b.state.db.View(func(tx *bolt.Tx) error {
		_, err := store.GetJSON(tx.Bucket(boardBucket), locksKey, &before)
		return err
	})
	if err != nil { // damaged: nothing is known to be locked
		b.log.Error("the locks of the outputs are lost", "err", err)
		before = [barrier.Outputs]barrier.Lock{}
	}
	_, leave := calm.LoadAndDelete(b.dir)
	now := before
	for output, l := range before {
		switch {
		case l == barrier.HeldOff || l == barrier.HeldOn && keepOn:
			if err := b.barrier.Lock(output, l); err != nil {
				b.log.Error("an output's lock could not be restored in hardware", "output", output, "err", err)
			}
		case l == barrier.HeldOn || !leave:
			now[output] = barrier.Free
			if err := b.barrier.Set(output, false); err != nil && !errors.Is(err, barrier.ErrNoOutput) {
				b.log.Error("an output may still be on from before the start", "output", output, "err", err)
			}
		}
	}
	b.restored = true
	if now == before {
		return nil
	}
	return b.keepLocks(now)
}

// noteCalm notes whether the next board of this process may leave on what is on.
func (b *Board) noteCalm() {
	if b.restored && !b.barrier.Moving() && b.barrier.Fault() == nil {
		calm.Store(b.dir, true)
	}
}
