package board

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"reflect"
	"sync"
	"testing"
	"time"

	"gatehouse/configs"
	"gatehouse/hal/barrier"
	"gatehouse/hal/input"
	"gatehouse/hal/input/inputtest"
	"gatehouse/sync/wire"
)

// withInputs opens a bound board with two inputs that a test moves, and runs them.
func withInputs(t *testing.T, change func(*configs.Ports)) (*Board, [2]*inputtest.Line) {
	t.Helper()
	c := configs.Default()
	c.Ports.Debounce = configs.Duration(time.Millisecond)
	b, err := Open(c, t.TempDir(), "gatehouse-vision", "test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	c.Ports.Inputs = []string{"IN1", "IN2"} // lines of the test, not of this machine
	change(&c.Ports)
	b.current.Store(&c)
	if err := b.state.setBinding(Binding{Body: &wire.BindBody{AccountID: 7}}); err != nil {
		t.Fatal(err)
	}
	lines := [2]*inputtest.Line{{}, {}}
	inputs, err := input.New([]input.Line{lines[0], lines[1]}, b.inputOptions(c.Ports))
	if err != nil {
		t.Fatal(err)
	}
	b.inputs.Store(inputs)
	ctx, cancel := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	wait.Go(func() { inputs.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		wait.Wait()
		b.Close()
	})
	for _, known := b.inputs.Closed(1); !known; _, known = b.inputs.Closed(1) {
		time.Sleep(time.Millisecond)
	}
	return b, lines
}

// values are those of the inputs' changes in the outbox.
func values(t *testing.T, b *Board) (list []int) {
	t.Helper()
	events, err := b.outbox.List(100)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		var m struct{ Body wire.GPIOIn }
		if e.Name == wire.NameGPIOIn && json.Unmarshal(e.Payload, &m) == nil {
			list = append(list, m.Body.AlarmGioIn.Result.TriggerResult.Value)
		}
	}
	return list
}

// A short closing is told once, as a pulse; a long one as two changes.
func TestPulses(t *testing.T) {
	b, lines := withInputs(t, func(p *configs.Ports) { p.PulseWithin = configs.Duration(time.Hour) })
	until := func(want ...int) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); !reflect.DeepEqual(values(t, b), want); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%v, want %v", values(t, b), want)
			}
		}
	}
	settle := func(closed bool) {
		lines[0].Set(closed)
		for now, _ := b.inputs.Closed(0); now != closed; now, _ = b.inputs.Closed(0) {
			time.Sleep(time.Millisecond)
		}
	}
	for _, known := b.inputs.Closed(0); !known; _, known = b.inputs.Closed(0) {
		time.Sleep(time.Millisecond) // what it begins with is no change
	}
	settle(true)
	settle(false)
	until(wire.InputPulse)
	b.set(func(c *configs.Config) { c.Ports.PulseWithin = configs.Duration(50 * time.Millisecond) })
	settle(true)
	until(wire.InputPulse, wire.InputClosed) // after the time for a pulse
	settle(false)
	until(wire.InputPulse, wire.InputClosed, wire.InputOpen)
}

// End switches say where the barrier is, whatever the driver believes.
func TestEndSwitches(t *testing.T) {
	b, lines := withInputs(t, func(p *configs.Ports) { p.OpenInput, p.ClosedInput = 0, 1 })
	for _, c := range []struct {
		open, closed bool
		want         int
	}{{false, true, wire.GateClosed}, {false, false, wire.GateBetween}, {true, false, wire.GateOpen}, {true, true, wire.GateBetween}} {
		lines[0].Set(c.open)
		lines[1].Set(c.closed)
		for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
			if got, known := b.gateStatus(); known && got == c.want {
				break
			} else if time.Now().After(end) {
				t.Fatalf("open %v, closed %v: %d", c.open, c.closed, got)
			}
		}
	}
	c := *b.config()
	c.Ports.OpenInput, c.Ports.ClosedInput = -1, -1
	b.current.Store(&c)
	if got, known := b.gateStatus(); !known || got != wire.GateClosed {
		t.Errorf("without switches: %d, %v", got, known)
	}
}

// unplugged is a relay board whose cable comes and goes.
type unplugged struct{ err error }

func (u *unplugged) Switch(int, bool) error     { return u.err }
func (u *unplugged) Position() barrier.Position { return barrier.Unknown }
func (u *unplugged) Close() error               { return nil }

// An unplugged relay board is told, and that it is there again; so is nothing
// else of a barrier whose position is not known.
func TestTheBarriersConnectionIsTold(t *testing.T) {
	b := open(t, t.TempDir())
	relays := &unplugged{}
	b.barrier = barrier.NewLocks(barrier.NewRelays(relays), false)
	if err := b.state.setBinding(Binding{Body: &wire.BindBody{AccountID: 7}}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	wait.Go(func() { b.watchBarrier(ctx) })
	defer b.Close()
	defer wait.Wait()
	defer cancel()
	told := func() (list []wire.BarrierStatus) {
		events, err := b.outbox.List(100)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			var m struct{ Body wire.BarrierStatus }
			if e.Name == wire.NameBarrierStatus && json.Unmarshal(e.Payload, &m) == nil {
				list = append(list, m.Body)
			}
		}
		return list
	}
	lost := wire.BarrierStatus{GateStatus: wire.GateBetween, ConnectStatus: 0, Enable: 1}
	back := wire.BarrierStatus{GateStatus: wire.GateBetween, ConnectStatus: 1, Enable: 1}
	for _, c := range []struct {
		err   error
		fault bool // of the barrier, after it
		want  []wire.BarrierStatus
	}{
		{nil, false, nil},
		{barrier.ErrNoOutput, false, nil}, // says nothing of the others
		{errors.New("it does not answer"), true, []wire.BarrierStatus{lost}},
		{barrier.ErrNoOutput, true, []wire.BarrierStatus{lost}},
		{nil, false, []wire.BarrierStatus{lost, back}},
	} {
		relays.err = c.err
		if err := b.barrier.Set(1, true); (err == nil) != (c.err == nil) {
			t.Fatal(err)
		}
		if fault := b.barrier.Fault(); (fault != nil) != c.fault {
			t.Errorf("%v: the barrier's fault is %v", c.err, fault)
		}
		for end := time.Now().Add(20 * time.Second); len(told()) < len(c.want) && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		}
		if got := told(); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%v: %+v, want %+v", c.err, got, c.want)
		}
	}
}
