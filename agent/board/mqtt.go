package board

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"time"

	"gatehouse/sync/delivery"
	"gatehouse/sync/session"
	"gatehouse/sync/wire"
)

// inbound is a command as it came.
type inbound struct {
	topic   string
	payload []byte
	conn    *session.Conn
	refused error // why it is not carried out, or nil
}

// topics are those of the configured layout.
func (b *Board) topics() (wire.Topics, error) {
	return wire.NewTopics(wire.Layout(b.config().MQTT.Layout), b.state.SN(), b.config().MQTT.Topics)
}

// connection gives the options of the next connection.
func (b *Board) connection(ctx context.Context) (session.Options, error) {
	b.mu.Lock()
	b.dialled = b.config() // before anything is read from it
	b.mu.Unlock()
	bound, err := b.state.Binding()
	if err != nil {
		return session.Options{}, err
	}
	if bound.Body == nil && bound.asks() != "" { // the answer to a binding was lost, or the binding itself
		ask, cancel := context.WithTimeout(ctx, 20*time.Second)
		err := b.state.Agree(ask)
		cancel()
		if err != nil && b.config().MQTT.Broker == "" {
			return session.Options{}, err
		}
		if bound, err = b.state.Binding(); err != nil {
			return session.Options{}, err
		}
	}
	o := session.Options{ClientID: b.state.SN(), Now: b.clock.Now, Log: b.log}
	if bound.Body != nil {
		o.URL, o.Username, o.Password, o.CA = bound.Body.Broker.URL, bound.Body.Broker.Username, bound.Body.Broker.Password, []byte(bound.Body.Broker.CA)
	}
	if b.config().MQTT.Broker != "" {
		o.URL = b.config().MQTT.Broker
	}
	if o.URL == "" {
		return session.Options{}, errNotBound
	}
	if err := useCredentials(&o, b.config().Broker); err != nil {
		return session.Options{}, err
	}
	topics, err := b.topics()
	if err != nil {
		return session.Options{}, err
	}
	epoch, err := b.state.nextEpoch()
	if err != nil {
		return session.Options{}, err
	}
	b.mu.Lock()
	b.epoch = epoch
	b.mu.Unlock()
	var account int64
	if bound.Body != nil {
		account = bound.mark()
	}
	boot, _, err := b.outbox.Begin(ctx, account)
	if err != nil {
		return session.Options{}, err
	}
	if b.config().MQTT.LastWill {
		will, err := json.Marshal(b.up(wire.NameOffline, wire.Body{Body: wire.Offline{Boot: boot, Epoch: epoch, Reason: "lost"}}, nil))
		if err != nil {
			return session.Options{}, err
		}
		o.Will = &session.Message{Topic: topics.Up(wire.NameOffline), Payload: will}
	}
	o.Subscriptions = topics.DownFilter()
	conns := make(chan *session.Conn, 1)
	var conn *session.Conn
	o.OnMessage = func(topic string, payload []byte) {
		if conn == nil {
			select {
			case conn = <-conns:
			case <-ctx.Done():
				return
			}
		}
		if len(payload) <= wire.MaxMessage && b.acknowledged(topics, topic, payload) {
			return
		}
		select {
		case b.commands <- inbound{topic: topic, payload: payload, conn: conn}:
		case <-ctx.Done():
		}
	}
	byCloud := b.config().Delivery.Ack == "cloud" || b.config().Delivery.Ack == "" && bound.Body != nil
	o.OnUp = func(ctx context.Context, c *session.Conn) {
		conns <- c
		b.live(ctx, c, topics, life{epoch, account, byCloud})
	}
	return o, nil
}

// up wraps a payload in the envelope.
func (b *Board) up(name string, payload any, id *wire.EventID) wire.Up {
	return wire.Up{ID: wire.NewID(), BV: b.config().Device.BoardVersion, SN: b.state.SN(), Name: name, Version: wire.Version, Timestamp: time.Now().Unix(), Payload: payload, Event: id}
}

func (b *Board) publish(ctx context.Context, c *session.Conn, topic string, m any) error {
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, delivery.AckWait)
	defer cancel()
	err = c.Publish(ctx, topic, 1, text)
	if errors.Is(err, context.DeadlineExceeded) {
		c.Fail(fmt.Errorf("no acknowledgement on %s within %s", topic, delivery.AckWait))
	}
	return err
}

// acknowledged takes an event_ack at once, out of turn: it only touches memory,
// and must not wait behind commands that take their time.
func (b *Board) acknowledged(topics wire.Topics, topic string, payload []byte) bool {
	if name, ok := topics.ParseDown(topic); !ok || name != wire.NameEventAck {
		return false
	}
	cmd, err := wire.ParseCommand(wire.NameEventAck, payload)
	if err == nil {
		_, err = b.carryOut(context.Background(), topic, cmd)
	}
	if err != nil {
		b.log.Warn("an acknowledgement is refused", "err", err)
	}
	return true
}

// life is what a connection knows of itself.
type life struct {
	epoch   int64
	account int64 // whose events are sent
	byCloud bool  // the cloud acknowledges them
}

// pullEvery is how often the cloud is asked for what it wants of the board; a
// birth asks too.
const pullEvery = 10 * time.Minute

// live is a connection's life: birth, keep_alive, events; at a graceful end a farewell.
func (b *Board) live(ctx context.Context, c *session.Conn, topics wire.Topics, l life) {
	beat := func() error {
		return b.publish(ctx, c, topics.Up(wire.NameKeepAlive), b.up(wire.NameKeepAlive, wire.Body{Body: wire.KeepAlive{Timestamp: time.Now().Unix()}}, nil))
	}
	if err := errors.Join(b.publish(ctx, c, topics.Up(wire.NameBirth), b.up(wire.NameBirth, wire.Body{Body: b.birth(l.epoch)}, nil)), beat()); err != nil {
		return
	}
	b.uplink.set(ctx, c, topics)
	defer b.uplink.clear(c)
	b.tellWaiting(l.account)
	delivered := make(chan struct{})
	go func() {
		defer close(delivered)
		b.deliver(ctx, c, topics, l)
	}()
	tick := time.NewTicker(time.Duration(b.config().MQTT.KeepAlive))
	defer tick.Stop()
	pull := time.NewTicker(pullEvery)
	defer pull.Stop()
	for running := true; running; {
		select {
		case <-ctx.Done():
			running = false
		case <-tick.C:
			if err := beat(); err != nil {
				running = false
			}
		case <-pull.C: // a push may have been lost
			if err := b.publish(ctx, c, topics.Up(wire.NamePull), b.up(wire.NamePull, wire.Body{Body: struct{}{}}, nil)); err != nil {
				running = false
			}
		}
	}
	<-delivered
	farewell, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = b.publish(farewell, c, topics.Up(wire.NameOffline), b.up(wire.NameOffline, wire.Body{Body: wire.Offline{Boot: b.outbox.Boot(), Epoch: l.epoch, Reason: "stopped"}}, nil))
}

func (b *Board) birth(epoch int64) wire.Birth {
	s := b.outbox.Stats()
	m := wire.Birth{Boot: s.Boot, Epoch: epoch, AgentVersion: b.version, BoardVersion: b.config().Device.BoardVersion, Models: b.vision.Status().Hello.Models,
		StateDigest: map[string]string{"config": b.settings.Digest(), "whitelist": b.state.Whitelist.Digest(), "faces": b.state.Faces.Digest()}, LastSeq: s.LastSeq, OldestSeq: b.outbox.Oldest(), Changes: []wire.ChangeState{}}
	changes, err := b.engine.States()
	if err != nil {
		b.log.Error("the changes cannot be read", "err", err)
	}
	for _, c := range changes {
		state := wire.ChangeState{Kind: c.Kind, ChangeID: c.ChangeID, State: c.State}
		if c.State == wire.StateStaged {
			state.Result = c.Result
		}
		m.Changes = append(m.Changes, state)
	}
	m.Clock.Trusted, m.Clock.Source = ClockSynced(), "kernel"
	return m
}

// localIP is the board's address as results tell it, or 127.0.0.1.
func localIP() string {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return "127.0.0.1"
	}
	for _, a := range addresses {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && !n.IP.IsLoopback() {
			return n.IP.String()
		}
	}
	return "127.0.0.1"
}
