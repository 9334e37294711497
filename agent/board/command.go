package board

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"gatehouse/sync/change"
	"gatehouse/sync/errcode"
	"gatehouse/sync/wire"
)

// Queues of commands that take their time.
const (
	askCloud   = iota // up to ten seconds
	writePorts        // a port that takes no data holds up the others' bytes, and nothing else
	readOutbox        // the whole of it
	queues
)

var queueOf = map[string]int{wire.NameBind: askCloud, wire.NameUnbind: askCloud, wire.NameSerialData: writePorts, wire.NameCheckOffline: readOutbox}

// mostQueued is how many commands of a queue wait; the next ones are refused.
const mostQueued = 16

// obey carries out commands in the order of their arrival; those that take
// their time in the order of their queue, so that one that opens does not wait
// for them.
func (b *Board) obey(ctx context.Context) {
	var wait sync.WaitGroup
	defer wait.Wait()
	var waiting [queues]chan inbound
	for i := range waiting {
		waiting[i] = make(chan inbound, mostQueued)
		wait.Go(func() { b.each(ctx, waiting[i], b.one) })
	}
	b.each(ctx, b.commands, func(ctx context.Context, in inbound) {
		if queue, slow := b.queue(in); slow {
			select {
			case waiting[queue] <- in:
				return
			default:
				in.refused = errcode.New(errcode.RateExceeded, "")
			}
		}
		b.one(ctx, in)
	})
}

// each does something with what comes until ctx ends.
func (b *Board) each(ctx context.Context, from <-chan inbound, do func(context.Context, inbound)) {
	for {
		select {
		case <-ctx.Done():
			return
		case in := <-from:
			do(ctx, in)
		}
	}
}

func (b *Board) queue(in inbound) (queue int, slow bool) {
	topics, err := b.topics()
	if err != nil {
		return 0, false
	}
	name, _ := topics.ParseDown(in.topic)
	queue, slow = queueOf[name]
	return queue, slow
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
	b.unanswered.Add(1)
	answered := func() { b.unanswered.Add(-1) }
	cmd, err := wire.ParseCommand(name, in.payload)
	if len(in.payload) > wire.MaxMessage {
		err = errcode.Param("payload", fmt.Sprintf("makes the message larger than %d bytes", wire.MaxMessage))
	}
	if err == nil {
		err = in.refused
	}
	r := wire.Reply{ID: cmd.ID, SN: b.state.SN(), Name: name, Version: wire.Version, Code: 200}
	var body any
	if err == nil {
		body, err = b.carryOut(ctx, in.topic, cmd)
	}
	if body == silent {
		answered()
		return
	}
	switch whole := body.(type) {
	case nil:
	case behind:
		defer whole.do()
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
	b.reply(ctx, in.conn, topics.Reply(name), r, answered)
}

// answerWaitUsual is how long a restart of the agent, or another connection, waits
// for the answers under way: the one to the command that asks for it is among them.
const answerWaitUsual = time.Second

func (b *Board) awaitAnswers(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(b.uplink.answerWait, answerWaitUsual))
	defer cancel()
	for b.unanswered.Load() > 0 && ctx.Err() == nil {
		time.Sleep(5 * time.Millisecond)
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

// behind is the answer nil of what is not done yet: the rest is done behind it.
type behind struct{ do func() }

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
		return nil, b.rebind(ctx)
	case wire.NameUnbind:
		return nil, b.unbound(ctx)
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
