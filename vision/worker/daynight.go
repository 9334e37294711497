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
	turning string // where the brightness has been pointing
	since   int64  // for how long, CLOCK_MONOTONIC ns
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

func newDayNight(program string, failed func(error)) *dayNight {
	return &dayNight{program: program, failed: failed, run: func(ctx context.Context, program, argument string) error {
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
	if to == "" || to == d.phase || at-d.since < int64(phaseLasts) {
		return
	}
	d.phase = to
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
