// Package delivery brings the events of an outbox to a broker over one
// connection: in order, live ones before the backlog, with a window of publishes
// under way and within a token bucket.
//
// With our cloud an event has arrived when the cloud names it (event_ack), with
// any other broker when its PUBACK comes on the connection that sent it. An
// acknowledgement that does not come ends the connection, and the next one
// sends what is not known to have arrived. So an event arrives at least once;
// the receiver knows it again by (boot, sequence).
package delivery

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/time/rate"

	"gatehouse/sync/outbox"
	"gatehouse/sync/session"
	"gatehouse/sync/wire"
)

const (
	// Window is how many publishes wait for their PUBACK at one time: enough to
	// fill a slow line, and below what brokers allow (EMQX: 32).
	Window = 16
	// Unacknowledged is how many events the broker may have that the cloud has
	// not acknowledged.
	Unacknowledged = 512
	// AckWait is how long an acknowledgement may take.
	AckWait = 30 * time.Second
)

// Sender sends an outbox's events of one account.
type Sender struct {
	Box     *outbox.Outbox
	Account int64
	ByCloud bool // the cloud acknowledges; Ack of the outbox is its user's business
	// Message writes an event; one that cannot be written is left where it is.
	Message func(outbox.Stored) (topic string, payload []byte, err error)
	Limit   *rate.Limiter // nil: none
	AckWait time.Duration // 0: AckWait
	Log     *slog.Logger
}

// flying is a publish that the broker has not acknowledged yet.
type flying struct {
	id   wire.EventID
	at   time.Time
	sent *session.Sent
}

// Run sends until ctx or the connection ends.
func (s Sender) Run(ctx context.Context, c *session.Conn) {
	if s.AckWait == 0 {
		s.AckWait = AckWait
	}
	if s.Log == nil {
		s.Log = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	o := outbox.FeedOptions{Most: Unacknowledged, Retry: s.AckWait}
	if !s.ByCloud {
		o = outbox.FeedOptions{Most: 2 * Window}
	}
	feed := s.Box.Feed(s.Account, o)
	defer feed.Close()
	under := make(chan flying, Window-1)
	acknowledged := make(chan struct{})
	go func() {
		defer close(acknowledged)
		defer cancel()
		s.acknowledge(ctx, c, under)
	}()
	s.send(ctx, c, feed, under)
	close(under)
	<-acknowledged
}

// send publishes what feed hands out.
func (s Sender) send(ctx context.Context, c *session.Conn, feed *outbox.Feed, under chan<- flying) {
	due := time.NewTicker(min(time.Second, s.AckWait/4)) // something may be due again
	defer due.Stop()
	for {
		changed := s.Box.Changed()
		list, err := feed.Next(Window)
		if err != nil {
			s.Log.Error("the outbox cannot be read", "err", err)
		}
		for _, e := range list {
			if s.Limit != nil && s.Limit.Wait(ctx) != nil {
				return
			}
			topic, payload, err := s.Message(e)
			if err != nil {
				s.Log.Error("an event cannot be written", "boot", e.ID.Boot, "seq", e.ID.Seq, "err", err)
				continue
			}
			select {
			case under <- flying{e.ID, time.Now(), c.Send(topic, 1, payload)}:
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
		case <-due.C:
		}
	}
}

// acknowledge waits for the PUBACKs in order. One that does not come ends the
// connection: what was sent on it is not known to have arrived.
func (s Sender) acknowledge(ctx context.Context, c *session.Conn, under <-chan flying) {
	for f := range under {
		wait, cancel := context.WithDeadline(ctx, f.at.Add(s.AckWait))
		err := f.sent.Wait(wait)
		cancel()
		if err != nil {
			if ctx.Err() == nil {
				c.Fail(fmt.Errorf("no acknowledgement within %s: %w", s.AckWait, err))
			}
			return
		}
		if s.ByCloud {
			continue
		}
		if _, err := s.Box.Ack(f.id.Boot, [][2]uint64{{f.id.Seq, f.id.Seq}}, false); err != nil {
			return
		}
	}
}
