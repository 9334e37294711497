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

// While a plate is in the picture, faces are looked for in every other frame,
// and not in one in which PP-OCR has read, unless that goes on.
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
	defer picture.Close() //nolint:errcheck // a Mat's Close always returns nil
	for name, c := range map[string]struct {
		apart time.Duration // of the frames; 0: each stands alone, and PP-OCR reads in each
		want  []bool
	}{
		"a plate that is soon sure":   {time.Second / 15, []bool{false, false, true, false, true, false}},
		"one that is doubtful always": {0, []bool{false, false, false, false, false, true, false, false}},
	} {
		w := newWatch(link.Settings{Plates: true, Faces: true}, e)
		var shots pool
		var faces []bool
		for i := range c.want {
			s := shots.take()
			picture.CopyTo(&s.picture)
			s.at = int64(i) * int64(c.apart)
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
		if !slices.Equal(faces, c.want) {
			t.Errorf("%s: faces were looked for: %v", name, faces)
		}
		w.close()
		shots.close()
	}
}
