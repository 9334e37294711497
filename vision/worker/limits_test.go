package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gocv.io/x/gocv"

	"gatehouse/hal/camera"
	"gatehouse/vision/link"
	"gatehouse/vision/plate"
)

// A result that is too large for the agent, of a crowd, comes without what makes
// it large; it is no reason to end.
func TestCrowd(t *testing.T) {
	var got []link.Result
	w := &worker{send: func(m link.Message) error {
		got = append(got, *m.Result)
		if m.Result.Faces[0].Feature != nil {
			return link.ErrTooLarge
		}
		return nil
	}}
	faces := make([]link.Face, 200)
	for i := range faces {
		faces[i].Feature = make([]float32, 512)
	}
	if err := w.result(link.Result{Faces: faces}, nil); err != nil || len(got) != 2 || len(got[1].Faces) != 200 || got[1].Faces[199].Feature != nil {
		t.Errorf("%d results, %v", len(got), err)
	}
	w.send = func(link.Message) error { return link.ErrTooLarge }
	if err := w.result(link.Result{}, nil); !errors.Is(err, link.ErrTooLarge) {
		t.Error(err)
	}
}

// Very long and narrow pictures are looked at, and take no more room than others.
func TestLongPictures(t *testing.T) {
	needModels(t)
	e, err := openEyes("")
	if err != nil {
		t.Fatal(err)
	}
	defer e.close()
	look := func(width, height int) {
		t.Helper()
		picture := gocv.NewMatWithSizeFromScalar(gocv.NewScalar(90, 120, 60, 0), height, width, gocv.MatTypeCV8UC3)
		defer picture.Close() //nolint:errcheck // a Mat's Close always returns nil
		if _, err := e.look(picture, wanted{plates: true, faces: true, features: true, far: true}); err != nil {
			t.Errorf("%d×%d: %v", width, height, err)
		}
	}
	look(1280, 720)
	before := residentMiB(os.Getpid())
	look(camera.MaxSide, 20)
	look(20, camera.MaxSide)
	if after := residentMiB(os.Getpid()); after > before+200 {
		t.Errorf("resident memory has gone from %.0f to %.0f MiB", before, after)
	}
}

// tape is a film of 25 frames a second.
type tape struct{ camera.Camera }

func (tape) Live() bool   { return false }
func (tape) FPS() float64 { return 25 }

// However few frames a second are wanted, each turn of the loop is soon over.
func TestPace(t *testing.T) {
	for _, fps := range []float64{-1, 0, 1e-11, .001, 15, 1000} {
		w := &worker{s: link.Settings{FPS: fps}, camera: tape{}}
		if period, _ := w.pace(); period <= 0 || period > 10*time.Second {
			t.Errorf("at %v fps a frame is looked at every %v", fps, period)
		}
	}
}

// Templates of which nobody can make an automaton are an option that is wrong:
// without them plates are read as before.
func TestTemplatesThatAreTooMany(t *testing.T) {
	file := filepath.Join(t.TempDir(), "templates.tsv")
	random := rand.New(rand.NewPCG(1, 2))
	var lines strings.Builder
	for range 40 {
		pattern, example := "", ""
		for range 12 {
			set := ""
			for c := 'A'; c <= 'Z'; c++ {
				if random.IntN(2) == 0 {
					set += string(c)
				}
			}
			pattern, example = pattern+"["+set+"]", example+set[:1]
		}
		fmt.Fprintln(&lines, "QQ", pattern, example)
	}
	if err := os.WriteFile(file, []byte(lines.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := plate.OpenWith("", plate.Options{Templates: file, Readers: plate.ReadSmall}); !errors.Is(err, plate.ErrOption) {
		t.Errorf("it is not told as an option: %v", err)
	}
}
