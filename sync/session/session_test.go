package session

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// broker is a small raw broker whose acknowledgements a test decides.
type broker struct {
	t        *testing.T
	l        net.Listener
	refuse   byte             // CONNACK code
	ack      func(n int) bool // whether the n-th publish (from 1) is acknowledged
	dropping func(n int) bool // whether the connection is closed after the n-th publish
	send     []*packets.PublishPacket
	connects atomic.Int32
	seen     atomic.Int32
	wait     sync.WaitGroup
}

func listen(t *testing.T) *broker {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &broker{t: t, l: l, ack: func(int) bool { return true }, dropping: func(int) bool { return false }}
	b.wait.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			b.wait.Go(func() { b.serve(c) })
		}
	})
	t.Cleanup(func() { l.Close(); b.wait.Wait() })
	return b
}

func (b *broker) serve(c net.Conn) {
	defer c.Close()
	b.connects.Add(1)
	for {
		p, err := packets.ReadPacket(c)
		if err != nil {
			return
		}
		switch p := p.(type) {
		case *packets.ConnectPacket:
			a := packets.NewControlPacket(packets.Connack).(*packets.ConnackPacket)
			a.ReturnCode = b.refuse
			_ = a.Write(c)
			if b.refuse != 0 {
				return
			}
		case *packets.SubscribePacket:
			a := packets.NewControlPacket(packets.Suback).(*packets.SubackPacket)
			a.MessageID, a.ReturnCodes = p.MessageID, []byte{1}
			_ = a.Write(c)
			for _, m := range b.send {
				_ = m.Write(c)
			}
		case *packets.PublishPacket:
			n := int(b.seen.Add(1))
			if b.ack(n) {
				a := packets.NewControlPacket(packets.Puback).(*packets.PubackPacket)
				a.MessageID = p.MessageID
				_ = a.Write(c)
			}
			if b.dropping(n) {
				return
			}
		case *packets.PingreqPacket:
			_ = packets.NewControlPacket(packets.Pingresp).Write(c)
		case *packets.DisconnectPacket:
			return
		}
	}
}

func (b *broker) options() Options {
	return Options{URL: "tcp://" + b.l.Addr().String(), ClientID: "board"}
}

var quick = Backoff{First: time.Millisecond, Max: 5 * time.Millisecond, Auth: 50 * time.Millisecond, StableFor: time.Minute}

// run keeps o connected until the test's function is done.
func run(t *testing.T, o Options, during func(ctx context.Context)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	done := make(chan error)
	go func() { done <- Run(ctx, quick, func() (Options, error) { return o, nil }, nil) }()
	during(ctx)
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// A publish whose acknowledgement never came is never a success, although the
// connection came back.
func TestNoAckNoSuccess(t *testing.T) {
	b := listen(t)
	b.ack = func(n int) bool { return n%3 != 0 } // every third is swallowed and the connection dropped
	b.dropping = func(n int) bool { return n%3 == 0 }
	var good, bad atomic.Int32
	finished := make(chan struct{})
	o := b.options()
	var total atomic.Int32
	o.OnUp = func(ctx context.Context, c *Conn) {
		for {
			if err := c.Publish(ctx, "t", 1, []byte("x")); err != nil {
				bad.Add(1)
				return
			}
			good.Add(1)
			if total.Add(1) == 20 {
				close(finished)
				<-ctx.Done()
				return
			}
		}
	}
	run(t, o, func(ctx context.Context) {
		select {
		case <-finished:
		case <-ctx.Done():
			t.Error("not finished")
		}
	})
	if seen := b.seen.Load(); good.Load() != 20 || bad.Load() != 9 || seen != 29 {
		t.Errorf("%d published, %d failed, the broker saw %d; want 20, 9, 29", good.Load(), bad.Load(), seen)
	}
}

func TestRefusedCredentials(t *testing.T) {
	b := listen(t)
	b.refuse = packets.ErrRefusedBadUsernameOrPassword
	var mu sync.Mutex
	var states []error
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	const attempts = 8
	begin := time.Now()
	_ = Run(ctx, quick, func() (Options, error) { return b.options(), nil }, func(err error) {
		mu.Lock()
		defer mu.Unlock()
		if states = append(states, err); len(states) == attempts {
			cancel()
		}
	})
	if len(states) < attempts || !errors.Is(states[0], ErrAuth) {
		t.Fatalf("%v, want ErrAuth", states)
	}
	if took := time.Since(begin); took < (attempts-1)*quick.Auth/2 {
		t.Errorf("%d attempts in %s though refused credentials wait 25 to 50 ms", attempts, took)
	}
}

// Messages come in order, and a handler may cause a publish.
func TestMessagesInOrder(t *testing.T) {
	b := listen(t)
	const n = 200
	for i := range n {
		p := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
		p.TopicName, p.Payload = "down", fmt.Appendf(nil, "%d", i)
		b.send = append(b.send, p)
	}
	o := b.options()
	o.Subscriptions = []string{"down"}
	replies := make(chan int, n)
	arrived := make(chan struct{})
	next := 0
	o.OnMessage = func(_ string, payload []byte) {
		if !bytes.Equal(payload, fmt.Appendf(nil, "%d", next)) {
			t.Errorf("message %d is %s", next, payload)
		}
		replies <- next
		if next++; next == n {
			close(arrived)
		}
	}
	o.OnUp = func(ctx context.Context, c *Conn) {
		for range n {
			select {
			case i := <-replies:
				if err := c.Publish(ctx, "reply", 1, fmt.Appendf(nil, "%d", i)); err != nil {
					t.Error(err)
				}
			case <-ctx.Done():
				return
			}
		}
	}
	run(t, o, func(ctx context.Context) {
		select {
		case <-arrived:
		case <-ctx.Done():
			t.Error("messages are missing")
		}
		for b.seen.Load() < n && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
	})
}

// A peer that accepts and then says nothing does not hold up the end.
func TestSilentPeer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var held sync.WaitGroup
	held.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			held.Go(func() { _, _ = io.Copy(io.Discard, c); c.Close() })
		}
	})
	defer held.Wait()
	defer l.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	begin := time.Now()
	_ = Run(ctx, quick, func() (Options, error) { return Options{URL: "tcp://" + l.Addr().String(), ClientID: "x"}, nil }, nil)
	if d := time.Since(begin); d > setupWait/2 {
		t.Errorf("stopping took %s", d)
	}
}

// The wait is jittered over the whole range, never above the ceiling, and the
// attempts it makes over simulated hours stay few.
func TestBackoff(t *testing.T) {
	b := DefaultBackoff()
	for attempt := range 40 {
		ceiling := min(b.Max, time.Second<<min(attempt, 20))
		for range 50 {
			if w := b.wait(attempt, false); w < 0 || w > ceiling {
				t.Fatalf("attempt %d waits %s, the ceiling is %s", attempt, w, ceiling)
			}
		}
		if w := b.wait(attempt, true); w < b.Auth/2 {
			t.Fatalf("after refused credentials it waits only %s", w)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
		defer cancel()
		attempts := 0
		_ = Run(ctx, b, func() (Options, error) { attempts++; return Options{}, errors.New("not bound") }, nil)
		if attempts < 24*60/4 || attempts > 24*60*3 {
			t.Errorf("%d attempts in a day with a ceiling of 2 minutes", attempts)
		}
	})
}

func TestBadOptions(t *testing.T) {
	for _, o := range []Options{{URL: "http://x:1"}, {URL: "tcp://"}, {URL: "ssl://x:1", CA: []byte("no certificate")}} {
		if err := connect(context.Background(), o, func() {}); err == nil {
			t.Errorf("%+v connects", o)
		}
	}
}
