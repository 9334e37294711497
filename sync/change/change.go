// Package change applies what the cloud wants to change on a board (a config,
// a whitelist, an upgrade) so that it is never half done: staged, then applied
// or cancelled, each step written down before it runs and undone when it or a
// later one fails, a power cut included.
//
// The parties: the cloud sends commands, possibly twice and out of order; a
// Kind knows how one sort of content is checked, done and undone; a Sink takes
// over the results. Promised: the table of commands and states in the design
// (architecture.md, "Changes: one model"); a result is in the same transaction
// as the state it reports; a finished result never changes; the same command
// (topic, id and body) has one effect and one answer.
//
// Not protected here: who may send commands. That is the broker's permissions
// and, by policy, signatures.
package change

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"gatehouse/sync/errcode"
	"gatehouse/sync/store"
	"gatehouse/sync/wire"
)

// Change is one config, whitelist or upgrade as it is kept.
type Change struct {
	wire.ChangeReport
	Content string `json:"content"`
	Base    string `json:"base,omitempty"`
	// Started counts the steps that may have begun: the first Started steps are undone on failure.
	Started int `json:"started"`
}

// Codes are the three codes of a kind.
type Codes struct{ NotExist, Used, Cancelled errcode.Code }

// Step is one step of applying a change, do and undo side by side. A step
// works either within the transaction that records it (DoTx) or outside (Do,
// Undo). Outside steps may run again after a power cut, and may be undone
// though they never ran: both must be idempotent.
type Step struct {
	Name string
	// DoTx needs no undo: it is rolled back with its transaction.
	DoTx func(tx *bolt.Tx, c *Change) error
	// Do and Undo act on the world. Do honours ctx: it ends when the change is cancelled.
	Do   func(ctx context.Context, c *Change) error
	Undo func(ctx context.Context, c *Change) error
	// NoReturn marks the point after which a cancel is too late.
	NoReturn bool
	// Resume says that after a power cut this step is done again, and the ones
	// behind it follow; without it the change is undone.
	Resume bool
}

// Kind is one sort of change. Its methods are called from one goroutine at a time.
type Kind interface {
	Name() string
	Codes() Codes
	// Check looks at the content when it is staged; errors carry 1101, 1103 or 5201.
	Check(c *Change) error
	// Steps are the steps of applying it, in order; at least one.
	Steps() []Step
	// Committed is called after a transaction with a DoTx step was committed.
	Committed() error
}

// Sink takes over a report durably; it is offered again until it returns nil,
// so the same report may come twice.
type Sink func(wire.ChangeReport) error

// Options of an Engine.
type Options struct {
	// Hold gives a reason not to apply anything now (barrier moving, vehicle
	// under it), or "". Nil: never.
	Hold func() string
	Now  func() time.Time
	Log  *slog.Logger
}

// Engine is safe for concurrent use.
type Engine struct {
	db      *store.DB
	kinds   map[string]Kind
	sink    Sink
	o       Options
	journal *Journal

	mu      sync.Mutex // serialises commands and the ends of steps
	running map[string]*run
	wait    sync.WaitGroup
	flush   sync.Mutex // one delivery to the sink at a time
}

var (
	changesBucket = []byte("changes")        // kind NUL id → Change
	reportsBucket = []byte("change_reports") // sequence → wire.ChangeReport, not yet with the sink
)

// keepFinished is how many finished changes of all kinds are remembered.
const keepFinished = 500

// New opens the engine's part of the state database and finishes, one way or
// the other, what a power cut interrupted.
func New(db *store.DB, kinds []Kind, sink Sink, o Options) (*Engine, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Hold == nil {
		o.Hold = func() string { return "" }
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	e := &Engine{db: db, kinds: map[string]Kind{}, sink: sink, o: o, running: map[string]*run{}}
	for _, k := range kinds {
		e.kinds[k.Name()] = k
	}
	err := db.Update(func(tx *bolt.Tx) error {
		_, err1 := tx.CreateBucketIfNotExists(changesBucket)
		_, err2 := tx.CreateBucketIfNotExists(reportsBucket)
		return errors.Join(err1, err2)
	})
	if err != nil {
		return nil, fmt.Errorf("cannot open the changes: %w", err)
	}
	if e.journal, err = OpenJournal(db); err != nil {
		return nil, err
	}
	if err := e.recover(); err != nil {
		return nil, err
	}
	e.Flush()
	return e, nil
}

// Journal is the engine's journal of commands, for commands of other sorts too.
func (e *Engine) Journal() *Journal { return e.journal }

func key(kind, id string) []byte { return []byte(kind + "\x00" + id) }

// answer is what a command is answered with, as the journal keeps it.
type answer struct {
	Report wire.ChangeReport `json:"report"`
	Code   int               `json:"code,omitempty"`
	Detail string            `json:"detail,omitempty"`
}

func (a answer) result() (wire.ChangeReport, error) {
	if a.Code == 0 {
		return a.Report, nil
	}
	return a.Report, errcode.New(errcode.Code(a.Code), a.Detail)
}

// Handle carries out one command for a kind. The report is valid with an error
// too, where the change exists. Errors are *errcode.Error.
func (e *Engine) Handle(d Delivery, kind string, c wire.ChangeCommand) (wire.ChangeReport, error) {
	defer e.Flush()
	e.mu.Lock()
	defer e.mu.Unlock()
	k, ok := e.kinds[kind]
	if !ok {
		return wire.ChangeReport{Kind: kind, ChangeID: c.ChangeID}, errcode.New(errcode.NotSupported, "")
	}
	if stored, ok, err := e.journal.Stored(d); err != nil {
		return wire.ChangeReport{}, errcode.From(err)
	} else if ok {
		var a answer
		if err := json.Unmarshal(stored, &a); err == nil {
			return a.result()
		}
	}
	var a answer
	var start, committed bool
	err := e.db.Update(func(tx *bolt.Tx) error {
		a, start, committed = answer{}, false, false
		report, err := e.command(tx, k, c, &start, &committed)
		a.Report = report
		var coded *errcode.Error
		var failed *failedApply
		switch {
		case errors.As(err, &failed):
			return failed // roll everything back; the failure is recorded below
		case errors.As(err, &coded):
			a.Code, a.Detail = int(coded.Code), coded.Detail
		case err != nil:
			return err
		}
		return e.journal.put(tx, d, a)
	})
	var failed *failedApply
	if errors.As(err, &failed) {
		a.Report, err = e.recordFailure(d, k, c.ChangeID, failed.cause, &a)
	}
	if err != nil {
		return a.Report, errcode.From(fmt.Errorf("cannot record the command: %w", err))
	}
	if committed {
		if err := k.Committed(); err != nil {
			e.o.Log.Error("a committed change is not in force until the next start", "kind", kind, "change", c.ChangeID, "err", err)
		}
	}
	if start {
		e.start(k, c.ChangeID)
	}
	return a.result()
}

// failedApply is the failure of a step within the command's own transaction.
type failedApply struct{ cause error }

func (f *failedApply) Error() string { return f.cause.Error() }
func (f *failedApply) Unwrap() error { return f.cause }

// recordFailure writes that applying failed and the change is staged as before.
func (e *Engine) recordFailure(d Delivery, k Kind, id string, cause error, a *answer) (report wire.ChangeReport, err error) {
	err = e.db.Update(func(tx *bolt.Tx) error {
		c, err := load(tx, k.Name(), id)
		if err != nil || c == nil {
			return errors.Join(err, errors.New("the change is gone"))
		}
		c.Step, c.Progress = "", 0
		if err := e.finish(tx, c, wire.StateStaged, cause); err != nil {
			return err
		}
		report = c.ChangeReport
		a.Report, a.Code, a.Detail = report, int(errcode.RequestFailed), reason(cause)
		return e.journal.put(tx, d, *a)
	})
	return report, err
}

// reason is the detail of a 1106 for a cause.
func reason(cause error) string { return errcode.From(cause).Detail }

// command is the table of the design, cell by cell.
func (e *Engine) command(tx *bolt.Tx, k Kind, cmd wire.ChangeCommand, start, committed *bool) (wire.ChangeReport, error) {
	codes := k.Codes()
	c, err := load(tx, k.Name(), cmd.ChangeID)
	if err != nil {
		return wire.ChangeReport{Kind: k.Name(), ChangeID: cmd.ChangeID}, err
	}
	if c == nil {
		if cmd.OperatorType == wire.VerbStage {
			return e.stage(tx, k, cmd)
		}
		return wire.ChangeReport{Kind: k.Name(), ChangeID: cmd.ChangeID}, errcode.New(codes.NotExist, "")
	}
	if cmd.OperatorType == wire.VerbQuery {
		return c.ChangeReport, nil
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
			return e.interrupt(c)
		}
		return c.ChangeReport, errcode.New(errcode.RequestFailed, "Busy: the change is being applied!")
	}
	switch cmd.OperatorType {
	case wire.VerbStage:
		if cmd.Digest != c.Digest {
			return c.ChangeReport, errcode.Param("digest", "differs from that of the staged change")
		}
		return c.ChangeReport, nil
	case wire.VerbCancel:
		err := e.finish(tx, c, wire.StateCancelled, nil)
		return c.ChangeReport, err
	}
	return e.apply(tx, k, c, start, committed)
}

// stage checks and keeps a new change.
func (e *Engine) stage(tx *bolt.Tx, k Kind, cmd wire.ChangeCommand) (wire.ChangeReport, error) {
	c := &Change{ChangeReport: wire.ChangeReport{ChangeID: cmd.ChangeID, Kind: k.Name(), Digest: cmd.Digest}, Content: cmd.Content, Base: cmd.Base}
	if cmd.URL != "" {
		return c.ChangeReport, errcode.New(errcode.NotSupported, "Content by url is not taken yet; send it as content!")
	}
	if have := Digest([]byte(cmd.Content)); have != cmd.Digest {
		return c.ChangeReport, errcode.Param("digest", "is not that of the content, which is "+have)
	}
	if err := k.Check(c); err != nil {
		return c.ChangeReport, err
	}
	c.State = wire.StateStaged
	return c.ChangeReport, errors.Join(save(tx, c), e.report(tx, c.ChangeReport))
}

// Digest is "sha256:" and the hash of content in hex.
func Digest(content []byte) string {
	h := sha256.Sum256(content)
	return "sha256:" + hex.EncodeToString(h[:])
}

// apply does all steps at once where all work within the transaction; else it
// records the state and has the steps start after the commit.
func (e *Engine) apply(tx *bolt.Tx, k Kind, c *Change, start, committed *bool) (wire.ChangeReport, error) {
	if why := e.o.Hold(); why != "" {
		return c.ChangeReport, errcode.New(errcode.RequestFailed, "Busy: "+why+"!")
	}
	steps := k.Steps()
	for _, s := range steps {
		if s.DoTx == nil {
			*start = true
			c.State, c.Step, c.Result, c.Started = wire.StateApplying, steps[0].Name, nil, 0
			return c.ChangeReport, errors.Join(save(tx, c), e.report(tx, c.ChangeReport))
		}
	}
	for _, s := range steps {
		if err := s.DoTx(tx, c); err != nil {
			return c.ChangeReport, &failedApply{err}
		}
	}
	*committed = true
	err := e.finish(tx, c, wire.StateUsed, nil)
	return c.ChangeReport, err
}

// finish gives a change its state and result, and reports both, within tx.
func (e *Engine) finish(tx *bolt.Tx, c *Change, state string, cause error) error {
	c.State, c.Started = state, 0
	c.Result = &wire.ChangeResult{At: e.o.Now().Unix()}
	switch {
	case cause != nil:
		c.Result.ErrorCode = int(errcode.RequestFailed)
		c.Result.ErrorMessage = errcode.RequestFailed.Message() + reason(cause)
	case state == wire.StateUsed:
		c.Progress, c.Step = 100, ""
	}
	if state == wire.StateUsed || state == wire.StateCancelled {
		c.Content = "" // only the digest is needed any more
	}
	return errors.Join(save(tx, c), e.report(tx, c.ChangeReport), prune(tx))
}

func load(tx *bolt.Tx, kind, id string) (*Change, error) {
	var c Change
	ok, err := store.GetJSON(tx.Bucket(changesBucket), key(kind, id), &c)
	if err != nil || !ok {
		return nil, err
	}
	return &c, nil
}

func save(tx *bolt.Tx, c *Change) error {
	return store.PutJSON(tx.Bucket(changesBucket), key(c.Kind, c.ChangeID), c)
}

// prune forgets the longest finished changes above keepFinished.
func prune(tx *bolt.Tx) error {
	b := tx.Bucket(changesBucket)
	var oldest []byte
	var at int64
	finished := 0
	err := store.ForEach(b, func(k, v []byte, err error) error {
		var c Change
		if err != nil || json.Unmarshal(v, &c) != nil || c.Result == nil || c.State != wire.StateUsed && c.State != wire.StateCancelled {
			return nil
		}
		finished++
		if oldest == nil || c.Result.At < at {
			oldest, at = append([]byte(nil), k...), c.Result.At
		}
		return nil
	})
	if err != nil || finished <= keepFinished {
		return err
	}
	return b.Delete(oldest)
}

// States lists all changes that are kept.
func (e *Engine) States() (list []wire.ChangeReport, err error) {
	err = e.db.View(func(tx *bolt.Tx) error {
		return store.ForEach(tx.Bucket(changesBucket), func(_, v []byte, damaged error) error {
			var c Change
			if damaged == nil && json.Unmarshal(v, &c) == nil {
				list = append(list, c.ChangeReport)
			}
			return nil
		})
	})
	return list, err
}

// Clear forgets all changes and answers within tx: the board was unbound.
func Clear(tx *bolt.Tx) error {
	for _, name := range [][]byte{changesBucket, reportsBucket, journalBucket} {
		if err := tx.DeleteBucket(name); err != nil && !errors.Is(err, bolterrors.ErrBucketNotFound) {
			return err
		}
		if _, err := tx.CreateBucket(name); err != nil {
			return err
		}
	}
	return nil
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

// Close waits for steps that run; they are told to stop and are undone or
// resumed at the next start.
func (e *Engine) Close() {
	e.mu.Lock()
	for _, r := range e.running {
		r.stop(errClosing)
	}
	e.mu.Unlock()
	e.wait.Wait()
}

var errClosing = errors.New("the agent is stopping")

// describe names a change in logs.
func describe(c *Change) slog.Attr {
	return slog.String("change", strings.Join([]string{c.Kind, c.ChangeID}, " "))
}
