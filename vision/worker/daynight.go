package main

import (
	"context"
	"fmt"
	"os/exec"
	"sync"
	"time"
)

// dayNight calls a program when the light changes for good, so that it can
// switch lamps, an infrared filter or the camera's profile. The program gets
// one argument, day or night, and no more than a minute.
type dayNight struct {
	program string
	failed  func(error)
	run     func(ctx context.Context, program, argument string) error

	phase   string // day or night; empty: not known yet
	began   int64  // when it did, CLOCK_MONOTONIC ns
	turning string // where the brightness has been pointing
	since   int64  // for how long
	hold    time.Duration
	calls   sync.WaitGroup
	busy    sync.Mutex // one call after the other
}

// Levels of the picture's mean brightness, chosen by hand: between them nothing
// changes, and lamps of a passing car do not last long enough.
const (
	nightBelow = 45
	dayAbove   = 75
	phaseLasts = 10 * time.Second
)

// A lamp that night has switched on makes the picture bright, which is not the
// day: where it is dark again soon after, the next night lasts twice as long
// before the day is believed, up to mostHold.
const (
	firstHold = time.Minute
	mostHold  = 2 * time.Hour
	soon      = 5 * time.Minute
)

func newDayNight(program string, failed func(error)) *dayNight {
	return &dayNight{program: program, hold: firstHold, failed: failed, run: func(ctx context.Context, program, argument string) error {
		return exec.CommandContext(ctx, program, argument).Run()
	}}
}

// see takes a frame's mean brightness, 0 to 255.
func (d *dayNight) see(brightness float64, at int64) {
	to := d.turning
	switch {
	case brightness < nightBelow:
		to = "night"
	case brightness > dayAbove:
		to = "day"
	case d.phase != "":
		to = d.phase
	}
	if to != d.turning {
		d.turning, d.since = to, at
	}
	if to == "" || to == d.phase || at-d.since < int64(phaseLasts) || d.phase == "night" && at-d.began < int64(d.hold) {
		return
	}
	if to == "night" {
		if d.phase == "day" && at-d.began < int64(soon) {
			d.hold = min(2*d.hold, mostHold)
		} else {
			d.hold = firstHold
		}
	}
	d.phase, d.began = to, at
	d.calls.Go(func() {
		d.busy.Lock()
		defer d.busy.Unlock()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := d.run(ctx, d.program, to); err != nil {
			d.failed(fmt.Errorf("cannot switch to %s with %s: %w", to, d.program, err))
		}
	})
}

// close waits for calls that go on.
func (d *dayNight) close() { d.calls.Wait() }
