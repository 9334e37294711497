package board

import "gatehouse/sync/wire"

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
