package input_test

import (
	"context"
	"reflect"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"gatehouse/hal/input"
	"gatehouse/hal/input/inputtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type change struct {
	input  int
	closed bool
}

// A bouncing contact is one change, a level at the start is none, and a line
// that is not there is not known.
func TestChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var seen []change
		a, b := &inputtest.Line{}, &inputtest.Line{}
		b.Set(true)
		in, err := input.New([]input.Line{a, nil, b}, input.Options{Debounce: 20 * time.Millisecond, OnChange: func(n int, closed bool) {
			mu.Lock()
			seen = append(seen, change{n, closed})
			mu.Unlock()
		}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		var wait sync.WaitGroup
		wait.Go(func() { in.Run(ctx) })
		time.Sleep(time.Second)
		for range 5 { // bounces, and ends closed
			a.Set(true)
			time.Sleep(3 * time.Millisecond)
			a.Set(false)
			time.Sleep(3 * time.Millisecond)
		}
		a.Set(true)
		time.Sleep(time.Second)
		a.Set(false)
		time.Sleep(5 * time.Millisecond) // too short to count
		a.Set(true)
		time.Sleep(time.Second)
		b.Set(false)
		time.Sleep(time.Second)
		cancel()
		wait.Wait()
		if want := []change{{0, true}, {2, false}}; !reflect.DeepEqual(seen, want) {
			t.Errorf("%v, want %v", seen, want)
		}
		if closed, known := in.Closed(0); !closed || !known {
			t.Error("input 0 is not closed")
		}
		if _, known := in.Closed(1); known {
			t.Error("an input that is not there is known")
		}
	})
}

// A line that fails is not known, is no change, and is asked in peace.
func TestALineThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		line := &inputtest.Line{}
		line.Set(true)
		in, err := input.New([]input.Line{line}, input.Options{ActiveLow: true, Debounce: time.Millisecond,
			OnChange: func(n int, closed bool) { t.Errorf("input %d: closed %v", n, closed) }})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		var wait sync.WaitGroup
		wait.Go(func() { in.Run(ctx) })
		look := func(when string, want bool) {
			t.Helper()
			time.Sleep(time.Second)
			if closed, known := in.Closed(0); closed || known != want {
				t.Errorf("%s: closed %v, known %v", when, closed, known)
			}
		}
		look("open", true)
		line.Fail(true)
		look("failed", false)
		before := line.Waits()
		time.Sleep(10 * time.Second)
		if n := line.Waits() - before; n > 100 {
			t.Errorf("it was asked %d times in ten seconds", n)
		}
		line.Fail(false)
		look("works again", true)
		line.Fail(true)
		cancel()
		wait.Wait()
	})
}

func TestActiveLowAndNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in, err := input.New([]input.Line{&inputtest.Line{}}, input.Options{ActiveLow: true, Debounce: time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		in.Run(ctx)
		if closed, known := in.Closed(0); !closed || !known {
			t.Error("a low line is not closed with ActiveLow")
		}
	})
	var none *input.Inputs
	none.Run(context.Background())
	if _, known := none.Closed(0); known {
		t.Error("no inputs know one")
	}
	if _, err := input.New(make([]input.Line, 9), input.Options{}); err == nil {
		t.Error("nine inputs are taken")
	}
	if _, err := input.Open([]string{"no-such-line"}, input.Options{}); err == nil {
		t.Error("a line that is not there is found")
	}
}
