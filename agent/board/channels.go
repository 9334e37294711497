package board

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"gatehouse/agent/camtcp"
	"gatehouse/agent/push"
	"gatehouse/configs"
	"gatehouse/sync/wire"
	"gatehouse/vision/link"
)

// channels are the ways to parking systems beside MQTT; nil where the config
// has them off, or they do not work.
type channels struct {
	push     pusher
	tcp      server
	listener net.Listener // of tcp; its part's alone
	served   []part       // both
	plateIDs plateIDs
}

var (
	_ push.Board   = actions{}
	_ camtcp.Board = actions{}
)

// channelParts are the channels that the config names; dir is the state directory.
func (b *Board) channelParts(c configs.Config, dir string) []part {
	list := []part{{"push", func() error { return b.openPush(c.Push, filepath.Join(dir, "push")) }, b.runPush}}
	if c.Port8131.Listen != "" {
		list = append(list, part{"port8131", func() error { return b.openTCP(c) }, b.runTCP})
	}
	return list
}

func (b *Board) openPush(p configs.Push, dir string) error {
	if len(p.Servers) == 0 {
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("cannot empty the store of results for HTTP push: %w", err)
		}
		return nil
	}
	opened, err := push.New(push.Options{Servers: p.Servers, Mode: p.Mode, CA: p.CA, Timeout: time.Duration(p.Timeout), Retries: p.Retries,
		Results: p.Results, Inputs: p.Inputs, SerialData: p.Serial, Devices: p.Register, Heartbeat: p.Heartbeat, Pictures: p.Pictures, Offline: p.Offline,
		Allow: p.Allow, OpenWithin: time.Duration(p.OpenWithin), Dir: dir, SN: b.state.SN(),
		Name: func() string { return b.config().Device.Name }, Address: localIP, Log: b.log}, actions{b, "push"})
	if err != nil {
		return err
	}
	b.push.Store(opened)
	return nil
}

func (b *Board) runPush(ctx context.Context) error {
	if p := b.push.Load(); p != nil {
		p.Run(ctx)
	}
	return nil
}

func (b *Board) openTCP(c configs.Config) (err error) {
	p, password := c.Port8131, ""
	if p.PasswordFile != "" {
		text, err := os.ReadFile(p.PasswordFile)
		if password = strings.TrimSpace(string(text)); err != nil || password == "" {
			return fmt.Errorf("cannot read the password for TCP (/port8131/password_file): %w", errOr(err, "the file is empty"))
		}
	}
	if b.listener, err = net.Listen("tcp", p.Listen); err != nil {
		return fmt.Errorf("cannot listen for TCP clients (/port8131/listen): %w", err)
	}
	b.tcp.Store(camtcp.New(camtcp.Options{SN: b.state.SN(), Version: b.version, BoardVersion: c.Device.BoardVersion, Password: password,
		Connections: p.Connections, Allow: p.Allow, Log: b.log}, actions{b, "tcp"}))
	return nil
}

func (b *Board) runTCP(ctx context.Context) error {
	if err := b.tcp.Load().Serve(ctx, b.listener); err != nil {
		return fmt.Errorf("TCP clients are no longer served: %w", err)
	}
	return nil
}

func errOr(err error, text string) error {
	if err != nil {
		return err
	}
	return fmt.Errorf("%s", text)
}

// closeChannels closes the channels that are open.
func (b *Board) closeChannels() {
	if p := b.push.Load(); p != nil {
		p.Close()
	}
	if b.listener != nil {
		b.listener.Close()
	}
}

// vendorResult reports whether a result is one of the vendor's: what a client
// has triggered always, else a passage or trigger with a plate, or at least
// without a face. Faces have messages of our own.
func vendorResult(r *link.Result) bool {
	switch r.Event {
	case link.EventLane, link.EventQuick:
		return false
	case link.EventTrigger:
		if r.Trigger == link.TriggerSoftware {
			return true
		}
	}
	return len(r.Plates) > 0 || len(r.Faces) == 0
}

// tellChannels tells a result over HTTP push and TCP. They are told before
// the result goes to disk, since their replies may open. Which servers and
// clients there are is the site's config and not an account's: they are told
// while the board is not bound, too.
func (b *Board) tellChannels(d decided, m wire.IVSResult) {
	at := d.at
	if d.late {
		at = time.Unix(0, 0) // no reply to it may move anything
	}
	if p := b.push.Load(); p != nil {
		p.Result(m, d.result.Full, d.result.Crop, at)
	}
	if t := b.tcp.Load(); t != nil {
		t.Result(m, d.result.Full, d.result.Crop, d.at)
	}
}

// plateIDs numbers results. Servers take a number that they have seen for a
// repetition, also after a restart: it begins with the time, and early and
// final result of a passage share one.
type plateIDs struct {
	mu      sync.Mutex
	last    int64
	passage map[uint64]int64
}

// of gives a result's number.
func (p *plateIDs) of(r *link.Result, now time.Time) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if id, ok := p.passage[r.Passage]; ok && r.Passage != 0 {
		if r.Event == link.EventPassage {
			delete(p.passage, r.Passage)
		}
		return id
	}
	p.last = max(p.last+1, now.Unix())
	if r.Passage != 0 && r.Event == link.EventQuick {
		if p.passage == nil || len(p.passage) > 64 { // final results that never came
			p.passage = map[uint64]int64{}
		}
		p.passage[r.Passage] = p.last
	}
	return p.last
}
