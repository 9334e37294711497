// Package lines finds the board's GPIO lines by the kernel's character device.
// It only finds them: a line becomes an input or output when its user, the
// barrier or the inputs, makes it one.
package lines

import (
	"fmt"
	"strconv"
	"strings"

	"periph.io/x/conn/v3/driver/driverreg"
	"periph.io/x/host/v3/gpioioctl"
)

// Find gives the line called name: "gpiochip0/17", or a line's own name.
func Find(name string) (*gpioioctl.GPIOLine, error) {
	if _, err := driverreg.Init(); err != nil {
		return nil, fmt.Errorf("cannot use GPIO: %w", err)
	}
	chip, number, both := strings.Cut(name, "/")
	for _, c := range gpioioctl.Chips {
		if both {
			n, err := strconv.Atoi(number)
			if err == nil && c.Name() == chip && n >= 0 && n < c.LineCount() {
				return c.ByNumber(n), nil
			}
		} else if l := c.ByName(name); l != nil {
			return l, nil
		}
	}
	return nil, fmt.Errorf("cannot use GPIO: there is no line %q (gpioinfo lists them)", name)
}
