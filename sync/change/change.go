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
// (topic, id and body) has one effect and one answer; what must wait (for the
// barrier, a maintenance window, another change of its kind, its own content)
// waits visibly and is applied by itself.
//
// Not protected here: who may send commands. That is the broker's permissions
// and, by policy, signatures (package signed): with the policy on, a content
// that is not the account's is refused, but whoever holds the broker can still
// have a content of the account's applied or cancelled, or held back.
package change

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"

	"gatehouse/sync/errcode"
	"gatehouse/sync/store"
	"gatehouse/sync/wire"
)

// Change is one config, whitelist or upgrade as it is kept.
type Change struct {
	wire.ChangeReport
	Content string `json:"content,omitempty"` // up to InlineMax bytes; longer ones lie in File: see Open
	File    string `json:"file,omitempty"`    // name below the content directory
	Length  int64  `json:"length,omitempty"`  // bytes of the content
	Base    string `json:"base,omitempty"`
	URL     string `json:"url,omitempty"` // where it is fetched from; may hold a secret in its query: never log it
	Staged  int64  `json:"staged,omitempty"`
	// Started counts the steps that may have begun: the first Started steps are undone on failure.
	Started int `json:"started"`
	// Cancelled is a cancel that came while it was applying and is not finished.
	Cancelled bool `json:"cancelled,omitempty"`
	// Wanted is an apply that waits.
	Wanted *Wanted `json:"wanted,omitempty"`
	// Scope and Sequence are those of the content's signature, where it has one.
	Scope    string `json:"scope,omitempty"`
	Sequence uint64 `json:"sequence,omitempty"`

	dir string // of File
}

// Wanted is when a waiting change may be applied, Unix s; 0: no bound.
type Wanted struct {
	After  int64 `json:"after,omitempty"`
	Before int64 `json:"before,omitempty"`
}

// stateFetching is a change whose content is still on its way: it has no state yet.
const stateFetching = ""

// Steps of a report that are not a kind's own.
const (
	StepDownload = "download" // the content is being fetched
	StepWaiting  = "waiting"  // an apply waits; see Reason
)

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
	// Interlock has the step wait until the barrier is at rest (Options.Hold).
	Interlock bool
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

// Limiter is a Kind whose contents are shorter than DefaultMaxLength, or may be longer.
type Limiter interface{ MaxLength() int64 }

// Interrupted is a Kind that knows more than Step.Resume about a change that
// was applying when the last engine ended: whether to go on with its step, and
// if not, why it ended (nil: a restart).
type Interrupted interface {
	Interrupted(c *Change) (resume bool, why error)
}

// Sink takes over a report durably; it is offered again until it returns nil,
// so the same report may come twice.
type Sink func(wire.ChangeReport) error

// Options of an Engine.
type Options struct {
	// Dir holds long contents; "": "changes" beside the database.
	Dir string
	// Hold gives a reason not to apply anything now (barrier moving, vehicle
	// under it), or "". Nil: never.
	Hold func() string
	// Window gives a reason why a kind may not be applied at this time (no
	// maintenance window), or "". Nil: always.
	Window func(kind string, at time.Time) string
	// Trust gives what a kind's contents are verified with. Nil: no signatures.
	Trust func(kind string) Trust
	// Client fetches contents by url; nil: http.DefaultClient.
	Client *http.Client
	// Poll is how often it is looked whether what waits may go on; 0: 500 ms.
	Poll time.Duration
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

	mu       sync.Mutex // serialises commands and the ends of steps
	running  map[string]*run
	waiting  map[string]bool // keys of changes with Wanted
	closing  bool
	refusals time.Time // when one was last reported
	wait     sync.WaitGroup
	kick     chan struct{} // something began to wait
	closed   chan struct{}
	flush    sync.Mutex // one delivery to the sink at a time
}

var (
	changesBucket   = []byte("changes")          // kind NUL id → Change
	reportsBucket   = []byte("change_reports")   // sequence → wire.ChangeReport, not yet with the sink
	sequencesBucket = []byte("signed_sequences") // kind NUL scope → sequences
)

// Bounds of what is kept.
const (
	keepFinished = 500                 // finished changes of all kinds
	keepFor      = 90 * 24 * time.Hour // and how long
	maxStaged    = 64                  // changes that are not finished, of all kinds
)

// New opens the engine's part of the state database and finishes, one way or
// the other, what a power cut interrupted.
func New(db *store.DB, kinds []Kind, sink Sink, o Options) (*Engine, error) {
	setDefaults(&o, db)
	e := &Engine{db: db, kinds: map[string]Kind{}, sink: sink, o: o, running: map[string]*run{}, waiting: map[string]bool{},
		kick: make(chan struct{}, 1), closed: make(chan struct{})}
	for _, k := range kinds {
		e.kinds[k.Name()] = k
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the directory of contents: %w", err)
	}
	err := db.Update(func(tx *bolt.Tx) error {
		for _, name := range [][]byte{changesBucket, reportsBucket, sequencesBucket} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("cannot open the changes: %w", err)
	}
	if e.journal, err = OpenJournal(db); err != nil {
		return nil, err
	}
	if err := e.recover(); err != nil {
		e.Close()
		return nil, err
	}
	e.wait.Go(e.watch)
	e.Flush()
	return e, nil
}

func setDefaults(o *Options, db *store.DB) {
	if o.Dir == "" {
		o.Dir = filepath.Join(filepath.Dir(db.Path()), "changes")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Hold == nil {
		o.Hold = func() string { return "" }
	}
	if o.Window == nil {
		o.Window = func(string, time.Time) string { return "" }
	}
	if o.Trust == nil {
		o.Trust = func(string) Trust { return Trust{} }
	}
	if o.Poll == 0 {
		o.Poll = 500 * time.Millisecond
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
}

// Journal is the engine's journal of commands, for commands of other sorts too.
func (e *Engine) Journal() *Journal { return e.journal }

func key(kind, id string) []byte { return []byte(kind + "\x00" + id) }

func (c *Change) key() string { return string(key(c.Kind, c.ChangeID)) }

func (e *Engine) load(tx *bolt.Tx, kind, id string) (*Change, error) {
	var c Change
	ok, err := store.GetJSON(tx.Bucket(changesBucket), key(kind, id), &c)
	if err != nil || !ok {
		return nil, err
	}
	c.dir = e.o.Dir
	return &c, nil
}

func save(tx *bolt.Tx, c *Change) error {
	return store.PutJSON(tx.Bucket(changesBucket), key(c.Kind, c.ChangeID), c)
}

// Close waits for steps that run; they are told to stop and are undone or
// resumed at the next start.
func (e *Engine) Close() {
	e.mu.Lock()
	if !e.closing {
		e.closing = true
		close(e.closed)
	}
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
