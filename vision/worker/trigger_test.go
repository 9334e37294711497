package main

import (
	"io"
	"testing"

	"gocv.io/x/gocv"

	"gatehouse/hal/camera"
	"gatehouse/vision/link"
)

// reel is a camera that gives its scenes one after the other, 15 a second.
type reel struct {
	camera.Camera
	frames []gocv.Mat
	n      int
	slow   bool // it keeps everyone waiting before each frame
	waited bool
}

func (f *reel) Next(m *gocv.Mat) (camera.Frame, error) {
	if f.n == len(f.frames) {
		return camera.Frame{}, io.EOF
	}
	if f.slow && !f.waited {
		f.waited = true
		return camera.Frame{}, camera.ErrNoFrame
	}
	f.waited = false
	f.frames[f.n].CopyTo(m)
	f.n++
	return camera.Frame{MonoNS: int64(f.n) * 1e9 / 15}, nil
}

func (f *reel) Still() bool { return false }
func (f *reel) Live() bool  { return false }
func (f *reel) Idle(bool)   {}

// An input is answered with what several frames agree on, in the lane; what
// one frame alone shows opens nothing.
func TestTriggerVotes(t *testing.T) {
	needModels(t)
	e, err := openEyes(modelDir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.close)
	draw := func(i int, size float64) gocv.Mat {
		s := scenes[i]
		s.size = size
		m, err := s.draw(1)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = m.Close() })
		return m
	}
	car := []gocv.Mat{draw(0, 1), draw(0, 1.02), draw(0, 1.04), draw(0, 1.06), draw(0, 1.08)}
	empty := draw(1, 1)
	beside := []link.Fraction{{X: 0, Y: 0}, {X: .1, Y: 0}, {X: .1, Y: .1}, {X: 0, Y: .1}}
	for name, c := range map[string]struct {
		by     int
		frames []gocv.Mat
		region []link.Fraction
		plate  string
		sure   bool // enough to open
		slow   bool
	}{
		"a slow camera":                  {link.TriggerInput, append([]gocv.Mat{car[0]}, car...), nil, "川A82K56", true, true},
		"frames that agree":              {link.TriggerInput, car, nil, "川A82K56", true, false},
		"one frame":                      {link.TriggerInput, []gocv.Mat{car[0], empty, empty, empty, empty}, nil, "川A82K56", false, false},
		"a film that ends":               {link.TriggerInput, car[:1], nil, "川A82K56", false, false},
		"beside the lane":                {link.TriggerInput, car, beside, "", false, false},
		"a client asks":                  {link.TriggerSoftware, car[:1], nil, "川A82K56", true, false},
		"a client asks, beside the lane": {link.TriggerSoftware, car[:1], beside, "", false, false},
	} {
		t.Run(name, func(t *testing.T) {
			var got *link.Result
			s := settings("")
			s.MinPlateScore, s.Lane.Region, s.Faces = .9, c.region, false
			w := &worker{s: s, eyes: e, watch: newWatch(s, e), camera: &reel{frames: c.frames, slow: c.slow, waited: true}, full: encoder{most: s.PictureBytes, quality: 85}, crop: encoder{most: s.CropBytes, quality: 90},
				send: func(m link.Message) error { got = m.Result; return nil }}
			defer w.watch.close()
			defer w.shots.close()
			if err := w.trigger(link.Trigger{ID: "t", By: c.by}); err != nil {
				t.Fatal(err)
			}
			if c.plate == "" {
				if len(got.Plates) > 0 || len(got.Full) == 0 {
					t.Errorf("%d plates, a picture of %d bytes", len(got.Plates), len(got.Full))
				}
				return
			}
			if len(got.Plates) != 1 || got.Plates[0].Text != c.plate || (got.Plates[0].Score >= .9) != c.sure || got.TriggerID != "t" || len(got.Crop) == 0 {
				t.Errorf("%+v", got.Plates)
			}
			w.newest.Drop()
			if w.shots.out != 0 {
				t.Errorf("%d pictures are kept for ever", w.shots.out)
			}
		})
	}
}
