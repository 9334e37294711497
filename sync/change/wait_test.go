package change

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/sync/errcode"
	"gatehouse/sync/wire"
)

var sent atomic.Int64

// send sends any command under a new id.
func (b *bench) send(kind string, c wire.ChangeCommand) (wire.ChangeReport, errcode.Code) {
	b.t.Helper()
	r, err := b.engine.Handle(Delivery{Topic: "topic", ID: fmt.Sprint(sent.Add(1))}, kind, c)
	if err != nil {
		return r, errcode.From(err).Code
	}
	return r, 0
}

func (b *bench) reported(id string) (states []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range b.reports {
		if r.ChangeID == id {
			states = append(states, strings.TrimSuffix(r.State+"/"+r.Step, "/"))
		}
	}
	return states
}

// text is a value that tests change while the engine reads it.
type text struct{ v atomic.Value }

func (x *text) set(s string) { x.v.Store(s) }
func (x *text) get() string  { s, _ := x.v.Load().(string); return s }

// An apply waits for the interlock, visibly, and is begun by itself; a cancel
// ends the waiting, a restart does not.
func TestApplyWaits(t *testing.T) {
	var hold, window text
	o := Options{Hold: hold.get, Window: func(string, time.Time) string { return window.get() }}
	k := &fake{name: "fake", steps: []Step{inside(nil)}}
	path := filepath.Join(t.TempDir(), "db")
	b := startWith(t, path, o, k)
	b.do("stage", "c1", content)
	b.do("stage", "c2", content)
	hold.set("the barrier is moving")
	window.set("no maintenance window is open")
	r, code := b.send("fake", wire.ChangeCommand{OperatorType: wire.VerbApply, ChangeID: "c1"})
	if code != 0 || r.State != "staged" || r.Step != StepWaiting || r.Reason != window.get() {
		t.Errorf("%d %+v", code, r)
	}
	b.send("fake", wire.ChangeCommand{OperatorType: wire.VerbApply, ChangeID: "c2"})
	if r, code := b.send("fake", wire.ChangeCommand{OperatorType: wire.VerbApply, ChangeID: "c2"}); code != 0 || r.Step != StepWaiting {
		t.Errorf("again: %d %+v", code, r)
	}
	window.set("")
	for b.query("c1").Reason != hold.get() {
		time.Sleep(time.Millisecond)
	}
	if state, code := b.do("cancel", "c2", ""); state != "cancelled" || code != 0 {
		t.Errorf("%s %d", state, code)
	}
	b.close()
	b = startWith(t, path, o, k)
	defer b.close()
	time.Sleep(20 * time.Millisecond)
	if r := b.query("c1"); r.State != "staged" || r.Step != StepWaiting {
		t.Errorf("after the restart: %+v", r)
	}
	hold.set("")
	if r := b.until("c1", "used"); r.Step != "" || r.Reason != "" || r.Result.ErrorCode != 0 {
		t.Errorf("%+v", r)
	}
	if got := k.noted(); !reflect.DeepEqual(got, []string{"committed"}) {
		t.Errorf("%v", got)
	}
}

func (b *bench) query(id string) wire.ChangeReport {
	b.t.Helper()
	r, code := b.send("fake", wire.ChangeCommand{OperatorType: wire.VerbQuery, ChangeID: id})
	if code != 0 {
		b.t.Fatal(code)
	}
	return r
}

// The command's own window: too early waits, too late fails and stays staged.
func TestApplyWindowOfTheCommand(t *testing.T) {
	var hold text
	var now atomic.Int64
	now.Store(1000)
	k := &fake{name: "fake", steps: []Step{inside(nil)}}
	b := startWith(t, filepath.Join(t.TempDir(), "db"), Options{Hold: hold.get, Now: func() time.Time { return time.Unix(now.Load(), 0) }}, k)
	defer b.close()
	for _, id := range []string{"c1", "c2", "c3"} {
		b.do("stage", id, content)
	}
	apply := func(id string, after, before int64) (wire.ChangeReport, errcode.Code) {
		return b.send("fake", wire.ChangeCommand{OperatorType: wire.VerbApply, ChangeID: id, ApplyAfter: after, ApplyBefore: before})
	}
	if _, code := apply("c1", 0, 1000); code != errcode.RequestFailed {
		t.Errorf("too late: %d", code)
	}
	if _, code := apply("c1", 1100, 1050); code != errcode.ParamsError {
		t.Errorf("in the wrong order: %d", code)
	}
	if r, code := apply("c1", 1010, 0); code != 0 || r.Step != StepWaiting {
		t.Errorf("%d %+v", code, r)
	}
	now.Store(1010)
	b.until("c1", "used")
	hold.set("a vehicle stands under the barrier")
	apply("c2", 0, 1020)
	now.Store(1020)
	for b.query("c2").Step != "" {
		time.Sleep(time.Millisecond)
	}
	if r := b.query("c2"); r.State != "staged" || r.Result == nil || r.Result.ErrorCode != int(errcode.RequestFailed) || !strings.Contains(r.Result.ErrorMessage, "vehicle") {
		t.Errorf("%+v", r)
	}
}

// Two changes of a kind are applied one behind the other.
func TestOneOfAKindAtATime(t *testing.T) {
	k := &fake{name: "fake"}
	hold := make(chan struct{})
	k.steps = []Step{k.outside("one", nil, hold)}
	b := start(t, filepath.Join(t.TempDir(), "db"), k)
	defer b.close()
	b.do("stage", "c1", content)
	b.do("stage", "c2", content)
	b.do("apply", "c1", "")
	if r, code := b.send("fake", wire.ChangeCommand{OperatorType: wire.VerbApply, ChangeID: "c2"}); code != 0 || r.Step != StepWaiting || !strings.Contains(r.Reason, "c1") {
		t.Errorf("%d %+v", code, r)
	}
	close(hold)
	b.until("c1", "used")
	b.until("c2", "used")
}

// A failing apply that waited is reported, and not tried for ever.
func TestAWaitingApplyFails(t *testing.T) {
	var hold text
	hold.set("the barrier is moving")
	k := &fake{name: "fake", steps: []Step{inside(errors.New("the flash is full"))}}
	b := startWith(t, filepath.Join(t.TempDir(), "db"), Options{Hold: hold.get}, k)
	defer b.close()
	b.do("stage", "c1", content)
	b.do("apply", "c1", "")
	hold.set("")
	for b.query("c1").Step != "" {
		time.Sleep(time.Millisecond)
	}
	if r := b.query("c1"); r.State != "staged" || r.Result == nil || r.Result.ErrorMessage != "Request failed!the flash is full" {
		t.Errorf("%+v", r)
	}
	time.Sleep(20 * time.Millisecond)
	if got := b.reported("c1"); !reflect.DeepEqual(got, []string{"staged", "staged/waiting", "staged"}) {
		t.Errorf("%v", got)
	}
}

// A cancel while a step runs is remembered over a power cut.
func TestACancelSurvivesAPowerCut(t *testing.T) {
	dir := t.TempDir()
	k := &fake{name: "fake"}
	hold := make(chan struct{})
	one := k.outside("one", nil, hold)
	one.Resume = true
	undone := make(chan struct{})
	undo := one.Undo
	one.Undo = nil
	k.steps = []Step{one}
	b := start(t, filepath.Join(dir, "db"), k)
	b.do("stage", "c1", content)
	b.do("apply", "c1", "")
	for len(k.noted()) == 0 {
		time.Sleep(time.Millisecond)
	}
	one.Undo = undo
	close(undone)
	b.engine.mu.Lock() // the steps cannot be undone before the picture of the disk is taken
	err := func() error {
		defer b.engine.mu.Unlock()
		a, err := b.engine.carryOut(k, Delivery{ID: "cancel"}, wire.ChangeCommand{OperatorType: wire.VerbCancel, ChangeID: "c1"})
		if err != nil || a.Code != 0 {
			return fmt.Errorf("%v %d", err, a.Code)
		}
		disk, err := os.ReadFile(filepath.Join(dir, "db"))
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, "cut"), disk, 0o600)
	}()
	if err != nil {
		t.Fatal(err)
	}
	b.close()
	k.notes, k.steps = nil, []Step{one}
	b = start(t, filepath.Join(dir, "cut"), k)
	defer b.close()
	b.until("c1", "cancelled")
	if got := k.noted(); !reflect.DeepEqual(got, []string{"undo one"}) {
		t.Errorf("%v", got)
	}
}

// A step under the interlock waits for the barrier.
func TestAStepWaitsForTheInterlock(t *testing.T) {
	var hold text
	k := &fake{name: "fake"}
	two := k.outside("two", nil, nil)
	two.Interlock = true
	one := k.outside("one", nil, nil)
	k.steps = []Step{one, two}
	held := make(chan struct{}, 1)
	b := startWith(t, filepath.Join(t.TempDir(), "db"), Options{Hold: func() string {
		if slices.Contains(k.noted(), "do one") {
			select {
			case held <- struct{}{}:
			default:
			}
			return hold.get()
		}
		return ""
	}}, k)
	defer b.close()
	hold.set("the barrier is moving")
	b.do("stage", "c1", content)
	b.do("apply", "c1", "")
	for range 3 { // it is asked, and asked again
		<-held
	}
	if slices.Contains(k.noted(), "do two") {
		t.Error("the step ran while the barrier moved")
	}
	hold.set("")
	b.until("c1", "used")
}

// files serves contents by path; a path that is not there is 404.
type files struct {
	mu   sync.Mutex
	data map[string][]byte
	gate chan struct{} // not nil: answers wait for it
}

func (f *files) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	data, ok := f.data[r.URL.Path]
	gate := f.gate
	f.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-r.Context().Done():
			return
		}
	}
	if !ok {
		http.NotFound(w, r)
		return
	}
	_, _ = w.Write(data)
}

// Content by url: answered at once, staged when it is there and checked, over a
// restart too; an apply waits for it; a cancel ends it; a failure is reported
// and forgotten.
func TestContentByURL(t *testing.T) {
	f := &files{data: map[string][]byte{"/long": []byte(strings.Repeat("x", InlineMax+1)), "/short": []byte(content)}, gate: make(chan struct{})}
	server := httptest.NewServer(f)
	defer server.Close()
	dir := t.TempDir()
	k := &fake{name: "fake", steps: []Step{inside(nil)}}
	o := Options{Client: server.Client(), Dir: filepath.Join(dir, "contents")}
	b := startWith(t, filepath.Join(dir, "db"), o, k)
	stage := func(id, path string) (wire.ChangeReport, errcode.Code) {
		data := f.data["/"+strings.Split(path, "-")[0]]
		return b.send("fake", wire.ChangeCommand{OperatorType: wire.VerbStage, ChangeID: id, URL: server.URL + "/" + path, Digest: Digest(data), Length: int64(len(data))})
	}
	if r, code := stage("c1", "long"); code != 0 || r.State != "" || r.Step != StepDownload {
		t.Fatalf("%d %+v", code, r)
	}
	if r, code := stage("c1", "long"); code != 0 || r.Step != StepDownload {
		t.Errorf("again: %d %+v", code, r)
	}
	if _, code := stage("c1", "short"); code != errcode.ParamsError {
		t.Errorf("another digest: %d", code)
	}
	stage("c2", "short")
	if r, code := b.send("fake", wire.ChangeCommand{OperatorType: wire.VerbApply, ChangeID: "c2"}); code != 0 || r.Step != StepDownload {
		t.Errorf("an apply on the way: %d %+v", code, r)
	}
	stage("c3", "long")
	if state, code := b.do("cancel", "c3", ""); state != "cancelled" || code != 0 {
		t.Errorf("%s %d", state, code)
	}
	b.close() // the power fails
	close(f.gate)
	b = startWith(t, filepath.Join(dir, "db"), o, k)
	defer b.close()
	b.until("c1", "staged")
	b.until("c2", "used")
	if r := b.query("c3"); r.State != "cancelled" {
		t.Errorf("%+v", r)
	}
	// What is staged lies in its file and is given to the kind whole.
	b.do("apply", "c1", "")
	b.until("c1", "used")
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		entries, err := os.ReadDir(o.Dir)
		if err != nil {
			t.Fatal(err)
		}
		if len(entries) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("contents are left over: %v", entries)
		}
	}
	// A file that is not there, and one that the kind refuses.
	stage("c4", "short-missing")
	k.mu.Lock()
	k.check = errcode.Param("/rows/0", "is wrong")
	k.mu.Unlock()
	stage("c5", "short")
	for _, c := range []struct {
		id   string
		code errcode.Code
	}{{"c4", errcode.RequestFailed}, {"c5", errcode.ParamsError}} {
		var last wire.ChangeReport
		for deadline := time.Now().Add(30 * time.Second); last.Result == nil; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: no report", c.id)
			}
			b.mu.Lock()
			for _, r := range b.reports {
				if r.ChangeID == c.id {
					last = r
				}
			}
			b.mu.Unlock()
		}
		if last.State != "" || last.Result.ErrorCode != int(c.code) {
			t.Errorf("%+v", last)
		}
		if _, code := b.send("fake", wire.ChangeCommand{OperatorType: wire.VerbQuery, ChangeID: c.id}); code != errcode.WhitelistNotExist {
			t.Errorf("%s is still there: %d", c.id, code)
		}
	}
}

// A long content in a file that was damaged after staging is not applied.
func TestADamagedContentIsNotApplied(t *testing.T) {
	dir := t.TempDir()
	k := &fake{name: "fake", steps: []Step{inside(nil)}}
	b := start(t, filepath.Join(dir, "db"), k)
	defer b.close()
	long := strings.Repeat("x", InlineMax+1)
	if state, code := b.do("stage", "c1", long); state != "staged" || code != 0 {
		t.Fatal(state, code)
	}
	entries, err := os.ReadDir(filepath.Join(dir, "changes"))
	if err != nil || len(entries) != 1 {
		t.Fatalf("%v %v", entries, err)
	}
	path := filepath.Join(dir, "changes", entries[0].Name())
	if err := os.WriteFile(path, []byte(strings.Repeat("x", InlineMax)+"y"), 0o600); err != nil {
		t.Fatal(err)
	}
	if state, code := b.do("apply", "c1", ""); state != "staged" || code != errcode.RequestFailed {
		t.Errorf("%s %d", state, code)
	}
	if len(k.noted()) != 0 {
		t.Error("it was applied")
	}
}
