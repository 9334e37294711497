package barrier

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"go.bug.st/serial"
)

// Protocol is what a relay board on a serial line speaks.
type Protocol string

// The protocols. Modbus boards (RTU, function 5, coils 0 to 3) confirm each
// command; LCUS boards (A0 relay state sum) are silent, so a board that is
// gone is noticed only when its port is.
const (
	Modbus Protocol = "modbus"
	LCUS   Protocol = "lcus"
)

// SerialOptions are how a relay board is reached.
type SerialOptions struct {
	Port     string // e.g. /dev/ttyS1
	Baud     int
	Protocol Protocol
	Address  int // of a Modbus board, 1–247
}

// answerWait is how long a relay board may take to confirm.
const answerWait = 300 * time.Millisecond

// NewSerial makes a switch for a relay board. The port is opened at the first
// use, and anew after a failure: a board may be plugged in later.
func NewSerial(o SerialOptions) Switch { return &serialSwitch{o: o} }

type serialSwitch struct {
	o    SerialOptions
	port serial.Port
}

func (s *serialSwitch) Position() Position { return Unknown }

func (s *serialSwitch) Close() error {
	if s.port == nil {
		return nil
	}
	port := s.port
	s.port = nil
	return port.Close()
}

// Switch sends the command and, with Modbus, waits for its confirmation. It
// tries once more with the port opened anew, unless the board said that it has
// no such output.
func (s *serialSwitch) Switch(output int, on bool) error {
	err := s.try(output, on)
	if err != nil && !errors.Is(err, ErrNoOutput) {
		err = s.try(output, on)
	}
	return err
}

func (s *serialSwitch) try(output int, on bool) (err error) {
	defer func() {
		if err != nil {
			_ = s.Close() // the next try opens it anew
			err = fmt.Errorf("relay board at %s: %w", s.o.Port, err)
		}
	}()
	if s.port == nil {
		port, err := serial.Open(s.o.Port, &serial.Mode{BaudRate: s.o.Baud, DataBits: 8, Parity: serial.NoParity, StopBits: serial.OneStopBit})
		if err != nil {
			return err
		}
		s.port = port
	}
	if err := s.port.ResetInputBuffer(); err != nil { // what an earlier, late answer left
		return err
	}
	command := lcusCommand(output, on)
	if s.o.Protocol == Modbus {
		command = modbusCommand(byte(s.o.Address), output, on)
	}
	if err := s.write(command); err != nil {
		return err
	}
	if s.o.Protocol != Modbus {
		return nil
	}
	answer, err := s.read(len(command))
	if err != nil {
		return err
	}
	if exception(answer) == noAddress {
		return fmt.Errorf("%w: the relay board at address %d refuses coil %d", ErrNoOutput, s.o.Address, output)
	}
	if !bytes.Equal(answer, command) {
		return fmt.Errorf("it answered % x to % x", answer, command)
	}
	return nil
}

// write gives up on a port that takes nothing: its Write cannot be interrupted
// (go.bug.st/serial #150), so it is left behind with the port.
func (s *serialSwitch) write(b []byte) error {
	port := s.port
	done := make(chan error, 1)
	go func() {
		_, err := port.Write(b)
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-time.After(answerWait):
		return errors.New("it takes no data")
	}
}

// read collects n bytes, or the shorter exception; a time-out of the port is
// (0, nil).
func (s *serialSwitch) read(n int) ([]byte, error) {
	var got []byte
	part := make([]byte, 64)
	for end := time.Now().Add(answerWait); len(got) < n && exception(got) == 0; {
		left := time.Until(end)
		if left <= 0 {
			return got, errors.New("it does not answer; check cable, address and baud rate")
		}
		if err := s.port.SetReadTimeout(left); err != nil {
			return got, err
		}
		k, err := s.port.Read(part)
		if err != nil {
			return got, err
		}
		got = append(got, part[:k]...)
	}
	return got[:min(n, len(got))], nil
}

// modbusCommand is "write single coil" (Modbus Application Protocol 1.1b3, 6.5).
func modbusCommand(address byte, output int, on bool) []byte {
	b := []byte{address, 5, 0, byte(output), 0, 0}
	if on {
		b[4] = 0xff
	}
	return binary.LittleEndian.AppendUint16(b, modbusCRC(b))
}

// noAddress is Modbus's exception for a coil that the board does not have.
const noAddress = 2

// exception is the code with which a board refuses "write single coil", 0 if
// the answer is none (Modbus Application Protocol 1.1b3, 6.5 and 7).
func exception(answer []byte) byte {
	if len(answer) != 5 || answer[1] != 0x85 || modbusCRC(answer) != 0 {
		return 0
	}
	return answer[2]
}

// modbusCRC is CRC-16 with the polynomial 0xA001 (Modbus over Serial Line 1.02, 6.2.2).
func modbusCRC(b []byte) uint16 {
	crc := uint16(0xffff)
	for _, c := range b {
		crc ^= uint16(c)
		for range 8 {
			if crc&1 != 0 {
				crc = crc>>1 ^ 0xa001
			} else {
				crc >>= 1
			}
		}
	}
	return crc
}

// lcusCommand is for the small USB boards: start, relay from 1, state, sum.
func lcusCommand(output int, on bool) []byte {
	b := []byte{0xa0, byte(output + 1), 0}
	if on {
		b[2] = 1
	}
	return append(b, b[0]+b[1]+b[2])
}
