package configs

import (
	"fmt"
	"time"
)

// Ports are the board's serial ports, inputs and speaker, and what clients may
// do to the board itself.
type Ports struct {
	Serial      []SerialPort `json:"serial" doc:"serial ports that clients send bytes through, e.g. to screen and voice cards; the first is channel 0 (RS485-1), the second channel 1 (RS485-2 or RS232)" maxitems:"2" restart:"agent" pushed:"no"`
	Inputs      []string     `json:"inputs" doc:"digital inputs in order, the first is IN1: gpiochip0/17 or a line's name, empty for none" maxitems:"8" restart:"agent" pushed:"no"`
	ActiveLow   bool         `json:"active_low" doc:"an input is closed while its line is low" restart:"agent"`
	Debounce    Duration     `json:"debounce" doc:"how long an input must be steady before it counts" unit:"duration" min:"1ms" max:"1s" restart:"agent"`
	PulseWithin Duration     `json:"pulse_within" doc:"an input that closes and opens again within this time is told once, as a pulse; 0s: both changes are told" unit:"duration" min:"0s" max:"5s" restart:"agent"`
	OpenInput   int          `json:"open_input" doc:"number of the input of the barrier's upper end switch, from 0; -1: none" min:"-1" max:"7" restart:"agent"`
	ClosedInput int          `json:"closed_input" doc:"number of the input of the barrier's lower end switch, from 0; -1: none" min:"-1" max:"7" restart:"agent"`
	KeepLocks   bool         `json:"keep_locks" doc:"an output that a client locked on is locked on again after a restart: the barrier opens then; one that is locked off always stays locked" restart:"agent"`
	Speaker     []string     `json:"speaker" doc:"program and arguments that speak a text: {text}, {volume} (1-100) and {voice} (male, female) are replaced, without {text} it is the standard input; none: no speaker" maxitems:"32" restart:"agent" pushed:"no"`
	Reboot      []string     `json:"reboot" doc:"program and arguments that restart the board when a client sends reboot_dev; none: refused" maxitems:"8" restart:"none" pushed:"no"`
	SetTime     bool         `json:"set_time" doc:"let clients set the board's clock, on which whitelists depend; needs the right to do so (CAP_SYS_TIME)" restart:"none"`
}

// SerialPort is one serial port.
type SerialPort struct {
	Path     string `json:"path" doc:"the device, e.g. /dev/ttyS1" maxlen:"256"`
	Baud     int    `json:"baud" doc:"speed" unit:"bit/s" min:"300" max:"4000000"`
	DataBits int    `json:"data_bits" doc:"bits of a byte" min:"5" max:"8"`
	Parity   string `json:"parity" doc:"parity" enum:"none|odd|even"`
	StopBits int    `json:"stop_bits" doc:"stop bits" min:"1" max:"2"`
	RS485    bool   `json:"rs485" doc:"let the kernel's driver switch between sending and receiving; off for adapters that switch by themselves"`
}

func defaultPorts() Ports {
	return Ports{Serial: []SerialPort{}, Inputs: []string{}, Debounce: Duration(20 * time.Millisecond), OpenInput: -1, ClosedInput: -1,
		Speaker: []string{}, Reboot: []string{}}
}

// validate checks what the tags cannot say.
func (p Ports) validate() error {
	for i, s := range p.Serial {
		if s.Path == "" {
			return &ParamError{fmt.Sprintf("/ports/serial/%d/path", i), "must name a device, e.g. /dev/ttyS1"}
		}
		if i > 0 && s.Path == p.Serial[0].Path {
			return &ParamError{fmt.Sprintf("/ports/serial/%d/path", i), "is that of the first port"}
		}
	}
	for _, end := range []struct {
		name  string
		input int
	}{{"open_input", p.OpenInput}, {"closed_input", p.ClosedInput}} {
		if end.input >= len(p.Inputs) || end.input >= 0 && p.Inputs[end.input] == "" {
			return &ParamError{"/ports/" + end.name, "must be the number of an input in /ports/inputs, from 0, or -1"}
		}
	}
	if p.OpenInput >= 0 && p.OpenInput == p.ClosedInput {
		return &ParamError{"/ports/closed_input", "must differ from open_input"}
	}
	for _, c := range []struct {
		name    string
		command []string
	}{{"speaker", p.Speaker}, {"reboot", p.Reboot}} {
		if len(c.command) > 0 && c.command[0] == "" {
			return &ParamError{"/ports/" + c.name + "/0", "must name a program"}
		}
	}
	return nil
}
