package camtcp

import (
	"bufio"
	"bytes"
	"context"
	"log/slog"
	"maps"
	"net"
	"sync"
	"time"

	"gatehouse/sync/errcode"
	"gatehouse/sync/wire"
)

// client is one connection.
type client struct {
	s    *Server
	conn net.Conn
	out  chan []byte   // frames to send; nil: nothing more follows
	sent chan struct{} // closed when that was reached
	log  *slog.Logger

	login login // the reader's own

	mu      sync.Mutex
	enabled bool // results are told; guarded by mu, like what follows
	full    bool // with the full picture
	small   bool // with the plate's
	serial  [2]bool
	silence time.Duration // after which the client is gone; 0: the usual
}

// serve answers until the client goes or ctx ends.
func (c *client) serve(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { c.conn.Close() })
	defer stop()
	defer c.conn.Close()
	var wait sync.WaitGroup
	defer wait.Wait()
	wait.Go(func() {
		defer cancel()
		c.write(ctx)
	})
	defer cancel()
	in := bufio.NewReader(c.conn)
	login := time.Now().Add(loginWait)
	for {
		until := time.Now().Add(c.patience())
		if c.stranger() && until.After(login) {
			until = login // whatever it sends: strangers must not hold all the places
		}
		if err := c.conn.SetReadDeadline(until); err != nil {
			return
		}
		f, err := readFrame(in)
		if err != nil {
			if ctx.Err() == nil {
				c.log.Info("a client is gone", "err", err)
			}
			return
		}
		switch f.kind {
		case kindData:
			if !c.answer(ctx, f) {
				c.flush()
				return
			}
		case kindHeartbeat: // it keeps the connection, that is all
		}
	}
}

func (c *client) patience() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.silence > 0 {
		return c.silence
	}
	return silence
}

// write sends what waits, and heartbeats.
func (c *client) write(ctx context.Context) {
	tick := time.NewTicker(beat)
	defer tick.Stop()
	for {
		var b []byte
		select {
		case <-ctx.Done():
			return
		case b = <-c.out:
			if b == nil {
				close(c.sent)
				return
			}
		case <-tick.C:
			b = frame{kind: kindHeartbeat}.bytes()
		}
		if err := c.conn.SetWriteDeadline(time.Now().Add(writeWait)); err != nil {
			return
		}
		if _, err := c.conn.Write(b); err != nil {
			return
		}
	}
}

// flush waits until what is queued was sent, for a short time.
func (c *client) flush() {
	select {
	case c.out <- nil:
	default:
		return
	}
	select {
	case <-c.sent:
	case <-time.After(time.Second):
	}
}

// send queues a frame; a client that does not read is disconnected.
func (c *client) send(seq byte, m any, pictures ...[]byte) error {
	data, err := text(m, pictures...)
	if err != nil {
		return err
	}
	select {
	case c.out <- frame{kindData, seq, data}.bytes():
	default:
		c.log.Warn("a client does not read what it is sent")
		c.conn.Close()
	}
	return nil
}

// stranger reports whether the client still has to log in.
func (c *client) stranger() bool { return c.s.o.Password != "" && !c.login.done.Load() }

// tell sends what was not asked for; only to who may see it.
func (c *client) tell(m any, pictures ...[]byte) {
	if c.stranger() {
		return
	}
	if err := c.send(0, m, pictures...); err != nil {
		c.log.Error("a message cannot be sent", "err", err)
	}
}

// answer carries out a request and answers it. It gives false for a client
// that is to be disconnected.
func (c *client) answer(ctx context.Context, f frame) bool {
	r, err := parseRequest(bytes.TrimRight(f.data, "\x00"))
	var fields map[string]any
	var pictures [][]byte
	if err == nil {
		do, known := commands[r.Cmd]
		switch {
		case !known:
			err = errcode.New(errcode.URLNotExist, "There is no command "+r.Cmd+"!")
		case c.stranger() && !do.open:
			err = errcode.New(errcode.LoginFailed, "Send start_login and login_authentication first!")
		case do.allow != "" && !c.s.allow[do.allow]:
			err = errcode.New(errcode.NotSupported, "Clients may not do that on this board; see /port8131/allow!")
		default:
			fields, pictures, err = do.run(c, ctx, r)
		}
	}
	if err == nil {
		err = c.send(f.seq, reply(r, fields, nil), pictures...)
	}
	if err != nil {
		if err := c.send(f.seq, reply(r, nil, err)); err != nil {
			c.log.Error("an answer cannot be sent", "err", err)
		}
	}
	if c.login.failures >= mostFailures {
		c.log.Warn("a client failed to log in too often")
		return false
	}
	return true
}

// reply is an answer's object.
func reply(r request, fields map[string]any, err error) map[string]any {
	m := map[string]any{"cmd": r.Cmd, "state_code": 200, "error_msg": ""}
	maps.Copy(m, fields)
	if r.ID != nil {
		m["id"] = r.ID
	}
	if e := errcode.From(err); e != nil {
		m["state_code"], m["error_code"], m["error_msg"] = e.MQTTCode(), int(e.Code), e.Error()
	}
	return m
}

// result tells a recognition if the client asked for it.
func (c *client) result(r record) {
	c.mu.Lock()
	enabled, full, small := c.enabled, c.full, c.small
	c.mu.Unlock()
	if enabled {
		m, pictures := resultMessage(r, full, small)
		c.tell(m, pictures...)
	}
}

// resultMessage is ivs_result; the full picture goes before the plate's.
func resultMessage(r record, full, small bool) (map[string]any, [][]byte) {
	p := wire.NewPushResult(r.r, nil, nil).AlarmInfoPlate.Result.PlateResult.PlateResult // texts plain
	var pictures [][]byte
	sizes := [2]int{}
	for i, want := range []bool{full, small} {
		if picture := [][]byte{r.full, r.small}[i]; want && len(picture) > 0 {
			pictures, sizes[i] = append(pictures, picture), len(picture)
		}
	}
	return map[string]any{"cmd": "ivs_result", "id": r.id, "active_id": 0, "imageformat": "jpg", "fullImgSize": sizes[0], "clipImgSize": sizes[1],
		"timeString": r.at.Format(time.DateTime), "PlateResult": p}, pictures
}

// received tells serial data if the client has begun a transmission.
func (c *client) received(channel int, data []byte) {
	c.mu.Lock()
	wanted := channel >= 0 && channel < len(c.serial) && c.serial[channel]
	c.mu.Unlock()
	if wanted {
		c.tell(struct {
			Cmd     string `json:"cmd"`
			Subcmd  string `json:"subcmd"`
			Comm    string `json:"comm"`
			DataLen int    `json:"datalen"`
			Data    []byte `json:"data"`
		}{"ttransmission", "send", comms[channel], len(data), data})
	}
}
