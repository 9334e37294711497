package main

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gocv.io/x/gocv"

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
	clear, err := load(filepath.Join(rendered(t), "scene_01.jpg"))
	if err != nil {
		t.Fatal(err)
	}
	defer clear.Close() //nolint:errcheck // a Mat's Close always returns nil
	distant := scenes[2]
	distant.size = .6
	doubtful, err := distant.draw(200)
	if err != nil {
		t.Fatal(err)
	}
	defer doubtful.Close() //nolint:errcheck // as above
	const fast, slow = time.Second / 15, 600 * time.Millisecond
	for name, c := range map[string]struct {
		picture     gocv.Mat
		apart       time.Duration // of the frames
		both, faces []bool        // PP-OCR reads, faces are looked for
	}{
		"a plate that is soon sure": {clear, fast, []bool{true, false, false, false}, []bool{false, true, false, true}},
		"one that stays in doubt":   {doubtful, fast, []bool{true, true, false, true, false, true}, []bool{false, false, true, false, true, false}},
		"frames that come slowly":   {doubtful, slow, []bool{true, true, true, true}, []bool{false, true, false, true}},
	} {
		w := newWatch(link.Settings{Plates: true, Faces: true}, e)
		var shots pool
		var both, faces []bool
		for i := range c.faces {
			s := shots.take()
			c.picture.CopyTo(&s.picture)
			s.at = int64(time.Hour) + int64(i)*int64(c.apart)
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
			both, faces = append(both, out.confirmed), append(faces, looked)
		}
		if !slices.Equal(faces, c.faces) || !slices.Equal(both, c.both) {
			t.Errorf("%s: PP-OCR has read %v, faces were looked for %v", name, both, faces)
		}
		w.close()
		shots.close()
	}
}
