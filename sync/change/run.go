package change

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"gatehouse/sync/errcode"
	"gatehouse/sync/store"
	"gatehouse/sync/wire"
)

// run is a change whose steps are running.
type run struct {
	stop     context.CancelCauseFunc
	noReturn bool // guarded by the engine's mu
}

var errCancelled = errors.New("the change was cancelled")

// interrupt is a cancel while steps run: before the point of no return the
// steps are told to stop and are undone, after it the cancel is too late.
func (e *Engine) interrupt(c *Change) (wire.ChangeReport, error) {
	r := e.running[string(key(c.Kind, c.ChangeID))]
	if r == nil || r.noReturn {
		return c.ChangeReport, errcode.New(errcode.RequestFailed, "Too late: the change is past the point where it can be undone!")
	}
	r.stop(errCancelled)
	return c.ChangeReport, nil
}

// start runs the steps of an applying change in the background. The caller holds mu.
func (e *Engine) start(k Kind, id string) {
	ctx, stop := context.WithCancelCause(context.Background())
	name := string(key(k.Name(), id))
	r := &run{stop: stop}
	e.running[name] = r
	e.wait.Go(func() {
		defer stop(nil)
		e.execute(ctx, k, id, r)
		e.mu.Lock()
		delete(e.running, name)
		e.mu.Unlock()
		e.Flush()
	})
}

// execute runs the steps from the one the change stands at, then finishes it.
func (e *Engine) execute(ctx context.Context, k Kind, id string, r *run) {
	var c *Change
	err := e.db.View(func(tx *bolt.Tx) (err error) {
		c, err = load(tx, k.Name(), id)
		return err
	})
	if err != nil || c == nil {
		e.o.Log.Error("a change cannot be read and is not applied", "kind", k.Name(), "change", id, "err", err)
		return
	}
	failure := e.steps(ctx, k, c, r)
	if failure == nil {
		return
	}
	if errors.Is(failure, errClosing) {
		return // recover finishes it at the next start
	}
	if err := e.undo(k, c, failure); err != nil {
		e.o.Log.Error("a change could not be undone; it is tried again at the next start", describe(c), "err", err)
	}
}

// steps does the steps that are left; the last one finishes the change.
func (e *Engine) steps(ctx context.Context, k Kind, c *Change, r *run) error {
	all := k.Steps()
	for i := max(0, c.Started-1); i < len(all); i++ {
		s := all[i]
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		e.mu.Lock()
		if cause := context.Cause(ctx); cause != nil { // a cancel came in between
			e.mu.Unlock()
			return cause
		}
		r.noReturn = r.noReturn || s.NoReturn
		c.Step, c.Started, c.Progress = s.Name, i+1, i*100/len(all)
		err := e.db.Update(func(tx *bolt.Tx) error { return errors.Join(save(tx, c), e.report(tx, c.ChangeReport)) })
		e.mu.Unlock()
		if err != nil {
			return fmt.Errorf("cannot record the step %s: %w", s.Name, err)
		}
		e.Flush()
		if s.Do != nil {
			if err := s.Do(ctx, c); err != nil {
				if cause := context.Cause(ctx); cause != nil {
					return cause
				}
				return fmt.Errorf("cannot do the step %s: %w", s.Name, err)
			}
		}
		last := i == len(all)-1
		if err := e.record(k, c, s, last); err != nil {
			return err
		}
	}
	return nil
}

// record runs a step's transaction part and, behind the last step, finishes the change in the same transaction.
func (e *Engine) record(k Kind, c *Change, s Step, last bool) error {
	if s.DoTx == nil && !last {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	before := *c
	err := e.db.Update(func(tx *bolt.Tx) error {
		if s.DoTx != nil {
			if err := s.DoTx(tx, c); err != nil {
				return fmt.Errorf("cannot do the step %s: %w", s.Name, err)
			}
		}
		if last {
			return e.finish(tx, c, wire.StateUsed, nil)
		}
		return nil
	})
	if err != nil {
		*c = before
		return err
	}
	if s.DoTx != nil {
		return k.Committed()
	}
	return nil
}

// undo undoes the started steps, last first, and puts the change back to
// staged with the reason, or to cancelled.
func (e *Engine) undo(k Kind, c *Change, failure error) error {
	all := k.Steps()
	for i := min(c.Started, len(all)) - 1; i >= 0; i-- {
		if all[i].Undo == nil {
			continue
		}
		if err := all[i].Undo(context.Background(), c); err != nil {
			return fmt.Errorf("cannot undo the step %s: %w", all[i].Name, err)
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	state, cause := wire.StateStaged, failure
	if errors.Is(failure, errCancelled) {
		state, cause = wire.StateCancelled, nil
	}
	c.Step, c.Progress = "", 0
	return e.db.Update(func(tx *bolt.Tx) error { return e.finish(tx, c, state, cause) })
}

var errPowerCut = errcode.New(errcode.RequestFailed, "The board restarted while the change was being applied; it was undone!")

// recover finishes what was applying when the last process ended: a step that
// says so is resumed, everything else is undone.
func (e *Engine) recover() error {
	var applying []*Change
	err := e.db.View(func(tx *bolt.Tx) error {
		return store.ForEach(tx.Bucket(changesBucket), func(_, v []byte, damaged error) error {
			var c Change
			if damaged == nil && json.Unmarshal(v, &c) == nil && c.State == wire.StateApplying {
				applying = append(applying, &c)
			}
			return nil
		})
	})
	if err != nil {
		return fmt.Errorf("cannot read the changes: %w", err)
	}
	for _, c := range applying {
		k, ok := e.kinds[c.Kind]
		if !ok {
			continue
		}
		if steps := k.Steps(); c.Started > 0 && c.Started <= len(steps) && steps[c.Started-1].Resume {
			e.mu.Lock()
			e.start(k, c.ChangeID)
			for i := range c.Started {
				e.running[string(key(c.Kind, c.ChangeID))].noReturn = e.running[string(key(c.Kind, c.ChangeID))].noReturn || steps[i].NoReturn
			}
			e.mu.Unlock()
			continue
		}
		if err := e.undo(k, c, errPowerCut); err != nil {
			e.o.Log.Error("an interrupted change could not be undone; it is tried again at the next start", describe(c), "err", err)
		}
	}
	return nil
}
