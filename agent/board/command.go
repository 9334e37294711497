package board

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"gatehouse/sync/change"
	"gatehouse/sync/errcode"
	"gatehouse/sync/wire"
)

// obey carries out commands in the order of their arrival.
func (b *Board) obey(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case in := <-b.commands:
			b.one(ctx, in)
		}
	}
}

// one carries out one command and answers it.
func (b *Board) one(ctx context.Context, in inbound) {
	topics, err := b.topics()
	if err != nil {
		return
	}
	name, ok := topics.ParseDown(in.topic)
	if !ok {
		return
	}
	cmd, err := wire.ParseCommand(name, in.payload)
	if len(in.payload) > wire.MaxMessage {
		err = errcode.Param("payload", fmt.Sprintf("makes the message larger than %d bytes", wire.MaxMessage))
	}
	r := wire.Reply{ID: cmd.ID, SN: b.state.SN(), Name: name, Version: wire.Version, Code: 200}
	var body any
	if err == nil {
		body, err = b.carryOut(ctx, in.topic, cmd)
	}
	if body == silent {
		return
	}
	switch whole := body.(type) {
	case nil:
	case payload:
		r.Payload = whole.v
	default:
		r.Payload = wire.Typed{Type: name, Body: body}
	}
	if e := errcode.From(err); e != nil {
		r.Code, r.ErrorCode, r.ErrorMessage = e.MQTTCode(), int(e.Code), e.Error()
	}
	r.Timestamp = time.Now().Unix()
	if size := jsonSize(r.Payload); size > wire.MaxMessage-1024 { // e.g. all rows of a long list
		e := errcode.New(errcode.RequestFailed, fmt.Sprintf("The answer would be %d bytes, more than a message holds; ask for less!", size))
		r.Payload, r.Code, r.ErrorCode, r.ErrorMessage = nil, e.MQTTCode(), int(e.Code), e.Error()
	}
	if err := b.reply(ctx, in.conn, topics.Reply(name), r); err != nil {
		b.log.Warn("an answer was not delivered", "name", name, "err", err)
	}
}

func jsonSize(v any) int {
	text, err := json.Marshal(v)
	if err != nil {
		return 0 // the answer's own writing tells it
	}
	return len(text)
}

type noReply struct{}

// silent is the answer to what is not answered.
var silent any = noReply{}

// carryOut does what a command says and gives the body of its answer, or nil.
func (b *Board) carryOut(ctx context.Context, topic string, cmd wire.Command) (any, error) {
	d := change.Delivery{Topic: topic, ID: cmd.ID, Body: compact(cmd.Body)}
	switch cmd.Name {
	case "whitelist", "config", "upgrade":
		c, err := wire.ParseChangeCommand(cmd.Body)
		if err != nil {
			return nil, err
		}
		if c.OperatorType == wire.VerbQuery && c.ChangeID == "" {
			return b.engine.Query(cmd.Name)
		}
		report, err := b.engine.Handle(d, cmd.Name, c)
		return report, err
	case wire.NameEventAck:
		ack, err := wire.ParseEventAck(cmd.Body)
		if err != nil {
			return nil, err
		}
		_, err = b.outbox.Ack(ack.Boot, ack.Ranges, b.uploads())
		return silent, err
	case wire.NameBind:
		return nil, b.rebind()
	case wire.NameUnbind:
		return nil, b.Unbind()
	}
	return b.camera(ctx, d, cmd)
}

func compact(body []byte) []byte {
	var out bytes.Buffer
	if json.Compact(&out, body) != nil {
		return body
	}
	return out.Bytes()
}

// deliveryMemory is how long a repeated delivery of a command that moves the
// barrier counts as the same one. Clients use an id for several commands, and
// some send each command of a kind with one id: later, it is a new one.
const deliveryMemory = 10 * time.Second

// once does what moves something at most once for a command that a broker
// delivers twice: that it is done is written down before, and how it failed
// after.
func (b *Board) once(d change.Delivery, act func() error) error {
	var earlier struct {
		At     int64        `json:"at"` // Unix ms
		Code   errcode.Code `json:"code,omitempty"`
		Detail string       `json:"detail,omitempty"`
		Busy   bool         `json:"busy,omitempty"`
	}
	now := time.Now().UnixMilli()
	stored, known, err := b.engine.Journal().Stored(d)
	if err != nil {
		return err
	}
	if known && json.Unmarshal(stored, &earlier) == nil && now-earlier.At >= 0 && now-earlier.At < deliveryMemory.Milliseconds() {
		if earlier.Code != 0 {
			return &errcode.Error{Code: earlier.Code, Detail: earlier.Detail, Busy: earlier.Busy}
		}
		return nil
	}
	earlier.At, earlier.Code, earlier.Detail, earlier.Busy = now, 0, "", false
	if err := b.engine.Journal().Put(d, earlier); err != nil {
		return err
	}
	failed := act()
	if e := errcode.From(failed); e != nil {
		earlier.Code, earlier.Detail, earlier.Busy = e.Code, e.Detail, e.Busy
		if err := b.engine.Journal().Put(d, earlier); err != nil {
			b.log.Error("a command's failure could not be noted", "err", err)
		}
	}
	return failed
}
