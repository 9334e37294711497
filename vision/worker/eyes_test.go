package main

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/sync/errcode"
	"gatehouse/vision/link"
	"gatehouse/vision/track"
)

// A region that is misspelt, or whose letters no reader knows, is told and does
// not make the gate blind.
func TestWrongRegionIsToldAndReadWithout(t *testing.T) {
	for _, region := range []string{"atlantis", "th"} {
		var faults []link.Fault
		e, err := openEyesAsSet(link.Settings{Models: modelDir, Reading: link.Reading{Regions: []string{"cn", region}}}, func(m link.Message) error {
			faults = append(faults, *m.Fault)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		e.close()
		if len(faults) != 1 || faults[0].Code != int(errcode.ParamsError) || !strings.Contains(faults[0].Message, `"`+region+`"`) {
			t.Errorf("%+v", faults)
		}
	}
}

// While a plate is in the picture, faces are looked for in every other frame.
func TestPlatesAndFacesTakeTurns(t *testing.T) {
	needModels(t)
	e, err := openEyes(modelDir)
	if err != nil {
		t.Fatal(err)
	}
	defer e.close()
	picture, err := load(filepath.Join(rendered(t), "scene_01.jpg"))
	if err != nil {
		t.Fatal(err)
	}
	w := newWatch(link.Settings{Plates: true, Faces: true}, e)
	defer w.close()
	var shots pool
	defer shots.close()
	var faces []bool
	for i := range int64(6) {
		s := shots.take()
		picture.CopyTo(&s.picture)
		s.at = i * int64(time.Second/15)
		out, err := w.frame(s, func(notes []track.Note, _ map[string]float64) error {
			for _, n := range notes {
				drop(n)
			}
			return nil
		})
		s.Drop()
		if err != nil {
			t.Fatal(err)
		}
		_, looked := out.ms["face_find"]
		faces = append(faces, looked)
	}
	if want := []bool{false, true, false, true, false, true}; !slices.Equal(faces, want) {
		t.Errorf("faces were looked for: %v", faces)
	}
	_ = picture.Close()
}
