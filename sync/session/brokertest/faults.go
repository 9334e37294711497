// Package brokertest has what tests of the MQTT side need: a proxy that stands
// before a broker and makes the mistakes that networks and brokers make, and a
// real mosquitto that can be stopped and started.
//
// It is for tests only: it trusts both sides and keeps nothing.
package brokertest

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// Faults says what a Proxy does wrong; each is done to every so-manieth packet,
// 0 for never.
type Faults struct {
	DropPuback int // an acknowledgement on its way to the client is swallowed
	Duplicate  int // a publish is passed on twice, in both directions
	Reorder    int // a publish comes after the one behind it, in both directions
	Disconnect int // after this many publishes of the client both connections are cut

	Latency time.Duration // of each direction
}

// Proxy passes MQTT packets between clients and a broker.
type Proxy struct {
	broker string // host:port
	faults Faults
	l      net.Listener
	wait   sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool

	pubacks, up, down, cuts atomic.Int64
	away                    atomic.Bool
	// Done counts what was done.
	Dropped, Duplicated, Reordered, Cut atomic.Int64
}

// Start begins to pass packets on to broker (host:port).
func Start(broker string, f Faults) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{broker: broker, faults: f, l: l, conns: map[net.Conn]bool{}}
	p.wait.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.wait.Go(func() { p.serve(c) })
		}
	})
	return p, nil
}

// URL is where clients connect.
func (p *Proxy) URL() string { return "tcp://" + p.l.Addr().String() }

// Stop cuts all connections and waits for their end.
func (p *Proxy) Stop() {
	p.l.Close()
	p.CutAll()
	p.wait.Wait()
}

// CutAll cuts the connections there are.
func (p *Proxy) CutAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
}

// Away cuts all connections and accepts none for as long as it is on.
func (p *Proxy) Away(on bool) {
	p.away.Store(on)
	if on {
		p.CutAll()
	}
}

func (p *Proxy) hold(c net.Conn) {
	p.mu.Lock()
	p.conns[c] = true
	p.mu.Unlock()
}

func (p *Proxy) leave(c net.Conn) {
	c.Close()
	p.mu.Lock()
	delete(p.conns, c)
	p.mu.Unlock()
}

func (p *Proxy) serve(client net.Conn) {
	p.hold(client)
	defer p.leave(client)
	if p.away.Load() {
		return
	}
	server, err := net.Dial("tcp", p.broker)
	if err != nil {
		return
	}
	p.hold(server)
	defer p.leave(server)
	var both sync.WaitGroup
	both.Go(func() {
		defer client.Close()
		defer server.Close()
		to := p.late(&both, server)
		defer to.Close()
		_ = p.pass(to, client, &p.up, true)
	})
	both.Go(func() {
		defer client.Close()
		defer server.Close()
		to := p.late(&both, client)
		defer to.Close()
		_ = p.pass(to, server, &p.down, false)
	})
	both.Wait()
}

// late gives a writer to c whose bytes arrive after the latency.
func (p *Proxy) late(wait *sync.WaitGroup, c net.Conn) io.WriteCloser {
	if p.faults.Latency == 0 {
		return c
	}
	l := &lateWriter{after: p.faults.Latency, line: make(chan onItsWay, 4096)}
	wait.Go(func() {
		for w := range l.line {
			time.Sleep(time.Until(w.due))
			_, _ = c.Write(w.bytes) // a broken line is noticed by its reader
		}
	})
	return l
}

type onItsWay struct {
	due   time.Time
	bytes []byte
}

type lateWriter struct {
	after time.Duration
	line  chan onItsWay
}

func (l *lateWriter) Write(b []byte) (int, error) {
	l.line <- onItsWay{time.Now().Add(l.after), append([]byte(nil), b...)}
	return len(b), nil
}

func (l *lateWriter) Close() error {
	close(l.line)
	return nil
}

var errCut = errors.New("cut on purpose")

// every reports whether this is the k-th, 2k-th and so on.
func every(k int, n int64) bool { return k > 0 && n%int64(k) == 0 }

// pass passes packets on in one direction.
func (p *Proxy) pass(to io.Writer, from io.Reader, count *atomic.Int64, fromClient bool) error {
	var held packets.ControlPacket // a publish that waits for the one behind it
	for {
		packet, err := packets.ReadPacket(from)
		if err != nil {
			return err
		}
		switch packet.(type) {
		case *packets.PubackPacket:
			if !fromClient && every(p.faults.DropPuback, p.pubacks.Add(1)) {
				p.Dropped.Add(1)
				continue
			}
		case *packets.PublishPacket:
			n := count.Add(1)
			if fromClient && every(p.faults.Disconnect, p.cuts.Add(1)) {
				p.Cut.Add(1)
				return errCut
			}
			if held == nil && every(p.faults.Reorder, n) {
				held = packet
				continue
			}
			if every(p.faults.Duplicate, n) {
				p.Duplicated.Add(1)
				if err := packet.Write(to); err != nil {
					return err
				}
			}
		}
		if err := packet.Write(to); err != nil {
			return err
		}
		if held != nil {
			p.Reordered.Add(1)
			if err := held.Write(to); err != nil {
				return err
			}
			held = nil
		}
	}
}
