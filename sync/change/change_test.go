package change

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.uber.org/goleak"

	"gatehouse/sync/change/changetest"
	"gatehouse/sync/errcode"
	"gatehouse/sync/store"
	"gatehouse/sync/wire"
)

func TestMain(m *testing.M) {
	store.RunCheckIfAsked()
	goleak.VerifyTestMain(m)
}

// fake is a kind whose steps note what they do and can be held or made to fail.
type fake struct {
	name  string
	steps []Step
	check error

	mu    sync.Mutex
	notes []string
}

func (f *fake) Name() string { return f.name }
func (f *fake) Codes() Codes {
	return Codes{errcode.WhitelistNotExist, errcode.WhitelistUsed, errcode.WhitelistCancelled}
}
func (f *fake) Check(c *Change) error { return f.check }
func (f *fake) Steps() []Step         { return f.steps }
func (f *fake) Committed() error      { f.note("committed"); return nil }
func (f *fake) note(s string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.notes = append(f.notes, s)
}

func (f *fake) noted() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.notes)
}

// outside is a step that notes do and undo; do waits for hold, when given.
func (f *fake) outside(name string, fail error, hold chan struct{}) Step {
	return Step{
		Name: name,
		Do: func(ctx context.Context, _ *Change) error {
			f.note("do " + name)
			if hold != nil {
				select {
				case <-hold:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			return fail
		},
		Undo: func(context.Context, *Change) error { f.note("undo " + name); return nil },
	}
}

var effects = []byte("effects")

// inside is a transaction step that stores the content.
func inside(fail error) Step {
	return Step{Name: "rows", DoTx: func(tx *bolt.Tx, c *Change) error {
		b, err := tx.CreateBucketIfNotExists(effects)
		if err != nil {
			return err
		}
		return errors.Join(b.Put([]byte("content"), []byte(c.Content)), fail)
	}}
}

type bench struct {
	t       *testing.T
	db      *store.DB
	engine  *Engine
	mu      sync.Mutex
	reports []wire.ChangeReport
	refuse  error // of the sink
	n       int
}

func start(t *testing.T, path string, kinds ...Kind) *bench {
	t.Helper()
	return startWith(t, path, Options{}, kinds...)
}

func startWith(t *testing.T, path string, o Options, kinds ...Kind) *bench {
	t.Helper()
	db, err := store.Open(path, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return startOn(t, db, o, kinds...)
}

func startOn(t *testing.T, db *store.DB, o Options, kinds ...Kind) *bench {
	t.Helper()
	b := &bench{t: t, db: db}
	var err error
	o.Poll = 5 * time.Millisecond
	b.engine, err = New(b.db, kinds, func(r wire.ChangeReport) error {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.refuse == nil {
			b.reports = append(b.reports, r)
		}
		return b.refuse
	}, o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bench) close() {
	b.engine.Close()
	b.db.Close()
}

const content = `{"x":1}`

// do sends a command under a new id and gives state and code.
func (b *bench) do(verb, id, content string) (state string, code errcode.Code) {
	b.t.Helper()
	b.n++
	c := wire.ChangeCommand{OperatorType: verb, ChangeID: id}
	if verb == wire.VerbStage {
		c.Content, c.Digest = content, Digest([]byte(content))
	}
	r, err := b.engine.Handle(Delivery{"topic", fmt.Sprint(b.n), []byte(verb + id)}, "fake", c)
	var e *errcode.Error
	if err != nil && !errors.As(err, &e) {
		b.t.Fatalf("%v has no code", err)
	}
	if e != nil {
		code = e.Code
	}
	return r.State, code
}

// until waits for the state of a change.
func (b *bench) until(id, state string) wire.ChangeReport {
	b.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		list, err := b.engine.States()
		if err != nil {
			b.t.Fatal(err)
		}
		for _, r := range list {
			if r.ChangeID == id && r.State == state {
				return r
			}
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("%s is not %s: %+v", id, state, list)
		}
	}
}

// The design's table of commands and states, cell by cell.
func TestTable(t *testing.T) {
	const other = `{"x":2}`
	codes := changetest.Codes{NotExist: errcode.WhitelistNotExist, Used: errcode.WhitelistUsed, Cancelled: errcode.WhitelistCancelled}
	cells := changetest.Cells(codes)
	// Past a step without return nothing is cancelled any more.
	cells = append(cells, changetest.Cell{Before: "past", Verb: "cancel", State: "applying", Code: errcode.RequestFailed})
	for _, c := range cells {
		t.Run(fmt.Sprintf("%s/%s/%t", c.Before, c.Verb, c.Other), func(t *testing.T) {
			k := &fake{name: "fake"}
			hold := make(chan struct{})
			step := k.outside("one", nil, hold)
			step.NoReturn = c.Before == "past"
			k.steps = []Step{step}
			b := start(t, filepath.Join(t.TempDir(), "db"), k)
			defer b.close()
			if c.Before != "" {
				b.do("stage", "c1", content)
			}
			switch c.Before {
			case "applying", "past":
				b.do("apply", "c1", "")
				for len(k.noted()) == 0 {
					time.Sleep(time.Millisecond)
				}
			case "used":
				close(hold)
				b.do("apply", "c1", "")
				b.until("c1", "used")
			case "cancelled":
				b.do("cancel", "c1", "")
			}
			given := content
			if c.Other {
				given = other
			}
			if state, code := b.do(c.Verb, "c1", given); state != c.State || code != c.Code {
				t.Errorf("state %q, code %d; want %q, %d", state, code, c.State, c.Code)
			}
			if c.Before == "applying" && c.Verb == "cancel" {
				b.until("c1", "cancelled")
				if got := k.noted(); !reflect.DeepEqual(got, []string{"do one", "undo one"}) {
					t.Errorf("%v", got)
				}
			}
		})
	}
}

func TestTransactionStepsAreOneTransaction(t *testing.T) {
	k := &fake{name: "fake", steps: []Step{inside(nil)}}
	b := start(t, filepath.Join(t.TempDir(), "db"), k)
	defer b.close()
	b.do("stage", "c1", content)
	if state, code := b.do("apply", "c1", ""); state != "used" || code != 0 {
		t.Errorf("%s %d", state, code)
	}
	var states []string
	for _, r := range b.reports {
		states = append(states, r.State)
	}
	if !reflect.DeepEqual(states, []string{"staged", "used"}) || b.reports[1].Result.ErrorCode != 0 {
		t.Errorf("reported %v", states)
	}
	// A failing step leaves nothing behind but the reason.
	k.steps = []Step{inside(nil), inside(errors.New("the flash is full"))}
	b.do("stage", "c2", `{"x":2}`)
	if state, code := b.do("apply", "c2", ""); state != "staged" || code != errcode.RequestFailed {
		t.Errorf("%s %d", state, code)
	}
	last := b.reports[len(b.reports)-1]
	if last.State != "staged" || last.Result.ErrorMessage != "Request failed!the flash is full" {
		t.Errorf("%+v", last.Result)
	}
	_ = b.db.View(func(tx *bolt.Tx) error {
		if v := tx.Bucket(effects).Get([]byte("content")); string(v) != content {
			t.Errorf("the failed change left %s", v)
		}
		return nil
	})
}

func TestAFailedStepIsUndoneWithThoseBeforeIt(t *testing.T) {
	k := &fake{name: "fake"}
	k.steps = []Step{k.outside("one", nil, nil), k.outside("two", errors.New("no room"), nil), k.outside("three", nil, nil)}
	b := start(t, filepath.Join(t.TempDir(), "db"), k)
	defer b.close()
	b.do("stage", "c1", content)
	b.do("apply", "c1", "")
	r := b.until("c1", "staged")
	if want := []string{"do one", "do two", "undo two", "undo one"}; !reflect.DeepEqual(k.noted(), want) {
		t.Errorf("%v, want %v", k.noted(), want)
	}
	if r.Result == nil || r.Result.ErrorMessage != "Request failed!cannot do the step two: no room" {
		t.Errorf("%+v", r.Result)
	}
}

// An undo that fails is tried again while the agent runs, also of a change that
// a restart interrupted; a cancel meanwhile is in time, and one that is heard
// counts.
func TestAnUndoThatFailsIsTriedAgain(t *testing.T) {
	full := errors.New("the flash is full")
	var left atomic.Int32
	left.Store(3)
	k := &fake{name: "fake"}
	one := k.outside("one", nil, nil)
	one.Undo = func(context.Context, *Change) error {
		k.note("undo one")
		if left.Add(-1) >= 0 {
			return full
		}
		return nil
	}
	two := k.outside("two", full, nil)
	two.NoReturn = true
	k.steps = []Step{one, two}
	path := filepath.Join(t.TempDir(), "db")
	b := start(t, path, k)
	b.do("stage", "c1", content)
	b.do("apply", "c1", "")
	if r := b.until("c1", "staged"); r.Result == nil || !strings.HasSuffix(r.Result.ErrorMessage, full.Error()) {
		t.Errorf("%+v", r.Result)
	}
	if n := strings.Count(fmt.Sprint(k.noted()), "undo one"); n != 4 {
		t.Errorf("%d undos", n)
	}

	left.Store(1 << 20)
	failing := func() {
		t.Helper()
		k.mu.Lock()
		k.notes = nil
		k.mu.Unlock()
		for deadline := time.Now().Add(30 * time.Second); !slices.Contains(k.noted(), "undo one"); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("there is no undo")
			}
		}
	}
	b.do("apply", "c1", "")
	failing()
	if state, code := b.do("cancel", "c1", ""); state != "applying" || code != 0 {
		t.Errorf("a cancel while it is undone: %s %d", state, code)
	}
	b.close()
	b = start(t, path, k) // still it cannot be undone
	failing()
	left.Store(0)
	b.until("c1", "cancelled")
	b.close()
}

// What is busy or too late is told from what failed, delivered again too.
func TestTooLateIsNoFailure(t *testing.T) {
	k := &fake{name: "fake"}
	hold := make(chan struct{})
	step := k.outside("one", nil, hold)
	step.NoReturn = true
	k.steps = []Step{step}
	b := start(t, filepath.Join(t.TempDir(), "db"), k)
	defer b.close()
	b.do("stage", "c1", content)
	b.do("apply", "c1", "")
	for len(k.noted()) == 0 {
		time.Sleep(time.Millisecond)
	}
	for _, c := range []wire.ChangeCommand{
		{OperatorType: wire.VerbCancel, ChangeID: "c1"},
		{OperatorType: wire.VerbStage, ChangeID: "c1", Content: content, Digest: Digest([]byte(content))},
	} {
		for range 2 {
			_, err := b.engine.Handle(Delivery{ID: c.OperatorType}, "fake", c)
			if e := errcode.From(err); e == nil || e.Code != errcode.RequestFailed || e.MQTTCode() != 409 {
				t.Errorf("%s: %v", c.OperatorType, err)
			}
		}
	}
	close(hold)
	b.until("c1", "used")
	k.steps = []Step{inside(errors.New("the flash is full"))}
	b.do("stage", "c2", content)
	_, err := b.engine.Handle(Delivery{ID: "failing"}, "fake", wire.ChangeCommand{OperatorType: wire.VerbApply, ChangeID: "c2"})
	if e := errcode.From(err); e == nil || e.MQTTCode() != 500 {
		t.Errorf("%v", err)
	}
}

// A redelivered command has its stored answer and no second effect; the same
// id with another body is another command.
func TestRedelivery(t *testing.T) {
	k := &fake{name: "fake", steps: []Step{inside(nil)}}
	path := filepath.Join(t.TempDir(), "db")
	b := start(t, path, k)
	b.do("stage", "c1", content)
	d := Delivery{"topic", "same", []byte("apply c1")}
	apply := wire.ChangeCommand{OperatorType: wire.VerbApply, ChangeID: "c1"}
	for i := range 3 {
		if r, err := b.engine.Handle(d, "fake", apply); err != nil || r.State != "used" {
			t.Errorf("delivery %d: %+v %v", i, r, err)
		}
		if i == 1 { // also over a restart
			b.close()
			b = start(t, path, k)
		}
	}
	if got := k.noted(); len(got) != 1 {
		t.Errorf("the change was applied %d times", len(got))
	}
	d.Body = []byte("query c1")
	if r, err := b.engine.Handle(d, "fake", wire.ChangeCommand{OperatorType: wire.VerbQuery, ChangeID: "c1"}); err != nil || r.State != "used" {
		t.Errorf("%+v %v", r, err)
	}
	b.close()
}

// A power cut while a step runs: what is on disk at that moment is opened anew.
func TestPowerCut(t *testing.T) {
	for _, resume := range []bool{false, true} {
		t.Run(fmt.Sprintf("resume=%v", resume), func(t *testing.T) {
			dir := t.TempDir()
			k := &fake{name: "fake"}
			hold := make(chan struct{})
			two := k.outside("two", nil, hold)
			two.Resume = resume
			k.steps = []Step{k.outside("one", nil, nil), two, k.outside("three", nil, nil)}
			b := start(t, filepath.Join(dir, "db"), k)
			b.do("stage", "c1", content)
			b.do("apply", "c1", "")
			for !slices.Contains(k.noted(), "do two") {
				time.Sleep(time.Millisecond)
			}
			disk, err := os.ReadFile(filepath.Join(dir, "db"))
			if err != nil {
				t.Fatal(err)
			}
			b.close()
			if err := os.WriteFile(filepath.Join(dir, "cut"), disk, 0o600); err != nil {
				t.Fatal(err)
			}
			k.notes = nil
			close(hold)
			b = start(t, filepath.Join(dir, "cut"), k)
			defer b.close()
			want := []string{"undo two", "undo one"}
			if resume {
				b.until("c1", "used")
				want = []string{"do two", "do three"}
			} else if r := b.until("c1", "staged"); r.Result == nil || r.Result.ErrorCode != int(errcode.RequestFailed) {
				t.Errorf("%+v", r)
			}
			if got := k.noted(); !reflect.DeepEqual(got, want) {
				t.Errorf("%v, want %v", got, want)
			}
		})
	}
}

// Reports wait in the database while the sink refuses, over a restart too.
func TestReportsWaitForTheSink(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	k := &fake{name: "fake", steps: []Step{inside(nil)}}
	b := start(t, path, k)
	b.refuse = errors.New("the outbox is full")
	b.do("stage", "c1", content)
	b.do("apply", "c1", "")
	b.close()
	if len(b.reports) != 0 {
		t.Fatal("the sink refused nothing")
	}
	b = start(t, path, k)
	defer b.close()
	if len(b.reports) != 2 || b.reports[0].State != "staged" || b.reports[1].State != "used" {
		t.Errorf("%+v", b.reports)
	}
}

func TestWhatCannotBeStaged(t *testing.T) {
	k := &fake{name: "fake", steps: []Step{inside(nil)}}
	b := start(t, filepath.Join(t.TempDir(), "db"), k)
	defer b.close()
	for name, c := range map[string]struct {
		cmd  wire.ChangeCommand
		code errcode.Code
	}{
		"another digest": {wire.ChangeCommand{Content: content, Digest: Digest([]byte("other"))}, errcode.ParamsError},
		"no content":     {wire.ChangeCommand{Digest: Digest(nil)}, errcode.ParamsError},
		"no length":      {wire.ChangeCommand{URL: "http://x/", Digest: Digest(nil)}, errcode.ParamsError},
		"too long":       {wire.ChangeCommand{URL: "http://x/", Length: DefaultMaxLength + 1, Digest: Digest(nil)}, errcode.ParamsError},
	} {
		c.cmd.OperatorType, c.cmd.ChangeID = wire.VerbStage, "c9"
		if _, err := b.engine.Handle(Delivery{ID: name}, "fake", c.cmd); errcode.From(err).Code != c.code {
			t.Errorf("%s: %v", name, err)
		}
	}
	k.check = errcode.Param("/rows/0", "is wrong")
	if state, code := b.do("stage", "c10", content); state != "" || code != errcode.ParamsError {
		t.Errorf("%s %d", state, code)
	}
	k.check = nil
	if _, err := b.engine.Handle(Delivery{ID: "x"}, "upgrade", wire.ChangeCommand{}); errcode.From(err).Code != errcode.NotSupported {
		t.Errorf("an unknown kind: %v", err)
	}
	for i := range maxStaged {
		if _, code := b.do("stage", fmt.Sprint("n", i), content); code != 0 {
			t.Fatal(i, code)
		}
	}
	if _, code := b.do("stage", "more", content); code != errcode.RequestFailed {
		t.Errorf("more than %d staged changes: %d", maxStaged, code)
	}
}

func TestJournalIsBounded(t *testing.T) {
	db, err := store.Open(filepath.Join(t.TempDir(), "db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.NoSync = true
	j, err := OpenJournal(db)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		for i := range journalSize + 100 {
			if err := j.put(tx, Delivery{ID: fmt.Sprint(i)}, i); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	stored := func(i int, want bool) {
		t.Helper()
		if _, ok, err := j.Stored(Delivery{ID: fmt.Sprint(i)}); ok != want || err != nil {
			t.Errorf("entry %d: %v %v", i, ok, err)
		}
	}
	stored(0, false)
	stored(99, false)
	stored(100, true)
	stored(journalSize+99, true)
	// Old answers go too, a few with each new one.
	j.now = func() time.Time { return time.Now().Add(journalAge + time.Hour) }
	if err := j.Put(Delivery{ID: "new"}, 1); err != nil {
		t.Fatal(err)
	}
	stored(100, false)
	stored(108, true)
}
