package board

import (
	"fmt"
	"strings"

	"gatehouse/sync/wire"
)

// Periphery is the state of what hangs on the board, for people and scripts.
type Periphery struct {
	Serial  []SerialStatus `json:"serial"`  // by channel
	Inputs  []string       `json:"inputs"`  // open, closed or unknown
	Locks   []wire.IOLock  `json:"locks"`   // of all outputs
	Waiting int            `json:"waiting"` // results stored for HTTP push
}

// SerialStatus is the state of a serial port.
type SerialStatus struct {
	Open  bool   `json:"open"`
	Error string `json:"error"` // why not
}

func (b *Board) peripheryStatus() Periphery {
	s := Periphery{Serial: []SerialStatus{}, Inputs: []string{}, Locks: actions{Board: b}.Locks()}
	for _, port := range b.serial {
		open, err := port.Open()
		status := SerialStatus{Open: open}
		if err != nil {
			status.Error = err.Error()
		}
		s.Serial = append(s.Serial, status)
	}
	for n := range b.config().Ports.Inputs {
		state := "open"
		switch closed, known := b.inputs.Closed(n); {
		case !known:
			state = "unknown"
		case closed:
			state = "closed"
		}
		s.Inputs = append(s.Inputs, state)
	}
	if p := b.push.Load(); p != nil {
		s.Waiting = p.Waiting()
	}
	return s
}

// Problems says what of it does not work or keeps the gate from working.
func (p Periphery) Problems() (list []string) {
	for channel, s := range p.Serial {
		if !s.Open && s.Error != "" {
			list = append(list, fmt.Sprintf("serial channel %d: %s", channel, s.Error))
		}
	}
	for n, state := range p.Inputs {
		if state == "unknown" {
			list = append(list, fmt.Sprintf("input %d is not known", n))
		}
	}
	for _, l := range p.Locks {
		if l.Status != 0 {
			list = append(list, fmt.Sprintf("output %d is locked %s by a client", l.IOOut, map[int]string{1: "on", 2: "off"}[l.Status]))
		}
	}
	if p.Waiting > 0 {
		list = append(list, fmt.Sprintf("%d results wait for the servers of HTTP push", p.Waiting))
	}
	return list
}

// String says it in words.
func (p Periphery) String() string {
	if problems := p.Problems(); len(problems) > 0 {
		return strings.Join(problems, "; ")
	}
	return fmt.Sprintf("%d serial ports, %d inputs, no lock", len(p.Serial), len(p.Inputs))
}
