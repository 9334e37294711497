package serial

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// rs485 is the kernel's struct serial_rs485 (include/uapi/linux/serial.h).
type rs485 struct {
	flags       uint32
	delayBefore uint32 // ms
	delayAfter  uint32 // ms
	_           [5]uint32
}

// Of the kernel's struct serial_rs485 and its ioctl.
const (
	tiocsrs485   = 0x542f
	rs485Enabled = 1 << 0
	rtsOnSend    = 1 << 1
)

// enableRS485 sets the mode with the request-to-send line high while sending.
func enableRS485(f *os.File) error {
	mode := rs485{flags: rs485Enabled | rtsOnSend}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), tiocsrs485, uintptr(unsafe.Pointer(&mode))); errno != 0 {
		return errno
	}
	return nil
}
