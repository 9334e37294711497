package plate

import (
	"image"
	"image/color"
	"slices"
	"testing"
	"time"

	"gocv.io/x/gocv"

	"gatehouse/vision/plate/quad"
)

// An empty frame of a camera has one look, the next one the other; a plate is
// followed by close looks, and the whole frame is looked at now and then, but not
// as long as PP-OCR reads, unless that goes on.
func TestFramesTakeTurns(t *testing.T) {
	f := openFinder(t)
	f.turns.follows, f.turns.fast = true, true
	empty := gocv.NewMatWithSizeFromScalar(gocv.NewScalar(90, 90, 90, 0), 720, 1280, gocv.MatTypeCV8UC3)
	defer empty.Close() //nolint:errcheck // a Mat's Close always returns nil
	small, _ := sign("ABC1234")
	defer small.Close() //nolint:errcheck // as above
	car := func(left int) gocv.Mat {
		m := gocv.NewMat()
		gocv.CopyMakeBorder(small, &m, 240, 240, left, 1280-small.Cols()-left, gocv.BorderConstant, color.RGBA{R: 90, G: 90, B: 90})
		t.Cleanup(func() { _ = m.Close() })
		return m
	}
	here, further, elsewhere := car(480), car(500), car(40)
	const near, far, closely = "near", "far", "close"
	for i, c := range []struct {
		picture gocv.Mat
		rest    bool
		found   int
		looks   []string
	}{
		{empty, true, 0, []string{near}},
		{empty, true, 0, []string{far}},
		{empty, true, 0, []string{near}},
		{here, true, 1, []string{far}},
		{here, false, 1, []string{closely}},
		{further, true, 1, []string{closely}},
		{here, true, 1, []string{near}},
		{here, false, 1, []string{closely}},
		{here, false, 1, []string{closely}},
		{here, false, 1, []string{closely}},
		{here, false, 1, []string{closely}},
		{here, false, 1, []string{closely}},
		{here, false, 1, []string{far}},
		{elsewhere, true, 1, []string{near, closely}},
		{empty, true, 0, []string{far, closely}},
		{empty, true, 0, []string{near}},
		{empty, true, 0, []string{far}},
	} {
		views := map[string]*view{near: f.near[wide], far: f.far[wide], closely: f.turns.beside}
		for _, v := range views {
			v.used = image.Point{}
		}
		f.turns.rest = c.rest
		found, err := f.find(c.picture, false)
		if err != nil || len(found) != c.found {
			t.Errorf("frame %d: %v %v", i, found, err)
		}
		var looks []string
		for _, name := range []string{near, far, closely} {
			if views[name].used != (image.Point{}) {
				looks = append(looks, name)
			}
		}
		if !slices.Equal(looks, c.looks) {
			t.Errorf("frame %d: it was looked at %v, not %v", i, looks, c.looks)
		}
	}
}

// The frames of a camera share their looks where they come fast or nothing moves,
// and nothing is left of another film or camera, or of a single picture.
func TestFollow(t *testing.T) {
	r, err := OpenWith("", Options{Readers: ReadSmall})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	small, _ := sign("ABC1234")
	defer small.Close() //nolint:errcheck // a Mat's Close always returns nil
	picture := gocv.NewMat()
	defer picture.Close() //nolint:errcheck // as above
	gocv.CopyMakeBorder(small, &picture, 240, 240, 480, 480, gocv.BorderConstant, color.RGBA{R: 90, G: 90, B: 90})
	tall := gocv.NewMat()
	defer tall.Close() //nolint:errcheck // as above
	gocv.CopyMakeBorder(small, &tall, 700, 300, 200, 200, gocv.BorderConstant, color.RGBA{R: 90, G: 90, B: 90})
	const frame = time.Second / 15
	now := time.Hour
	for i, c := range []struct {
		later   time.Duration
		idle    bool
		picture gocv.Mat
		forget  bool
		whole   bool // a whole look, not only one beside the plate
	}{
		{0, false, picture, false, true},
		{frame, false, picture, false, false},
		{frame, false, picture, false, false},
		{frame, false, picture, false, true}, // the third
		{frame, false, picture, false, false},
		{200 * time.Millisecond, false, picture, false, true}, // slowly
		{frame, false, picture, false, false},
		{5 * time.Second, true, picture, false, true}, // idle
		{frame, true, picture, false, true},
		{frame, false, picture, false, false},
		{0, false, picture, false, true}, // not later: another film
		{frame, false, picture, false, false},
		{-time.Minute, false, picture, false, true}, // earlier: another one
		{frame, false, picture, false, false},
		{frame, false, picture, true, true},
		{frame, false, picture, false, false},
		{frame, false, tall, false, true}, // nothing is where it was
		{frame, false, tall, false, false},
	} {
		if c.forget {
			r.Forget()
		}
		views := []*view{r.find.near[wide], r.find.near[upright], r.find.far[wide], r.find.far[upright]}
		for _, v := range views {
			v.used = image.Point{}
		}
		now += c.later
		plates, _, err := r.Follow(c.picture, int64(now), c.idle)
		if err != nil || len(plates) != 1 {
			t.Errorf("frame %d: %+v, %v", i, plates, err)
		}
		if whole := slices.ContainsFunc(views, func(v *view) bool { return v.used != image.Point{} }); whole != c.whole {
			t.Errorf("frame %d: it was looked at whole: %v", i, whole)
		}
		if i%4 == 0 { // a picture that stands alone, between frames
			if plates, _, err := r.Recognize(tall, true); err != nil || len(plates) != 1 {
				t.Errorf("after frame %d: %+v, %v", i, plates, err)
			}
		}
	}
}

// The close look is around the plate, in the picture and in its input's shape.
func TestNeighbourhood(t *testing.T) {
	for name, c := range map[string]struct {
		q    quad.Quad
		want image.Rectangle
	}{
		"in the middle": {quad.Quad{{X: 600, Y: 300}, {X: 700, Y: 300}, {X: 700, Y: 330}, {X: 600, Y: 330}}, image.Rect(450, 190, 850, 440)},
		"at the corner": {quad.Quad{{X: 0, Y: 0}, {X: 100, Y: 0}, {X: 100, Y: 30}, {X: 0, Y: 30}}, image.Rect(0, 0, 400, 250)},
		"beyond it":     {quad.Quad{{X: 1250, Y: 710}, {X: 1350, Y: 710}, {X: 1350, Y: 740}, {X: 1250, Y: 740}}, image.Rect(880, 470, 1280, 720)},
		"very large":    {quad.Quad{{X: 100, Y: 100}, {X: 1100, Y: 100}, {X: 1100, Y: 400}, {X: 100, Y: 400}}, image.Rect(0, 0, 1280, 720)},
	} {
		if got := neighbourhood(c.q, image.Pt(1280, 720)); got != c.want {
			t.Errorf("%s: %v, not %v", name, got, c.want)
		}
	}
}
