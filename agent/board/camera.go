package board

import (
	"context"
	"fmt"
	"time"

	"gatehouse/sync/change"
	"gatehouse/sync/errcode"
	"gatehouse/sync/wire"
)

// request is one command of the vendor's camera protocol over MQTT.
type request struct {
	actions
	cmd      wire.Command
	delivery change.Delivery
}

// payload is an answer's whole payload, where it is not {type, body} with the
// command's name as type.
type payload struct{ v any }

// cameraCommands are the vendor's commands by name (vendor-mqtt.md, section 5).
// Each gives the body of its answer, or nil.
var cameraCommands = map[string]func(request, context.Context) (any, error){
	wire.NameGPIOOut:      request.gpioOut,
	wire.NameGateOpen:     request.gateOpen,
	wire.NameIVSTrigger:   request.trigger,
	wire.NameWhitelist:    request.rows,
	wire.NameSerialData:   request.serialData,
	wire.NameTimestamp:    request.timestamp,
	wire.NameSetTime:      request.setTime,
	wire.NameSnapshot:     request.snapshot,
	wire.NameReboot:       request.reboot,
	wire.NameSetIOLock:    request.setLocks,
	wire.NameSetIOLockOld: request.setLocks,
	wire.NameGetIOLock:    request.getLocks,
	wire.NameGetIOStatus:  request.ioStatus,
	wire.NameVoice:        request.voice,
	wire.NameCheckOffline: request.checkOffline,
	wire.NameCloudCtrl:    lacks("motor for lens or pan and tilt"),
	wire.NameLCD:          lacks("built-in screen; send the screen card's frames by serial_data"),
	wire.NameSetOSS:       lacks("object store that can be set by a client; see /delivery"),
	wire.NameDeviceSet:    lacks("settings of this kind; change its config"),
	wire.NameEncryption:   lacks("encryption of single plates; use a broker with TLS"),
}

// camera carries out one of the vendor's commands.
func (b *Board) camera(ctx context.Context, d change.Delivery, cmd wire.Command) (any, error) {
	do, ok := cameraCommands[cmd.Name]
	if !ok {
		return nil, errcode.New(errcode.URLNotExist, "There is no command "+cmd.Name+"!")
	}
	return do(request{actions{b, "mqtt"}, cmd, d}, ctx)
}

// lacks refuses what no board of ours can do.
func lacks(what string) func(request, context.Context) (any, error) {
	return func(request, context.Context) (any, error) {
		return nil, errcode.New(errcode.NotSupported, "This board has no "+what+"!")
	}
}

func (o request) gpioOut(context.Context) (any, error) {
	out, err := wire.ParseGPIOOut(o.cmd.Body)
	if err != nil {
		return nil, err
	}
	return nil, o.once(o.delivery, func() error {
		return o.Output(out.IO, out.Value, time.Duration(out.Delay)*time.Millisecond)
	})
}

func (o request) gateOpen(context.Context) (any, error) {
	return nil, o.once(o.delivery, o.Open)
}

func (o request) trigger(context.Context) (any, error) {
	return nil, o.once(o.delivery, func() error { return o.Trigger(o.cmd.ID) })
}

func (o request) rows(context.Context) (any, error) {
	w, err := wire.ParseWhitelistOperator(o.cmd.Body)
	if err != nil {
		return nil, err
	}
	selection, err := o.rowsOnce(o.delivery, w)
	if err != nil || selection == nil {
		return nil, err
	}
	return selection, nil
}

// serialData answers once the first item is on its way; with pauses between
// items it takes its time without holding up other commands.
func (o request) serialData(ctx context.Context) (any, error) {
	d, err := wire.ParseSerialData(o.cmd.Body)
	if err != nil {
		return nil, err
	}
	return nil, o.once(o.delivery, func() error {
		if len(d.SerialData) == 1 || d.Interval == 0 {
			return o.Serial(ctx, d)
		}
		first, rest := d, d
		first.SerialData, rest.SerialData = d.SerialData[:1], d.SerialData[1:]
		for _, item := range rest.SerialData {
			if item.SerialChannel >= len(o.serial) {
				return o.Serial(ctx, d) // refuses
			}
		}
		if err := o.Serial(ctx, first); err != nil {
			return err
		}
		o.background.Go(func() {
			select {
			case <-ctx.Done():
				return
			case <-time.After(time.Duration(d.Interval) * time.Millisecond):
			}
			if err := o.Serial(ctx, rest); err != nil {
				o.log.Warn("serial data was not sent to its end", "err", err)
			}
		})
		return nil
	})
}

func (o request) timestamp(context.Context) (any, error) {
	return payload{wire.NewTimestampReply(time.Now())}, nil
}

func (o request) setTime(context.Context) (any, error) {
	at, err := wire.ParseSetTime(o.cmd.Body, time.Local)
	if err != nil {
		return nil, err
	}
	return nil, o.once(o.delivery, func() error { return o.SetTime(at) })
}

// snapshot acknowledges; the picture follows as a message of its own.
func (o request) snapshot(ctx context.Context) (any, error) {
	if !o.vision.Status().Running {
		return nil, errNoVision
	}
	return nil, o.once(o.delivery, func() error {
		o.background.Go(func() {
			jpeg, err := o.Snapshot(ctx)
			if err != nil {
				o.log.Warn("a picture could not be taken", "err", err)
			}
			if len(jpeg) > wire.MaxMessage/4*3-1024 { // as base64 it would not fit
				o.log.Warn("a picture is too large to be sent", "bytes", len(jpeg))
				jpeg = nil
			}
			o.publishLive(wire.NameSnapshot, wire.NewSnapshot(o.cmd.ID, jpeg))
		})
		return nil
	})
}

// reboot has no answer when it is carried out.
func (o request) reboot(context.Context) (any, error) {
	err := o.once(o.delivery, o.Reboot)
	if err != nil {
		return nil, err
	}
	return silent, nil
}

func (o request) setLocks(context.Context) (any, error) {
	locks, err := wire.ParseIOLocks(o.cmd.Body)
	if err != nil {
		return nil, err
	}
	return nil, o.once(o.delivery, func() error { return o.Lock(locks) })
}

func (o request) getLocks(context.Context) (any, error) { return o.Locks(), nil }

func (o request) ioStatus(context.Context) (any, error) {
	q, err := wire.ParseIOStatus(o.cmd.Body)
	if err != nil {
		return nil, err
	}
	if q.Type == "output" {
		if q.GPIO > 3 {
			return nil, errcode.Param("gpio", "must be 0 to 3 for an output")
		}
		return wire.IOStatus{GPIO: q.GPIO, Status: bit(o.OutputOn(q.GPIO))}, nil
	}
	closed, known := o.InputClosed(q.GPIO)
	if !known {
		return nil, errcode.New(errcode.NotSupported, fmt.Sprintf("This board has no input %d; see /ports/inputs!", q.GPIO))
	}
	return wire.IOStatus{GPIO: q.GPIO, Status: bit(closed)}, nil
}

func (o request) voice(context.Context) (any, error) {
	v, err := wire.ParseVoice(o.cmd.Body)
	if err != nil {
		return nil, err
	}
	if err := o.once(o.delivery, func() error { return o.Speak(v) }); err != nil {
		return nil, err
	}
	return payload{struct {
		Type string `json:"type"`
	}{wire.TypeVoice}}, nil
}

// checkOffline tells how many results wait. They are sent anyway, with
// isoffline 1, as soon as the board is connected: nobody has to ask for them.
func (o request) checkOffline(context.Context) (any, error) {
	c, err := wire.ParseCheckOffline(o.cmd.Body)
	if err != nil {
		return nil, err
	}
	n, err := o.outbox.Waiting(o.account(), wire.NameIVSResult)
	if err != nil {
		return nil, err
	}
	r := wire.CheckOfflineReply{Enable: c.Enable, MaxCount: n}
	if n > 0 {
		r.MinID = o.outbox.Oldest()
	}
	if c.Enable == "push" {
		o.publishLive(wire.NameOfflineRecord, wire.Body{Body: wire.OfflineRecord{OfflineRecord: n}})
	}
	return r, nil
}

// tellWaiting tells a client that has just been reached how many results it
// will get late, if there are any.
func (b *Board) tellWaiting(account int64) {
	if b.outbox.Stats().Waiting == 0 {
		return
	}
	b.background.Go(func() { // it reads the whole outbox
		n, err := b.outbox.Waiting(account, wire.NameIVSResult)
		if err != nil {
			b.log.Error("the outbox cannot be read", "err", err)
			return
		}
		if n > 0 {
			b.publishLive(wire.NameOfflineRecord, wire.Body{Body: wire.OfflineRecord{OfflineRecord: n}})
		}
	})
}
