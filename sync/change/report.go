package change

import (
	"encoding/json"
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"gatehouse/sync/errcode"
	"gatehouse/sync/fault"
	"gatehouse/sync/store"
	"gatehouse/sync/wire"
)

// finish gives a change its state and result, and reports both, within tx.
func (e *Engine) finish(tx *bolt.Tx, c *Change, state string, cause error) error {
	c.State, c.Started, c.Wanted, c.Cancelled = state, 0, nil, false
	c.Step, c.Progress, c.Reason = "", 0, ""
	c.Result = &wire.ChangeResult{At: e.o.Now().Unix()}
	switch {
	case cause != nil:
		failure := errcode.From(cause)
		if failure.Code != errcode.AuthSignatureError {
			failure = errcode.New(errcode.RequestFailed, failure.Detail)
		}
		c.Result.ErrorCode, c.Result.ErrorMessage = int(failure.Code), failure.Error()
	case state == wire.StateUsed:
		c.Progress = 100
		if err := markApplied(tx, c); err != nil {
			return err
		}
	}
	if state == wire.StateUsed || state == wire.StateCancelled {
		c.Content, c.File, c.URL = "", "", "" // only the digest is needed any more
	}
	fault.Point("change.finish")
	return errors.Join(save(tx, c), e.report(tx, c.ChangeReport), e.prune(tx))
}

func finished(c *Change) bool {
	return c.State == wire.StateUsed || c.State == wire.StateCancelled
}

// prune forgets finished changes that are too old, and the oldest of too many.
func (e *Engine) prune(tx *bolt.Tx) error {
	b := tx.Bucket(changesBucket)
	var old [][]byte
	var oldest []byte
	var at int64
	kept := 0
	horizon := e.o.Now().Add(-keepFor).Unix()
	err := store.ForEach(b, func(k, v []byte, err error) error {
		var c Change
		if err != nil || json.Unmarshal(v, &c) != nil || c.Result == nil || !finished(&c) {
			return nil
		}
		if c.Result.At < horizon {
			old = append(old, append([]byte(nil), k...))
			return nil
		}
		kept++
		if oldest == nil || c.Result.At < at {
			oldest, at = append([]byte(nil), k...), c.Result.At
		}
		return nil
	})
	if kept > keepFinished {
		old = append(old, oldest)
	}
	for _, k := range old {
		err = errors.Join(err, b.Delete(k))
	}
	return err
}

// live is a report with what is known in memory only: how far a download is.
func (e *Engine) live(r wire.ChangeReport) wire.ChangeReport {
	if run := e.running[string(key(r.Kind, r.ChangeID))]; run != nil && r.Step == StepDownload {
		r.Progress = int(run.progress.Load())
	}
	return r
}

// States lists all changes that are kept.
func (e *Engine) States() (list []wire.ChangeReport, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	err = e.each(func(c *Change) { list = append(list, e.live(c.ChangeReport)) })
	return list, err
}

// Query lists the changes of one kind.
func (e *Engine) Query(kind string) (wire.ChangeList, error) {
	list := wire.ChangeList{Changes: []wire.ChangeReport{}}
	if e.kinds[kind] == nil {
		return list, errcode.New(errcode.NotSupported, "")
	}
	all, err := e.States()
	for _, r := range all {
		if r.Kind == kind {
			list.Changes = append(list.Changes, r)
		}
	}
	return list, err
}

// each calls f for all changes that can be read.
func (e *Engine) each(f func(*Change)) error {
	return e.db.View(func(tx *bolt.Tx) error { return e.eachIn(tx, f) })
}

func (e *Engine) eachIn(tx *bolt.Tx, f func(*Change)) error {
	return store.ForEach(tx.Bucket(changesBucket), func(_, v []byte, damaged error) error {
		c := Change{dir: e.o.Dir}
		if damaged == nil && json.Unmarshal(v, &c) == nil {
			f(&c)
		}
		return nil
	})
}

// Clear forgets all changes and answers within tx: the board was unbound. What
// still runs finds nothing to finish.
func Clear(tx *bolt.Tx) error {
	for _, name := range [][]byte{changesBucket, reportsBucket, sequencesBucket, journalBucket, journalOrder} {
		if err := tx.DeleteBucket(name); err != nil && !errors.Is(err, bolterrors.ErrBucketNotFound) {
			return err
		}
		if _, err := tx.CreateBucket(name); err != nil {
			return err
		}
	}
	return nil
}

// Cleared tells the engine that Clear was committed: what runs is stopped and
// contents are removed.
func (e *Engine) Cleared() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, r := range e.running {
		r.stop(errCancelled)
	}
	clear(e.waiting)
	e.sweep()
}

// report queues a report for the sink within tx.
func (e *Engine) report(tx *bolt.Tx, r wire.ChangeReport) error {
	b := tx.Bucket(reportsBucket)
	n, err := b.NextSequence()
	if err != nil {
		return err
	}
	return store.PutJSON(b, fmt.Appendf(nil, "%020d", n), r)
}

// Flush hands queued reports to the sink, in order, until one is refused.
func (e *Engine) Flush() {
	e.flush.Lock()
	defer e.flush.Unlock()
	for {
		var first []byte
		var r wire.ChangeReport
		err := e.db.View(func(tx *bolt.Tx) error {
			k, _ := tx.Bucket(reportsBucket).Cursor().First()
			if k == nil {
				return nil
			}
			first = append(first, k...)
			_, err := store.GetJSON(tx.Bucket(reportsBucket), k, &r)
			return err
		})
		if first == nil {
			return
		}
		if err == nil {
			if err := e.sink(r); err != nil {
				e.o.Log.Warn("a change's report waits", "change", r.ChangeID, "state", r.State, "err", err)
				return
			}
			fault.Point("change.report.sink")
		} else {
			e.o.Log.Error("a change's report is damaged and dropped", "err", err)
		}
		err = e.db.Update(func(tx *bolt.Tx) error { return tx.Bucket(reportsBucket).Delete(first) })
		if err != nil {
			e.o.Log.Error("a delivered report could not be removed", "err", err)
			return
		}
	}
}
