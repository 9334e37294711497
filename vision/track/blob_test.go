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
		v := NewVehicles(link.Lane{}, 10*time.Second)
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
		v := NewVehicles(link.Lane{}, 10*time.Second)
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

// What counts for plates counts for vehicles without: where they drive, which
// way, and how near they are.
func TestVehiclesWithoutPlateKeepToTheLane(t *testing.T) {
	line := []link.Fraction{{X: 0, Y: .7}, {X: 1, Y: .7}}
	loop := []link.Fraction{{X: .4, Y: .6}, {X: .6, Y: .6}, {X: .6, Y: .8}, {X: .4, Y: .8}}
	down := func(i int) [4]float64 { return [4]float64{.4, .1 + .02*float64(i), .6, .3 + .02*float64(i)} }
	up := func(i int) [4]float64 { return down(29 - i) }
	away := func(i int) [4]float64 { // out from under the camera: the picture's edge cuts it at first
		b := .02 * float64(i)
		return [4]float64{.3, .9 - b, .7, min(1, 1.4-b)}
	}
	stops := func(i int) [4]float64 { return away(min(i, 25)) }
	for what, c := range map[string]struct {
		lane link.Lane
		box  func(i int) [4]float64
		told int
	}{
		"any way":                     {link.Lane{}, up, 1},
		"the wanted way":              {link.Lane{Direction: link.DirectionDown}, down, 1},
		"another way":                 {link.Lane{Direction: link.DirectionDown}, up, 0},
		"away, and stops":             {link.Lane{Direction: link.DirectionDown}, stops, 0},
		"away, and stops, as wanted":  {link.Lane{Direction: link.DirectionUp}, stops, 1},
		"over the line":               {link.Lane{TriggerLine: line}, down, 1},
		"short of the line":           {link.Lane{TriggerLine: line}, func(i int) [4]float64 { return down(min(i, 15)) }, 0},
		"into the loop":               {link.Lane{Loop: loop}, down, 1},
		"beside the loop":             {link.Lane{Loop: loop}, func(i int) [4]float64 { b := down(i); return [4]float64{.1, b[1], .3, b[3]} }, 0},
		"near enough":                 {link.Lane{MinPlateWidth: .06}, down, 1},
		"too small for a plate to do": {link.Lane{MinPlateWidth: .1}, down, 0},
	} {
		for _, ends := range []bool{false, true} {
			needed, told := 0, 0
			v := NewVehicles(c.lane, 10*time.Second)
			take := func(n Note, ok bool) {
				if ok {
					told++
					n.Shot.Drop()
				}
			}
			never := func(int64) bool { return false }
			at := int64(time.Hour)
			for i := range 30 {
				at += int64(frame)
				take(v.Frame(Blob{At: at, Box: c.box(i), Share: .1, Shot: counted{&needed}}, never))
			}
			for range 20 {
				if at += int64(frame); !ends {
					take(v.Frame(Blob{At: at}, never))
				}
			}
			take(v.End(never))
			if told != c.told || needed != 0 {
				t.Errorf("%s, the film ends %v: told %d times, %d pictures are kept", what, ends, told, needed)
			}
		}
	}
}

// One that stopped short of the line is told when it goes on over it, and only
// then; a person who walks by meanwhile changes nothing.
func TestAVehicleWithoutPlateThatStops(t *testing.T) {
	needed, told := 0, 0
	v := NewVehicles(link.Lane{TriggerLine: []link.Fraction{{X: 0, Y: .7}, {X: 1, Y: .7}}}, 10*time.Second)
	at := int64(time.Hour)
	move := func(from, to int, share float64) int {
		for i := from; i < to+20; i++ {
			at += int64(frame)
			b := Blob{At: at, Shot: counted{&needed}}
			if i < to {
				y := .02 * float64(i)
				b.Box, b.Share = [4]float64{.4, y, .6, .3 + y}, share
			}
			if n, ok := v.Frame(b, func(int64) bool { return false }); ok {
				told++
				n.Shot.Drop()
			}
		}
		return told
	}
	if n := move(0, 15, .1); n != 0 {
		t.Error("told short of the line")
	}
	if n := move(15, 25, .1); n != 1 {
		t.Errorf("told %d times over the line", n)
	}
	move(0, 10, .01)
	if n := move(25, 35, .1); n != 1 || needed != 0 {
		t.Errorf("told %d times when it goes on, %d pictures are kept", n, needed)
	}
}
