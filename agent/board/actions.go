package board

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"

	"gatehouse/hal/barrier"
	"gatehouse/hal/speaker"
	"gatehouse/sync/errcode"
	"gatehouse/sync/whitelist"
	"gatehouse/sync/wire"
)

// actions is what clients can have the board do. There is one implementation
// of each for all channels, MQTT, HTTP push and TCP; what a channel's clients
// may do is that channel's business, and so is that a command acts only once.
// All methods may be called from any goroutine.
type actions struct {
	*Board
	channel string // who asks, for the log
}

// Output switches an output: value 0 off, 1 on, 2 on and off again after pulse.
func (a actions) Output(output, value int, pulse time.Duration) error {
	err := a.gate.Command(output, value, pulse, time.Now())
	a.log.Info("a client switches an output", "channel", a.channel, "output", output, "value", value, "pulse", pulse, "err", err)
	if errors.Is(err, barrier.ErrLocked) {
		return errcode.Busy(err.Error())
	}
	return err
}

// Open raises the barrier for as long as the config says.
func (a actions) Open() error {
	return a.Output(barrier.RaiseOutput, 2, time.Duration(a.config().Barrier.Pulse))
}

// OutputOn tells an output's state.
func (a actions) OutputOn(output int) bool { return a.barrier.On(output) }

// InputClosed tells an input's state; known is false where there is none.
func (a actions) InputClosed(n int) (closed, known bool) { return a.inputs.Closed(n) }

// Lock locks and frees outputs, in order; it stops at the first that fails.
func (a actions) Lock(locks []wire.IOLock) error {
	for _, l := range locks {
		if err := a.lockOutput(l.IOOut, barrier.Lock(l.Status)); err != nil {
			return err
		}
		a.log.Info("a client locks an output", "channel", a.channel, "output", l.IOOut, "status", l.Status)
	}
	return nil
}

// Locks tells the locks of all outputs.
func (a actions) Locks() (list []wire.IOLock) {
	for output, l := range a.barrier.Locks() {
		list = append(list, wire.IOLock{IOOut: output, Status: int(l)})
	}
	return list
}

// Serial sends bytes to serial ports, in order, with a pause between two.
func (a actions) Serial(ctx context.Context, d wire.SerialData) error {
	if err := a.havePorts(d); err != nil { // all or none, as far as can be known before
		return err
	}
	for i, item := range d.SerialData {
		if i > 0 && d.Interval > 0 {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(time.Duration(d.Interval) * time.Millisecond):
			}
		}
		if err := a.serial[item.SerialChannel].Write(ctx, item.Data); err != nil {
			return err
		}
	}
	return nil
}

// havePorts refuses what is for a port that the board does not have.
func (a actions) havePorts(d wire.SerialData) error {
	for _, item := range d.SerialData {
		if item.SerialChannel >= len(a.serial) {
			return errcode.New(errcode.NotSupported, fmt.Sprintf("This board has no serial channel %d; see /ports/serial!", item.SerialChannel))
		}
	}
	return nil
}

// Speak speaks a text.
func (a actions) Speak(v wire.Voice) error {
	if a.speaker == nil {
		return errcode.New(errcode.NotSupported, "This board has no speaker; see /ports/speaker!")
	}
	return a.speaker.Say(speaker.Speech{Text: v.VoiceData, Volume: v.VoiceVolume, Female: v.VoiceMale == 1})
}

// Trigger has the camera's picture recognised now; the result follows.
func (a actions) Trigger(id string) error {
	if !a.config().Lane.Software {
		return errcode.New(errcode.NotSupported, "Triggers by clients are switched off on this board (lane.software)!")
	}
	if err := a.vision.Trigger(id); err != nil {
		return errNoVision
	}
	return nil
}

var errNoVision = errcode.New(errcode.RequestFailed, "The vision process does not run; is a camera configured?")

// Rows carries out a row command of the vendor's. Selected rows are nil for
// the other commands.
func (a actions) Rows(w wire.WhitelistOperator) (*whitelist.Selection, error) {
	if !a.config().Gate.RowCommands {
		return nil, errcode.New(errcode.NotSupported, "Row commands are switched off on this board!")
	}
	return a.state.Whitelist.Operate(w)
}

// SetTime sets the board's clock.
func (a actions) SetTime(at time.Time) error {
	if !a.config().Ports.SetTime {
		return errcode.New(errcode.NotSupported, "Clients may not set this board's clock; see /ports/set_time!")
	}
	err := a.setClock(at)
	if errors.Is(err, unix.EPERM) {
		return errcode.New(errcode.NotSupported, "The agent may not set the clock; it lacks CAP_SYS_TIME!")
	}
	a.log.Warn("a client sets the clock", "channel", a.channel, "to", at, "err", err)
	return err
}

// setClock is the kernel's; tests replace it on a Board.
func setClock(at time.Time) error {
	t := unix.NsecToTimespec(at.UnixNano())
	return unix.ClockSettime(unix.CLOCK_REALTIME, &t)
}

// Reboot restarts the board, unless the barrier moves.
func (a actions) Reboot() error {
	command := a.config().Ports.Reboot
	if len(command) == 0 {
		return errcode.New(errcode.NotSupported, "Clients may not restart this board; see /ports/reboot!")
	}
	if a.barrier.Moving() {
		return errcode.Busy("The barrier is moving; try again when it stands!")
	}
	a.log.Warn("a client restarts the board", "channel", a.channel)
	cmd := exec.Command(command[0], command[1:]...)
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("cannot restart the board: %w", err)
	}
	a.background.Go(func() {
		if err := cmd.Wait(); err != nil {
			a.log.Error("the board was not restarted", "err", err)
		}
	})
	return nil
}
