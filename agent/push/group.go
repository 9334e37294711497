package push

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime/multipart"
	"net/http"
	"net/url"
	"sync"
	"time"

	"gatehouse/sync/outbox"
	"gatehouse/sync/wire"
)

// group is one server, or a main one with its back-ups, that is told everything.
type group struct {
	p       *Pusher
	name    string
	servers []*server
	live    chan message
	store   *outbox.Outbox // nil: nothing is stored
	again   chan struct{}  // the servers are reached again: stored results may go
	log     *slog.Logger

	mu   sync.Mutex
	lost bool // the last message was not delivered; guarded by mu
}

// server is one address.
type server struct {
	base url.URL

	mu   sync.Mutex
	down time.Time // not tried before, while others are up; guarded by mu
}

// message is one thing to tell.
type message struct {
	path   string
	body   []byte  // or, for a recognition,
	result *result // which is stored if it cannot be told
}

type result struct {
	r           wire.IVSResult
	full, small []byte
	at          time.Time
}

// Times of a group.
const (
	downFor   = 5 * time.Second        // how long a server that failed is left alone
	retryWait = 500 * time.Millisecond // between two rounds of tries
	maxReply  = 256 << 10              // bytes of a reply that are read
)

// offer queues a message. If the queue is full a result is stored, the rest is
// dropped.
func (g *group) offer(m message) {
	select {
	case g.live <- m:
	default:
		g.keep(m)
	}
}

// keep stores a result that could not be told.
func (g *group) keep(m message) {
	if g.store == nil || m.result == nil {
		g.log.Warn("a message was dropped", "path", m.path)
		return
	}
	payload, err := json.Marshal(m.result.r)
	if err == nil {
		pictures := map[string][]byte{}
		if len(m.result.full) > 0 {
			pictures["full"] = m.result.full
		}
		if len(m.result.small) > 0 {
			pictures["small"] = m.result.small
		}
		_, err = g.store.Put(context.Background(), outbox.Event{Name: wire.NameIVSResult, Payload: payload, Pictures: pictures})
	}
	if err != nil {
		g.log.Error("a result could not be stored", "err", err)
	}
}

// keepLeft stores the results that are left in the queue.
func (g *group) keepLeft() {
	for {
		select {
		case m := <-g.live:
			if m.result != nil {
				g.keep(m)
			}
		default:
			return
		}
	}
}

// run tells live messages as they come, and stored results between them.
func (g *group) run(ctx context.Context) {
	probe := time.NewTicker(downFor)
	defer probe.Stop()
	g.resume() // what an earlier run left
	for {
		select { // live ones overtake
		case m := <-g.live:
			g.tell(ctx, m)
			continue
		default:
		}
		select {
		case <-ctx.Done():
			g.keepLeft()
			return
		case m := <-g.live:
			g.tell(ctx, m)
		case <-g.again:
			g.stored(ctx)
		case <-probe.C: // somebody must find out that the servers are back
			if g.isLost() && g.p.o.Heartbeat == HeartbeatOff {
				g.stored(ctx)
			}
		}
	}
}

// resume lets the next stored result go.
func (g *group) resume() {
	select {
	case g.again <- struct{}{}:
	default:
	}
}

// tell sends a live message and acts on the reply; a result that fails is stored.
func (g *group) tell(ctx context.Context, m message) {
	body := m.body
	if m.result != nil {
		var err error
		if body, err = json.Marshal(wire.NewPushResult(m.result.r, m.result.full, m.result.small)); err != nil {
			g.log.Error("a result cannot be written", "err", err)
			return
		}
	}
	reply, s, err := g.post(ctx, m.path, body, g.p.o.Retries)
	if err != nil {
		g.log.Warn("a message was not delivered", "path", m.path, "err", err)
		g.keep(m)
		return
	}
	at := time.Time{}
	if m.result != nil {
		at = m.result.at
	}
	g.act(reply, s, at)
}

// stored sends the oldest stored result. The next goes only when the reply
// says so (vendor-mqtt.md, 7.4), or when the servers were lost and are reached
// again.
func (g *group) stored(ctx context.Context) {
	if g.store == nil {
		return
	}
	feed := g.store.Feed(0, outbox.FeedOptions{Most: 1})
	defer feed.Close()
	list, err := feed.Next(1)
	if err != nil || len(list) == 0 {
		return
	}
	e := list[0]
	forget := func() {
		if _, err := g.store.Ack(e.ID.Boot, [][2]uint64{{e.ID.Seq, e.ID.Seq}}, false); err != nil {
			g.log.Error("a stored result cannot be forgotten", "err", err)
		}
	}
	var r wire.IVSResult
	if e.Name != wire.NameIVSResult || json.Unmarshal(e.Payload, &r) != nil { // a gap: the server has no word for it
		forget()
		g.resume()
		return
	}
	r.AlarmInfoPlate.Result.PlateResult.IsOffline = 1
	picture := map[string][]byte{}
	for _, f := range e.Files {
		if jpeg, err := g.store.Picture(f); err == nil {
			picture[f.Field] = jpeg
		}
	}
	body, err := json.Marshal(wire.NewPushResult(r, picture["full"], picture["small"]))
	if err != nil {
		g.log.Error("a stored result cannot be written", "err", err)
		forget()
		return
	}
	text, s, err := g.post(ctx, g.p.o.Results, body, 0)
	if err != nil {
		return
	}
	forget()
	reply, err := wire.ParsePushReply(text)
	if err != nil {
		return
	}
	if c := reply.Continue; c != nil && c.Continue && c.PlateID == r.AlarmInfoPlate.Result.PlateResult.PlateID {
		g.resume()
	}
	reply.Continue = nil
	g.do(reply, s, false)
}

// act reads a reply and does what it says. At is when the vehicle was
// recognised, zero for what has no age.
func (g *group) act(text []byte, s *server, at time.Time) {
	reply, err := wire.ParsePushReply(text)
	if err != nil {
		return // any success counts as delivered, whatever it says
	}
	age := time.Since(at) // below zero: the clock was set back
	g.do(reply, s, at.IsZero() || age >= 0 && age <= g.p.o.OpenWithin)
}

// post sends to the first server that takes it: the main one, and back-ups
// while it is down. Servers that failed a moment ago are left alone; if that
// are all of them, it fails at once. It does not try longer than a reply could
// still move something. It tells which server replied.
func (g *group) post(ctx context.Context, path string, body []byte, retries int) ([]byte, *server, error) {
	var last error
	tried := false
	begin := time.Now()
	for round := 0; round <= retries && time.Since(begin) < g.p.o.OpenWithin; round++ {
		if round > 0 {
			select {
			case <-ctx.Done():
				return nil, nil, ctx.Err()
			case <-time.After(retryWait):
			}
		}
		for _, s := range g.servers {
			if !tried && s.isDown() {
				continue
			}
			reply, err := g.p.send(ctx, s.at(path), "application/json", body, g.p.o.Timeout)
			if err == nil {
				s.setDown(time.Time{})
				g.reached()
				return reply, s, nil
			}
			if ctx.Err() != nil {
				return nil, nil, ctx.Err()
			}
			s.setDown(time.Now().Add(downFor))
			last, tried = err, true
		}
		if !tried {
			g.missed()
			return nil, nil, errDown
		}
	}
	g.missed()
	return nil, nil, last
}

// reached notes that a server replied; after a loss stored results may go.
func (g *group) reached() {
	g.mu.Lock()
	was := g.lost
	g.lost = false
	g.mu.Unlock()
	if was {
		g.log.Info("a server is reached again")
		g.resume()
	}
}

func (g *group) missed() {
	g.mu.Lock()
	g.lost = true
	g.mu.Unlock()
}

func (g *group) isLost() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.lost
}

func (s *server) at(path string) string {
	u := s.base
	u.Path = path
	return u.String()
}

func (s *server) isDown() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Now().Before(s.down)
}

func (s *server) setDown(until time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = until
}

// send posts once; any 2xx is a success.
func (p *Pusher) send(ctx context.Context, address, kind string, body []byte, timeout time.Duration) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", kind)
	answer, err := p.http.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxReply+1))
	switch {
	case answer.StatusCode/100 != 2:
		return nil, fmt.Errorf("%s answered %s", answer.Request.URL.Host, answer.Status)
	case err != nil:
		return nil, err
	case len(text) > maxReply:
		return nil, errors.New("the reply is too large")
	}
	return text, nil
}

// Periods of the heartbeat (vendor-mqtt.md, 7.5).
const (
	beatStoring = 5 * time.Second
	beatPlain   = 30 * time.Second
	beatLost    = time.Second
	pollLost    = 2 * time.Second
	pollHold    = 90 * time.Second       // how long a server may hold its reply
	pollLeast   = 100 * time.Millisecond // between two polls, whatever a server does
)

// beat registers the board at its servers, over and over.
func (g *group) beat(ctx context.Context) {
	polling := g.p.o.Heartbeat == HeartbeatPolling
	for ctx.Err() == nil {
		begin := time.Now()
		wait, timeout := beatPlain, g.p.o.Timeout
		if g.p.o.Offline > 0 {
			wait = beatStoring
		}
		if polling {
			timeout = pollHold
		}
		text, s, err := g.beatOnce(ctx, timeout)
		switch {
		case err != nil && polling:
			wait = pollLost
		case err != nil:
			wait = beatLost
		case polling:
			g.act(text, s, time.Time{})
			wait = pollLeast - time.Since(begin)
		}
		if wait <= 0 {
			continue
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

func (g *group) beatOnce(ctx context.Context, timeout time.Duration) ([]byte, *server, error) {
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	for name, value := range wire.PushRegistration(g.p.o.SN, g.p.o.Name(), g.p.o.Address()) {
		if err := form.WriteField(name, value); err != nil {
			return nil, nil, err
		}
	}
	if err := form.Close(); err != nil {
		return nil, nil, err
	}
	for _, s := range g.servers { // one try each, the main one first
		if text, err := g.p.send(ctx, s.at(g.p.o.Devices), form.FormDataContentType(), body.Bytes(), timeout); err == nil {
			s.setDown(time.Time{})
			g.reached()
			return text, s, nil
		}
	}
	g.missed()
	return nil, nil, errDown
}
