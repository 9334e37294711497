package main

import (
	"path/filepath"
	"testing"

	"gocv.io/x/gocv"

	"gatehouse/vision/link"
	"gatehouse/vision/motion"
	"gatehouse/vision/track"
)

// rightHalf is a region.
var rightHalf = []link.Fraction{{X: .5}, {X: 1}, {X: 1, Y: 1}, {X: .5, Y: 1}}

func TestALookKeepsToTheLane(t *testing.T) {
	w := newWatch(link.Settings{Lane: link.Lane{Region: rightHalf, MinPlateWidth: .05}}, nil)
	defer w.close()
	picture := gocv.NewMatWithSize(720, 1280, gocv.MatTypeCV8UC3)
	defer picture.Close()
	box := func(left, width int) link.Box { return link.Box{Left: left, Top: 300, Width: width, Height: 60} }
	saw := w.inLane(sight{
		Plates: []link.Plate{{Text: "INSIDE", Box: box(900, 100)}, {Text: "BESIDE", Box: box(100, 100)}, {Text: "SMALL", Box: box(900, 60)}, {Box: box(900, 100)}},
		Faces:  []link.Face{{Score: .1, Box: box(560, 100)}, {Score: .2, Box: box(620, 60)}, {Score: .3, Box: box(100, 60)}},
	}, picture)
	if len(saw.Plates) != 1 || saw.Plates[0].Text != "INSIDE" {
		t.Errorf("plates %+v", saw.Plates)
	}
	if len(saw.Faces) != 1 || saw.Faces[0].Score != .2 {
		t.Errorf("faces %+v", saw.Faces)
	}
	if w.s.Lane.Unreadable = true; len(w.inLane(sight{Plates: []link.Plate{{Box: box(900, 100)}}}, picture).Plates) != 1 {
		t.Error("an unreadable plate does not count")
	}
}

// Somebody who stands beside the lane is not told of, and opens nothing.
func TestFacesBesideTheLane(t *testing.T) {
	needTestdata(t)
	e, err := openEyes("")
	if err != nil {
		t.Fatal(err)
	}
	defer e.close()
	picture, err := load(filepath.Join(testdata, "faces", "gallery", "fl_0001.jpg"))
	if err != nil {
		t.Fatal(err)
	}
	defer picture.Close()
	for what, c := range map[string]struct {
		region []link.Fraction
		people int
	}{
		"the whole picture":  {nil, 1},
		"a part without her": {[]link.Fraction{{X: .9, Y: 0}, {X: 1, Y: 0}, {X: 1, Y: .1}}, 0},
	} {
		w := newWatch(link.Settings{Faces: true, Lane: link.Lane{Region: c.region}}, e)
		defer w.close()
		var shots pool
		defer shots.close()
		people := 0
		for i := range 4 {
			s := shots.take()
			picture.CopyTo(&s.picture)
			s.at = int64(i+1) * 100e6
			out, err := w.frame(s, func([]track.Note, map[string]float64) error { return nil })
			if err != nil {
				t.Fatal(err)
			}
			people += len(out.people)
			s.Drop()
		}
		if people != c.people {
			t.Errorf("%s: %d people", what, people)
		}
	}
}

// A vehicle without plate that still moves when the film ends is told, and a
// watch that is closed keeps no picture of it.
func TestTheLastVehicleWithoutPlate(t *testing.T) {
	var shots pool
	defer shots.close()
	drive := func() *watch {
		w := newWatch(link.Settings{Lane: link.Lane{NoPlate: true}}, nil)
		for i := range 20 {
			s := shots.take()
			s.at = int64(i+1) * 100e6
			x := .03 * float64(i)
			w.activity = motion.Activity{Blob: [4]float64{x, .3, x + .3, .6}, BlobShare: .15}
			if notes := w.notes(track.View{At: s.at, Width: 1280, Height: 720, Shot: s}, false); len(notes) > 0 {
				t.Fatalf("told on the way: %+v", notes)
			}
			s.Drop()
		}
		return w
	}
	w := drive()
	notes := w.end()
	if len(notes) != 1 || notes[0].Shot == nil || notes[0].Direction != link.DirectionRight {
		t.Fatalf("%+v", notes)
	}
	drop(notes[0])
	w.close()
	drive().close()
	if shots.out != 0 {
		t.Errorf("%d pictures are kept", shots.out)
	}
}
