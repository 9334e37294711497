package change

import (
	"encoding/json"
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"gatehouse/sync/errcode"
	"gatehouse/sync/fault"
	"gatehouse/sync/wire"
)

// answer is what a command is answered with, as the journal keeps it.
type answer struct {
	Report wire.ChangeReport `json:"report"`
	Code   int               `json:"code,omitempty"`
	Detail string            `json:"detail,omitempty"`
	Busy   bool              `json:"busy,omitempty"`
}

func (a answer) result() (wire.ChangeReport, error) {
	if a.Code == 0 {
		return a.Report, nil
	}
	return a.Report, &errcode.Error{Code: errcode.Code(a.Code), Detail: a.Detail, Busy: a.Busy}
}

// after is what follows the commit of a command.
type after struct {
	start     bool // the change's steps begin
	fetch     bool // its content is fetched
	committed bool // a step within the transaction was done
	stop      bool // what runs for it is told that it was cancelled
	discard   bool // its content is needed no more
}

// Handle carries out one command for a kind. The report is valid with an error
// too, where the change exists. Errors are *errcode.Error.
func (e *Engine) Handle(d Delivery, kind string, c wire.ChangeCommand) (wire.ChangeReport, error) {
	defer e.Flush()
	e.mu.Lock()
	defer e.mu.Unlock()
	unknown := wire.ChangeReport{Kind: kind, ChangeID: c.ChangeID}
	k, ok := e.kinds[kind]
	if !ok {
		return unknown, errcode.New(errcode.NotSupported, "")
	}
	if e.closing {
		return unknown, errcode.Busy("The agent is stopping; send it again!")
	}
	if c.OperatorType == wire.VerbQuery { // it has no effect, and its answer is always the present one
		return e.query(k, c.ChangeID)
	}
	if stored, ok, err := e.journal.Stored(d); err != nil {
		return unknown, errcode.From(err)
	} else if ok {
		var a answer
		if err := json.Unmarshal(stored, &a); err == nil {
			return a.result()
		}
	}
	a, err := e.carryOut(k, d, c)
	if err != nil {
		return a.Report, errcode.From(fmt.Errorf("cannot record the command: %w", err))
	}
	return a.result()
}

// carryOut does a command in one transaction with its answer in the journal.
func (e *Engine) carryOut(k Kind, d Delivery, c wire.ChangeCommand) (a answer, err error) {
	file, err := e.keepContent(k, c)
	if err != nil {
		return a, err
	}
	var next after
	err = e.db.Update(func(tx *bolt.Tx) error {
		fault.Point("change.command.begin")
		a, next = answer{}, after{}
		report, err := e.command(tx, k, c, file, &next)
		a.Report = report
		var coded *errcode.Error
		var failed *failedApply
		switch {
		case errors.As(err, &failed):
			return failed // roll everything back; the failure is recorded below
		case errors.As(err, &coded):
			a.Code, a.Detail, a.Busy = int(coded.Code), coded.Detail, coded.Busy
			if err := e.refused(tx, k, c, coded); err != nil {
				return err
			}
		case err != nil:
			return err
		}
		if err := e.journal.put(tx, d, a); err != nil {
			return err
		}
		fault.Point("change.command.end")
		return nil
	})
	var failed *failedApply
	if errors.As(err, &failed) {
		next = after{}
		a.Report, err = e.recordFailure(k, c.ChangeID, failed.cause, func(tx *bolt.Tx, r wire.ChangeReport) error {
			a.Report, a.Code, a.Detail = r, int(errcode.RequestFailed), reason(failed.cause)
			return e.journal.put(tx, d, a)
		})
	}
	if err != nil {
		return a, err
	}
	fault.Point("change.command.done")
	e.follow(k, c.ChangeID, next)
	if file != "" && a.Code != 0 {
		e.sweep()
	}
	return a, nil
}

// follow does what follows a commit. The caller holds mu.
func (e *Engine) follow(k Kind, id string, next after) {
	if next.committed {
		fault.Point("change.committed")
		if err := k.Committed(); err != nil {
			e.o.Log.Error("a committed change is not in force until the next start", "kind", k.Name(), "change", id, "err", err)
		}
	}
	if next.stop {
		if r := e.running[string(key(k.Name(), id))]; r != nil {
			r.stop(errCancelled)
		}
	}
	switch {
	case next.fetch:
		e.startFetch(k, id)
	case next.start:
		e.start(k, id)
	case next.discard:
		e.sweep()
	}
}

// failedApply is the failure of a step within the command's own transaction.
type failedApply struct{ cause error }

func (f *failedApply) Error() string { return f.cause.Error() }
func (f *failedApply) Unwrap() error { return f.cause }

// recordFailure writes that applying failed and the change is staged as
// before; also is done in the same transaction.
func (e *Engine) recordFailure(k Kind, id string, cause error, also func(*bolt.Tx, wire.ChangeReport) error) (report wire.ChangeReport, err error) {
	err = e.db.Update(func(tx *bolt.Tx) error {
		c, err := e.load(tx, k.Name(), id)
		if err != nil || c == nil {
			return errors.Join(err, errors.New("the change is gone"))
		}
		if err := e.finish(tx, c, wire.StateStaged, cause); err != nil {
			return err
		}
		report = c.ChangeReport
		return also(tx, report)
	})
	return report, err
}

// reason is the detail of a 1106 for a cause.
func reason(cause error) string { return errcode.From(cause).Detail }

// query tells of one change as it is now.
func (e *Engine) query(k Kind, id string) (report wire.ChangeReport, err error) {
	err = e.db.View(func(tx *bolt.Tx) error {
		c, err := e.load(tx, k.Name(), id)
		switch {
		case err != nil:
			return err
		case c == nil:
			report = wire.ChangeReport{Kind: k.Name(), ChangeID: id}
			return errcode.New(k.Codes().NotExist, "")
		}
		report = e.live(c.ChangeReport)
		return nil
	})
	if err != nil {
		return report, errcode.From(err)
	}
	return report, nil
}

// command is the table of the design, cell by cell. File is where a long
// content of a stage command was written, or "".
func (e *Engine) command(tx *bolt.Tx, k Kind, cmd wire.ChangeCommand, file string, next *after) (wire.ChangeReport, error) {
	codes := k.Codes()
	c, err := e.load(tx, k.Name(), cmd.ChangeID)
	if err != nil {
		return wire.ChangeReport{Kind: k.Name(), ChangeID: cmd.ChangeID}, err
	}
	if c == nil {
		if cmd.OperatorType == wire.VerbStage {
			return e.stage(tx, k, cmd, file, next)
		}
		return wire.ChangeReport{Kind: k.Name(), ChangeID: cmd.ChangeID}, errcode.New(codes.NotExist, "")
	}
	switch c.State {
	case wire.StateUsed:
		return c.ChangeReport, errcode.New(codes.Used, "")
	case wire.StateCancelled:
		return c.ChangeReport, errcode.New(codes.Cancelled, "")
	case wire.StateApplying:
		switch cmd.OperatorType {
		case wire.VerbApply:
			return c.ChangeReport, nil
		case wire.VerbCancel:
			return e.interrupt(tx, c, next)
		}
		return c.ChangeReport, errcode.Busy("Busy: the change is being applied!")
	}
	switch cmd.OperatorType { // staged, or on its way
	case wire.VerbStage:
		if cmd.Digest != c.Digest {
			return c.ChangeReport, errcode.Param("digest", "differs from that of the staged change")
		}
		return e.live(c.ChangeReport), nil
	case wire.VerbCancel:
		next.stop, next.discard = true, true
		err := e.finish(tx, c, wire.StateCancelled, nil)
		return c.ChangeReport, err
	}
	return e.want(tx, k, c, Wanted{cmd.ApplyAfter, cmd.ApplyBefore}, next)
}
