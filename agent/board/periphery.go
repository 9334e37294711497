package board

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"gatehouse/configs"
	"gatehouse/hal/barrier"
	"gatehouse/hal/input"
	"gatehouse/hal/serial"
	"gatehouse/hal/speaker"
	"gatehouse/sync/outbox"
	"gatehouse/sync/wire"
	"gatehouse/vision/link"
)

// periphery is what hangs on the board beside camera and barrier, and what
// its clients need.
type periphery struct {
	serial   []*serial.Port // by channel
	inputs   ioLines
	wired    []part // what may not be there: inputs, the barrier's lines
	speaker  *speaker.Speaker
	setClock func(time.Time) error

	snapshots  snapshots
	uplink     uplink
	background sync.WaitGroup // what goes on behind a command's back

	locking  sync.Mutex // one lockOutput at a time
	restored bool       // the outputs are as restoreLocks makes them

	pressing sync.Mutex
	pressed  map[int]*time.Timer // inputs that have just closed; guarded by pressing
}

// openPeriphery opens what the config names.
func (b *Board) openPeriphery(c configs.Ports) error {
	b.setClock, b.pressed = setClock, map[int]*time.Timer{}
	if err := b.restoreLocks(c.KeepLocks); err != nil {
		return err
	}
	for channel, s := range c.Serial {
		port, err := serial.New(serial.Options{Path: s.Path, Baud: s.Baud, DataBits: s.DataBits, Parity: s.Parity, StopBits: s.StopBits, RS485: s.RS485,
			OnData: func(data []byte) { b.received(channel, data) }, Log: b.log})
		if err != nil {
			return err
		}
		b.serial = append(b.serial, port)
	}
	if len(c.Speaker) > 0 {
		var err error
		if b.speaker, err = speaker.New(c.Speaker, b.log); err != nil {
			return err
		}
	}
	return nil
}

// inputParts are the inputs that the config names.
func (b *Board) inputParts(c configs.Ports) []part {
	if len(c.Inputs) == 0 {
		return nil
	}
	open := func() error {
		found, err := input.Open(c.Inputs, b.inputOptions(c))
		if err != nil {
			return fmt.Errorf("%w (/ports/inputs)", err)
		}
		b.inputs.Store(found)
		return nil
	}
	return []part{{"inputs", open, b.runInputs}}
}

func (b *Board) runInputs(ctx context.Context) error {
	b.inputs.Load().Run(ctx)
	return nil
}

func (b *Board) inputOptions(c configs.Ports) input.Options {
	return input.Options{ActiveLow: c.ActiveLow, Debounce: time.Duration(c.Debounce), OnChange: b.onInput}
}

// closePeriphery closes what openPeriphery opened.
func (b *Board) closePeriphery() {
	for _, p := range b.serial {
		p.Close()
	}
	if b.speaker != nil {
		b.speaker.Close()
	}
	b.pressing.Lock()
	for _, t := range b.pressed {
		t.Stop()
	}
	b.pressing.Unlock()
	b.background.Wait()
	b.noteCalm()
}

// watchPeriphery watches inputs and barrier until ctx ends.
func (b *Board) watchPeriphery(ctx context.Context) {
	var wait sync.WaitGroup
	wait.Go(func() { b.runEach(ctx, b.wired) })
	wait.Go(func() { b.watchBarrier(ctx) })
	wait.Wait()
}

// onInput is told of each change of an input. Loop coils trigger a
// recognition; everybody is told.
func (b *Board) onInput(n int, closed bool) {
	if closed && slices.Contains(b.config().Lane.TriggerInputs, n) {
		if err := b.vision.TriggerBy(wire.NewID(), link.TriggerInput); err != nil {
			b.log.Warn("an input could not trigger a recognition", "input", n, "err", err)
		}
	}
	within := time.Duration(b.config().Ports.PulseWithin)
	if within <= 0 {
		b.tellInput(n, bit(closed))
		return
	}
	b.pressing.Lock()
	defer b.pressing.Unlock()
	timer := b.pressed[n]
	switch {
	case closed:
		b.pressed[n] = time.AfterFunc(within, func() {
			b.pressing.Lock()
			mine := b.pressed[n] != nil
			delete(b.pressed, n)
			b.pressing.Unlock()
			if mine {
				b.tellInput(n, wire.InputClosed)
			}
		})
	case timer != nil && timer.Stop():
		delete(b.pressed, n)
		b.tellInput(n, wire.InputPulse)
	default:
		b.tellInput(n, wire.InputOpen)
	}
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

// tellInput reports an input's change.
func (b *Board) tellInput(n, value int) {
	m := wire.NewGPIOIn(b.state.SN(), b.config().Device.Name, localIP(), n, value)
	if p := b.push.Load(); p != nil {
		p.Input(m)
	}
	if t := b.tcp.Load(); t != nil {
		t.Input(n, value)
	}
	b.report(wire.NameGPIOIn, wire.Body{Body: m})
}

// received passes on what a serial port received. It is a channel of bytes and
// no event: while nobody is connected it is dropped, as a wire would.
func (b *Board) received(channel int, data []byte) {
	m := wire.NewSerialUp(b.state.SN(), b.config().Device.Name, localIP(), channel, data)
	if p := b.push.Load(); p != nil {
		p.Received(m)
	}
	if t := b.tcp.Load(); t != nil {
		t.Received(channel, data)
	}
	b.publishLive(wire.NameSerialData, wire.Body{Body: m})
}

// report keeps an event about the board itself for delivery. A parking system
// on a plain broker has no use for an old input or barrier state, and no way
// to tell it from a new one: without an account what happens offline is not
// kept.
func (b *Board) report(name string, m any) {
	account := b.account()
	if account == 0 && !b.uplink.up() {
		return
	}
	payload, err := json.Marshal(m)
	if err == nil {
		_, err = b.outbox.Put(context.Background(), outbox.Event{Name: name, Payload: payload, Account: account})
	}
	if err != nil {
		b.log.Error("an event could not be stored", "name", name, "err", err)
	}
}

// barrierLook is how often the barrier's position is looked at.
const barrierLook = 200 * time.Millisecond

// watchBarrier reports the barrier's position when it changes, where it is
// known: from end switches, else from the driver. Whether the outputs are
// reached is reported when it changes, in any case.
func (b *Board) watchBarrier(ctx context.Context) {
	tick := time.NewTicker(barrierLook)
	defer tick.Stop()
	last, reached := -1, true
	for {
		now, known := b.gateStatus()
		if !known {
			now = wire.GateBetween
		}
		if connected := b.barrier.Fault() == nil; known && now != last || connected != reached {
			last, reached = now, connected
			b.report(wire.NameBarrierStatus, wire.Body{Body: wire.BarrierStatus{GateStatus: now, ConnectStatus: bit(connected), Enable: 1}})
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// gateStatus is the barrier's position in the vendor's numbers.
func (b *Board) gateStatus() (status int, known bool) {
	c := b.config().Ports
	open, hasOpen := b.inputs.Closed(c.OpenInput)
	closed, hasClosed := b.inputs.Closed(c.ClosedInput)
	switch {
	case hasOpen && open && !(hasClosed && closed):
		return wire.GateOpen, true
	case hasClosed && closed && !(hasOpen && open):
		return wire.GateClosed, true
	case hasOpen || hasClosed: // no switch is reached, or a broken one both
		return wire.GateBetween, true
	}
	switch b.barrier.Position() {
	case barrier.Opened:
		return wire.GateOpen, true
	case barrier.Closed:
		return wire.GateClosed, true
	}
	return 0, false
}
