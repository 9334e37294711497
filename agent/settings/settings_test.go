package settings

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.uber.org/goleak"

	"gatehouse/configs"
	"gatehouse/sync/change"
	"gatehouse/sync/change/changetest"
	"gatehouse/sync/errcode"
	"gatehouse/sync/store"
	"gatehouse/sync/wire"
)

func TestMain(m *testing.M) {
	store.RunCheckIfAsked()
	goleak.VerifyTestMain(m)
}

// fakeBoard notes what it is told.
type fakeBoard struct {
	mu       sync.Mutex
	inForce  configs.Config
	notes    []string
	restarts chan Candidate
	reach    func(ctx context.Context) error // nil: reached at once
}

func (f *fakeBoard) InForce() configs.Config {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.inForce
}

func (f *fakeBoard) PutInForce(c configs.Config) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.inForce = c
	f.notes = append(f.notes, "in force: "+c.Device.Name)
}

func (f *fakeBoard) Restart(c Candidate) { f.restarts <- c }

func (f *fakeBoard) Reached(ctx context.Context) error {
	f.mu.Lock()
	f.notes = append(f.notes, "trial")
	reach := f.reach
	f.mu.Unlock()
	if reach == nil {
		return nil
	}
	return reach(ctx)
}

func (f *fakeBoard) noted() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.notes...)
}

const sn = "265e1040-85e01fb7"

var key = ed25519.NewKeyFromSeed([]byte(strings.Repeat("k", ed25519.SeedSize)))

// bench is a board with its state, as one agent process has it.
type bench struct {
	t        *testing.T
	dir      string
	db       *store.DB
	settings *Settings
	board    *fakeBoard
	engine   *change.Engine

	mu      sync.Mutex
	reports []wire.ChangeReport
}

var commands int

func open(t *testing.T, dir string, base configs.Config, candidate *Candidate) *bench {
	t.Helper()
	b := &bench{t: t, dir: dir, board: &fakeBoard{restarts: make(chan Candidate, 4)}}
	var err error
	if b.db, err = store.Open(filepath.Join(dir, "state.db"), store.Options{}); err != nil {
		t.Fatal(err)
	}
	b.settings, err = Open(b.db, base, candidate, Options{Dir: dir, SN: sn, Sign: key, Quarantined: b.db.Quarantined, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	b.board.inForce = b.settings.Start()
	b.engine, err = change.New(b.db, []change.Kind{b.settings.Kind(b.board)}, func(r wire.ChangeReport) error {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.reports = append(b.reports, r)
		return nil
	}, change.Options{Poll: 5 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bench) close() {
	b.engine.Close()
	b.db.Close()
}

func (b *bench) send(verb, id, content string) (wire.ChangeReport, error) {
	commands++
	c := wire.ChangeCommand{OperatorType: verb, ChangeID: id}
	if verb == wire.VerbStage {
		c.Content, c.Digest = content, change.Digest([]byte(content))
	}
	return b.engine.Handle(change.Delivery{ID: fmt.Sprint(commands)}, "config", c)
}

func (b *bench) must(verb, id, content string) {
	b.t.Helper()
	if _, err := b.send(verb, id, content); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) until(id string, done func(wire.ChangeReport) bool) wire.ChangeReport {
	b.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		r, err := b.send(wire.VerbQuery, id, "")
		if err != nil {
			b.t.Fatal(err)
		}
		if done(r) {
			return r
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("%+v", r)
		}
	}
}

func state(s string) func(wire.ChangeReport) bool {
	return func(r wire.ChangeReport) bool { return r.State == s && (s != wire.StateStaged || r.Result != nil) }
}

func base() configs.Config {
	c := configs.Default()
	c.Device.Name = "file"
	return c
}

// A config is put in force, committed, kept in its file and found by the next
// start; the file wins no more.
func TestConfigIsAppliedAndKept(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, base(), nil)
	b.must("stage", "c1", `{"mode":"merge","config":{"device":{"name":"pushed"},"camera":{"fps":5}}}`)
	b.must("apply", "c1", "")
	b.until("c1", state("used"))
	if got := b.board.noted(); !reflect.DeepEqual(got, []string{"in force: pushed"}) { // no trial: the connection stays
		t.Errorf("%v", got)
	}
	digest := b.settings.Digest()
	b.must("stage", "c2", `{"mode":"merge","config":{"camera":{"loop":false}}}`)
	b.must("apply", "c2", "")
	b.until("c2", state("used"))
	if b.settings.Digest() == digest {
		t.Error("the digest is the same")
	}
	b.close()

	file := base()
	file.Device.Name, file.Vision.Program = "another file", "/opt/vision"
	b = open(t, dir, file, nil)
	defer b.close()
	c := b.settings.Committed()
	if c.Device.Name != "pushed" || c.Camera.FPS != 5 || c.Camera.Loop || c.Vision.Program != "/opt/vision" || b.settings.Pushed() != "c2" || b.settings.Restored() != "" {
		t.Errorf("%+v, %s, %s", c, b.settings.Pushed(), b.settings.Restored())
	}
	b.must("stage", "c3", `{"mode":"replace","config":{"camera":{"fps":7}}}`)
	b.must("apply", "c3", "")
	b.until("c3", state("used"))
	if c := b.settings.Committed(); c.Device.Name != "another file" || c.Camera.FPS != 7 || !c.Camera.Loop {
		t.Errorf("a replacement is read over the file: %+v", c)
	}
}

func TestWhatIsRefusedNamesItsPlace(t *testing.T) {
	b := open(t, t.TempDir(), base(), nil)
	defer b.close()
	for content, want := range map[string]string{
		`{"mode":"merge","config":{"camera":{"fps":99}}}`:       "1103 Request params error!Param [/config/camera/fps] must be 0.1 to 60!",
		`{"mode":"merge","config":{"camera":{"fsp":9}}}`:        "1103 Request params error!Param [/config/camera/fsp] is unknown; see `gatehouse config schema`!",
		`{"mode":"mix","config":{}}`:                            "1103 Request params error!Param [/mode] must be replace or merge!",
		`{"mode":"merge","config":{"vision":{"program":"/x"}}}`: "1103 Request params error!Param [/config/vision/program] can be set in the board's own file only, not by the cloud!",
		`{"mode":"merge"`: "1101 Parse request content to json failed!",
	} {
		_, err := b.send("stage", "c1", content)
		var e *errcode.Error
		if !errors.As(err, &e) || !strings.HasPrefix(fmt.Sprintf("%d %s", e.Code, e), want) {
			t.Errorf("%s: %v, want %s", content, err, want)
		}
	}
}

const move = `{"mode":"merge","config":{"device":{"name":"moved"},"mqtt":{"broker":"tcp://new:1883","trial":"5s"}}}`

// A config that changes the connection is committed when the cloud is reached,
// else the one before is back and the change fails with 1106.
func TestTrial(t *testing.T) {
	for _, c := range []struct {
		name   string
		reach  func(context.Context) error
		cancel bool
		state  string
		notes  []string
	}{
		{"reached", nil, false, "used", []string{"in force: moved", "trial"}},
		{"not reached", func(context.Context) error { return errors.New("connection refused") }, false, "staged", []string{"in force: moved", "trial", "in force: file"}},
		{"cancelled", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, true, "cancelled", []string{"in force: moved", "trial", "in force: file"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			b := open(t, dir, base(), nil)
			b.board.reach = c.reach
			b.must("stage", "c1", move)
			b.must("apply", "c1", "")
			if c.cancel {
				b.until("c1", func(r wire.ChangeReport) bool { return r.Step == "trial" })
				b.must("cancel", "c1", "")
			}
			r := b.until("c1", state(c.state))
			if got := b.board.noted(); !reflect.DeepEqual(got, c.notes) {
				t.Errorf("%v", got)
			}
			if c.state == "staged" && (r.Result.ErrorCode != int(errcode.RequestFailed) || !strings.Contains(r.Result.ErrorMessage, "connection refused")) {
				t.Errorf("%+v", r.Result)
			}
			b.close()
			b = open(t, dir, base(), nil)
			defer b.close()
			if moved := b.settings.Committed().MQTT.Broker != ""; moved != (c.state == "used") {
				t.Errorf("committed: %+v", b.settings.Committed().MQTT)
			}
		})
	}
}

// A power cut during the trial: the config before is in force at the next
// start, and the change is staged with the reason.
func TestPowerCutDuringTheTrial(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, base(), nil)
	b.board.reach = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	b.must("stage", "c1", move)
	b.must("apply", "c1", "")
	b.until("c1", func(r wire.ChangeReport) bool { return r.Step == "trial" })
	b.close()
	b = open(t, dir, base(), nil)
	defer b.close()
	if b.settings.Start().Device.Name != "file" {
		t.Error("the config on trial is in force")
	}
	if r := b.until("c1", state("staged")); r.Result.ErrorCode != int(errcode.RequestFailed) {
		t.Errorf("%+v", r)
	}
}

const driver = `{"mode":"merge","config":{"device":{"name":"gpio"},"barrier":{"driver":"gpio","gpio":{"lines":["raise"]}}}}`

// What only a restart changes is tried by a restart; if the agent cannot be
// opened with it, or the power fails, the config before is back.
func TestRestart(t *testing.T) {
	for _, c := range []struct {
		name  string
		next  func(Candidate) *Candidate
		state string
		why   string
	}{
		{"works", func(c Candidate) *Candidate { return &c }, "used", ""},
		{"cannot be opened", func(c Candidate) *Candidate {
			return &Candidate{ChangeID: c.ChangeID, Failure: errors.New("no such line")}
		}, "staged", "no such line"},
		{"power cut", func(Candidate) *Candidate { return nil }, "staged", "restarted"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			b := open(t, dir, base(), nil)
			b.must("stage", "c1", driver)
			b.must("apply", "c1", "")
			candidate := <-b.board.restarts
			if candidate.ChangeID != "c1" || candidate.Config.Barrier.Driver != "gpio" || b.board.InForce().Barrier.Driver != "software" {
				t.Errorf("%+v", candidate)
			}
			b.close()
			b = open(t, dir, base(), c.next(candidate))
			defer b.close()
			r := b.until("c1", state(c.state))
			if used := c.state == "used"; used != (b.settings.Committed().Barrier.Driver == "gpio") || used != (b.board.InForce().Barrier.Driver == "gpio") {
				t.Errorf("committed %s, in force %s", b.settings.Committed().Barrier.Driver, b.board.InForce().Barrier.Driver)
			}
			if c.why != "" && !strings.Contains(r.Result.ErrorMessage, c.why) {
				t.Errorf("%+v", r.Result)
			}
		})
	}
}

// A cancel while the agent restarts: another restart brings the config before back.
func TestCancelDuringTheRestart(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, base(), nil)
	b.board.reach = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	b.must("stage", "c1", strings.Replace(driver, `"barrier"`, `"mqtt":{"layout":"old"},"barrier"`, 1))
	b.must("apply", "c1", "")
	candidate := <-b.board.restarts
	b.close()
	b = open(t, dir, base(), &candidate)
	defer b.close()
	b.board.mu.Lock()
	b.board.reach = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	b.board.mu.Unlock()
	b.until("c1", func(r wire.ChangeReport) bool { return r.Step != "apply" || r.State != "applying" })
	b.must("cancel", "c1", "")
	b.until("c1", state("cancelled"))
	if back := <-b.board.restarts; back.ChangeID != "" {
		t.Errorf("%+v", back)
	}
}

// When the database is damaged the last good config is taken from its file,
// where this board has signed it; one that was tampered with is not.
func TestLastGoodConfig(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(t *testing.T, dir string)
		want  string
		says  string
	}{
		{"sound", func(t *testing.T, dir string) {}, "pushed", "last good config is in force"},
		{"changed", func(t *testing.T, dir string) {
			text, err := os.ReadFile(filepath.Join(dir, goodName))
			if err != nil {
				t.Fatal(err)
			}
			text = []byte(strings.Replace(string(text), `pushed`, `forged`, 1))
			if err := os.WriteFile(filepath.Join(dir, goodName), text, 0o600); err != nil {
				t.Fatal(err)
			}
		}, "file", "not this board's"},
		{"gone", func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, goodName)); err != nil {
				t.Fatal(err)
			}
		}, "file", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			b := open(t, dir, base(), nil)
			b.must("stage", "c1", `{"mode":"merge","config":{"device":{"name":"pushed"}}}`)
			b.must("apply", "c1", "")
			b.until("c1", state("used"))
			b.close()
			c.spoil(t, dir)
			if err := os.WriteFile(filepath.Join(dir, "state.db"), []byte("no database"), 0o600); err != nil {
				t.Fatal(err)
			}
			b = open(t, dir, base(), nil)
			if got := b.settings.Committed().Device.Name; got != c.want || !strings.Contains(b.settings.Restored(), c.says) {
				t.Errorf("%s: %s", got, b.settings.Restored())
			}
			b.close()
			b = open(t, dir, base(), nil) // and it stays so
			defer b.close()
			if got := b.settings.Committed().Device.Name; got != c.want || b.settings.Restored() != "" {
				t.Errorf("at the next start: %s, %s", got, b.settings.Restored())
			}
		})
	}
}

// The last good config outlives a restore that did not come to its end: another
// command has set the damaged database aside, the power failed before the
// restore was committed, or the file could not be read at that start.
func TestTheRestoreIsInterrupted(t *testing.T) {
	for name, interrupt := range map[string]func(t *testing.T, path string){
		"set aside by another command": func(t *testing.T, path string) {
			if err := os.WriteFile(path, []byte("no database"), 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"an empty bucket": func(t *testing.T, path string) {
			update(t, path, func(tx *bolt.Tx) error {
				if err := tx.DeleteBucket(bucket); err != nil {
					return err
				}
				_, err := tx.CreateBucket(bucket)
				return err
			})
		},
		"a damaged record": func(t *testing.T, path string) {
			update(t, path, func(tx *bolt.Tx) error { return tx.Bucket(bucket).Put(pushedKey, []byte("torn")) })
			good := filepath.Join(filepath.Dir(path), goodName)
			if err := errors.Join(os.Rename(good, good+".away"), os.Mkdir(good, 0o700)); err != nil {
				t.Fatal(err)
			}
			open(t, filepath.Dir(path), base(), nil).close() // the damaged record goes, and the file cannot be read now
			if err := errors.Join(os.Remove(good), os.Rename(good+".away", good)); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			b := open(t, dir, base(), nil)
			b.must("stage", "c1", `{"mode":"merge","config":{"device":{"name":"pushed"}}}`)
			b.must("apply", "c1", "")
			b.until("c1", state("used"))
			b.close()
			path := filepath.Join(dir, "state.db")
			interrupt(t, path)
			openDB(t, path).Close() // sets a damaged one aside
			for range 2 {
				b = open(t, dir, base(), nil)
				if got := b.settings.Committed().Device.Name; got != "pushed" || b.settings.Pushed() != "c1" {
					t.Errorf("in force is %s of %q (%s)", got, b.settings.Pushed(), b.settings.Restored())
				}
				b.close()
			}
		})
	}
}

// A file of which a sound database knows nothing is not restored for ever.
func TestAStrangeFileGoes(t *testing.T) {
	dir := t.TempDir()
	open(t, dir, base(), nil).close()
	path := filepath.Join(dir, goodName)
	if err := os.WriteFile(path, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	b := open(t, dir, base(), nil)
	defer b.close()
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) || b.settings.Restored() != "" {
		t.Errorf("%v, %s", err, b.settings.Restored())
	}
}

func openDB(t *testing.T, path string) *store.DB {
	t.Helper()
	db, err := store.Open(path, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func update(t *testing.T, path string, f func(*bolt.Tx) error) {
	t.Helper()
	db := openDB(t, path)
	if err := errors.Join(db.Update(f), db.Close()); err != nil {
		t.Fatal(err)
	}
}

// A file that is behind the database, since the power failed in between, is written again.
func TestTheFileFollowsTheDatabase(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, base(), nil)
	b.must("stage", "c1", `{"mode":"merge","config":{"device":{"name":"pushed"}}}`)
	b.must("apply", "c1", "")
	b.until("c1", state("used"))
	b.close()
	path := filepath.Join(dir, goodName)
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	b = open(t, dir, base(), nil)
	defer b.close()
	if have, err := os.ReadFile(path); err != nil || string(have) != string(want) {
		t.Errorf("%s %v", have, err)
	}
}

func FuzzParseGood(f *testing.F) {
	s := &Settings{o: Options{Sign: key}}
	config, err := json.Marshal(base())
	if err != nil {
		f.Fatal(err)
	}
	good, err := s.good(record{SN: sn, ChangeID: "c1", Config: config})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"sn":"` + sn + `","config":{},"sig":"00"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := parseGood(text, sn, key.Public().(ed25519.PublicKey))
		if err == nil && (r.ChangeID != "c1" || r.SN != sn) {
			t.Errorf("%+v was taken", r)
		}
	})
}

// The design's table of commands and states for configs, with their codes.
func TestTable(t *testing.T) {
	const content, other = `{"mode":"merge","config":{"device":{"name":"a"},"mqtt":{"layout":"old"}}}`, `{"mode":"replace","config":{}}`
	codes := changetest.Codes{NotExist: errcode.ConfigNotExist, Used: errcode.ConfigUsed, Cancelled: errcode.ConfigCancelled}
	for _, c := range changetest.Cells(codes) {
		t.Run(fmt.Sprintf("%s/%s/%t", c.Before, c.Verb, c.Other), func(t *testing.T) {
			b := open(t, t.TempDir(), base(), nil)
			defer b.close()
			held := make(chan struct{})
			b.board.reach = func(ctx context.Context) error {
				select {
				case <-held:
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			if c.Before != "" {
				b.must("stage", "c1", content)
			}
			switch c.Before {
			case "applying":
				b.must("apply", "c1", "")
				b.until("c1", func(r wire.ChangeReport) bool { return r.Step == "trial" })
			case "used":
				close(held)
				b.must("apply", "c1", "")
				b.until("c1", state("used"))
			case "cancelled":
				b.must("cancel", "c1", "")
			}
			given := content
			if c.Other {
				given = other
			}
			r, err := b.send(c.Verb, "c1", given)
			code := errcode.Code(0)
			if err != nil {
				code = errcode.From(err).Code
			}
			if r.State != c.State || code != c.Code {
				t.Errorf("state %q, code %d; want %q, %d", r.State, code, c.State, c.Code)
			}
			if c.Before == "applying" && c.Verb == "cancel" {
				b.until("c1", state("cancelled"))
				if b.board.InForce().Device.Name != "file" {
					t.Error("the cancelled config is still in force")
				}
			}
		})
	}
}
