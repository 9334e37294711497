package change

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"gatehouse/sync/errcode"
	"gatehouse/sync/store"
	"gatehouse/sync/wire"
)

// A board that is unbound while a change runs: nothing of it comes back.
func TestClearWhileAChangeRuns(t *testing.T) {
	k := &fake{name: "fake"}
	hold := make(chan struct{})
	k.steps = []Step{k.outside("one", nil, hold), inside(nil)}
	b := start(t, filepath.Join(t.TempDir(), "db"), k)
	defer b.close()
	b.do("stage", "c1", content)
	b.do("apply", "c1", "")
	for len(k.noted()) == 0 {
		time.Sleep(time.Millisecond)
	}
	if err := b.db.Update(Clear); err != nil {
		t.Fatal(err)
	}
	b.engine.Cleared()
	close(hold)
	b.engine.Close()
	if list, err := b.engine.States(); err != nil || len(list) != 0 {
		t.Errorf("%+v %v", list, err)
	}
	_ = b.db.View(func(tx *bolt.Tx) error {
		if tx.Bucket(effects) != nil {
			t.Error("the cleared change was applied")
		}
		return nil
	})
}

// Any sequence of commands on some changes, restarts in between: a finished
// change stays as it is, every answer has a code of the table, and what the sink
// was told last is what the engine says.
func FuzzCommands(f *testing.F) {
	f.Add([]byte{0, 4, 8, 12, 1, 5, 63, 9, 13})
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 60, 8, 9, 10, 11})
	verbs := []string{wire.VerbStage, wire.VerbApply, wire.VerbCancel, wire.VerbQuery}
	allowed := map[errcode.Code]bool{0: true, errcode.ParamsError: true, errcode.RequestFailed: true,
		errcode.WhitelistNotExist: true, errcode.WhitelistUsed: true, errcode.WhitelistCancelled: true}
	f.Fuzz(func(t *testing.T, program []byte) {
		if len(program) > 24 {
			return
		}
		k := &fake{name: "fake"}
		fails := 0
		k.steps = []Step{k.outside("one", nil, nil), {Name: "rows", DoTx: func(*bolt.Tx, *Change) error {
			if fails++; fails%3 == 0 {
				return errors.New("the flash is full")
			}
			return nil
		}}}
		// Not by store.Open, whose check is a process of its own.
		opened, err := bolt.Open(filepath.Join(t.TempDir(), "db"), 0o600, &bolt.Options{NoSync: true})
		if err != nil {
			t.Fatal(err)
		}
		defer opened.Close()
		db := &store.DB{DB: opened}
		b := startOn(t, db, Options{}, k)
		done := map[string]string{}
		var told []wire.ChangeReport // by engines that are closed
		for _, op := range program {
			if op >= 60 {
				b.engine.Close()
				told = append(told, b.reports...) // the next engine reports as soon as it has begun
				b = startOn(t, db, Options{}, k)
				continue
			}
			id := fmt.Sprint("c", op%4)
			c := wire.ChangeCommand{OperatorType: verbs[op/4%4], ChangeID: id}
			if c.OperatorType == wire.VerbStage {
				c.Content = fmt.Sprintf(`{"x":%d}`, op/32)
				c.Digest = Digest([]byte(c.Content))
			}
			r, code := b.send("fake", c)
			if !allowed[code] {
				t.Fatalf("%+v: code %d", c, code)
			}
			if was := done[id]; was != "" && r.State != was {
				t.Fatalf("%s was %s and is %s", id, was, r.State)
			}
			if r.State == wire.StateUsed || r.State == wire.StateCancelled {
				done[id] = r.State
			}
		}
		b.engine.Close()
		last := map[string]string{}
		for _, r := range append(told, b.reports...) {
			last[r.ChangeID] = r.State
		}
		list, err := b.engine.States()
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range list {
			if last[r.ChangeID] != r.State {
				t.Errorf("%s is %s, told was %s", r.ChangeID, r.State, last[r.ChangeID])
			}
		}
	})
}
