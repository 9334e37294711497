// Package lines finds the board's GPIO lines by the kernel's character device,
// and drives those that are outputs. A line becomes an input or output when its
// user, the barrier or the inputs, makes it one.
package lines

import (
	"fmt"
	"strconv"
	"strings"
	"sync"

	"periph.io/x/conn/v3/driver/driverreg"
	"periph.io/x/host/v3/gpioioctl"
)

// outputs are the lines that were found as outputs.
var outputs = struct {
	sync.Mutex
	at map[place]*Output
}{at: map[place]*Output{}}

// FindInput gives the line called name, "gpiochip0/17" or a line's own name,
// for an input. A line that was an output is given back.
func FindInput(name string) (*gpioioctl.GPIOLine, error) {
	line, at, err := find(name)
	if err != nil {
		return nil, err
	}
	outputs.Lock()
	defer outputs.Unlock()
	if o := outputs.at[at]; o != nil {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.drop()
	}
	return line, nil
}

// FindOutput gives the line called name for an output. Of one line there is one
// Output. A line that was an input is given back.
func FindOutput(name string) (*Output, error) {
	line, at, err := find(name)
	if err != nil {
		return nil, err
	}
	line.Close()
	outputs.Lock()
	defer outputs.Unlock()
	if outputs.at[at] == nil {
		outputs.at[at] = newOutput(at)
	}
	return outputs.at[at], nil
}

func find(name string) (*gpioioctl.GPIOLine, place, error) {
	if _, err := driverreg.Init(); err != nil {
		return nil, place{}, fmt.Errorf("cannot use GPIO: %w", err)
	}
	chip, number, both := strings.Cut(name, "/")
	for _, c := range gpioioctl.Chips {
		var line *gpioioctl.GPIOLine
		if !both {
			line = c.ByName(name)
		} else if n, err := strconv.Atoi(number); err == nil && c.Name() == chip && n >= 0 && n < c.LineCount() {
			line = c.ByNumber(n)
		}
		if line != nil {
			return line, place{c.Path(), uint32(line.Number())}, nil
		}
	}
	return nil, place{}, fmt.Errorf("cannot use GPIO: there is no line %q (gpioinfo lists them)", name)
}
