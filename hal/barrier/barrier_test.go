package barrier

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/creack/pty"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
	"periph.io/x/conn/v3/gpio"
	"periph.io/x/conn/v3/gpio/gpiotest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Every driver does the same with its outputs.
func conform(t *testing.T, d Driver, on func(output int) bool) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	eventually := func(what string, output int, want bool) {
		t.Helper()
		for end := time.Now().Add(3 * time.Second); on(output) != want; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s: output %d stays %v", what, output, !want)
			}
		}
	}
	for o := range Outputs {
		if on(o) {
			t.Fatalf("output %d is on before anything was done", o)
		}
	}
	if d.Moving() {
		t.Error("a new driver moves")
	}
	must(d.Pulse(RaiseOutput, 400*time.Millisecond))
	eventually("pulse", RaiseOutput, true)
	if !d.Moving() || on(1) {
		t.Error("a pulse moves its own output only")
	}
	eventually("end of the pulse", RaiseOutput, false)
	must(d.Set(1, true))
	eventually("set", 1, true)
	must(d.Set(1, false))
	eventually("unset", 1, false)
	must(d.Pulse(2, time.Hour))
	eventually("long pulse", 2, true)
	must(d.Set(2, false)) // a command ends a pulse
	eventually("ended pulse", 2, false)
	if d.Moving() {
		t.Error("an ended pulse still moves")
	}
	for _, output := range []int{-1, Outputs} {
		if d.Pulse(output, time.Second) == nil || d.Set(output, true) == nil {
			t.Errorf("output %d is taken", output)
		}
	}
	must(d.Pulse(3, time.Hour))
	eventually("pulse before the end", 3, true)
	must(d.Close())
	eventually("closed driver", 3, false)
	if d.Pulse(0, time.Second) == nil {
		t.Error("a closed driver switches")
	}
}

func TestSoftwareConforms(t *testing.T) {
	s := NewSoftware(time.Minute)
	conform(t, s, s.On)
}

func TestSoftware(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewSoftware(2 * time.Second)
		defer s.Close()
		if s.Position() != Closed || s.Moving() || s.Raised() != 0 {
			t.Error("a new barrier is not closed and still")
		}
		pulse := func() {
			if err := s.Pulse(RaiseOutput, time.Second); err != nil {
				t.Error(err)
			}
		}
		look := func(when string, on bool, position Position, moving bool) {
			t.Helper()
			synctest.Wait()
			if s.On(RaiseOutput) != on || s.Position() != position || s.Moving() != moving {
				t.Errorf("%s: on %v, %v, moving %v; want %v, %v, %v", when, s.On(RaiseOutput), s.Position(), s.Moving(), on, position, moving)
			}
		}
		pulse()
		look("in the pulse", true, Opened, true)
		time.Sleep(700 * time.Millisecond)
		pulse() // prolongs
		time.Sleep(700 * time.Millisecond)
		look("in the prolonged pulse", true, Opened, true)
		time.Sleep(400 * time.Millisecond)
		look("after the pulse", false, Opened, false)
		time.Sleep(2 * time.Second)
		look("after its time", false, Closed, false)
		if s.Raised() != 2 {
			t.Errorf("raised %d times", s.Raised())
		}
		if err := s.Set(RaiseOutput, true); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Hour)
		look("held on", true, Opened, false)
		if err := s.Set(RaiseOutput, false); err != nil {
			t.Error(err)
		}
		time.Sleep(3 * time.Second)
		look("let go", false, Closed, false)
		if err := s.Pulse(1, time.Second); err != nil {
			t.Error(err)
		}
		look("another output", false, Closed, true)
	})
}

// sticky fails for a while when it is to switch off.
type sticky struct {
	model
	failures int
}

func (s *sticky) Switch(output int, on bool) error {
	if !on && s.failures > 0 {
		s.failures--
		return errors.New("no answer")
	}
	return s.model.Switch(output, on)
}

func TestAnOutputGoesOffHoweverLongItTakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRelays(&sticky{failures: 100})
		defer r.Close()
		if err := r.Pulse(0, time.Second); err != nil {
			t.Fatal(err)
		}
		time.Sleep(30 * time.Second)
		if !r.On(0) || !r.Moving() {
			t.Error("it gave up, or forgot that the output is on")
		}
		time.Sleep(30 * time.Second)
		if r.On(0) || r.Moving() {
			t.Error("the output is still on after the hardware works again")
		}
	})
}

// relayBoard is a fake relay board at the other end of a pseudo-terminal: it
// checks what it is sent as a real one does and answers as one.
type relayBoard struct {
	mu    sync.Mutex
	on    [Outputs]bool
	few   bool // has two relays only
	deaf  bool // answers nothing
	wrong bool // answers with an exception
	asked int  // how many commands came
	line  *os.File
}

func (b *relayBoard) isOn(output int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.on[output]
}

func (b *relayBoard) serve(p Protocol) {
	size := map[Protocol]int{Modbus: 8, LCUS: 4}[p]
	for frame := make([]byte, size); ; {
		if _, err := io.ReadFull(b.line, frame); err != nil {
			return
		}
		b.mu.Lock()
		answer := b.take(p, frame)
		b.mu.Unlock()
		if _, err := b.line.Write(answer); err != nil {
			return
		}
	}
}

func (b *relayBoard) take(p Protocol, f []byte) []byte {
	if p == LCUS {
		if f[0] == 0xa0 && f[3] == f[0]+f[1]+f[2] && f[1] >= 1 && f[1] <= Outputs {
			b.on[f[1]-1] = f[2] == 1
		}
		return nil
	}
	if b.deaf || f[0] != 1 || f[1] != 5 || modbusCRC(f[:6]) != uint16(f[6])|uint16(f[7])<<8 {
		return nil
	}
	b.asked++
	if b.wrong {
		return refusal(4) // its device failed
	}
	if b.few && f[3] > 1 {
		return refusal(noAddress)
	}
	b.on[f[3]] = f[4] == 0xff
	return slices.Clone(f)
}

func refusal(code byte) []byte {
	b := []byte{1, 0x85, code}
	return binary.LittleEndian.AppendUint16(b, modbusCRC(b))
}

// newRelayBoard starts a board and gives the port to reach it.
func newRelayBoard(t *testing.T, p Protocol) (*relayBoard, string) {
	t.Helper()
	line, tty, err := pty.Open()
	if err != nil {
		t.Skip("no pseudo-terminals here:", err)
	}
	// A terminal would echo and translate; a serial line does not.
	mode, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	mode.Iflag, mode.Oflag, mode.Lflag = 0, 0, 0
	if err := unix.IoctlSetTermios(int(tty.Fd()), unix.TCSETS, mode); err != nil {
		t.Fatal(err)
	}
	b := &relayBoard{line: line}
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.serve(p)
	}()
	t.Cleanup(func() {
		_ = tty.Close()
		_ = line.Close()
		<-done
	})
	return b, tty.Name()
}

func TestSerialConforms(t *testing.T) {
	for _, p := range []Protocol{Modbus, LCUS} {
		t.Run(string(p), func(t *testing.T) {
			b, port := newRelayBoard(t, p)
			conform(t, NewRelays(NewSerial(SerialOptions{Port: port, Baud: 9600, Protocol: p, Address: 1})), b.isOn)
		})
	}
}

func TestSerialBoardThatFails(t *testing.T) {
	b, port := newRelayBoard(t, Modbus)
	d := NewRelays(NewSerial(SerialOptions{Port: port, Baud: 9600, Protocol: Modbus, Address: 1}))
	set := func(deaf, wrong bool) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.deaf, b.wrong = deaf, wrong
	}
	if d.Fault() != nil {
		t.Error("there is a fault before anything was switched")
	}
	set(true, false)
	if err := d.Set(0, true); err == nil || d.Fault() == nil {
		t.Error("a board that does not answer counts as switched")
	}
	set(false, true)
	if err := d.Set(0, true); err == nil {
		t.Error("a board's exception counts as switched")
	}
	set(false, false)
	if err := d.Set(0, true); err != nil || !b.isOn(0) || d.Fault() != nil {
		t.Error("it does not recover:", err, d.Fault())
	}
	if d.Position() != Unknown {
		t.Error("relays know where the barrier is")
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	away := NewRelays(NewSerial(SerialOptions{Port: "/dev/ttyNONE", Baud: 9600, Protocol: Modbus, Address: 1}))
	if err := away.Set(0, true); err == nil {
		t.Error("a port that is not there counts as switched")
	}
	if away.Close() == nil {
		t.Error("an output that may be on counts as off")
	}
}

// A pulse on an output that the board does not have is refused, and that is
// all: nothing moves, nothing is tried again, and the others are switched.
func TestOutputsThatAreNotThere(t *testing.T) {
	b, port := newRelayBoard(t, Modbus)
	b.mu.Lock()
	b.few = true
	b.mu.Unlock()
	relays := NewRelays(NewSerial(SerialOptions{Port: port, Baud: 9600, Protocol: Modbus, Address: 1}))
	lines := NewRelays(&gpioSwitch{})
	for _, d := range []*Relays{relays, lines} {
		if err := d.Pulse(3, time.Millisecond); !errors.Is(err, ErrNoOutput) || d.Fault() != nil {
			t.Errorf("%v, fault %v", err, d.Fault())
		}
		if d.Moving() {
			t.Error("an output that is not there moves")
		}
	}
	b.mu.Lock()
	if b.asked != 1 {
		t.Errorf("the board was asked %d times", b.asked)
	}
	b.mu.Unlock()
	if err := relays.Set(1, true); err != nil || !b.isOn(1) {
		t.Error("the others are not switched:", err)
	}
	for _, d := range []*Relays{relays, lines} {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		if d.Pulse(0, time.Second) == nil || d.Moving() {
			t.Error("a closed driver takes a pulse or moves")
		}
	}
}

// moody is relays that fail while err is set; if lost, only their answer fails.
type moody struct {
	mu   sync.Mutex
	on   [Outputs]bool
	err  error
	lost bool
}

func (m *moody) fail(err error, lost bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err, m.lost = err, lost
}

func (m *moody) isOn(output int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.on[output]
}

func (m *moody) Switch(output int, on bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err == nil || m.lost {
		m.on[output] = on
	}
	return m.err
}

func (*moody) Position() Position { return Unknown }
func (*moody) Close() error       { return nil }

// A board that did not answer a pulse, and then says that it has no such
// output, is not asked for ever.
func TestABoardThatComesBackWithoutTheOutput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &moody{err: errors.New("no answer")}
		r := NewRelays(m)
		defer r.Close()
		if r.Pulse(3, time.Second) == nil || !r.Moving() {
			t.Error("a pulse that may have switched is forgotten")
		}
		m.fail(ErrNoOutput, false)
		time.Sleep(2 * time.Second)
		if r.Moving() {
			t.Error("it still moves")
		}
	})
}

// Whatever fails: an output that was not held on before goes off in the end.
func TestNoFailureLeavesAnOutputOn(t *testing.T) {
	gone := errors.New("no answer")
	pulse := func(d *Locks) error { return d.Pulse(0, time.Second) }
	for _, c := range []struct {
		name   string
		before func(*Locks) error
		do     func(*Locks) error
		lost   bool
		on     bool // in the end
	}{
		{"off in a pulse", pulse, func(d *Locks) error { return d.Set(0, false) }, false, false},
		{"held off in a pulse", pulse, func(d *Locks) error { return d.Lock(0, HeldOff) }, false, false},
		{"held on in a pulse", pulse, func(d *Locks) error { return d.Lock(0, HeldOn) }, true, false},
		{"on in a pulse", pulse, func(d *Locks) error { return d.Set(0, true) }, true, false},
		{"on", nil, func(d *Locks) error { return d.Set(0, true) }, true, false},
		{"held on", nil, func(d *Locks) error { return d.Lock(0, HeldOn) }, true, false},
		{"freed", func(d *Locks) error { return d.Lock(0, HeldOn) }, func(d *Locks) error { return d.Lock(0, Free) }, false, false},
		{"off", func(d *Locks) error { return d.Set(0, true) }, func(d *Locks) error { return d.Set(0, false) }, false, false},
		{"on while it is on", func(d *Locks) error { return d.Set(0, true) }, func(d *Locks) error { return d.Set(0, true) }, false, true},
		{"pulse while it is on", func(d *Locks) error { return d.Set(0, true) }, pulse, false, true},
		{"held on while it is on", func(d *Locks) error { return d.Set(0, true) }, func(d *Locks) error { return d.Lock(0, HeldOn) }, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := &moody{}
				d := NewLocks(NewRelays(m), true)
				if c.before != nil {
					if err := c.before(d); err != nil {
						t.Fatal(err)
					}
				}
				m.fail(gone, c.lost)
				if err := c.do(d); !errors.Is(err, gone) {
					t.Error(err)
				}
				time.Sleep(100 * time.Millisecond)
				m.fail(nil, false)
				time.Sleep(5 * time.Second)
				if m.isOn(0) != c.on || d.On(0) != c.on || d.Moving() {
					t.Errorf("on %v, taken for on %v, moving %v; want %v", m.isOn(0), d.On(0), d.Moving(), c.on)
				}
				if lock := d.Locks()[0]; lock == HeldOn {
					t.Error("it is taken for held on")
				}
				if err := d.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// A pulse that cannot be held on goes on as long as it was to.
func TestAFailedSetLeavesThePulseItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &moody{}
		r := NewRelays(m)
		defer r.Close()
		if err := r.Pulse(0, 10*time.Second); err != nil {
			t.Fatal(err)
		}
		m.fail(errors.New("no answer"), false)
		if r.Set(0, true) == nil {
			t.Error("hardware that fails counts as switched")
		}
		m.fail(nil, false)
		time.Sleep(9 * time.Second)
		if !m.isOn(0) {
			t.Error("the pulse ended early")
		}
		time.Sleep(2 * time.Second)
		if m.isOn(0) {
			t.Error("the pulse did not end")
		}
	})
}

// Of two pulses the one that ends later counts; an off ends both.
func TestAShortPulseEndsNoLongerOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &moody{}
		r := NewRelays(m)
		defer r.Close()
		pulse := func(d time.Duration) {
			t.Helper()
			if err := r.Pulse(0, d); err != nil {
				t.Fatal(err)
			}
		}
		after := func(d time.Duration, on bool) {
			t.Helper()
			time.Sleep(d)
			synctest.Wait()
			if m.isOn(0) != on || r.Moving() != on {
				t.Errorf("on %v, moving %v; want %v", m.isOn(0), r.Moving(), on)
			}
		}
		pulse(10 * time.Second)
		pulse(time.Second)
		after(9*time.Second, true)
		pulse(2 * time.Second)
		after(1900*time.Millisecond, true)
		after(200*time.Millisecond, false)
		// What the longer one was to be is forgotten with it, also if its end fails.
		pulse(time.Minute)
		m.fail(errors.New("no answer"), false)
		if r.Set(0, false) == nil {
			t.Error("hardware that fails counts as switched")
		}
		m.fail(nil, false)
		pulse(time.Second)
		after(1100*time.Millisecond, false)
	})
}

// Relays that were never reached do not move, so that a config that names the
// right ones can come; they are switched off as soon as they are reached.
func TestRelaysThatAreNotReachedDoNotMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &moody{err: errors.New("no answer"), lost: true}
		r := NewRelays(m)
		defer r.Close()
		if r.Set(1, false) == nil || r.Moving() {
			t.Error("an off that failed moves")
		}
		if r.Pulse(0, time.Second) == nil || !r.Moving() {
			t.Error("a pulse whose answer was lost does not move")
		}
		m.fail(errors.New("no answer"), false)
		time.Sleep(time.Minute)
		if r.Moving() || !m.isOn(0) {
			t.Errorf("moving %v, on %v after the pulse", r.Moving(), m.isOn(0))
		}
		m.fail(nil, false)
		time.Sleep(5 * time.Second)
		if m.isOn(0) {
			t.Error("it is reached again and stays on")
		}
	})
}

// The example of the Modbus specification, and the sum that LCUS boards print on their back.
func TestFrames(t *testing.T) {
	if got := modbusCommand(1, 0, true); !slices.Equal(got, []byte{1, 5, 0, 0, 0xff, 0, 0x8c, 0x3a}) {
		t.Errorf("% x", got)
	}
	if got := lcusCommand(0, true); !slices.Equal(got, []byte{0xa0, 1, 1, 0xa2}) {
		t.Errorf("% x", got)
	}
}

func TestGPIOConforms(t *testing.T) {
	for _, low := range []bool{false, true} {
		g := &gpioSwitch{activeLow: low}
		var pins [Outputs]*gpiotest.Pin
		for i := range pins {
			pins[i] = &gpiotest.Pin{N: "line", L: gpio.Level(low)}
			g.pins[i] = pins[i]
		}
		conform(t, NewRelays(g), func(output int) bool {
			pins[output].Lock()
			defer pins[output].Unlock()
			return bool(pins[output].L) != low
		})
	}
	none := NewRelays(&gpioSwitch{})
	if err := none.Set(0, true); !errors.Is(err, ErrNoOutput) || none.Fault() != nil {
		t.Errorf("an output without a line: %v, %v", err, none.Fault())
	}
	if _, err := NewGPIO([]string{"no such line"}, false); err == nil {
		t.Error("a line that is not there is taken")
	}
}
