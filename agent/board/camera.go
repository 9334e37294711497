package board

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"gatehouse/hal/barrier"
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

// cameraCommand carries out a command and gives the body of its answer, or nil.
type cameraCommand struct {
	do    func(request, context.Context) (any, error)
	allow string // what /mqtt/allow must have for it; "": nothing, or it looks by itself
}

// Words of /mqtt/allow that a command looks for by itself.
const (
	allowOpen         = "open"
	allowOutput       = "output"
	allowUnsignedRows = "unsigned_rows"
)

// cameraCommands are the vendor's commands by name (vendor-mqtt.md, section 5).
var cameraCommands = map[string]cameraCommand{
	wire.NameGPIOOut:      {request.gpioOut, ""},
	wire.NameGateOpen:     {request.gateOpen, allowOpen},
	wire.NameIVSTrigger:   {request.trigger, "trigger"},
	wire.NameWhitelist:    {request.rows, "rows"},
	wire.NameSerialData:   {request.serialData, "serial"},
	wire.NameTimestamp:    {request.timestamp, ""},
	wire.NameSetTime:      {request.setTime, "time"},
	wire.NameSnapshot:     {request.snapshot, "snapshot"},
	wire.NameReboot:       {request.reboot, "reboot"},
	wire.NameSetIOLock:    {request.setLocks, "lock"},
	wire.NameSetIOLockOld: {request.setLocks, "lock"},
	wire.NameGetIOLock:    {request.getLocks, ""},
	wire.NameGetIOStatus:  {request.ioStatus, ""},
	wire.NameVoice:        {request.voice, "speak"},
	wire.NameCheckOffline: {request.checkOffline, ""},
	wire.NameCloudCtrl:    {lacks("motor for lens or pan and tilt"), ""},
	wire.NameLCD:          {lacks("built-in screen; send the screen card's frames by serial_data"), ""},
	wire.NameSetOSS:       {lacks("object store that can be set by a client; see /delivery"), ""},
	wire.NameDeviceSet:    {lacks("settings of this kind; change its config"), ""},
	wire.NameEncryption:   {lacks("encryption of single plates; use a broker with TLS"), ""},
}

// camera carries out one of the vendor's commands.
func (b *Board) camera(ctx context.Context, d change.Delivery, cmd wire.Command) (any, error) {
	c, ok := cameraCommands[cmd.Name]
	if !ok {
		return nil, errcode.New(errcode.URLNotExist, "There is no command "+cmd.Name+"!")
	}
	if c.allow != "" {
		if err := b.allowed(c.allow); err != nil {
			return nil, err
		}
	}
	return c.do(request{actions{b, "mqtt"}, cmd, d}, ctx)
}

// allowed is why clients may not do this over MQTT, or nil.
func (b *Board) allowed(what string) error {
	if slices.Contains(b.config().MQTT.Allow, what) {
		return nil
	}
	return errcode.New(errcode.NotSupported, "Clients may not do this over MQTT; "+what+" is not in /mqtt/allow!")
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
	opens := out.IO == barrier.RaiseOutput && out.Value == 2 // as gate_direct_open does
	if err := o.allowed(allowOutput); err != nil && !(opens && o.allowed(allowOpen) == nil) {
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

// rows are not signed: where the account's policy asks for signed whitelists,
// they are read only.
func (o request) rows(context.Context) (any, error) {
	w, err := wire.ParseWhitelistOperator(o.cmd.Body)
	if err != nil {
		return nil, err
	}
	if w.OperatorType != wire.OperateSelect && o.allowed(allowUnsignedRows) != nil && o.trust("whitelist").Required {
		return nil, errcode.New(errcode.NotSupported, "The account's policy asks for signed whitelists, and "+allowUnsignedRows+" is not in /mqtt/allow!")
	}
	selection, err := o.rowsOnce(o.delivery, w)
	if err != nil || selection == nil {
		return nil, err
	}
	return selection, nil
}

// serialData answers once the first item is on its way, where there are pauses
// between items; the others follow behind the answer.
func (o request) serialData(ctx context.Context) (any, error) {
	d, err := wire.ParseSerialData(o.cmd.Body)
	if err != nil {
		return nil, err
	}
	if err := o.havePorts(d); err != nil {
		return nil, err
	}
	first, rest := d, d
	if len(d.SerialData) > 1 && d.Interval > 0 {
		first.SerialData, rest.SerialData = d.SerialData[:1], d.SerialData[1:]
	} else {
		rest.SerialData = nil
	}
	sent := false
	err = o.once(o.delivery, func() error {
		err := o.Serial(ctx, first)
		sent = err == nil
		return err
	})
	if !sent || len(rest.SerialData) == 0 {
		return nil, err
	}
	return behind{func() {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Duration(d.Interval) * time.Millisecond):
		}
		if err := o.Serial(ctx, rest); err != nil {
			o.log.Warn("serial data was not sent to its end", "err", err)
		}
	}}, nil
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
	n, oldest, err := o.outbox.Backlog(o.account(), wire.NameIVSResult)
	if err != nil {
		return nil, err
	}
	var first wire.IVSResult
	if n > 0 {
		if err := json.Unmarshal(oldest.Payload, &first); err != nil {
			return nil, err
		}
	}
	r := wire.CheckOfflineReply{Enable: c.Enable, MaxCount: n, MinID: first.AlarmInfoPlate.Result.PlateResult.RecordID}
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
		n, _, err := b.outbox.Backlog(account, wire.NameIVSResult)
		if err != nil {
			b.log.Error("the outbox cannot be read", "err", err)
			return
		}
		if n > 0 {
			b.publishLive(wire.NameOfflineRecord, wire.Body{Body: wire.OfflineRecord{OfflineRecord: n}})
		}
	})
}
