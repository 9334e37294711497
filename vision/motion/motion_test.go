package motion

import (
	"image"
	"math/rand/v2"
	"testing"
	"time"

	"gocv.io/x/gocv"

	"gatehouse/vision/link"
)

// world draws grey frames of 160×90 at 15 frames/s.
type world struct {
	g      *ground
	at     int64
	random *rand.Rand
	light  int
	noise  int
	leaves bool
}

func newWorld(region []link.Fraction, sensitivity int) *world {
	return &world{g: newGround(image.Pt(160, 90), region, sensitivity), at: int64(time.Hour), random: rand.New(rand.NewPCG(1, 2)), light: 100, noise: 4}
}

// frame draws a car's box where it is not empty.
func (w *world) frame(car image.Rectangle) Activity {
	pixels := make([]uint8, 160*90)
	for i := range pixels {
		x, y := i%160, i/160
		v := w.light + (x*7+y*13)%40
		if image.Pt(x, y).In(car) {
			v = w.light + 70 - (y-car.Min.Y)*2
		}
		if w.leaves && x < 30 && y < 30 {
			v += w.random.IntN(120) - 60
		}
		pixels[i] = uint8(max(0, min(255, v+w.random.IntN(2*w.noise+1)-w.noise)))
	}
	w.at += int64(time.Second) / 15
	return w.g.look(pixels, w.at)
}

// run gives how many of the frames within d move.
func (w *world) run(d time.Duration, car image.Rectangle) (moving, frames int) {
	for end := w.at + int64(d); w.at < end; frames++ {
		if w.frame(car).Moving {
			moving++
		}
	}
	return moving, frames
}

func quiet(t *testing.T, what string, w *world, car image.Rectangle) {
	t.Helper()
	if moving, frames := w.run(10*time.Second, car); moving > frames/100 {
		t.Errorf("%s: %d of %d frames move", what, moving, frames)
	}
}

func TestAnEmptyLaneIsQuiet(t *testing.T) {
	none := image.Rectangle{}
	for _, sensitivity := range []int{1, 50, 100} {
		w := newWorld(nil, sensitivity)
		if !w.frame(none).Moving {
			t.Error("the first frame does not move")
		}
		quiet(t, "an empty lane", w, none)
	}
	w := newWorld(nil, 50)
	w.frame(none)
	for _, light := range []int{180, 40, 60, 160} { // day, night, lamps, a jump of the exposure
		w.light = light
		w.run(4*time.Second, none)
		quiet(t, "after a change of light", w, none)
	}
	for range 600 { // dusk
		w.light = 160 - int(w.at/int64(time.Second)%40)/2
		w.frame(none)
	}
	w.leaves = true
	w.run(90*time.Second, none)
	quiet(t, "leaves in the wind, after a while", w, none)
}

func TestACarIsNoticedAndForgotten(t *testing.T) {
	w := newWorld(nil, 50)
	w.run(5*time.Second, image.Rectangle{})
	noticed := 0
	var blob Activity
	for i := range 30 {
		a := w.frame(image.Rect(20+3*i, 30, 60+3*i, 60))
		if a.Moving {
			noticed++
		}
		if a.BlobShare > blob.BlobShare {
			blob = a
		}
	}
	if noticed < 28 {
		t.Errorf("a car that passes is noticed in %d of 30 frames", noticed)
	}
	if blob.BlobShare < .04 || blob.Blob[1] < .25 || blob.Blob[3] > .75 || blob.Light {
		t.Errorf("%+v", blob)
	}
	parked := image.Rect(107, 30, 147, 60)
	w.run(6*time.Second, parked)
	quiet(t, "a car that is parked", w, parked)
	if moving, _ := w.run(time.Second, image.Rect(112, 30, 152, 60)); moving == 0 {
		t.Error("it drives off unnoticed")
	}
}

// Floodlights that go on and off, an infrared lamp, a lightning: whatever comes
// after whatever, it is looked at.
func TestLightOfAllKinds(t *testing.T) {
	w := newWorld(nil, 50)
	for i := range 600 {
		w.light = []int{0, 250, 20, 230, 100}[w.random.IntN(5)]
		w.noise = []int{1, 4, 60}[w.random.IntN(3)]
		if a := w.frame(image.Rectangle{}); a.Brightness < 0 || a.Brightness > 255 || a.Share < 0 || a.Share > 1 {
			t.Fatalf("frame %d: %+v", i, a)
		}
	}
	w.light, w.noise = 100, 4
	w.run(30*time.Second, image.Rectangle{})
	quiet(t, "when it is over", w, image.Rectangle{})
}

func TestOnlyTheRegionCounts(t *testing.T) {
	w := newWorld([]link.Fraction{{X: .5}, {X: 1}, {X: 1, Y: 1}, {X: .5, Y: 1}}, 50)
	w.run(5*time.Second, image.Rectangle{})
	moving := 0
	for i := range 20 {
		if w.frame(image.Rect(2*i, 30, 30+2*i, 60)).Moving {
			moving++
		}
	}
	if moving > 0 {
		t.Errorf("%d frames move beside the region", moving)
	}
	if moving, _ := w.run(time.Second, image.Rect(100, 30, 130, 60)); moving == 0 {
		t.Error("nothing moves in the region")
	}
}

func TestGateTakesWhatCamerasGive(t *testing.T) {
	g := NewGate(nil, 50)
	defer g.Close()
	empty := gocv.NewMat()
	defer empty.Close() //nolint:errcheck // a Mat's Close always returns nil
	if g.Look(empty, 1).Moving {
		t.Error("no picture moves")
	}
	at := int64(time.Hour)
	for _, c := range []struct {
		w, h int
		kind gocv.MatType
	}{{1280, 720, gocv.MatTypeCV8UC3}, {720, 1280, gocv.MatTypeCV8UC3}, {640, 480, gocv.MatTypeCV8UC1}, {16, 9, gocv.MatTypeCV8UC3}, {4000, 20, gocv.MatTypeCV8UC3}} {
		m := gocv.NewMatWithSizeFromScalar(gocv.NewScalar(90, 90, 90, 0), c.h, c.w, c.kind)
		for i := range 3 {
			at += int64(time.Second) / 15
			if a := g.Look(m, at); a.Moving != (i == 0) {
				t.Errorf("%d×%d, frame %d: %+v", c.w, c.h, i, a)
			}
		}
		_ = m.Close()
	}
}

// BenchmarkGate is what a frame of an empty lane costs beside its decoding.
func BenchmarkGate(b *testing.B) {
	g := NewGate(nil, 50)
	defer g.Close()
	m := gocv.NewMatWithSizeFromScalar(gocv.NewScalar(90, 90, 90, 0), 720, 1280, gocv.MatTypeCV8UC3)
	defer m.Close() //nolint:errcheck // a Mat's Close always returns nil
	at := int64(0)
	b.ReportAllocs()
	for b.Loop() {
		at += int64(time.Second) / 15
		g.Look(m, at)
	}
}
