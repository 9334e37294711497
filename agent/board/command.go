package board

import (
	"bytes"
	"context"
	"encoding/json"
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
	r := wire.Reply{ID: cmd.ID, SN: b.state.SN(), Name: name, Version: wire.Version, Code: 200}
	var body any
	if err == nil {
		body, err = b.carryOut(in.topic, cmd)
	}
	if body == silent {
		return
	}
	if body != nil {
		r.Payload = wire.Typed{Type: name, Body: body}
	}
	if e := errcode.From(err); e != nil {
		r.Code, r.ErrorCode, r.ErrorMessage = e.Code.MQTTCode(), int(e.Code), e.Error()
	}
	r.Timestamp = time.Now().Unix()
	if err := b.reply(ctx, in.conn, topics.Reply(name), r); err != nil {
		b.log.Warn("an answer was not delivered", "name", name, "err", err)
	}
}

type noReply struct{}

// silent is the answer to what is not answered.
var silent any = noReply{}

// carryOut does what a command says and gives the body of its answer, or nil.
func (b *Board) carryOut(topic string, cmd wire.Command) (any, error) {
	d := change.Delivery{Topic: topic, ID: cmd.ID, Body: compact(cmd.Body)}
	switch cmd.Name {
	case wire.NameGPIOOut:
		out, err := wire.ParseGPIOOut(cmd.Body)
		if err != nil {
			return nil, err
		}
		return nil, b.once(d, func() error {
			return b.gate.Command(out.IO, out.Value, time.Duration(out.Delay)*time.Millisecond, time.Now())
		})
	case wire.NameGateOpen:
		return nil, b.once(d, func() error {
			return b.gate.Command(0, 2, time.Duration(b.config().Barrier.Pulse), time.Now())
		})
	case wire.NameIVSTrigger:
		return nil, b.trigger(cmd.ID)
	case wire.NameWhitelist:
		return b.rows(cmd)
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
	return nil, &errcode.Error{Code: errcode.NotSupported, Detail: "There is no command " + cmd.Name + "!"}
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
// delivers twice: that it is done is written down before.
func (b *Board) once(d change.Delivery, act func() error) error {
	var earlier struct {
		At int64 `json:"at"` // Unix ms
	}
	now := time.Now().UnixMilli()
	stored, known, err := b.engine.Journal().Stored(d)
	if err != nil {
		return err
	}
	if known && json.Unmarshal(stored, &earlier) == nil && now-earlier.At >= 0 && now-earlier.At < deliveryMemory.Milliseconds() {
		return nil
	}
	earlier.At = now
	if err := b.engine.Journal().Put(d, earlier); err != nil {
		return err
	}
	return act()
}

func (b *Board) trigger(id string) error {
	if !b.config().Lane.Software {
		return errcode.New(errcode.NotSupported, "Triggers by clients are switched off on this board (lane.software)!")
	}
	if err := b.vision.Trigger(id); err != nil {
		return errcode.New(errcode.RequestFailed, "The vision process does not run; is a camera configured?")
	}
	return nil
}

// rows is the vendor's white_list_operator.
func (b *Board) rows(cmd wire.Command) (any, error) {
	if !b.config().Gate.RowCommands {
		return nil, errcode.New(errcode.NotSupported, "Row commands are switched off on this board!")
	}
	w, err := wire.ParseWhitelistOperator(cmd.Body)
	if err != nil {
		return nil, err
	}
	selection, err := b.state.Whitelist.Operate(w)
	if err != nil || selection == nil {
		return nil, err
	}
	return selection, nil
}
