package change

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	bolt "go.etcd.io/bbolt"

	"gatehouse/sync/download"
	"gatehouse/sync/errcode"
	"gatehouse/sync/fault"
	"gatehouse/sync/wire"
)

// stage checks and keeps a new change; one whose content is to be fetched has
// no state yet.
func (e *Engine) stage(tx *bolt.Tx, k Kind, cmd wire.ChangeCommand, file string, next *after) (wire.ChangeReport, error) {
	c := &Change{ChangeReport: wire.ChangeReport{ChangeID: cmd.ChangeID, Kind: k.Name(), Digest: cmd.Digest}, Base: cmd.Base,
		Length: int64(len(cmd.Content)), Staged: e.o.Now().Unix(), dir: e.o.Dir}
	if cmd.URL != "" {
		c.URL, c.Length = cmd.URL, cmd.Length
	}
	if most := maxLength(k); c.Length < 1 || c.Length > most {
		return c.ChangeReport, errcode.Param("length", fmt.Sprintf("must be 1 to %d bytes", most))
	}
	if have := Digest([]byte(cmd.Content)); c.URL == "" && have != cmd.Digest {
		return c.ChangeReport, errDigest(have)
	}
	if err := e.verify(tx, c, cmd.Signature); err != nil {
		return c.ChangeReport, err
	}
	if err := e.room(tx); err != nil {
		return c.ChangeReport, err
	}
	if c.URL != "" {
		c.File, c.Step = fileName(c.Kind, c.ChangeID, c.Digest), StepDownload
		next.fetch = true
		return c.ChangeReport, errors.Join(markKept(tx, c), save(tx, c))
	}
	if c.File = file; file == "" {
		c.Content = cmd.Content
	}
	if err := k.Check(c); err != nil {
		return c.ChangeReport, err
	}
	c.State = wire.StateStaged
	return c.ChangeReport, errors.Join(markKept(tx, c), save(tx, c), e.report(tx, c.ChangeReport))
}

// room bounds how many changes are under way.
func (e *Engine) room(tx *bolt.Tx) error {
	n := 0
	if err := e.eachIn(tx, func(c *Change) {
		if !finished(c) {
			n++
		}
	}); err != nil {
		return err
	}
	if n >= maxStaged {
		return errcode.Busy(fmt.Sprintf("There are %d staged changes already; apply or cancel some!", n))
	}
	return nil
}

// startFetch fetches a change's content in the background. The caller holds mu.
func (e *Engine) startFetch(k Kind, id string) {
	ctx, stop := context.WithCancelCause(context.Background())
	name := string(key(k.Name(), id))
	r := &run{stop: stop}
	e.running[name] = r
	e.wait.Go(func() {
		defer stop(nil)
		e.fetch(ctx, k, id, r)
		e.mu.Lock()
		if e.running[name] == r {
			delete(e.running, name)
		}
		e.sweep()
		e.mu.Unlock()
		e.nudge()
		e.Flush()
	})
}

// fetch brings a change's content and stages it, or forgets the change and
// reports why.
func (e *Engine) fetch(ctx context.Context, k Kind, id string, r *run) {
	c, err := e.read(k, id)
	if err != nil || c == nil || c.State != stateFetching {
		e.o.Log.Error("a content cannot be fetched: its change is gone", "kind", k.Name(), "change", id, "err", err)
		return
	}
	e.mu.Lock()
	r.file = c.File
	e.mu.Unlock()
	err = download.Fetch(ctx, download.Options{URL: c.URL, Length: c.Length, Digest: c.Digest, Path: filepath.Join(e.o.Dir, c.File),
		MaxLength: maxLength(k), Client: e.o.Client, Log: e.o.Log, Tries: fetchTries,
		Progress: func(done, total int64) { r.progress.Store(done * 100 / max(total, 1)) }})
	if context.Cause(ctx) != nil {
		return // cancelled: that is recorded; closing: it goes on at the next start
	}
	if err == nil {
		fault.Point("change.fetched")
		err = e.check(k, c)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if context.Cause(ctx) != nil {
		return
	}
	err = e.db.Update(func(tx *bolt.Tx) error { return e.fetched(tx, k, id, err) })
	if err != nil {
		e.o.Log.Error("a fetched content could not be recorded; it is at the next start", describe(c), "err", err)
	}
}

// fetchTries is how many attempts in a row may bring nothing: with a pause of
// up to a minute between them, about an hour and a half.
const fetchTries = 180

// check has the kind look at a fetched content; a short one is taken into the change.
func (e *Engine) check(k Kind, c *Change) error {
	if c.Length <= InlineMax {
		text, err := os.ReadFile(filepath.Join(e.o.Dir, c.File))
		if err != nil {
			return fmt.Errorf("cannot read the content: %w", err)
		}
		c.Content, c.File = string(text), ""
	}
	return k.Check(c)
}

// fetched records how a fetch ended: the change is staged, or forgotten with
// the reason reported.
func (e *Engine) fetched(tx *bolt.Tx, k Kind, id string, cause error) error {
	c, err := e.load(tx, k.Name(), id)
	if err != nil || c == nil || c.State != stateFetching {
		return err // cancelled or cleared meanwhile
	}
	c.Step, c.Progress = "", 0
	if cause != nil {
		coded := errcode.From(cause)
		c.Result = &wire.ChangeResult{ErrorCode: int(coded.Code), ErrorMessage: coded.Error(), At: e.o.Now().Unix()}
		delete(e.waiting, c.key())
		return errors.Join(tx.Bucket(changesBucket).Delete(key(c.Kind, c.ChangeID)), markMissed(tx, c), e.report(tx, c.ChangeReport))
	}
	if c.Length <= InlineMax {
		text, err := os.ReadFile(filepath.Join(e.o.Dir, c.File))
		if err != nil {
			return err
		}
		c.Content, c.File = string(text), ""
	}
	c.State, c.URL = wire.StateStaged, ""
	if c.Wanted != nil {
		c.Step, c.Reason = StepWaiting, "its content was being fetched"
		e.waiting[c.key()] = true
	}
	return errors.Join(save(tx, c), e.report(tx, c.ChangeReport))
}

// read loads a change in a transaction of its own.
func (e *Engine) read(k Kind, id string) (c *Change, err error) {
	err = e.db.View(func(tx *bolt.Tx) (err error) {
		c, err = e.load(tx, k.Name(), id)
		return err
	})
	return c, err
}
