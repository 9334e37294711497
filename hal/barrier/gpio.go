package barrier

import (
	"fmt"

	"periph.io/x/conn/v3/gpio"

	"gatehouse/hal/lines"
)

// NewGPIO makes a switch of GPIO lines by the kernel's character device. Names
// are the outputs in order, each "gpiochip0/17" or a line's name; an empty one
// is an output that the board does not have. A line becomes an output when it
// is first switched, at once with the level that it is to have.
func NewGPIO(names []string, activeLow bool) (Switch, error) {
	if len(names) > Outputs {
		return nil, fmt.Errorf("cannot use GPIO: there are %d lines for %d outputs", len(names), Outputs)
	}
	g := &gpioSwitch{activeLow: activeLow}
	for i, name := range names {
		if name == "" {
			continue
		}
		line, err := lines.FindOutput(name)
		if err != nil {
			return nil, err
		}
		g.pins[i] = line
	}
	return g, nil
}

// pin is a line that is driven; a *lines.Output, or a pin of gpiotest's.
type pin interface{ Out(gpio.Level) error }

type gpioSwitch struct {
	pins      [Outputs]pin
	activeLow bool
}

func (g *gpioSwitch) Switch(output int, on bool) error {
	pin := g.pins[output]
	if pin == nil {
		return fmt.Errorf("%w: no GPIO line is configured for it (/barrier/gpio/lines/%d)", ErrNoOutput, output)
	}
	return pin.Out(gpio.Level(on != g.activeLow))
}

func (g *gpioSwitch) Position() Position { return Unknown }

// Close leaves the lines at their level, and this process's.
func (g *gpioSwitch) Close() error { return nil }
