package serial

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/creack/pty"
	bug "go.bug.st/serial"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// line gives a port on a pseudo-terminal and the device's side of it.
func line(t *testing.T, onData func([]byte)) (*Port, *os.File, string) {
	t.Helper()
	device, tty, err := pty.Open()
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	path := tty.Name()
	tty.Close()
	t.Cleanup(func() { device.Close() })
	p, err := New(Options{Path: path, Baud: 9600, DataBits: 8, Parity: "none", StopBits: 1, OnData: onData})
	if err != nil {
		t.Fatal(err)
	}
	return p, device, path
}

func TestBytesPassBothWays(t *testing.T) {
	got := make(chan []byte, 16)
	p, device, _ := line(t, func(b []byte) { got <- b })
	defer p.Close()
	sent := []byte{0, 0x64, 0xff, 0xff, 0x30, '\n', '\r', 3, 17, 19} // nothing is changed on the way
	if err := p.Write(context.Background(), sent); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 64)
	n, err := device.Read(b)
	if err != nil || !bytes.Equal(b[:n], sent) {
		t.Fatalf("% x, %v", b[:n], err)
	}
	// Two writes without a pause are one frame; after one they are two.
	for range 2 {
		if _, err := device.Write([]byte("ab")); err != nil {
			t.Fatal(err)
		}
	}
	var all []byte
	for len(all) < 4 {
		select {
		case b := <-got:
			all = append(all, b...)
		case <-time.After(10 * time.Second):
			t.Fatalf("only %q came", all)
		}
	}
	if string(all) != "abab" {
		t.Errorf("%q", all)
	}
	if open, err := p.Open(); !open || err != nil {
		t.Errorf("open %v, %v", open, err)
	}
}

// A device that takes nothing blocks nobody for long, and neither a second
// write nor closing.
func TestADeviceThatTakesNothing(t *testing.T) {
	p, device, _ := line(t, nil)
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	big := bytes.Repeat([]byte("x"), 1<<20) // more than a terminal holds
	if err := p.Write(ctx, big); err == nil {
		t.Fatal("a megabyte fits into a terminal")
	}
	begin := time.Now()
	if err := p.Write(context.Background(), []byte("y")); err == nil || !strings.Contains(err.Error(), "takes no data") {
		t.Errorf("the second write: %v", err)
	}
	if time.Since(begin) > 2*time.Second {
		t.Errorf("the second write waited for %s", time.Since(begin))
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	device.Close() // lets the write that was left behind end
}

// An adapter that is pulled out and put back is used again.
func TestAnAdapterComesBack(t *testing.T) {
	device, tty, err := pty.Open()
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	path := filepath.Join(t.TempDir(), "ttyUSB0")
	if err := os.Symlink(tty.Name(), path); err != nil {
		t.Fatal(err)
	}
	got := make(chan []byte, 16)
	p, err := New(Options{Path: path, Baud: 9600, DataBits: 8, Parity: "even", StopBits: 2, OnData: func(b []byte) { got <- b }})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	wait := func(want bool) {
		t.Helper()
		for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			if open, _ := p.Open(); open == want {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("open is not %v", want)
			}
		}
	}
	wait(true)
	os.Remove(path)
	tty.Close()
	device.Close()
	wait(false)
	if err := p.Write(context.Background(), []byte("x")); err == nil {
		t.Error("an adapter that is gone takes data")
	}
	device, tty, err = pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	defer tty.Close()
	if err := os.Symlink(tty.Name(), path); err != nil {
		t.Fatal(err)
	}
	wait(true)
	if _, err := device.Write([]byte("back")); err != nil {
		t.Fatal(err)
	}
	select {
	case b := <-got:
		if string(b) != "back" {
			t.Errorf("%q", b)
		}
	case <-time.After(10 * time.Second):
		t.Error("nothing came after the adapter did")
	}
}

// wire is an open port that takes a byte at a time, when it is told to.
type wire struct {
	bug.Port
	take   chan struct{}
	closed chan struct{}
	late   atomic.Bool // it was written to after it was closed
}

func (w *wire) Write([]byte) (int, error) {
	<-w.take
	select {
	case <-w.closed:
		w.late.Store(true)
	default:
	}
	return 1, nil
}

func (w *wire) Close() error {
	close(w.closed)
	return nil
}

// A port that fails while something is written to it is closed after that: its
// descriptor may be another file's then.
func TestAPortIsNotClosedUnderAWrite(t *testing.T) {
	for _, end := range []struct {
		name string
		do   func(*Port)
	}{
		{"the reader gives it up", func(p *Port) { p.drop(p.port) }},
		{"it is closed", func(p *Port) { p.Close() }},
	} {
		w := &wire{take: make(chan struct{}), closed: make(chan struct{})}
		p := &Port{stop: make(chan struct{}), port: &device{Port: w}}
		done := make(chan error)
		go func() { done <- p.Write(context.Background(), []byte("abc")) }()
		w.take <- struct{}{}
		end.do(p)
		if open, _ := p.Open(); open {
			t.Error(end.name, "and it is open")
		}
		for range 2 {
			w.take <- struct{}{}
		}
		<-done
		select {
		case <-w.closed:
		case <-time.After(10 * time.Second):
			t.Error(end.name, "and it is never closed")
		}
		if w.late.Load() {
			t.Error(end.name, "and what is left goes to a descriptor that was closed")
		}
	}
}

func TestWrongOptions(t *testing.T) {
	for _, o := range []Options{{Parity: "mark", StopBits: 1}, {Parity: "none", StopBits: 3}} {
		if _, err := New(o); err == nil {
			t.Errorf("%+v is taken", o)
		}
	}
	// A pseudo-terminal has no RS-485: the error says what to do.
	device, tty, err := pty.Open()
	if err != nil {
		t.Skip(err)
	}
	defer device.Close()
	defer tty.Close()
	if err := setRS485(tty.Name()); err == nil || !strings.Contains(err.Error(), "turn rs485 off") {
		t.Errorf("%v", err)
	}
	if err := setRS485("/nonexistent"); err == nil || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}
