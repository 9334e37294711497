package board

import (
	"context"
	"encoding/json"
	"time"

	"golang.org/x/time/rate"

	"gatehouse/sync/outbox"
	"gatehouse/sync/session"
	"gatehouse/sync/wire"
)

const (
	// ackWait is how long the cloud has to acknowledge before an event is sent again.
	ackWait = 30 * time.Second
	// window is how many publishes wait for their PUBACK at one time: enough to
	// fill a slow line, and below what brokers allow (EMQX: 32).
	window = 16
	// unacknowledged is how many events the broker may have that the cloud has
	// not acknowledged.
	unacknowledged = 512
)

// inFlight is an event that was published and is not acknowledged by the broker yet.
type inFlight struct {
	id   wire.EventID
	sent *session.Sent
}

// deliver publishes what waits for the account over one connection, in order
// and within the token bucket, live events before the backlog, with a window of
// publishes under way. Without a cloud that acknowledges events, the PUBACK of
// this very connection does. It returns when the connection ends.
func (b *Board) deliver(ctx context.Context, c *session.Conn, topics wire.Topics, account int64, byCloud bool) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	o := outbox.FeedOptions{Most: unacknowledged, Retry: ackWait}
	if !byCloud {
		o = outbox.FeedOptions{Most: 2 * window}
	}
	feed := b.outbox.Feed(account, o)
	defer feed.Close()
	under := make(chan inFlight, window-1)
	acknowledged := make(chan struct{})
	go func() {
		defer close(acknowledged)
		defer cancel()
		b.acknowledge(ctx, c, under, byCloud)
	}()
	b.send(ctx, c, topics, feed, under)
	close(under)
	<-acknowledged
}

// send publishes what feed hands out until ctx ends or the connection fails.
func (b *Board) send(ctx context.Context, c *session.Conn, topics wire.Topics, feed *outbox.Feed, under chan<- inFlight) {
	settings := b.config().Delivery
	limit := rate.NewLimiter(rate.Limit(settings.EventsPerSecond), settings.Burst)
	for {
		changed := b.outbox.Changed()
		list, err := feed.Next(window)
		if err != nil {
			b.log.Error("the outbox cannot be read", "err", err)
		}
		for _, s := range list {
			if limit.Wait(ctx) != nil {
				return
			}
			text, err := json.Marshal(b.envelope(s))
			if err != nil {
				b.log.Error("an event cannot be written", "boot", s.ID.Boot, "seq", s.ID.Seq, "err", err)
				continue
			}
			select {
			case under <- inFlight{s.ID, c.Send(topics.Up(s.Name), 1, text)}:
			case <-ctx.Done():
				return
			}
		}
		if len(list) > 0 {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-time.After(time.Second): // something may be due again
		}
	}
}

// acknowledge waits for the PUBACKs in order. One that fails ends the
// connection: what was sent on it is not known to have arrived.
func (b *Board) acknowledge(ctx context.Context, c *session.Conn, under <-chan inFlight, byCloud bool) {
	for f := range under {
		if err := f.sent.Wait(ctx); err != nil {
			if ctx.Err() == nil {
				c.Fail(err)
			}
			return
		}
		if byCloud {
			continue
		}
		if _, err := b.outbox.Ack(f.id.Boot, [][2]uint64{{f.id.Seq, f.id.Seq}}, false); err != nil {
			return
		}
	}
}

// reply answers a command without waiting for the broker: who waited here
// would keep the connection from reading the very acknowledgement.
func (b *Board) reply(ctx context.Context, c *session.Conn, topic string, r wire.Reply) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	sent := c.Send(topic, 1, text)
	go func() {
		ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		if err := sent.Wait(ctx); err != nil && ctx.Err() == nil {
			b.log.Warn("an answer was not delivered", "name", r.Name, "err", err)
		}
	}()
	return nil
}
