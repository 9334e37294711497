package board

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/agent/settings"
	"gatehouse/configs"
	"gatehouse/sync/wire"
	"gatehouse/vision/link"
)

// faults are the components of the faults in the outbox.
func faults(t *testing.T, b *Board) (components []string) {
	t.Helper()
	events, err := b.outbox.List(100)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		var m struct{ Body wire.Fault }
		if e.Name == wire.NameFault && json.Unmarshal(e.Payload, &m) == nil {
			components = append(components, m.Body.Component)
		}
	}
	return components
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(what)
		}
	}
}

// What cannot be opened beside the gate is told once and shown, and keeps the
// board from nothing else; once it can be opened, it works.
func TestTheBoardRunsWithoutItsParts(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	dir := t.TempDir()
	password := filepath.Join(dir, "password")
	c := configs.Default()
	c.Port8131.Listen, c.Port8131.PasswordFile = taken.Addr().String(), password
	c.Push.Servers, c.Push.CA = []string{"https://127.0.0.1:1"}, filepath.Join(dir, "ca.pem")
	c.Ports.Inputs, c.Barrier.Driver, c.Barrier.GPIO.Lines = []string{"no such chip/1"}, "gpio", []string{"no such chip/2"}
	b, err := Open(c, filepath.Join(dir, "state"), "gatehouse-vision", "test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if got := b.Status().Troubles; len(got) != 4 || !strings.HasPrefix(got[0], "barrier: ") || !strings.HasPrefix(got[1], "inputs: ") ||
		!strings.HasPrefix(got[2], "port8131: cannot read the password") || !strings.HasPrefix(got[3], "push: ") {
		t.Errorf("%q", got)
	}
	if got := faults(t, b); len(got) != 0 {
		t.Errorf("nobody is there to be told of %v", got)
	}
	if err := b.state.setBinding(Binding{Body: &wire.BindBody{AccountID: 7}}); err != nil {
		t.Fatal(err)
	}
	b.again = time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	wait.Go(func() {
		if err := b.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	defer wait.Wait()
	defer cancel()
	eventually(t, "the cloud is not told", func() bool { return len(faults(t, b)) >= 4 })
	list(t, b.state, "A1")
	b.onResult(&link.Result{Event: link.EventPassage, Passage: 1, Plates: []link.Plate{{Text: "A1", Score: 1}}})
	eventually(t, "nothing is decided", func() bool { return b.Status().Barrier.LastPlate == "A1" })
	if err := os.WriteFile(password, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the port is no trouble", func() bool {
		return slices.ContainsFunc(b.Status().Troubles, func(s string) bool { return strings.HasPrefix(s, "port8131: cannot listen") })
	})
	taken.Close()
	eventually(t, "the port is not opened", func() bool {
		conn, err := net.Dial("tcp", taken.Addr().String())
		if err == nil {
			conn.Close()
		}
		return err == nil && len(b.Status().Troubles) == 3
	})
	b.listener.Close() // and again
	eventually(t, "the port is not opened again", func() bool {
		conn, err := net.Dial("tcp", taken.Addr().String())
		if err == nil {
			conn.Close()
		}
		return err == nil && len(b.Status().Troubles) == 3
	})
	got := faults(t, b)
	if slices.Sort(got); !slices.Equal(got, []string{"barrier", "inputs", "port8131", "port8131", "push"}) {
		t.Errorf("the cloud was told of %v", got)
	}
}

// A config on trial under which a part fails is refused, as one under which the
// agent cannot start is; not one that came upon a part that had failed before.
func TestATrialMustOpenEverything(t *testing.T) {
	c := configs.Default()
	next := c
	next.Barrier.Driver, next.Barrier.GPIO.Lines = "gpio", []string{"no such chip/2"}
	o := Options{Config: c, Dir: t.TempDir(), Program: "gatehouse-vision", Version: "test", Log: slog.New(slog.DiscardHandler),
		Candidate: &settings.Candidate{ChangeID: "c1", Config: next}}
	if b, err := OpenBoard(o); err == nil {
		b.Close()
		t.Error("the trial is passed without the barrier")
	}
	o.troubled = []string{"barrier"}
	b, err := OpenBoard(o)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if got := b.troubled(); !slices.Equal(got, o.troubled) {
		t.Errorf("%v", got)
	}
}
