package change

import (
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"

	"gatehouse/sync/errcode"
	"gatehouse/sync/wire"
)

// want is an apply of a staged change, or of one whose content is on its way:
// it is begun, or waits and is begun later by itself.
func (e *Engine) want(tx *bolt.Tx, k Kind, c *Change, w Wanted, next *after) (wire.ChangeReport, error) {
	now := e.o.Now()
	switch {
	case w.After < 0 || w.Before < 0 || w.Before > 0 && w.Before <= w.After:
		return c.ChangeReport, errcode.Param("apply_before", "and apply_after must be Unix seconds, in this order")
	case w.Before > 0 && now.Unix() >= w.Before:
		return c.ChangeReport, errcode.Busy("Too late: apply_before has passed!")
	}
	if err := e.stillTrusted(tx, c); err != nil {
		return c.ChangeReport, err
	}
	if c.State == stateFetching {
		c.Wanted = &w
		return e.live(c.ChangeReport), save(tx, c)
	}
	if why := e.obstacle(c, w, now); why != "" {
		if c.Wanted != nil && *c.Wanted == w {
			return c.ChangeReport, nil // the same answer: it waits
		}
		err := e.putOff(tx, c, w, why)
		return c.ChangeReport, err
	}
	return e.begin(tx, k, c, next)
}

// obstacle says why a change cannot be applied now, or "".
func (e *Engine) obstacle(c *Change, w Wanted, now time.Time) string {
	if now.Unix() < w.After {
		return "until " + time.Unix(w.After, 0).UTC().Format(time.RFC3339)
	}
	for name := range e.running {
		if kind, id := splitKey(name); kind == c.Kind && id != c.ChangeID && e.running[name].applying {
			return fmt.Sprintf("the %s %s is being applied", kind, id)
		}
	}
	if why := e.o.Window(c.Kind, now); why != "" {
		return why
	}
	return e.o.Hold()
}

// putOff records that an apply waits, and why.
func (e *Engine) putOff(tx *bolt.Tx, c *Change, w Wanted, why string) error {
	c.Wanted, c.Step, c.Reason, c.Result = &w, StepWaiting, why, nil
	e.waiting[c.key()] = true
	e.nudge()
	if err := save(tx, c); err != nil {
		return err
	}
	return e.report(tx, c.ChangeReport)
}

// nudge wakes watch.
func (e *Engine) nudge() {
	select {
	case e.kick <- struct{}{}:
	default:
	}
}

// watch begins what waits as soon as it may. It sleeps while nothing waits.
func (e *Engine) watch() {
	tick := time.NewTicker(e.o.Poll)
	tick.Stop()
	defer tick.Stop()
	for {
		select {
		case <-e.closed:
			return
		case <-e.kick:
			tick.Reset(e.o.Poll)
		case <-tick.C:
		}
		if left := e.tryWaiting(); left == 0 {
			tick.Stop()
		}
		e.Flush()
	}
}

// tryWaiting looks at all that waits and gives how many still do.
func (e *Engine) tryWaiting() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closing {
		return 0
	}
	for name := range e.waiting {
		kind, id := splitKey(name)
		k := e.kinds[kind]
		if k == nil {
			delete(e.waiting, name)
			continue
		}
		if err := e.tryOne(k, id); err != nil {
			e.o.Log.Error("a waiting change cannot be looked at", "kind", kind, "change", id, "err", err)
		}
	}
	return len(e.waiting)
}

// tryOne begins one waiting change, or notes a new reason to wait. The caller holds mu.
func (e *Engine) tryOne(k Kind, id string) error {
	var next after
	var failed error
	name := string(key(k.Name(), id))
	now := e.o.Now()
	c, err := e.read(k, id)
	switch {
	case err != nil:
		return err
	case c == nil || c.Wanted == nil || c.State != wire.StateStaged && c.State != stateFetching:
		delete(e.waiting, name)
		return nil
	case c.State == stateFetching:
		return nil
	}
	late := c.Wanted.Before > 0 && now.Unix() >= c.Wanted.Before
	why := e.obstacle(c, *c.Wanted, now)
	if !late && why != "" && why == c.Reason {
		return nil
	}
	err = e.db.Update(func(tx *bolt.Tx) error {
		next, failed = after{}, nil
		c, err := e.load(tx, k.Name(), id)
		if err != nil || c == nil || c.Wanted == nil {
			return err
		}
		if late {
			return e.finish(tx, c, wire.StateStaged, errcode.New(errcode.RequestFailed, "It could not be applied before apply_before: "+c.Reason+"!"))
		}
		if why != "" {
			return e.putOff(tx, c, *c.Wanted, why)
		}
		if failed = e.stillTrusted(tx, c); failed == nil {
			_, failed = e.begin(tx, k, c, &next)
		}
		return failed
	})
	if failed != nil { // the transaction was rolled back
		next = after{}
		_, err = e.recordFailure(k, id, failed, func(tx *bolt.Tx, r wire.ChangeReport) error {
			return e.auditRefusal(tx, r, errcode.From(failed))
		})
	}
	if err != nil {
		return err
	}
	if late || why == "" {
		delete(e.waiting, name)
	}
	e.follow(k, id, next)
	return nil
}

// begin does all steps at once where all work within the transaction; else it
// records the state and has the steps start after the commit.
func (e *Engine) begin(tx *bolt.Tx, k Kind, c *Change, next *after) (wire.ChangeReport, error) {
	if err := c.intact(); err != nil {
		return c.ChangeReport, &failedApply{err}
	}
	delete(e.waiting, c.key())
	c.Wanted, c.Reason = nil, ""
	steps := k.Steps()
	for _, s := range steps {
		if s.DoTx == nil {
			next.start = true
			c.State, c.Step, c.Progress, c.Result, c.Started = wire.StateApplying, steps[0].Name, 0, nil, 0
			if err := save(tx, c); err != nil {
				return c.ChangeReport, err
			}
			return c.ChangeReport, e.report(tx, c.ChangeReport)
		}
	}
	for _, s := range steps {
		if err := s.DoTx(tx, c); err != nil {
			return c.ChangeReport, &failedApply{err}
		}
	}
	next.committed, next.discard = true, true
	err := e.finish(tx, c, wire.StateUsed, nil)
	return c.ChangeReport, err
}
