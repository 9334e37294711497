// Package push is the vendor's HTTP push (vendor-mqtt.md, section 7): the board
// posts what it sees to a parking system's servers, and acts on their replies.
//
// The parties: the board is the HTTP client; servers are those of the config,
// one main and up to three back-ups. What a reply may have the board do is
// bounded by Options.Allow, and a reply is acted on once: it belongs to one
// request. Pictures and answers that a server asks for go to that server's
// host only.
//
// Results that no server took are stored and sent later, one at a time, as the
// vendor's hand-shake has it; their replies never move anything, the vehicle is
// gone. Inputs and serial data are told live or not at all.
//
// Not protected: over plain http whoever is on the way can read results and
// forge replies; a result that is being sent when the power fails is lost to
// this channel (the outbox of package board keeps it for the cloud).
package push

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"gatehouse/sync/outbox"
	"gatehouse/sync/whitelist"
	"gatehouse/sync/wire"
)

// Board is what a server's reply may have the board do. Its methods may be
// called from any goroutine.
type Board interface {
	Output(output, value int, pulse time.Duration) error
	Serial(ctx context.Context, d wire.SerialData) error
	Trigger(id string) error
	Snapshot(ctx context.Context) ([]byte, error)
	Speak(v wire.Voice) error
	Rows(w wire.WhitelistOperator) (*whitelist.Selection, error)
}

// Modes of several servers.
const (
	Failover = "failover"
	All      = "all"
)

// Modes of the heartbeat.
const (
	HeartbeatOff     = "off"
	HeartbeatNormal  = "normal"
	HeartbeatPolling = "polling"
)

// Things that a reply may do, see Options.Allow.
const (
	AllowOpen     = "open"
	AllowOutput   = "output"
	AllowSerial   = "serial"
	AllowTrigger  = "trigger"
	AllowSnapshot = "snapshot"
	AllowRows     = "rows"
	AllowSpeak    = "speak"
)

// Options of a Pusher; the texts are those of the config.
type Options struct {
	Servers                              []string // the main one first
	Mode                                 string
	CA                                   string // file of PEM certificates; "": the system's
	Timeout                              time.Duration
	Retries                              int
	Results, Inputs, SerialData, Devices string // paths; "": not told
	Heartbeat                            string
	Pictures                             string        // none, full, small, both
	Offline                              int           // the most results that are stored; 0: none
	Allow                                []string      // what replies may do
	OpenWithin                           time.Duration // a reply to a result moves something no later than this after it
	Dir                                  string        // of the stores
	SN                                   string
	Name                                 func() string // the device's
	Address                              func() string // the board's IP address
	Log                                  *slog.Logger
}

// Pusher is safe for concurrent use.
type Pusher struct {
	o      Options
	board  Board
	http   *http.Client
	allow  map[string]bool
	groups []*group
	tasks  chan task // what replies have the board do behind an opening
}

// task is something that takes its time.
type task struct {
	what string
	do   func(context.Context) error
}

// most is how many messages and tasks wait before the next is stored or dropped.
const most = 64

// New makes a pusher; Run sends. With no store wanted an old one is emptied.
func New(o Options, board Board) (*Pusher, error) {
	p := &Pusher{o: o, board: board, allow: map[string]bool{}, tasks: make(chan task, most)}
	for _, a := range o.Allow {
		p.allow[a] = true
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 4, IdleConnTimeout: time.Minute, TLSHandshakeTimeout: o.Timeout, ResponseHeaderTimeout: 0}
	if o.CA != "" {
		pem, err := os.ReadFile(o.CA)
		if err != nil {
			return nil, fmt.Errorf("cannot read the servers' certificates: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("cannot read the servers' certificates: %s holds none", o.CA)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	p.http = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	var servers []*server
	for _, s := range o.Servers {
		u, err := url.Parse(s)
		if err != nil || u.Host == "" {
			return nil, fmt.Errorf("cannot push to %q: it is no address", s)
		}
		servers = append(servers, &server{base: *u})
	}
	if o.Offline <= 0 {
		if err := os.RemoveAll(o.Dir); err != nil {
			return nil, fmt.Errorf("cannot empty the store of results: %w", err)
		}
	}
	if o.Mode == All {
		for i, s := range servers {
			if err := p.addGroup(fmt.Sprintf("server%d", i), s); err != nil {
				p.Close()
				return nil, err
			}
		}
		return p, nil
	}
	if err := p.addGroup("main", servers...); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

func (p *Pusher) addGroup(name string, servers ...*server) error {
	g := &group{p: p, name: name, servers: servers, live: make(chan message, most), again: make(chan struct{}, 1), log: p.o.Log.With("channel", "push", "servers", name)}
	if p.o.Offline > 0 {
		if err := os.MkdirAll(p.o.Dir, 0o700); err != nil {
			return fmt.Errorf("cannot make the store of results: %w", err)
		}
		var err error
		g.store, err = outbox.Open(filepath.Join(p.o.Dir, name+".db"), outbox.Options{PictureDir: filepath.Join(p.o.Dir, name), MaxEvents: p.o.Offline,
			MaxBytes: 64 << 20, PictureQuota: 512 << 20, Reserve: -1, Log: g.log})
		if err != nil {
			return err
		}
	}
	p.groups = append(p.groups, g)
	return nil
}

// Close stores what came after Run has ended, and closes the stores.
func (p *Pusher) Close() {
	for _, g := range p.groups {
		g.keepLeft()
		if g.store != nil {
			if err := g.store.Close(); err != nil {
				g.log.Error("a store of results did not close", "err", err)
			}
		}
	}
	p.http.CloseIdleConnections()
}

// Run sends until ctx ends; then it stores the results that wait.
func (p *Pusher) Run(ctx context.Context) {
	var wait sync.WaitGroup
	for _, g := range p.groups {
		wait.Go(func() { g.run(ctx) })
		if p.o.Heartbeat != HeartbeatOff {
			wait.Go(func() { g.beat(ctx) })
		}
	}
	wait.Go(func() { p.work(ctx) })
	wait.Wait()
}

// work does what takes its time, in order.
func (p *Pusher) work(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case t := <-p.tasks:
			if err := t.do(ctx); err != nil {
				p.o.Log.Warn("what a server asked for was not done", "channel", "push", "what", t.what, "err", err)
			}
		}
	}
}

func (p *Pusher) later(what string, do func(context.Context) error) {
	select {
	case p.tasks <- task{what, do}:
	default:
		p.o.Log.Warn("servers ask for more than the board can do", "channel", "push", "what", what)
	}
}

// Result tells a recognition result, at being when it was recognised. It does
// not wait.
func (p *Pusher) Result(r wire.IVSResult, full, small []byte, at time.Time) {
	if p.o.Results == "" {
		return
	}
	if p.o.Pictures == "none" || p.o.Pictures == "small" {
		full = nil
	}
	if p.o.Pictures == "none" || p.o.Pictures == "full" {
		small = nil
	}
	for _, g := range p.groups {
		g.offer(message{path: p.o.Results, result: &result{r, full, small, at}})
	}
}

// Input tells an input's change.
func (p *Pusher) Input(m wire.GPIOIn) { p.tell(p.o.Inputs, wire.NewPushInput(m)) }

// Received tells what a serial port received.
func (p *Pusher) Received(m wire.SerialUp) { p.tell(p.o.SerialData, wire.NewPushSerial(m)) }

func (p *Pusher) tell(path string, m any) {
	if path == "" {
		return
	}
	body, err := json.Marshal(m)
	if err != nil {
		p.o.Log.Error("a message cannot be written", "err", err)
		return
	}
	for _, g := range p.groups {
		g.offer(message{path: path, body: body})
	}
}

// Waiting counts the stored results.
func (p *Pusher) Waiting() (n int) {
	for _, g := range p.groups {
		if g.store != nil {
			n += g.store.Stats().Waiting
		}
	}
	return n
}

// errDown is a message for servers that were all down a moment ago.
var errDown = errors.New("no server is reached")
