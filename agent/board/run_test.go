package board

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"gatehouse/agent/gate"
	"gatehouse/configs"
	"gatehouse/hal/barrier"
	"gatehouse/sync/wire"
	"gatehouse/vision/link"
)

// slow is relays that take their time, as those on a serial line do: as long as
// the test wants.
type slow struct{ begun, release chan struct{} }

func (s slow) Switch(_ int, on bool) error {
	if on {
		close(s.begun)
		<-s.release
	}
	return nil
}
func (slow) Position() barrier.Position { return barrier.Unknown }
func (slow) Close() error               { return nil }

// The agent is stopped while the barrier is being opened: the passage is kept
// for the cloud and for HTTP push.
func TestAStopLosesNoResult(t *testing.T) {
	dir := t.TempDir()
	c := configs.Default()
	c.Camera.Source = "fake"
	c.MQTT.Broker = "tcp://127.0.0.1:1" // so that events are somebody's
	c.Push.Servers, c.Push.Offline = []string{"http://127.0.0.1:1"}, 10
	t.Setenv(fakeVisionEnv, "1")
	b, err := Open(c, filepath.Join(dir, "state"), os.Args[0], "test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	relays := slow{make(chan struct{}), make(chan struct{})}
	b.barrier = barrier.NewLocks(barrier.NewRelays(relays), false)
	b.gate = gate.New(b.state.Whitelist, b.state.Faces, b.barrier, gateOptions(c))
	if _, code := order(t, b, "white_list_operator", "1", `{"operator_type":"update_or_add","dldb_rec":{"plate":"A1","enable":1}}`); code != 0 {
		t.Fatal(code)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	wait.Go(func() { _ = b.Run(ctx) })
	for end := time.Now().Add(20 * time.Second); b.vision.TriggerBy("t", link.TriggerInput) != nil; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the fake vision process does not run")
		}
	}
	<-relays.begun
	cancel()
	time.Sleep(100 * time.Millisecond) // in which a board that does not wait for the barrier would be done
	close(relays.release)
	wait.Wait()
	b.Close()
	if b, err = Open(c, filepath.Join(dir, "state"), "gatehouse-vision", "test", slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	list, err := b.outbox.List(100)
	n := 0
	for _, e := range list {
		if e.Name == wire.NameIVSResult {
			n++
		}
	}
	if err != nil || n != 1 {
		t.Errorf("%d results are kept, %v", n, err)
	}
	if b.push.Load().Waiting() != 1 {
		t.Errorf("%d results are kept for HTTP push", b.push.Load().Waiting())
	}
}

// What went wrong with a connection is over once there is another.
func TestAConnectionEndsTheError(t *testing.T) {
	b := open(t, t.TempDir())
	defer b.Close()
	b.onState(errors.New("no route"))
	if got := b.Status().Broker; got.Online || got.LastError != "no route" {
		t.Errorf("%+v", got)
	}
	b.onState(nil)
	if got := b.Status().Broker; !got.Online || got.LastError != "" {
		t.Errorf("%+v", got)
	}
}
