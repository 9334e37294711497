package barrier

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestSoftware(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewSoftware(2 * time.Second)
		defer s.Close()
		if s.Open() || s.Moving() || s.Pulses() != 0 {
			t.Error("a new barrier is not closed and still")
		}
		pulse := func() {
			if err := s.Pulse(RaiseOutput, time.Second); err != nil {
				t.Error(err)
			}
		}
		look := func(when string, on, open, moving bool) {
			t.Helper()
			synctest.Wait()
			if s.On(RaiseOutput) != on || s.Open() != open || s.Moving() != moving {
				t.Errorf("%s: on %v, open %v, moving %v; want %v, %v, %v", when, s.On(RaiseOutput), s.Open(), s.Moving(), on, open, moving)
			}
		}
		pulse()
		look("in the pulse", true, true, true)
		time.Sleep(700 * time.Millisecond)
		pulse() // prolongs
		time.Sleep(700 * time.Millisecond)
		look("in the prolonged pulse", true, true, true)
		time.Sleep(400 * time.Millisecond)
		look("after the pulse", false, true, false)
		time.Sleep(2 * time.Second)
		look("after its time", false, false, false)
		if s.Pulses() != 2 {
			t.Errorf("%d pulses", s.Pulses())
		}
		if err := s.Set(RaiseOutput, true); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Hour)
		look("held on", true, true, false)
		if err := s.Set(RaiseOutput, false); err != nil {
			t.Error(err)
		}
		time.Sleep(3 * time.Second)
		look("let go", false, false, false)
		if err := s.Pulse(1, time.Second); err != nil {
			t.Error(err)
		}
		look("another output", false, false, true)
		for _, output := range []int{-1, Outputs} {
			if s.Pulse(output, time.Second) == nil || s.Set(output, true) == nil {
				t.Errorf("output %d is taken", output)
			}
		}
	})
}
