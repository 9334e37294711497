package platform

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
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
	done.Go(func() { p.retain(ctx) })
	for i := range sendWorkers {
		done.Go(func() { p.sender.run(ctx, i, func(sn string) { p.sendPending(p.lookup(sn)) }) })
	}
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
	// Not waited for: one slow acknowledgement must not hold up a fleet. What
	// matters is sent again at the board's next birth or repetition.
	c.Send(topics.Down(name), 1, text)
}

// receive handles what comes in, many messages to a commit, and acknowledges
// events after it.
func (p *Platform) receive(ctx context.Context) {
	const most = 512
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

// handle stores a group of messages in one transaction and then answers them.
func (p *Platform) handle(group []message) {
	var b *batch
	err := p.db.Update(func(tx *bolt.Tx) error {
		b = p.newBatch(tx)
		for _, m := range group {
			if err := p.one(b, m); err != nil {
				var e *errcode.Error
				if !errors.As(err, &e) {
					return err
				}
				p.o.Log.Warn("a board's message is refused", "topic", m.topic, "err", err)
			}
		}
		return b.finish()
	})
	if err != nil { // nothing is acknowledged: the boards send again
		p.o.Log.Error("messages could not be stored", "messages", len(group), "err", err)
		return
	}
	for sn, boots := range b.acks {
		for boot, seqs := range boots {
			p.send(b.devices[sn], wire.NameEventAck, wire.EventAck{Boot: boot, Ranges: *seqs})
		}
	}
	p.wake(slices.Collect(maps.Keys(b.wake)))
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

// one handles one message. A board that is bound to nobody is not listened to.
func (p *Platform) one(b *batch, m message) error {
	sn, name, layout, reply, ok := wire.ParseUp(m.topic)
	if !ok {
		return nil
	}
	d, err := b.device(sn)
	if err != nil || d == nil || !d.Bound {
		return err
	}
	if reply {
		wake, err := p.replied(b.tx, d, name, m.payload)
		b.alsoWake(wake)
		return err
	}
	var up upEnvelope
	if err := json.Unmarshal(m.payload, &up); err != nil {
		return errcode.New(errcode.ParseJSONFailed, "")
	}
	if err := b.seen(d, layout, name, up); err != nil {
		return err
	}
	switch name {
	case wire.NameBirth, wire.NamePull:
		b.wake[sn] = true
		if err := p.failures(b, d, name, up.Payload); err != nil {
			return err
		}
	case wire.NameChange:
		var body struct{ Body wire.ChangeReport }
		if err := json.Unmarshal(up.Payload, &body); err != nil {
			return errcode.New(errcode.ParseJSONFailed, "")
		}
		wake, err := p.reported(b.tx, d, body.Body, 0, "")
		if err != nil {
			return err
		}
		b.alsoWake(wake)
	}
	if up.Event == nil {
		return nil
	}
	if err := checkEventID(*up.Event); err != nil {
		return err
	}
	e, pictures, err := parseEvent(sn, name, up)
	if err != nil {
		// It is kept as it came and acknowledged: the board would send it for ever.
		p.o.Log.Warn("an event cannot be understood and is kept as it is", "sn", sn, "name", name, "err", err)
	}
	return b.keep(d, e, pictures)
}

// seen keeps the board's state: whatever it says, it is there; a last will
// counts only for the connection it belongs to.
func (b *batch) seen(d *device, layout wire.Layout, name string, up upEnvelope) error {
	before := *d
	now := b.now / 1000
	d.Layout = layout
	switch name {
	case wire.NameBirth:
		birth, err := wire.ParseBirth(up.Payload)
		if err != nil {
			return err
		}
		d.State, d.LastOnlineTime, d.Epoch, d.Boot = 0, now, birth.Epoch, birth.Boot
		d.BoardVersion, d.StateDigest = birth.BoardVersion, birth.StateDigest
		d.Addition = maps.Clone(d.Addition)
		if d.Addition == nil {
			d.Addition = map[string]string{}
		}
		d.Addition["version"] = birth.AgentVersion
		b.dirty[d.SN] = true
		if birth.LastSeq > 0 && validBoot(birth.Boot) { // so much exists, whether it arrives or not
			s := b.of(d, birth.Boot)
			s.Last, s.Updated = max(s.Last, birth.LastSeq), now
		}
		return nil
	case wire.NameOffline:
		off, err := wire.ParseOffline(up.Payload)
		if err != nil {
			return err
		}
		if off.Epoch == d.Epoch && off.Boot == d.Boot { // else of an earlier connection
			d.State, d.LastOfflineTime = 1, now
			b.dirty[d.SN] = true
		}
		return nil
	}
	if before.State != 0 || before.Layout != layout || now-before.LastOnlineTime > 60 {
		d.State, d.LastOnlineTime = 0, now
		b.dirty[d.SN] = true
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
