package session

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// piped is a broker at the other end of pipes, within a bubble of simulated time.
type piped struct {
	refuse byte          // CONNACK code
	silent bool          // it never greets
	stays  time.Duration // how long a connection lasts
	deaf   bool          // it answers no ping
	dials  []time.Time
	wait   sync.WaitGroup
}

func (p *piped) dial(context.Context, string) (net.Conn, error) {
	p.dials = append(p.dials, time.Now())
	ours, theirs := net.Pipe()
	p.wait.Go(func() { p.serve(ours) })
	return theirs, nil
}

func (p *piped) serve(c net.Conn) {
	defer c.Close()
	if p.stays > 0 {
		defer time.AfterFunc(p.stays, func() { c.Close() }).Stop()
	}
	for {
		packet, err := packets.ReadPacket(c)
		if err != nil {
			return
		}
		switch packet.(type) {
		case *packets.ConnectPacket:
			if p.silent {
				continue
			}
			a := packets.NewControlPacket(packets.Connack).(*packets.ConnackPacket)
			a.ReturnCode = p.refuse
			_ = a.Write(c)
			if p.refuse != 0 {
				return
			}
		case *packets.PingreqPacket:
			if !p.deaf {
				_ = packets.NewControlPacket(packets.Pingresp).Write(c)
			}
		case *packets.DisconnectPacket:
			return
		}
	}
}

// during keeps a connection to the broker for so long and gives what was told of it.
func (p *piped) during(t *testing.T, d time.Duration) (states []error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	err := Run(ctx, DefaultBackoff(), func() (Options, error) {
		return Options{URL: "tcp://broker:1883", ClientID: "board", Dial: p.dial}, nil
	}, func(err error) { states = append(states, err) })
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Run ended with %v", err)
	}
	p.wait.Wait()
	return states
}

// gaps are the times between attempts.
func (p *piped) gaps() (gaps []time.Duration) {
	for i := 1; i < len(p.dials); i++ {
		gaps = append(gaps, p.dials[i].Sub(p.dials[i-1]))
	}
	return gaps
}

// Refused credentials are shown again slowly: the first time already.
func TestRefusedIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &piped{refuse: packets.ErrRefusedBadUsernameOrPassword}
		states := p.during(t, 24*time.Hour)
		for i, gap := range p.gaps() {
			if gap < 30*time.Second || gap > 2*time.Minute+time.Second {
				t.Errorf("attempt %d came %s after the one before", i+1, gap)
			}
		}
		if n := len(p.dials); n < 24*30 || n > 24*120 {
			t.Errorf("%d attempts in a day", n)
		}
		for _, err := range states {
			if !errors.Is(err, ErrAuth) {
				t.Errorf("%v", err)
			}
		}
	})
}

// Connections that last for seconds do not make the board hasty; one that has
// lasted for a minute begins anew.
func TestOnlyAStableConnectionResets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &piped{stays: 10 * time.Second}
		p.during(t, 24*time.Hour)
		// Ten seconds online and on average a minute away: 70 seconds a round.
		if n := len(p.dials); n < 24*3600/90 || n > 24*3600/50 {
			t.Errorf("%d connections of 10 s in a day", n)
		}
		p = &piped{stays: 61 * time.Second}
		p.during(t, 24*time.Hour)
		for i, gap := range p.gaps() {
			if gap > 61*time.Second+2*time.Second+time.Second {
				t.Errorf("attempt %d came %s after the one before, although it was stable", i+1, gap)
			}
		}
	})
}

// Full jitter: the waits fill the whole range below the ceiling.
func TestJitterIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &piped{stays: time.Nanosecond}
		p.during(t, 48*time.Hour)
		gaps := p.gaps()
		gaps = gaps[min(10, len(gaps)):]
		var low, high int
		for _, g := range gaps {
			switch {
			case g > 2*time.Minute+setupWait:
				t.Errorf("it waited %s", g)
			case g < 30*time.Second:
				low++
			case g > 90*time.Second:
				high++
			}
		}
		if n := len(gaps); low < n/8 || high < n/8 {
			t.Errorf("of %d waits %d are in the first and %d in the last quarter", n, low, high)
		}
	})
}

// A broker that accepts and says nothing, and one that dies without a word.
func TestSilenceIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &piped{silent: true}
		states := p.during(t, 10*time.Minute)
		if len(states) < 3 || states[0] == nil {
			t.Errorf("%v", states)
		}
		p = &piped{deaf: true}
		states = p.during(t, 3*time.Minute)
		if len(states) < 2 || states[0] != nil || states[1] == nil {
			t.Fatalf("%v", states)
		}
		if gap := p.gaps()[0]; gap > 30*time.Second+10*time.Second+10*time.Second {
			t.Errorf("a dead peer is noticed after %s; keep-alive is 30 s, its answer may take 10 s", gap)
		}
	})
}

// The wait ends at once when nobody wants the connection any more.
func TestWaitIsCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		begin := time.Now()
		time.AfterFunc(10*time.Second, cancel)
		_ = Run(ctx, Backoff{First: time.Hour, Max: time.Hour, Auth: 24 * time.Hour, StableFor: time.Minute},
			func() (Options, error) { return Options{}, ErrAuth }, nil)
		if d := time.Since(begin); d != 10*time.Second {
			t.Errorf("it ended after %s", d)
		}
	})
}
