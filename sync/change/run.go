package change

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"

	"gatehouse/sync/errcode"
	"gatehouse/sync/fault"
	"gatehouse/sync/wire"
)

// run is a change whose steps are running, or whose content is being fetched.
type run struct {
	stop     context.CancelCauseFunc
	applying bool
	noReturn bool         // guarded by the engine's mu
	file     string       // that is being fetched; guarded by the engine's mu
	progress atomic.Int64 // of a fetch, 0–100
}

var errCancelled = errors.New("the change was cancelled")

func splitKey(name string) (kind, id string) {
	kind, id, _ = strings.Cut(name, "\x00")
	return kind, id
}

// interrupt is a cancel while steps run: before the point of no return the
// steps are told to stop and are undone, a power cut in between or not; after it
// the cancel is too late.
func (e *Engine) interrupt(tx *bolt.Tx, c *Change, next *after) (wire.ChangeReport, error) {
	r := e.running[c.key()]
	if r == nil || r.noReturn {
		return c.ChangeReport, errcode.Busy("Too late: the change is past the point where it can be undone!")
	}
	c.Cancelled, next.stop = true, true
	return c.ChangeReport, save(tx, c)
}

// start runs the steps of an applying change in the background. The caller holds mu.
func (e *Engine) start(k Kind, id string) *run {
	return e.background(k, id, func(ctx context.Context, r *run) { e.execute(ctx, k, id, r) })
}

// background does what remains of an applying change. The caller holds mu.
func (e *Engine) background(k Kind, id string, do func(context.Context, *run)) *run {
	ctx, stop := context.WithCancelCause(context.Background())
	name := string(key(k.Name(), id))
	r := &run{stop: stop, applying: true}
	e.running[name] = r
	e.wait.Go(func() {
		defer stop(nil)
		do(ctx, r)
		e.mu.Lock()
		if e.running[name] == r { // else it is applied again already
			delete(e.running, name)
		}
		e.sweep()
		e.mu.Unlock()
		e.nudge()
		e.Flush()
	})
	return r
}

// execute runs the steps from the one the change stands at, then finishes it.
func (e *Engine) execute(ctx context.Context, k Kind, id string, r *run) {
	c, err := e.read(k, id)
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
	e.mu.Lock()
	r.noReturn = false // it is being undone anyway: a cancel is in time
	e.mu.Unlock()
	e.undoUntilDone(k, c, failure)
}

// undoWait is the longest wait before an undo that failed is tried again.
const undoWait = time.Minute

// undoUntilDone undoes a change, again and again where that fails (a full disk,
// say); what it has not managed when the engine closes, recover does at the next start.
func (e *Engine) undoUntilDone(k Kind, c *Change, failure error) {
	for wait := e.o.Poll; ; wait = min(2*wait, undoWait) {
		err := e.undo(k, c, failure)
		if err == nil {
			return
		}
		e.o.Log.Error("a change could not be undone; it is tried again", describe(c), "in", wait, "err", err)
		select {
		case <-e.closed:
			return
		case <-time.After(wait):
		}
	}
}

// steps does the steps that are left; the last one finishes the change.
func (e *Engine) steps(ctx context.Context, k Kind, c *Change, r *run) error {
	all := k.Steps()
	for i := max(0, c.Started-1); i < len(all); i++ {
		s := all[i]
		if err := e.interlock(ctx, s); err != nil {
			return err
		}
		if err := e.beginStep(ctx, c, r, s, i, len(all)); err != nil {
			return err
		}
		e.Flush()
		fault.Point("change.step.recorded")
		if s.Do != nil {
			if err := s.Do(ctx, c); err != nil {
				if cause := context.Cause(ctx); cause != nil {
					return cause
				}
				return fmt.Errorf("cannot do the step %s: %w", s.Name, err)
			}
			fault.Point("change.step.done")
		}
		last := i == len(all)-1
		if err := e.record(ctx, k, c, s, last); err != nil {
			return err
		}
	}
	return nil
}

// interlock waits before a step that moves something until the barrier is at rest.
func (e *Engine) interlock(ctx context.Context, s Step) error {
	if !s.Interlock {
		return nil
	}
	tick := time.NewTicker(min(e.o.Poll, 100*time.Millisecond))
	defer tick.Stop()
	for e.o.Hold() != "" {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
	return nil
}

// beginStep writes down that a step is about to run.
func (e *Engine) beginStep(ctx context.Context, c *Change, r *run, s Step, i, n int) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if cause := context.Cause(ctx); cause != nil { // a cancel came in between
		return cause
	}
	r.noReturn = r.noReturn || s.NoReturn
	c.Step, c.Started, c.Progress = s.Name, i+1, i*100/n
	err := e.db.Update(func(tx *bolt.Tx) error {
		if err := e.present(tx, c); err != nil {
			return err
		}
		return errors.Join(save(tx, c), e.report(tx, c.ChangeReport))
	})
	if err != nil {
		return fmt.Errorf("cannot record the step %s: %w", s.Name, err)
	}
	return nil
}

// record runs a step's transaction part and, behind the last step, finishes the
// change in the same transaction; a cancel that came before it is still in time.
func (e *Engine) record(ctx context.Context, k Kind, c *Change, s Step, last bool) error {
	if s.DoTx == nil && !last {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	before := *c
	err := e.db.Update(func(tx *bolt.Tx) error {
		if err := e.present(tx, c); err != nil {
			return err
		}
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
	if last {
		fault.Point("change.finished")
	}
	if s.DoTx == nil {
		return nil
	}
	fault.Point("change.committed")
	if err := k.Committed(); err != nil { // what is committed is not undone
		e.o.Log.Error("a committed change is not in force until the next start", describe(c), "err", err)
	}
	return nil
}

// undo undoes the started steps, last first, and puts the change back to
// staged with the reason, or to cancelled.
func (e *Engine) undo(k Kind, c *Change, failure error) error {
	fault.Point("change.undo.begin")
	all := k.Steps()
	for i := min(c.Started, len(all)) - 1; i >= 0; i-- {
		if all[i].Undo == nil {
			continue
		}
		if err := all[i].Undo(context.Background(), c); err != nil {
			return fmt.Errorf("cannot undo the step %s: %w", all[i].Name, err)
		}
	}
	fault.Point("change.undo.done")
	e.mu.Lock()
	defer e.mu.Unlock()
	before := *c
	err := e.db.Update(func(tx *bolt.Tx) error {
		switch err := e.present(tx, c); {
		case errors.Is(err, errCancelled):
			return nil // there is nothing to tell any more
		case err != nil:
			return err
		case c.Cancelled || errors.Is(failure, errCancelled):
			return e.finish(tx, c, wire.StateCancelled, nil)
		}
		return e.finish(tx, c, wire.StateStaged, failure)
	})
	if err != nil {
		*c = before
	}
	return err
}

// present is errCancelled where the change was cleared away while it ran. It
// notes whether it was cancelled.
func (e *Engine) present(tx *bolt.Tx, c *Change) error {
	now, err := e.load(tx, c.Kind, c.ChangeID)
	if err != nil {
		return err
	}
	if now == nil || now.State != wire.StateApplying {
		return errCancelled
	}
	c.Cancelled = now.Cancelled
	return nil
}

var errPowerCut = errcode.New(errcode.RequestFailed, "The board restarted while the change was being applied; it was undone!")

// recover finishes what was under way when the last process ended: contents
// are fetched on, a step that says so is resumed, everything else is undone.
func (e *Engine) recover() error {
	var unfinished []*Change
	if err := e.each(func(c *Change) {
		if !finished(c) {
			unfinished = append(unfinished, c)
		}
	}); err != nil {
		return fmt.Errorf("cannot read the changes: %w", err)
	}
	e.mu.Lock()
	e.sweep()
	e.mu.Unlock()
	for _, c := range unfinished {
		k, ok := e.kinds[c.Kind]
		if !ok {
			continue
		}
		switch {
		case c.State == stateFetching:
			e.mu.Lock()
			e.startFetch(k, c.ChangeID)
			e.mu.Unlock()
		case c.State == wire.StateApplying:
			e.recoverOne(k, c)
		case c.Wanted != nil:
			e.waiting[c.key()] = true
			e.nudge()
		}
	}
	return nil
}

// recoverOne resumes or undoes a change that was applying.
func (e *Engine) recoverOne(k Kind, c *Change) {
	steps := k.Steps()
	resume, why := c.Started > 0 && c.Started <= len(steps) && steps[c.Started-1].Resume, error(errPowerCut)
	if i, ok := k.(Interrupted); ok {
		var cause error
		if resume, cause = i.Interrupted(c); cause != nil {
			why = cause
		}
	}
	if c.Cancelled {
		resume, why = false, errCancelled
	}
	if resume && c.Started > 0 && c.Started <= len(steps) {
		e.mu.Lock()
		r := e.start(k, c.ChangeID)
		for _, s := range steps[:c.Started] {
			r.noReturn = r.noReturn || s.NoReturn
		}
		e.mu.Unlock()
		return
	}
	if err := e.undo(k, c, why); err != nil {
		e.o.Log.Error("an interrupted change could not be undone yet", describe(c), "err", err)
		e.mu.Lock()
		e.background(k, c.ChangeID, func(context.Context, *run) { e.undoUntilDone(k, c, why) })
		e.mu.Unlock()
	}
}
