package board

import (
	"context"
	"encoding/json"
	"time"

	"golang.org/x/time/rate"

	"gatehouse/sync/delivery"
	"gatehouse/sync/outbox"
	"gatehouse/sync/session"
	"gatehouse/sync/wire"
)

// deliver publishes what waits for the account until the connection ends.
func (b *Board) deliver(ctx context.Context, c *session.Conn, topics wire.Topics, l life) {
	settings := b.config().Delivery
	delivery.Sender{Box: b.outbox, Account: l.account, ByCloud: l.byCloud, Log: b.log,
		Limit: rate.NewLimiter(rate.Limit(settings.EventsPerSecond), settings.Burst),
		Message: func(s outbox.Stored) (string, []byte, error) {
			text, err := json.Marshal(b.envelope(s))
			return topics.Up(s.Name), text, err
		}}.Run(ctx, c)
}

// reply answers a command without waiting for the broker: who waited here
// would keep the connection from reading the very acknowledgement. It calls
// done once the answer was acknowledged, or will not be.
func (b *Board) reply(ctx context.Context, c *session.Conn, topic string, r wire.Reply, done func()) {
	text, err := json.Marshal(r)
	if err != nil {
		b.log.Error("an answer cannot be written", "name", r.Name, "err", err)
		done()
		return
	}
	sent := c.Send(topic, 1, text)
	go func() {
		defer done()
		ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		if err := sent.Wait(ctx); err != nil && ctx.Err() == nil {
			b.log.Warn("an answer was not delivered", "name", r.Name, "err", err)
		}
	}()
}
