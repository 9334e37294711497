package lines

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
	"periph.io/x/conn/v3/gpio"
)

// kernel is a fake of the kernel's GPIO lines.
type kernel struct {
	t        *testing.T
	requests []lineRequest
	set      []uint64 // values after the request
	err      error    // of the next call
}

func (k *kernel) ioctl(fd int, request uint, arg unsafe.Pointer) error {
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil {
		k.t.Errorf("%x on a descriptor that is not open", request)
	}
	if err := k.err; err != nil {
		k.err = nil
		return err
	}
	switch request {
	case unix.GPIO_V2_GET_LINE_IOCTL:
		r := (*lineRequest)(arg)
		k.requests = append(k.requests, *r)
		line, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		r.fd = int32(line)
		return err
	case unix.GPIO_V2_LINE_SET_VALUES_IOCTL:
		v := (*lineValues)(arg)
		if v.mask != 1 {
			k.t.Errorf("mask %x", v.mask)
		}
		k.set = append(k.set, v.bits)
		return nil
	}
	k.t.Errorf("ioctl %x", request)
	return unix.ENOTTY
}

// A line has its level from the moment on at which it is an output, and is
// asked for again after a failure.
func TestOutput(t *testing.T) {
	chip := filepath.Join(t.TempDir(), "gpiochip0")
	k := &kernel{t: t}
	o := newOutput(place{chip, 17})
	o.ioctl = k.ioctl
	out := func(l gpio.Level, want error) {
		t.Helper()
		if err := o.Out(l); !errors.Is(err, want) || (err == nil) != (want == nil) {
			t.Errorf("%v, want %v", err, want)
		}
	}
	out(gpio.High, unix.ENOENT) // the chip comes later
	if err := os.WriteFile(chip, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	k.err = unix.EBUSY // another program has the line
	out(gpio.High, unix.EBUSY)
	out(gpio.High, nil)
	if len(k.set) > 0 {
		t.Error("the line had another level before")
	}
	out(gpio.Low, nil)
	k.err = unix.ENODEV
	line := o.fd
	out(gpio.High, unix.ENODEV)
	if _, err := unix.FcntlInt(uintptr(line), unix.F_GETFD, 0); err == nil {
		t.Error("a line that failed is kept")
	}
	out(gpio.Low, nil)
	out(gpio.High, nil)
	if want := []uint64{0, 1}; !reflect.DeepEqual(k.set, want) {
		t.Errorf("set to %v, want %v", k.set, want)
	}
	if len(k.requests) != 2 {
		t.Fatalf("asked for %d times", len(k.requests))
	}
	for i, r := range k.requests {
		want := lineAttribute{id: unix.GPIO_V2_LINE_ATTR_ID_OUTPUT_VALUES, value: uint64(1 - i), mask: 1}
		if r.offsets[0] != 17 || r.lines != 1 || r.flags != flagOutput || r.attributes != 1 || r.attribute[0] != want {
			t.Errorf("request %d: %+v", i, r)
		}
	}
	o.drop()
}

// The kernel's sizes are part of the numbers of its calls.
func TestTheKernelsSizes(t *testing.T) {
	for _, c := range []struct {
		request uint
		size    uintptr
	}{{unix.GPIO_V2_GET_LINE_IOCTL, unsafe.Sizeof(lineRequest{})}, {unix.GPIO_V2_LINE_SET_VALUES_IOCTL, unsafe.Sizeof(lineValues{})}} {
		if want := uintptr(c.request>>16) & (1<<14 - 1); c.size != want {
			t.Errorf("%d bytes, want %d", c.size, want)
		}
	}
	if at := unsafe.Offsetof(lineRequest{}.attribute); at != 64*4+32+8+4+5*4 {
		t.Errorf("the attributes are at %d", at)
	}
}

func TestNoSuchLine(t *testing.T) {
	if _, err := FindOutput("no such line"); err == nil {
		t.Error("an output that is not there is found")
	}
	if _, err := FindInput("gpiochip0/9999"); err == nil {
		t.Error("an input that is not there is found")
	}
}
