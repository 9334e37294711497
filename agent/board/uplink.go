package board

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"gatehouse/sync/session"
	"gatehouse/sync/wire"
)

// uplink is the connection of the moment, for messages that are worth nothing
// later: serial bytes, pictures that were asked for.
type uplink struct {
	mu     sync.Mutex
	ctx    context.Context
	conn   *session.Conn // nil while there is none
	topics wire.Topics
	flying int

	answerWait time.Duration // 0: answerWaitUsual
}

// mostFlying is how many live messages may wait for their PUBACK; a broker that
// does not keep up loses the next ones.
const mostFlying = 64

// set makes c the connection until ctx ends or the next one is set.
func (u *uplink) set(ctx context.Context, c *session.Conn, topics wire.Topics) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.ctx, u.conn, u.topics = ctx, c, topics
}

// clear forgets the connection c.
func (u *uplink) clear(c *session.Conn) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.conn == c {
		u.conn = nil
	}
}

func (u *uplink) up() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.conn != nil
}

// publishLive publishes a message now, or drops it while nobody is connected.
func (b *Board) publishLive(name string, payload any) {
	text, err := json.Marshal(b.up(name, payload, nil))
	if err != nil {
		b.log.Error("a message cannot be written", "name", name, "err", err)
		return
	}
	u := &b.uplink
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.conn == nil || u.flying >= mostFlying {
		return
	}
	u.flying++
	sent, ctx := u.conn.Send(u.topics.Up(name), 1, text), u.ctx
	b.background.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		if err := sent.Wait(ctx); err != nil && ctx.Err() == nil {
			b.log.Warn("a message was not delivered", "name", name, "err", err)
		}
		u.mu.Lock()
		u.flying--
		u.mu.Unlock()
	})
}
