package lines

import (
	"fmt"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
	"periph.io/x/conn/v3/gpio"
)

// Output is a line that is driven, from its first Out on. It is safe for
// concurrent use.
//
// It stays this process's line until the process ends: one that is given back
// may float, and a relay with it. That is why periph's lines are not used: they
// make a line an output first and give it its level after that, so that for a
// moment the kernel drives it low, and they do not ask again for a line that
// another program held or that failed.
type Output struct {
	at    place
	ioctl func(fd int, request uint, arg unsafe.Pointer) error

	mu sync.Mutex
	fd int // of the line, -1 while this process does not have it
}

// place is where a line is.
type place struct {
	chip   string // device of the chip
	number uint32
}

func newOutput(at place) *Output { return &Output{at: at, ioctl: ioctl, fd: -1} }

func ioctl(fd int, request uint, arg unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(request), uintptr(arg)); errno != 0 {
		return errno
	}
	return nil
}

// Out drives the line. After a failure the line is asked for anew.
func (o *Output) Out(l gpio.Level) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	var err error
	if o.fd < 0 {
		err = o.request(bits(l))
	} else if err = o.ioctl(o.fd, unix.GPIO_V2_LINE_SET_VALUES_IOCTL, unsafe.Pointer(&lineValues{bits: bits(l), mask: 1})); err != nil {
		o.drop()
	}
	if err != nil {
		return fmt.Errorf("cannot drive line %d of %s: %w", o.at.number, o.at.chip, err)
	}
	return nil
}

func bits(l gpio.Level) uint64 {
	if l {
		return 1
	}
	return 0
}

// request asks the kernel for the line, as an output that has its level from
// the start. The caller holds mu.
func (o *Output) request(bits uint64) error {
	chip, err := unix.Open(o.at.chip, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(chip)
	r := lineRequest{lines: 1, flags: flagOutput, attributes: 1}
	r.offsets[0] = o.at.number
	r.attribute[0] = lineAttribute{id: unix.GPIO_V2_LINE_ATTR_ID_OUTPUT_VALUES, value: bits, mask: 1}
	copy(r.consumer[:], "gatehouse")
	if err := o.ioctl(chip, unix.GPIO_V2_GET_LINE_IOCTL, unsafe.Pointer(&r)); err != nil {
		return err
	}
	o.fd = int(r.fd)
	return nil
}

// drop gives the line back. The caller holds mu.
func (o *Output) drop() {
	if o.fd >= 0 {
		_ = unix.Close(o.fd)
		o.fd = -1
	}
}

// flagOutput, lineRequest, lineAttribute and lineValues are the kernel's
// GPIO_V2_LINE_FLAG_OUTPUT, struct gpio_v2_line_request with the config in it,
// gpio_v2_line_config_attribute and gpio_v2_line_values (include/uapi/linux/gpio.h).
const flagOutput = 1 << 3

type lineRequest struct {
	offsets    [64]uint32
	consumer   [32]byte
	flags      uint64
	attributes uint32
	_          [5]uint32
	attribute  [10]lineAttribute
	lines      uint32
	_          uint32 // size of the event buffer
	_          [5]uint32
	fd         int32
}

type lineAttribute struct {
	id    uint32
	_     uint32
	value uint64
	mask  uint64
}

type lineValues struct{ bits, mask uint64 }
