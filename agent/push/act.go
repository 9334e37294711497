package push

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"gatehouse/sync/wire"
)

// do does what a reply says, as far as it is allowed: what moves the barrier
// at once, the rest behind it. With fresh false nothing moves or speaks any
// more.
func (g *group) do(r wire.PushReply, s *server, fresh bool) {
	p := g.p
	for _, err := range r.Refused {
		g.log.Warn("a part of a server's reply is refused", "err", err)
	}
	if !fresh && r.Stale() {
		g.log.Warn("a server's reply came too late to act on")
	}
	if r.Open && g.allowed(AllowOpen) {
		if err := p.board.Output(r.Channel, 2, wire.MinPulseMS*time.Millisecond); err != nil {
			g.log.Warn("a server could not open", "err", err)
		}
	}
	if o := r.Output; o != nil && g.allowed(AllowOutput) {
		if err := p.board.Output(o.IO, o.Value, time.Duration(o.Delay)*time.Millisecond); err != nil {
			g.log.Warn("a server could not switch an output", "err", err)
		}
	}
	if len(r.Serial) > 0 && g.allowed(AllowSerial) {
		p.later("serial", func(ctx context.Context) error { return p.board.Serial(ctx, wire.SerialData{SerialData: r.Serial}) })
	}
	if v := r.Voice; v != nil && g.allowed(AllowSpeak) {
		p.later("speak", func(context.Context) error { return p.board.Speak(*v) })
	}
	if r.Trigger && g.allowed(AllowTrigger) {
		p.later("trigger", func(context.Context) error { return p.board.Trigger(wire.NewID()) })
	}
	if q := r.Picture; q != nil && g.allowed(AllowSnapshot) {
		p.later("snapshot", func(ctx context.Context) error { return g.picture(ctx, s, *q) })
	}
	if rows := r.Rows; rows != nil && g.allowed(AllowRows) {
		p.later("rows", func(ctx context.Context) error { return g.rows(ctx, s, *rows) })
	}
	if c := r.Continue; c != nil && c.Continue {
		g.resume()
	}
}

func (g *group) allowed(what string) bool {
	if !g.p.allow[what] {
		g.log.Warn("a server asks for what it may not do; see /push/allow", "what", what)
	}
	return g.p.allow[what]
}

// picture takes a picture and posts it where the server wants it.
func (g *group) picture(ctx context.Context, s *server, q wire.PushPictureRequest) error {
	where := q.Absolute
	if where == "" {
		where = q.Relative
	}
	address, err := s.resolve(where, q.Port)
	if err != nil {
		return err
	}
	jpeg, err := g.p.board.Snapshot(ctx)
	if err != nil {
		return err
	}
	return g.answer(ctx, address, wire.NewPushPicture(g.p.o.Address(), jpeg))
}

// rows changes rows of the list and tells how it went, if that is asked for.
func (g *group) rows(ctx context.Context, s *server, rows wire.PushRows) error {
	_, failed := g.p.board.Rows(rows.Operation)
	if rows.ReplyURL == "" {
		return failed
	}
	address, err := s.resolve(rows.ReplyURL, 0)
	if err != nil {
		return err
	}
	var m wire.PushRowsResult
	m.Result.OperateType, m.Result.MsgID, m.Result.State = rows.OperateType, rows.MsgID, "succeed"
	if failed != nil {
		m.Result.State = failed.Error()
	}
	return g.answer(ctx, address, m)
}

func (g *group) answer(ctx context.Context, address string, m any) error {
	body, err := json.Marshal(m)
	if err != nil {
		return err
	}
	_, err = g.p.send(ctx, address, "application/json", body, g.p.o.Timeout)
	return err
}

// resolve makes an address of what a server says, an URL or a path. It must be
// on the server's own host: a reply must not send the board's pictures, or
// requests, anywhere else.
func (s *server) resolve(where string, port int) (string, error) {
	u, err := url.Parse(where)
	if err != nil {
		return "", fmt.Errorf("cannot answer to %q: it is no address", where)
	}
	if u.Host == "" && u.Scheme == "" {
		u.Scheme, u.Host, u.Path = s.base.Scheme, s.base.Host, path.Join("/", u.Path)
		if port > 0 {
			u.Host = hostPort(s.base.Hostname(), port)
		}
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.User != nil || s.base.Scheme == "https" && u.Scheme != "https" ||
		!strings.EqualFold(u.Hostname(), s.base.Hostname()) {
		return "", fmt.Errorf("cannot answer to %q: it is not on the server that asks, %s", where, s.base.Host)
	}
	return u.String(), nil
}

func hostPort(host string, port int) string {
	if strings.Contains(host, ":") { // IPv6
		host = "[" + host + "]"
	}
	return host + ":" + strconv.Itoa(port)
}
