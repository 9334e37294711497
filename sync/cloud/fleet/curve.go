package fleet

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// sample is how many boards are online at a moment.
type sample struct {
	at       time.Duration
	online   int64
	connects int64 // so far
}

// watch samples until all boards are online and prints the curve.
func (t *trial) watch(ctx context.Context, what string, began time.Time) error {
	total := int64(t.o.Boards)
	first := t.connects.Load()
	var curve []sample
	err := t.until(ctx, func() bool {
		s := sample{time.Since(began), t.online.Load(), t.connects.Load() - first}
		curve = append(curve, s)
		return s.online == total
	}, func() string { return fmt.Sprintf("%s: %d of %d online", what, t.online.Load(), total) })
	t.say("%s: 95 %% after %s, all after %s", what, reached(curve, total*95/100), reached(curve, total))
	for _, line := range chart(curve, total) {
		t.say("%s", line)
	}
	return err
}

// reached is when so many were online for good.
func reached(curve []sample, n int64) string {
	at := -1
	for i, s := range curve {
		switch {
		case s.online < n:
			at = -1
		case at < 0:
			at = i
		}
	}
	if at < 0 {
		return "never"
	}
	return round(curve[at].at).String()
}

// chart draws a curve in at most 20 lines.
func chart(curve []sample, total int64) (lines []string) {
	if len(curve) == 0 {
		return nil
	}
	const most = 20
	step := (len(curve) + most - 1) / most
	previous := sample{}
	for i := step - 1; ; i += step {
		i = min(i, len(curve)-1)
		s := curve[i]
		rate := 0.0
		if d := (s.at - previous.at).Seconds(); d > 0 {
			rate = float64(s.connects-previous.connects) / d
		}
		lines = append(lines, fmt.Sprintf("  %7s %6d online %6.0f connects/s %s", round(s.at), s.online, rate, strings.Repeat("#", int(s.online*40/max(total, 1)))))
		previous = s
		if i == len(curve)-1 {
			return lines
		}
	}
}
