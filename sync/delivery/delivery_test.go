package delivery

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"gatehouse/sync/outbox"
	"gatehouse/sync/session"
	"gatehouse/sync/session/brokertest"
	"gatehouse/sync/store"
)

func TestMain(m *testing.M) {
	store.RunCheckIfAsked()
	goleak.VerifyTestMain(m)
}

var quick = session.Backoff{First: 10 * time.Millisecond, Max: 100 * time.Millisecond, Auth: time.Second, StableFor: time.Minute}

func openBox(t testing.TB) *outbox.Outbox {
	t.Helper()
	dir := t.TempDir()
	box, err := outbox.Open(filepath.Join(dir, "events.db"), outbox.Options{PictureDir: filepath.Join(dir, "pictures"), Reserve: -1, FlushEvery: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := box.Close(); err != nil {
			t.Error(err)
		}
	})
	return box
}

func fill(t testing.TB, box *outbox.Outbox, n int) {
	t.Helper()
	var puts sync.WaitGroup
	for range 8 {
		puts.Go(func() {
			for range n / 8 {
				if _, err := box.Put(context.Background(), outbox.Event{Name: "e", Payload: json.RawMessage(`{}`)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	puts.Wait()
}

// connect keeps a connection until the test ends.
func connect(t testing.TB, o session.Options) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = session.Run(ctx, quick, func() (session.Options, error) { return o, nil }, nil)
	}()
	t.Cleanup(func() { cancel(); <-done })
}

// listen gives what arrives at a broker, by sequence and in order.
func listen(t testing.TB, url string) (arrived func() (order []uint64)) {
	t.Helper()
	var mu sync.Mutex
	var got []uint64
	up := make(chan struct{})
	var once sync.Once
	connect(t, session.Options{URL: url, ClientID: "listener", Subscriptions: []string{"events"},
		OnMessage: func(_ string, payload []byte) {
			seq, err := strconv.ParseUint(string(payload), 10, 64)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			got = append(got, seq)
			mu.Unlock()
		},
		OnUp: func(ctx context.Context, _ *session.Conn) { once.Do(func() { close(up) }); <-ctx.Done() }})
	select {
	case <-up:
	case <-time.After(20 * time.Second):
		t.Fatal("the listener does not connect")
	}
	return func() []uint64 {
		mu.Lock()
		defer mu.Unlock()
		return append([]uint64(nil), got...)
	}
}

func message(s outbox.Stored) (string, []byte, error) {
	return "events", []byte(fmt.Sprint(s.ID.Seq)), nil
}

func drained(t testing.TB, box *outbox.Outbox) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); box.Stats().Waiting > 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d events are never delivered", box.Stats().Waiting)
		}
	}
}

// Over a good line events arrive once and in order.
func TestOrder(t *testing.T) {
	m := brokertest.NewMosquitto(t, "")
	arrived := listen(t, "tcp://"+m.Address)
	box := openBox(t)
	fill(t, box, 400)
	connect(t, session.Options{URL: "tcp://" + m.Address, ClientID: "board", OnUp: func(ctx context.Context, c *session.Conn) {
		Sender{Box: box, Message: message}.Run(ctx, c)
	}})
	drained(t, box)
	for deadline := time.Now().Add(time.Minute); len(arrived()) < 400 && time.Now().Before(deadline); {
		time.Sleep(5 * time.Millisecond)
	}
	got := arrived()
	if len(got) != 400 {
		t.Fatalf("%d of 400 arrived", len(got))
	}
	for i, seq := range got {
		if seq != uint64(i+1) {
			t.Fatalf("event %d is the %d-th to arrive", seq, i+1)
		}
	}
}

// A plain broker behind a line that loses acknowledgements and breaks: all
// events arrive, and an event leaves only after its acknowledgement.
func TestPlainBrokerThroughFaults(t *testing.T) {
	m := brokertest.NewMosquitto(t, "")
	arrived := listen(t, "tcp://"+m.Address)
	proxy, err := brokertest.Start(m.Address, brokertest.Faults{DropPuback: 83, Duplicate: 41, Disconnect: 127})
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Stop()
	box := openBox(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = session.Run(ctx, quick, func() (session.Options, error) {
			return session.Options{URL: proxy.URL(), ClientID: "board", OnUp: func(ctx context.Context, c *session.Conn) {
				Sender{Box: box, Message: message, AckWait: 300 * time.Millisecond}.Run(ctx, c)
			}}, nil
		}, nil)
	}()
	defer func() { cancel(); <-done }()
	fill(t, box, 800)
	drained(t, box)
	seen := map[uint64]bool{}
	for deadline := time.Now().Add(time.Minute); len(seen) < 800 && time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		for _, seq := range arrived() {
			seen[seq] = true
		}
	}
	if len(seen) != 800 || proxy.Dropped.Load() == 0 || proxy.Cut.Load() == 0 {
		t.Errorf("%d of 800 arrived; %d acknowledgements dropped, %d cuts", len(seen), proxy.Dropped.Load(), proxy.Cut.Load())
	}
}

// BenchmarkSend compares the window with one publish at a time, over mosquitto
// behind a line of 20 ms there and back, as mobile ones have.
func BenchmarkSend(b *testing.B) {
	m := brokertest.NewMosquitto(b, "")
	line, err := brokertest.Start(m.Address, brokertest.Faults{Latency: 10 * time.Millisecond})
	if err != nil {
		b.Fatal(err)
	}
	defer line.Stop()
	for _, windowed := range []bool{false, true} {
		name := map[bool]string{false: "one-at-a-time", true: "window-of-16"}[windowed]
		b.Run(name, func(b *testing.B) {
			box := openBox(b)
			n := (b.N + 7) / 8 * 8
			fill(b, box, n)
			conns := make(chan *session.Conn, 1)
			connect(b, session.Options{URL: line.URL(), ClientID: "board", OnUp: func(ctx context.Context, c *session.Conn) { conns <- c; <-ctx.Done() }})
			c := <-conns
			b.ResetTimer()
			if windowed {
				ctx, cancel := context.WithCancel(context.Background())
				done := make(chan struct{})
				go func() { defer close(done); Sender{Box: box, Message: message}.Run(ctx, c) }()
				for box.Stats().Waiting > 0 {
					<-box.Changed()
				}
				cancel()
				<-done
			} else {
				for i := range n {
					if err := c.Publish(context.Background(), "events", 1, []byte(fmt.Sprint(i))); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
		})
	}
}
