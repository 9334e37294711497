package barrier

import (
	"fmt"
	"strconv"
	"strings"

	"periph.io/x/conn/v3/driver/driverreg"
	"periph.io/x/conn/v3/gpio"
	"periph.io/x/host/v3/gpioioctl"
)

// NewGPIO makes a switch of GPIO lines by the kernel's character device. Lines
// are the outputs in order, each "gpiochip0/17" or a line's name; an empty one
// is an output that the board does not have. A line becomes an output when it
// is first switched.
func NewGPIO(lines []string, activeLow bool) (Switch, error) {
	if _, err := driverreg.Init(); err != nil {
		return nil, fmt.Errorf("cannot use GPIO: %w", err)
	}
	g := &gpioSwitch{activeLow: activeLow}
	for i, name := range lines {
		if i >= Outputs {
			return nil, fmt.Errorf("cannot use GPIO: there are %d lines for %d outputs", len(lines), Outputs)
		}
		if name == "" {
			continue
		}
		pin := findLine(name)
		if pin == nil {
			return nil, fmt.Errorf("cannot use GPIO: there is no line %q (gpioinfo lists them)", name)
		}
		g.pins[i] = pin
	}
	return g, nil
}

func findLine(name string) gpio.PinOut {
	chip, number, both := strings.Cut(name, "/")
	for _, c := range gpioioctl.Chips {
		if both {
			n, err := strconv.Atoi(number)
			if err == nil && c.Name() == chip && n >= 0 && n < c.LineCount() {
				return c.ByNumber(n)
			}
		} else if l := c.ByName(name); l != nil {
			return l
		}
	}
	return nil
}

// gpioSwitch drives pins; tests give it gpiotest's.
type gpioSwitch struct {
	pins      [Outputs]gpio.PinOut
	activeLow bool
}

func (g *gpioSwitch) Switch(output int, on bool) error {
	pin := g.pins[output]
	if pin == nil {
		return fmt.Errorf("no GPIO line is configured for it (/barrier/gpio/lines/%d)", output)
	}
	return pin.Out(gpio.Level(on != g.activeLow))
}

func (g *gpioSwitch) Position() Position { return Unknown }

// Close leaves the lines at their level.
func (g *gpioSwitch) Close() error { return nil }
