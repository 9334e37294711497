package main

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"
)

func TestDayAndNightAreSwitchedOnce(t *testing.T) {
	var mu sync.Mutex
	var calls []string
	var failures []error
	d := newDayNight("/bin/lamp", func(err error) { failures = append(failures, err) })
	d.run = func(_ context.Context, program, argument string) error {
		mu.Lock()
		defer mu.Unlock()
		calls = append(calls, program+" "+argument)
		if argument == "night" {
			return errors.New("no lamp")
		}
		return nil
	}
	at := int64(time.Hour)
	for _, c := range []struct {
		light float64
		d     time.Duration
	}{{120, 20 * time.Second}, {60, time.Minute}, {20, 5 * time.Second}, {120, 2 * time.Second}, // dusk, and something dark before the camera
		{20, 30 * time.Second}, {60, time.Minute}, {140, 3 * time.Second}, {20, 30 * time.Second}, // night, and a car's lamps
		{100, time.Minute}} {
		for end := at + int64(c.d); at < end; at += int64(time.Second) / 5 {
			d.see(c.light, at)
		}
		d.close()
	}
	if want := []string{"/bin/lamp day", "/bin/lamp night", "/bin/lamp day"}; !slices.Equal(calls, want) || len(failures) != 1 {
		t.Errorf("%q, %v", calls, failures)
	}
}

// The lamp that night switches on makes the picture as bright as day.
func TestALampIsNotTheDay(t *testing.T) {
	d := newDayNight("/bin/lamp", nil)
	lamp, calls := false, 0
	d.run = func(_ context.Context, _, argument string) error {
		lamp = argument == "night"
		calls++
		return nil
	}
	second := 0
	light := func(hours int, dark bool) {
		for end := second + hours*3600; second < end; second++ {
			brightness := 120.
			if dark && !lamp {
				brightness = 20
			}
			d.see(brightness, int64(second)*int64(time.Second))
			d.close()
		}
	}
	light(6, false)
	calls = 0
	light(12, true)
	if calls > 30 {
		t.Errorf("%d switches in a night", calls)
	}
	light(4, false)
	if lamp {
		t.Error("the lamp is on by day")
	}
	light(1, true)
	if !lamp {
		t.Error("the lamp is off by night")
	}
}

func TestDayNightCallsAProgram(t *testing.T) {
	var failed error
	d := newDayNight("/nowhere/lamp", func(err error) { failed = err })
	d.see(120, 1)
	d.see(120, 1+int64(phaseLasts))
	d.close()
	if failed == nil {
		t.Error("a program that is not there is called in silence")
	}
}
