package track

import (
	"testing"
	"time"

	"gatehouse/vision/link"
)

func TestVehiclesWithoutPlate(t *testing.T) {
	for what, c := range map[string]struct {
		share  float64
		step   float64 // of the picture, a frame
		frames int
		plate  bool
		light  bool
		told   bool
	}{
		"a car":              {.15, .03, 20, false, false, true},
		"a car with a plate": {.15, .03, 20, true, false, false},
		"a cat":              {.02, .03, 20, false, false, false},
		"a curtain":          {.15, 0, 20, false, false, false},
		"a flash":            {.5, .2, 2, false, false, false},
		"the light":          {.9, .03, 20, false, true, false},
	} {
		needed, told := 0, 0
		v := NewVehicles(10 * time.Second)
		at := int64(time.Hour)
		drive := func(from float64) (end float64) {
			x := from
			for range c.frames {
				at += int64(frame)
				if _, ok := v.Frame(Blob{At: at, Box: [4]float64{x, .3, x + .3, .6}, Share: c.share, Light: c.light, Shot: counted{&needed}}, nil); ok {
					t.Errorf("%s: told before it is gone", what)
				}
				x += c.step
			}
			for range 30 {
				at += int64(frame)
				n, ok := v.Frame(Blob{At: at}, func(int64) bool { return c.plate })
				if ok {
					told++
					n.Shot.Drop()
					if n.Direction != link.DirectionRight || n.Plate.Text != "" || n.Begin == 0 {
						t.Errorf("%s: %+v", what, n)
					}
				}
			}
			return x
		}
		end := drive(0)
		if (told == 1) != c.told || needed != 0 {
			t.Errorf("%s: told %d times, %d pictures are kept", what, told, needed)
		}
		drive(end - .03) // it had only stopped
		if told > 1 {
			t.Errorf("%s: told again when it goes on", what)
		}
	}
}

// A body goes on moving when its plate has left the picture: that makes no
// second vehicle of it, however long it does. The next body, which shows no
// plate, is one.
func TestAPlateThatLeavesFirst(t *testing.T) {
	for _, tail := range []time.Duration{0, 500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second} {
		r := newRoad(t, link.Lane{})
		v := NewVehicles(10 * time.Second)
		step := func(b Blob, plates ...link.Plate) {
			r.see(plates...)
			b.At, b.Shot = r.at, counted{&r.needed}
			if n, ok := v.Frame(b, r.lane.Busy); ok {
				r.take([]Note{n})
			}
		}
		drive := func(top float64, frames, plates int) {
			for i := range frames {
				x := .01 * float64(i)
				b := Blob{Box: [4]float64{x, top, x + .3, top + .3}, Share: .15}
				if i < plates {
					step(b, plateAt("京A12345", .95, 100+int(x*width), 400, 120))
				} else {
					step(b)
				}
			}
			for range 40 {
				step(Blob{})
			}
		}
		drive(.6, 20+int(tail/frame), 20)
		drive(.1, 30, 0)
		expect(t, "a plate that leaves "+tail.String()+" before its car", r.told(), "quick 京A12345 0", "passage 京A12345 2", "passage  2")
	}
}
