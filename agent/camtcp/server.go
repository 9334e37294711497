// Package camtcp is the vendor's TCP protocol (vendor-mqtt.md, section 8): the
// board is the server, on port 8131, and a parking system's program or screen
// controller is the client.
//
// A client that speaks nonsense, is silent for a minute or does not read what
// it is sent is disconnected. What clients may do is bounded by Options.Allow;
// each request acts once. With a password a client has to log in first, within 15
// seconds, by the vendor's challenge and HMAC-SHA1.
//
// Not protected: nothing is encrypted. The login keeps the password from being
// read, but whoever is on the way can take over a connection that has logged
// in; without a password everybody who reaches the port may do what is allowed.
package camtcp

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"gatehouse/sync/whitelist"
	"gatehouse/sync/wire"
)

// Board is what a client may have the board do and ask it. Its methods may be
// called from any goroutine.
type Board interface {
	Output(output, value int, pulse time.Duration) error
	OutputOn(output int) bool
	InputClosed(input int) (closed, known bool)
	Lock(locks []wire.IOLock) error
	Locks() []wire.IOLock
	Serial(ctx context.Context, d wire.SerialData) error
	Trigger(id string) error
	Snapshot(ctx context.Context) ([]byte, error)
	Speak(v wire.Voice) error
	Rows(w wire.WhitelistOperator) (*whitelist.Selection, error)
	SetTime(at time.Time) error
}

// Things that clients may do, see Options.Allow.
const (
	AllowOutput   = "output"
	AllowSerial   = "serial"
	AllowTrigger  = "trigger"
	AllowSnapshot = "snapshot"
	AllowRows     = "rows"
	AllowSpeak    = "speak"
	AllowLock     = "lock"
	AllowTime     = "time"
)

// Options of a Server.
type Options struct {
	SN, Version  string
	BoardVersion int
	Password     string // "": no login
	Connections  int    // the most at one time
	Allow        []string
	Log          *slog.Logger
}

// Times of a connection.
const (
	silence   = time.Minute      // after which a client is gone
	loginWait = 15 * time.Second // from the connection on, in which a client must have logged in
	beat      = 5 * time.Second  // between two of our heartbeats
	writeWait = 10 * time.Second
	waiting   = 64 // frames that wait for a client that reads slowly
)

// Server is safe for concurrent use.
type Server struct {
	o     Options
	board Board
	allow map[string]bool

	mu      sync.Mutex
	clients map[*client]bool
	records []record // the newest last
}

// record is a recognition that clients may ask for again.
type record struct {
	id          int64
	r           wire.IVSResult
	full, small []byte
	at          time.Time
}

// kept is how many recognitions are kept in memory.
const kept = 32

// New makes a server; Serve runs it.
func New(o Options, board Board) *Server {
	s := &Server{o: o, board: board, allow: map[string]bool{}, clients: map[*client]bool{}}
	for _, a := range o.Allow {
		s.allow[a] = true
	}
	return s
}

// Serve answers clients on l until ctx ends; it closes l.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	defer l.Close()
	var wait sync.WaitGroup
	defer wait.Wait()
	for {
		conn, err := l.Accept()
		if ctx.Err() != nil {
			if err == nil {
				conn.Close()
			}
			return nil
		}
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		if err != nil { // of one client, or no descriptors are left
			s.o.Log.Warn("a client could not be accepted", "channel", "tcp", "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
			continue
		}
		c := &client{s: s, conn: conn, out: make(chan []byte, waiting), sent: make(chan struct{}), log: s.o.Log.With("channel", "tcp", "client", conn.RemoteAddr().String())}
		if !s.add(c) {
			c.log.Warn("there are too many clients; see /port8131/connections")
			conn.Close()
			continue
		}
		wait.Go(func() {
			defer s.remove(c)
			c.serve(ctx)
		})
	}
}

func (s *Server) add(c *client) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.clients) >= s.o.Connections {
		return false
	}
	s.clients[c] = true
	return true
}

func (s *Server) remove(c *client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.clients, c)
}

// each calls f for every client.
func (s *Server) each(f func(*client)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.clients {
		f(c)
	}
}

// Result tells a recognition to the clients that asked for results, and keeps
// it for those who ask later. It does not wait.
func (s *Server) Result(r wire.IVSResult, full, small []byte, at time.Time) {
	rec := record{r.AlarmInfoPlate.Result.PlateResult.PlateID, r, full, small, at}
	s.mu.Lock()
	s.records = append(s.records, rec)
	if len(s.records) > kept {
		s.records = append([]record(nil), s.records[len(s.records)-kept:]...)
	}
	s.mu.Unlock()
	s.each(func(c *client) { c.result(rec) })
}

// last gives the newest record, or that with an id.
func (s *Server) last() (record, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.records) == 0 {
		return record{}, false
	}
	return s.records[len(s.records)-1], true
}

func (s *Server) find(id int64) (record, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.records {
		if r.id == id {
			return r, true
		}
	}
	return record{}, false
}

// Input tells an input's change.
func (s *Server) Input(n, value int) {
	s.each(func(c *client) {
		c.tell(struct {
			Cmd   string `json:"cmd"`
			GPIO  int    `json:"gpio"`
			Value int    `json:"value"`
		}{"gpio_trigger", n, value})
	})
}

// Received tells what a serial port received to the clients that have begun a
// transparent transmission.
func (s *Server) Received(channel int, data []byte) {
	s.each(func(c *client) { c.received(channel, data) })
}
