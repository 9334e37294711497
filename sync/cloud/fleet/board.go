package fleet

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	mathrand "math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse/sync/cloud/platform"
	"gatehouse/sync/errcode"
	"gatehouse/sync/session"
	"gatehouse/sync/wire"
)

// board is a simulated one: credentials, the states of its changes, and the
// events that the cloud has not acknowledged.
type board struct {
	t        *trial
	sn       string
	password string
	topics   wire.Topics

	mu      sync.Mutex
	states  map[string]string // change → state
	seq     uint64
	waiting map[uint64]bool
	epoch   int64
}

const boot = "00000001-f1ee7000"

// makeBoards makes the boards and enters them, bound, into a cloud that does not
// run yet.
func (t *trial) makeBoards(data string) error {
	factory := map[string]string{}
	for i := range t.o.Boards {
		b := &board{t: t, sn: fmt.Sprintf("f1ee7000-%08x", i), states: map[string]string{}, waiting: map[uint64]bool{}}
		public, _, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return err
		}
		factory[b.sn] = hex.EncodeToString(public)
		if b.topics, err = wire.NewTopics(wire.LayoutNew, b.sn, nil); err != nil {
			return err
		}
		t.boards = append(t.boards, b)
	}
	p, err := platform.Open(data, platform.Options{})
	if err != nil {
		return err
	}
	defer p.Close()
	passwords, err := p.Provision(factory)
	for _, b := range t.boards {
		b.password = passwords[b.sn]
	}
	return err
}

// run keeps the board connected until ctx ends.
func (b *board) run(ctx context.Context) {
	up := false
	_ = session.Run(ctx, b.t.o.backoff(), b.options, func(err error) {
		if is := err == nil; is != up {
			if up = is; up {
				b.t.online.Add(1)
				b.t.connects.Add(1)
			} else {
				b.t.online.Add(-1)
			}
		}
	})
}

func (b *board) options() (session.Options, error) {
	b.mu.Lock()
	b.epoch++
	epoch := b.epoch
	b.mu.Unlock()
	will, err := json.Marshal(b.up(wire.NameOffline, wire.Body{Body: wire.Offline{Boot: boot, Epoch: epoch, Reason: "lost"}}, nil))
	if err != nil {
		return session.Options{}, err
	}
	var conn atomic.Pointer[session.Conn]
	return session.Options{URL: b.t.url, ClientID: b.sn, Username: b.sn, Password: b.password,
		KeepAlive: time.Minute, Will: &session.Message{Topic: b.topics.Up(wire.NameOffline), Payload: will}, Subscriptions: b.topics.DownFilter(),
		OnMessage: func(topic string, payload []byte) {
			if c := conn.Load(); c != nil {
				b.message(c, topic, payload)
			}
		},
		OnUp: func(ctx context.Context, c *session.Conn) {
			conn.Store(c)
			b.live(ctx, c, epoch)
		}}, nil
}

func (b *board) up(name string, payload any, id *wire.EventID) wire.Up {
	return wire.Up{ID: wire.NewID(), BV: 12378, SN: b.sn, Name: name, Version: wire.Version, Timestamp: time.Now().Unix(), Payload: payload, Event: id}
}

func (b *board) send(c *session.Conn, topic string, v any) {
	if text, err := json.Marshal(v); err == nil {
		c.Send(topic, 1, text)
	}
}

// live tells of the birth, sends what waits, and makes events.
func (b *board) live(ctx context.Context, c *session.Conn, epoch int64) {
	b.mu.Lock()
	last := b.seq
	again := slices.Collect(maps.Keys(b.waiting))
	b.mu.Unlock()
	b.send(c, b.topics.Up(wire.NameBirth), b.up(wire.NameBirth, wire.Body{Body: wire.Birth{Boot: boot, Epoch: epoch, AgentVersion: "fleet", BoardVersion: 12378,
		LastSeq: last, Changes: []wire.ChangeState{}}}, nil))
	for _, seq := range again {
		b.sendEvent(c, seq)
	}
	if b.t.o.EventsEvery <= 0 {
		<-ctx.Done()
		return
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.t.quiet:
			b.repeat(ctx, c)
			return
		case <-time.After(mathrand.N(2 * b.t.o.EventsEvery)): // on average
		}
		b.mu.Lock()
		b.seq++
		seq := b.seq
		b.waiting[seq] = true
		b.mu.Unlock()
		b.t.put.Add(1)
		b.sendEvent(c, seq)
	}
}

// repeat makes no more events and sends what is not acknowledged, again and again.
func (b *board) repeat(ctx context.Context, c *session.Conn) {
	for sleep(ctx, 2*time.Second+mathrand.N(4*time.Second)) == nil {
		b.mu.Lock()
		waiting := slices.Collect(maps.Keys(b.waiting))
		b.mu.Unlock()
		for _, seq := range waiting {
			b.sendEvent(c, seq)
		}
	}
}

func (b *board) sendEvent(c *session.Conn, seq uint64) {
	r := wire.NewResult(b.sn, "fleet", "127.0.0.1", time.Now())
	r.AlarmInfoPlate.Result.PlateResult.AddPlate("京A12345", 98, 1, 1, wire.Rect{})
	b.send(c, b.topics.Up(wire.NameIVSResult), b.up(wire.NameIVSResult, r, &wire.EventID{Boot: boot, Seq: seq, WallMS: time.Now().UnixMilli()}))
}

// message does what the cloud says.
func (b *board) message(c *session.Conn, topic string, payload []byte) {
	name, ok := b.topics.ParseDown(topic)
	if !ok {
		return
	}
	cmd, err := wire.ParseCommand(name, payload)
	if err != nil {
		return
	}
	switch name {
	case wire.NameEventAck:
		b.acknowledged(cmd)
	case "whitelist":
		go b.change(c, cmd) // it may fetch the content
	}
}

func (b *board) acknowledged(cmd wire.Command) {
	ack, err := wire.ParseEventAck(cmd.Body)
	if err != nil || ack.Boot != boot {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range ack.Ranges {
		for seq := r[0]; seq <= min(r[1], b.seq); seq++ {
			if b.waiting[seq] {
				delete(b.waiting, seq)
				b.t.took.Add(1)
			}
		}
	}
}

// change stages and applies as a board does, in memory.
func (b *board) change(c *session.Conn, cmd wire.Command) {
	r := wire.Reply{ID: cmd.ID, SN: b.sn, Name: cmd.Name, Version: wire.Version, Timestamp: time.Now().Unix(), Code: 200}
	report, err := b.carryOut(cmd)
	if err == nil {
		r.Payload = wire.Typed{Type: cmd.Name, Body: report}
	} else if e := errcode.From(err); e != nil {
		r.Code, r.ErrorCode, r.ErrorMessage = e.MQTTCode(), int(e.Code), e.Error()
	}
	b.send(c, b.topics.Reply(cmd.Name), r)
}

func (b *board) carryOut(cmd wire.Command) (wire.ChangeReport, error) {
	in, err := wire.ParseChangeCommand(cmd.Body)
	if err != nil {
		return wire.ChangeReport{}, err
	}
	b.mu.Lock()
	state := b.states[in.ChangeID]
	b.mu.Unlock()
	switch in.OperatorType {
	case wire.VerbStage:
		if state == "" {
			if err := check(in); err != nil {
				return wire.ChangeReport{}, err
			}
			state = wire.StateStaged
		}
	case wire.VerbApply:
		if state == "" {
			return wire.ChangeReport{}, errcode.New(errcode.WhitelistNotExist, "")
		}
		state = wire.StateUsed
	case wire.VerbCancel:
		state = wire.StateCancelled
	}
	b.mu.Lock()
	b.states[in.ChangeID] = state
	b.mu.Unlock()
	report := wire.ChangeReport{ChangeID: in.ChangeID, Kind: cmd.Name, State: state, Digest: in.Digest}
	if state == wire.StateUsed {
		report.Progress, report.Result = 100, &wire.ChangeResult{At: time.Now().Unix()}
	}
	return report, nil
}

// check fetches the content where it lies elsewhere and compares its digest.
func check(in wire.ChangeCommand) error {
	content := []byte(in.Content)
	if in.URL != "" {
		a, err := http.Get(in.URL)
		if err != nil {
			return errcode.New(errcode.RequestFailed, "The content cannot be fetched!")
		}
		defer a.Body.Close()
		if content, err = io.ReadAll(io.LimitReader(a.Body, 64<<20)); err != nil {
			return errcode.New(errcode.RequestFailed, "The content was cut off!")
		}
	}
	if sum := sha256.Sum256(content); in.Digest != "sha256:"+hex.EncodeToString(sum[:]) {
		return errcode.Param("digest", "does not fit the content")
	}
	return nil
}

// rollOut has the cloud stage and apply a whitelist on all boards and waits.
func (t *trial) rollOut(ctx context.Context, what string) error {
	type row struct {
		Plate  string `json:"plate"`
		Enable int    `json:"enable"`
	}
	content := struct {
		Mode string `json:"mode"`
		Rows []row  `json:"rows"`
	}{Mode: "replace", Rows: []row{}}
	for i := range t.o.Rows {
		content.Rows = append(content.Rows, row{fmt.Sprintf("京A%05d", i), 1})
	}
	text, err := json.Marshal(content)
	if err != nil {
		return err
	}
	var sns []string
	for _, b := range t.boards {
		sns = append(sns, b.sn)
	}
	const path = "/v2/stp/user/whitelists"
	var change struct {
		ID     string         `json:"id"`
		Counts map[string]int `json:"counts"`
	}
	in := map[string]any{"content": string(text), "targets": map[string]any{"sns": sns}, "remark": fmt.Sprint(what, time.Now().UnixNano())}
	began := time.Now()
	if err := t.cloud.Call(ctx, http.MethodPost, path, in, &change); err != nil {
		return err
	}
	id := change.ID
	wait := func(state string) error {
		var failed error
		err := t.until(ctx, func() bool {
			change.Counts = nil
			failed = t.cloud.Call(ctx, http.MethodGet, path+"/"+id, nil, &change)
			return failed != nil || change.Counts[state] == t.o.Boards
		}, func() string { return fmt.Sprintf("%s: %v", what, change.Counts) })
		if failed != nil {
			return failed
		}
		return err
	}
	if err := wait(wire.StateStaged); err != nil {
		return err
	}
	staged := time.Since(began)
	if err := t.cloud.Call(ctx, http.MethodPut, path+"/"+id+"/apply", nil, nil); err != nil {
		return err
	}
	if err := wait(wire.StateUsed); err != nil {
		return err
	}
	t.say("%s of %d rows (%d KiB): staged on all %d boards after %s, used by all after %s", what, t.o.Rows, len(text)>>10, t.o.Boards, round(staged), round(time.Since(began)))
	return nil
}
