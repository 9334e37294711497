// Package serial passes bytes through the board's serial ports: to screen and
// voice cards, card readers and the like, whose protocols are their users'.
//
// A port is opened when it is first needed and anew after a failure, so that a
// USB adapter may come and go. Bytes that arrive close together are handed on
// together. What is written goes out in order, in one piece per Write.
//
// Not protected: bytes that arrive while the port is being opened anew are
// lost, and a Write that fails may have been sent in part.
package serial

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	bug "go.bug.st/serial"
	"golang.org/x/sys/unix"
)

// Options are how a port is set.
type Options struct {
	Path     string // e.g. /dev/ttyS1
	Baud     int
	DataBits int    // 5–8
	Parity   string // none, odd, even
	StopBits int    // 1, 2
	RS485    bool   // let the kernel's driver switch between sending and receiving
	// OnData is given what was received, from one goroutine. It may keep b.
	OnData func(b []byte)
	Log    *slog.Logger
}

// Times and sizes of a port.
const (
	gap       = 20 * time.Millisecond // silence that ends a frame
	most      = 1024                  // bytes handed on at one time
	writeWait = 3 * time.Second       // how long a Write may take
	reopen    = time.Second           // between two attempts to open
)

// Port is safe for concurrent use.
type Port struct {
	o    Options
	stop chan struct{}
	done sync.WaitGroup

	writing sync.Mutex // one Write at a time
	stuck   chan error // of a write that was left behind, or nil; writing is held

	mu   sync.Mutex
	port *device // nil while it is not open
	err  error   // why
}

// device is an open port. It is closed when it was dropped and nobody uses it
// any more: the number of its descriptor may then be that of another file, and
// go.bug.st/serial's Write would write there. Port.mu guards it.
type device struct {
	bug.Port
	users   int
	dropped bool
}

var parities = map[string]bug.Parity{"none": bug.NoParity, "odd": bug.OddParity, "even": bug.EvenParity}
var stopBits = map[int]bug.StopBits{1: bug.OneStopBit, 2: bug.TwoStopBits}

// New makes a port and begins to read it; Close ends that.
func New(o Options) (*Port, error) {
	if _, ok := parities[o.Parity]; !ok {
		return nil, fmt.Errorf("cannot use %s: there is no parity %q (none, odd, even)", o.Path, o.Parity)
	}
	if _, ok := stopBits[o.StopBits]; !ok {
		return nil, fmt.Errorf("cannot use %s: there are 1 or 2 stop bits, not %d", o.Path, o.StopBits)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	p := &Port{o: o, stop: make(chan struct{})}
	p.done.Go(p.read)
	return p, nil
}

// Close closes the port. A write that the device does not take is left behind, and
// the descriptor with it until then.
func (p *Port) Close() error {
	close(p.stop)
	p.drop(nil)
	p.done.Wait()
	return nil
}

// Open reports whether the port is open, and why not.
func (p *Port) Open() (bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.port != nil, p.err
}

// Write sends b in one piece. A port that takes no data is an error after
// three seconds, and then at once until the device took what it was given: a
// blocked write cannot be interrupted (go.bug.st/serial #150).
func (p *Port) Write(ctx context.Context, b []byte) error {
	p.writing.Lock()
	defer p.writing.Unlock()
	if p.stuck != nil {
		select {
		case <-p.stuck:
			p.stuck = nil
		default:
			return p.fail(errors.New("it takes no data"))
		}
	}
	port, err := p.open()
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- p.send(port, b) }()
	timer := time.NewTimer(writeWait)
	defer timer.Stop()
	select {
	case err := <-done:
		if err != nil {
			return p.fail(err)
		}
		return nil
	case <-timer.C:
		err = errors.New("it takes no data")
	case <-ctx.Done():
		err = ctx.Err()
	case <-p.stop:
		err = errors.New("it is being closed")
	}
	p.stuck = done
	return p.fail(err)
}

// send writes b to a port that was opened for it.
func (p *Port) send(port *device, b []byte) error {
	defer p.release(port)
	for len(b) > 0 {
		n, err := port.Write(b)
		if b = b[max(n, 0):]; err != nil || n <= 0 {
			p.drop(port)
			return errors.Join(err, unsent(len(b)))
		}
	}
	return nil
}

// unsent is an error if n bytes are left.
func unsent(n int) error {
	if n == 0 {
		return nil
	}
	return fmt.Errorf("%d bytes were not sent", n)
}

func (p *Port) fail(err error) error { return fmt.Errorf("cannot write to %s: %w", p.o.Path, err) }

// open gives the port, opening it if it is not; release gives it back.
func (p *Port) open() (*device, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.stop:
		return nil, fmt.Errorf("cannot open %s: it is being closed", p.o.Path)
	default:
	}
	if p.port != nil {
		p.port.users++
		return p.port, nil
	}
	if p.o.RS485 {
		if p.err = setRS485(p.o.Path); p.err != nil {
			return nil, p.err
		}
	}
	port, err := bug.Open(p.o.Path, &bug.Mode{BaudRate: p.o.Baud, DataBits: p.o.DataBits, Parity: parities[p.o.Parity], StopBits: stopBits[p.o.StopBits]})
	if err == nil {
		if err = port.SetReadTimeout(gap); err != nil {
			port.Close()
		}
	}
	if err != nil {
		p.err = fmt.Errorf("cannot open %s: %w", p.o.Path, err)
		return nil, p.err
	}
	p.port, p.err = &device{Port: port, users: 1}, nil
	return p.port, nil
}

// release says that who opened the port uses it no more.
func (p *Port) release(d *device) {
	p.mu.Lock()
	defer p.mu.Unlock()
	d.users--
	d.closeUnused()
}

// drop has the port, or only if it still is which, closed by its last user; the
// next use opens it anew.
func (p *Port) drop(which *device) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.port == nil || which != nil && p.port != which {
		return
	}
	p.port.dropped = true
	p.port.closeUnused()
	p.port = nil
}

// closeUnused closes what was dropped and has no user. The caller holds mu.
func (d *device) closeUnused() {
	if d.dropped && d.users == 0 {
		d.Close()
	}
}

// holds reports whether the port was not dropped.
func (p *Port) holds(d *device) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !d.dropped
}

// read hands on what is received until the port is closed.
func (p *Port) read() {
	said := ""
	for !p.stopped() {
		port, err := p.open()
		if err != nil {
			if said != err.Error() { // once, not every second
				said = err.Error()
				p.o.Log.Warn("a serial port is not there", "err", err)
			}
			select {
			case <-p.stop:
			case <-time.After(reopen):
			}
			continue
		}
		said = ""
		err = p.frames(port)
		p.drop(port)
		p.release(port)
		if !p.stopped() {
			p.o.Log.Warn("a serial port failed and is opened anew", "path", p.o.Path, "err", err)
			select {
			case <-p.stop:
			case <-time.After(reopen):
			}
		}
	}
}

func (p *Port) stopped() bool {
	select {
	case <-p.stop:
		return true
	default:
		return false
	}
}

// frames collects bytes until the line is silent. A read that timed out is
// (0, nil).
func (p *Port) frames(port *device) error {
	part := make([]byte, most)
	var frame []byte
	for p.holds(port) {
		n, err := port.Read(part)
		frame = append(frame, part[:max(n, 0)]...)
		if len(frame) > 0 && (n == 0 || err != nil || len(frame) >= most) {
			if p.o.OnData != nil {
				p.o.OnData(frame)
			}
			frame = nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// setRS485 has the kernel's driver switch the line's direction. The setting
// stays with the device, so that the port can be opened after it.
func setRS485(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("cannot open %s: %w", path, err)
	}
	defer f.Close()
	if err := enableRS485(f); err != nil {
		return fmt.Errorf("cannot switch %s to RS-485: %w; its driver may not have it: turn rs485 off for an adapter that switches by itself", path, err)
	}
	return nil
}
