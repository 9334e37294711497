package platform

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"

	"gatehouse/sync/errcode"
	"gatehouse/sync/session"
	"gatehouse/sync/store"
	"gatehouse/sync/wire"
)

// message is one that came from a board.
type message struct {
	topic   string
	payload []byte
}

// Serve takes messages from boards over the broker and sends them commands,
// until ctx ends. Connection gives address and credentials of the cloud's client.
func (p *Platform) Serve(ctx context.Context, connection func() (session.Options, error)) error {
	var done sync.WaitGroup
	done.Go(func() { p.receive(ctx) })
	done.Go(func() { p.keepReminding(ctx) })
	backoff := session.DefaultBackoff()
	backoff.First, backoff.Max = 100*time.Millisecond, 5*time.Second // one client, not a fleet
	err := session.Run(ctx, backoff, func() (session.Options, error) {
		o, err := connection()
		o.Subscriptions, o.Log = wire.UpFilters(), p.o.Log
		o.OnMessage = func(topic string, payload []byte) {
			select {
			case p.in <- message{topic, payload}: // full: the broker waits for our acknowledgement
			case <-ctx.Done():
			}
		}
		o.OnUp = func(ctx context.Context, c *session.Conn) {
			p.setConn(c)
			defer p.setConn(nil)
			p.wakeAll() // births that came while we were away are lost
			<-ctx.Done()
		}
		return o, err
	}, func(err error) {
		if err != nil {
			p.o.Log.Warn("the broker is not reached", "err", err)
		} else {
			p.o.Log.Info("connected to the broker")
		}
	})
	done.Wait()
	return err
}

// wakeAll sends all boards what is pending for them.
func (p *Platform) wakeAll() {
	var waiting []string
	err := p.db.View(func(tx *bolt.Tx) error {
		return p.eachWaiting(tx, func(sn string) error {
			waiting = append(waiting, sn)
			return nil
		})
	})
	if err != nil {
		p.o.Log.Error("pending changes cannot be read", "err", err)
	}
	p.wake(waiting)
}

// AwaitBroker waits until the broker is reached and subscribed to, for at most d.
func (p *Platform) AwaitBroker(ctx context.Context, d time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	for {
		p.mu.Lock()
		reached := p.conn != nil
		p.mu.Unlock()
		if reached {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (p *Platform) setConn(c publisher) {
	p.mu.Lock()
	p.conn = c
	p.mu.Unlock()
}

// send sends a command to a board. One that cannot be sent is not lost where it
// matters: what is wanted of a board is sent again at its next birth.
func (p *Platform) send(d *device, name string, body any) { p.sendAs(d, name, "", body) }

// sendAs is send with the message's id, where that means something.
func (p *Platform) sendAs(d *device, name, id string, body any) {
	if id == "" {
		id = wire.NewID()
	}
	p.mu.Lock()
	c := p.conn
	p.mu.Unlock()
	if c == nil {
		return
	}
	layout := d.Layout
	if layout == "" {
		layout = wire.LayoutNew
	}
	topics, err := wire.NewTopics(layout, d.SN, nil)
	if err != nil {
		return
	}
	text, err := json.Marshal(wire.Down{ID: id, SN: d.SN, Name: name, Version: wire.Version, Timestamp: p.o.Now().Unix(), Payload: wire.Typed{Type: name, Body: body}})
	if err != nil {
		p.o.Log.Error("a command cannot be written", "name", name, "err", err)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := c.Publish(ctx, topics.Down(name), 1, text); err != nil {
		p.o.Log.Warn("a command could not be sent; it follows at the board's next birth", "sn", d.SN, "name", name, "err", err)
	}
}

// receive handles what comes in, many messages to a commit, and acknowledges
// events after it.
func (p *Platform) receive(ctx context.Context) {
	const most = 200
	for {
		var group []message
		select {
		case <-ctx.Done():
			return
		case m := <-p.in:
			group = append(group, m)
		}
		for more := true; more && len(group) < most; {
			select {
			case m := <-p.in:
				group = append(group, m)
			default:
				more = false
			}
		}
		p.handle(group)
	}
}

// afterwards is what follows a commit.
type afterwards struct {
	acks map[string]map[string][]uint64 // sn → boot → sequences
	wake []string                       // boards that are to be sent what is pending
}

func (p *Platform) handle(group []message) {
	after := afterwards{acks: map[string]map[string][]uint64{}}
	err := p.db.Update(func(tx *bolt.Tx) error {
		after = afterwards{acks: map[string]map[string][]uint64{}}
		for _, m := range group {
			if err := p.one(tx, m, &after); err != nil {
				var e *errcode.Error
				if !errors.As(err, &e) {
					return err
				}
				p.o.Log.Warn("a board's message is refused", "topic", m.topic, "err", err)
			}
		}
		return nil
	})
	if err != nil { // nothing is acknowledged: the boards send again
		p.o.Log.Error("messages could not be stored", "messages", len(group), "err", err)
		return
	}
	for sn, boots := range after.acks {
		d := p.lookup(sn)
		for boot, seqs := range boots {
			p.send(d, wire.NameEventAck, wire.EventAck{Boot: boot, Ranges: ranges(seqs)})
		}
	}
	slices.Sort(after.wake)
	for _, sn := range slices.Compact(after.wake) {
		p.sendPending(p.lookup(sn))
	}
}

func (p *Platform) lookup(sn string) *device {
	d := &device{SN: sn}
	err := p.db.View(func(tx *bolt.Tx) error {
		found, err := loadDevice(tx, sn)
		if found != nil {
			d = found
		}
		return err
	})
	if err != nil {
		p.o.Log.Error("a device cannot be read", "sn", sn, "err", err)
	}
	return d
}

// ranges joins sequences into ranges, both ends included.
func ranges(seqs []uint64) (out [][2]uint64) {
	slices.Sort(seqs)
	for _, s := range slices.Compact(seqs) {
		if n := len(out); n > 0 && out[n-1][1]+1 == s {
			out[n-1][1] = s
			continue
		}
		out = append(out, [2]uint64{s, s})
	}
	return out
}

// one handles one message within tx. A board that is bound to nobody is not listened to.
func (p *Platform) one(tx *bolt.Tx, m message, after *afterwards) error {
	sn, name, layout, reply, ok := wire.ParseUp(m.topic)
	if !ok {
		return nil
	}
	d, err := loadDevice(tx, sn)
	if err != nil || d == nil || !d.Bound {
		return err
	}
	if reply {
		wake, err := p.replied(tx, d, name, m.payload)
		after.wake = append(after.wake, wake...)
		return err
	}
	var up upEnvelope
	if err := json.Unmarshal(m.payload, &up); err != nil {
		return errcode.New(errcode.ParseJSONFailed, "")
	}
	if err := p.seen(tx, d, layout, name, up); err != nil {
		return err
	}
	switch name {
	case wire.NameBirth, wire.NamePull:
		after.wake = append(after.wake, sn)
	case wire.NameChange:
		var b struct{ Body wire.ChangeReport }
		if err := json.Unmarshal(up.Payload, &b); err != nil {
			return errcode.New(errcode.ParseJSONFailed, "")
		}
		wake, err := p.reported(tx, d, b.Body, 0, "")
		if err != nil {
			return err
		}
		after.wake = append(after.wake, wake...)
	}
	if up.Event == nil {
		return nil
	}
	e, full, err := parseEvent(sn, name, up)
	if err != nil {
		return err
	}
	e.AccountID = d.UserID
	if _, err := p.keep(tx, e, full); err != nil {
		return err
	}
	if after.acks[sn] == nil {
		after.acks[sn] = map[string][]uint64{}
	}
	seqs := []uint64{e.Seq}
	if e.Gap != nil && e.Gap.Boot == e.Boot && e.Gap.From == e.Seq && e.Gap.To >= e.Seq && e.Gap.To-e.Seq < 1<<20 {
		for s := e.Seq + 1; s <= e.Gap.To; s++ {
			seqs = append(seqs, s)
		}
	}
	after.acks[sn][e.Boot] = append(after.acks[sn][e.Boot], seqs...)
	return nil
}

// seen keeps the board's state: whatever it says, it is there; a last will
// counts only for the connection it belongs to.
func (p *Platform) seen(tx *bolt.Tx, d *device, layout wire.Layout, name string, up upEnvelope) error {
	before := *d
	now := p.o.Now().Unix()
	d.Layout = layout
	switch name {
	case wire.NameBirth:
		var b struct{ Body wire.Birth }
		if err := json.Unmarshal(up.Payload, &b); err != nil {
			return errcode.New(errcode.ParseJSONFailed, "")
		}
		d.State, d.LastOnlineTime, d.Epoch, d.Boot = 0, now, b.Body.Epoch, b.Body.Boot
		d.BoardVersion, d.StateDigest = b.Body.BoardVersion, b.Body.StateDigest
		if d.Addition == nil {
			d.Addition = map[string]string{}
		}
		d.Addition["version"] = b.Body.AgentVersion
		return saveDevice(tx, d)
	case wire.NameOffline:
		var b struct{ Body wire.Offline }
		if err := json.Unmarshal(up.Payload, &b); err != nil {
			return errcode.New(errcode.ParseJSONFailed, "")
		}
		if b.Body.Epoch != d.Epoch || b.Body.Boot != d.Boot {
			return nil // of an earlier connection
		}
		d.State, d.LastOfflineTime = 1, now
		return saveDevice(tx, d)
	}
	if before.State != 0 || before.Layout != layout || now-before.LastOnlineTime > 60 {
		d.State, d.LastOnlineTime = 0, now
		return saveDevice(tx, d)
	}
	return nil
}

// replied takes over the answer to a command about a change or a policy.
func (p *Platform) replied(tx *bolt.Tx, d *device, name string, text []byte) (wake []string, err error) {
	if kindOf(name) == nil && name != wire.NameBind {
		return nil, nil
	}
	r, payload, err := wire.ParseReply(text)
	if err != nil {
		return nil, err
	}
	if name == wire.NameBind {
		return p.rebound(tx, d, r)
	}
	var typed struct{ Body wire.ChangeReport }
	if len(payload) > 0 {
		if err := json.Unmarshal(payload, &typed); err != nil {
			return nil, errcode.New(errcode.ParseJSONFailed, "")
		}
	}
	if typed.Body.ChangeID == "" {
		return nil, nil
	}
	return p.reported(tx, d, typed.Body, r.ErrorCode, r.ErrorMessage)
}

// Boards lists the factory list with what is bound, for the command line.
func (p *Platform) Boards() (lines []string, err error) {
	err = p.db.View(func(tx *bolt.Tx) error {
		return store.ForEach(tx.Bucket(factoryBucket), func(sn, key []byte, err error) error {
			if err != nil {
				return err
			}
			d, err := loadDevice(tx, string(sn))
			state := "not bound"
			if d != nil {
				state = map[bool]string{true: "bound", false: "claimed"}[d.Bound] + map[int]string{0: ", online", 1: ", offline"}[d.State]
			}
			lines = append(lines, string(sn)+"  "+string(key)+"  "+state)
			return err
		})
	})
	return lines, err
}
