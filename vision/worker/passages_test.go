package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// drive renders a car that comes to the gate, and one behind it.
func drive(t testing.TB, dir string) {
	t.Helper()
	n := 0
	frame := func(s scene) {
		if err := s.write(filepath.Join(dir, fmt.Sprintf("frame_%03d.jpg", n)), uint64(n)); err != nil {
			t.Fatal(err)
		}
		n++
	}
	for _, s := range []scene{scenes[0], scenes[2]} {
		for range 4 {
			frame(scenes[1])
		}
		for i := range 7 {
			s.size = .7 + .1*float64(i)
			frame(s)
		}
	}
	for range 3 {
		frame(scenes[1])
	}
}

func list(t *testing.T, args ...string) (rows []passageRow) {
	t.Helper()
	var out bytes.Buffer
	if err := command(append([]string{"passages", "--json"}, args...), &out); err != nil {
		t.Fatal(err)
	}
	for dec := json.NewDecoder(&out); dec.More(); {
		var r passageRow
		if err := dec.Decode(&r); err != nil {
			t.Fatal(err)
		}
		rows = append(rows, r)
	}
	return rows
}

func TestPassagesOfPictures(t *testing.T) {
	needModels(t)
	dir, out := t.TempDir(), t.TempDir()
	drive(t, dir)
	rows := list(t, "--fps", "5", "--out", out, dir)
	if len(rows) != 2 {
		t.Fatalf("%+v", rows)
	}
	for i, r := range rows {
		s := scenes[2*i]
		if r.Plate != s.number || r.Direction != "down" || r.Votes.Frames < 4 || r.Votes.Share < .5 || r.End <= r.Begin || r.At < r.Begin || r.At > r.End {
			t.Errorf("%+v, want %s", r, s.number)
		}
		for _, file := range []string{r.PictureFile, r.Crop} {
			if info, err := os.Stat(file); err != nil || info.Size() == 0 {
				t.Errorf("picture %q: %v", file, err)
			}
		}
	}
	alone := list(t, dir)
	if len(alone) < 12 || alone[0].File == "" || alone[0].Votes.Frames != 1 {
		t.Errorf("%d of 14 pictures give a passage of their own", len(alone))
	}
	lane := filepath.Join(out, "lane.json")
	if err := os.WriteFile(lane, []byte(`{"direction":3}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if rows = list(t, "--fps", "5", "--lane", lane, dir); len(rows) != 0 {
		t.Errorf("cars that come pass where only those that go count: %+v", rows)
	}
}

func TestPassagesOfAFilm(t *testing.T) {
	needTestdata(t)
	rows := list(t, "--fps", "6", filepath.Join(testdata, "video", "car_uk.mp4"))
	if len(rows) != 1 || rows[0].Plate != "LS15EBC" || rows[0].Direction != "down" {
		t.Errorf("%+v", rows)
	}
}

func TestPassagesTellsWhatIsWrong(t *testing.T) {
	needModels(t)
	dir := t.TempDir()
	lane := filepath.Join(dir, "lane.json")
	if err := os.WriteFile(lane, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	for args, want := range map[string]string{
		dir:                        "no picture",
		"--fps -1 " + dir:          "--fps",
		"--lane " + lane + " x":    "lane.json",
		"rtsp://camera.invalid/x":  "live",
		filepath.Join(dir, "none"): "no such file",
	} {
		if err := command(append([]string{"passages"}, strings.Fields(args)...), &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("passages %s: %v", args, err)
		}
	}
}

func TestShotsAreUsedAgain(t *testing.T) {
	var p pool
	defer p.close()
	seen := map[*shot]bool{}
	for range 100 {
		s := p.take()
		seen[s] = true
		s.Keep()
		s.Drop()
		s.Drop()
	}
	if len(seen) != 1 || p.out != 0 {
		t.Errorf("%d shots, %d out", len(seen), p.out)
	}
	var kept []*shot
	for range 10 {
		kept = append(kept, p.take())
	}
	for _, s := range kept {
		s.Drop()
	}
	if len(p.free) > maxFree || p.out != 0 {
		t.Errorf("%d are held", len(p.free))
	}
}
