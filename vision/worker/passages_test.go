package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gocv.io/x/gocv"
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
	for text, want := range map[string]int{
		`{"direction": "up", "settle": "400ms"}`:                          0, // only cars that go
		`{"direction": "down"}`:                                           2,
		`{"gate": {"min_plate_score": 0.8}, "lane": {"direction": "up"}}`: 0,
	} {
		if err := os.WriteFile(lane, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if rows = list(t, "--fps", "5", "--lane", lane, dir); len(rows) != want {
			t.Errorf("with the lane %s: %+v", text, rows)
		}
	}
	for _, r := range list(t, "--fps", "5", "--regions", "gb", "--reader", "small", dir) {
		if r.Plate != "" {
			t.Errorf("where only British plates are read: %+v", r)
		}
	}
}

// A picture that stands alone is looked at as the board looks at stills: a
// small plate beside a near one is found too.
func TestPassagesOfASinglePictureSeeFar(t *testing.T) {
	needModels(t)
	m, err := scenes[0].draw(1)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close() //nolint:errcheck // a Mat's Close always returns nil
	both := gocv.NewMat()
	defer both.Close() //nolint:errcheck // as above
	gocv.Resize(m, &both, image.Pt(2560, 1440), 0, 0, gocv.InterpolationLinear)
	corner := both.Region(image.Rect(20, 20, 520, 301))
	defer corner.Close() //nolint:errcheck // as above
	gocv.Resize(m, &corner, image.Pt(500, 281), 0, 0, gocv.InterpolationArea)
	file := filepath.Join(t.TempDir(), "both.png")
	if !gocv.IMWrite(file, both) {
		t.Fatal("the picture cannot be written")
	}
	if rows := list(t, file); len(rows) != 2 {
		t.Errorf("%+v", rows)
	}
}

func TestPassagesOfAFilm(t *testing.T) {
	needTestdata(t)
	rows := list(t, "--fps", "6", filepath.Join(testdata, "video", "car_uk.mp4"))
	if len(rows) != 1 || rows[0].Plate != "LS15EBC" || rows[0].Direction != "down" {
		t.Errorf("%+v", rows)
	}
}

// A directory of films is gone through film by film; one that is none is told,
// and the others are looked at all the same.
func TestPassagesOfADirectoryOfFilms(t *testing.T) {
	needTestdata(t)
	rows := list(t, "--fps", "6", filepath.Join(testdata, "video"))
	if len(rows) != 1 || rows[0].Plate != "LS15EBC" || filepath.Base(rows[0].Film) != "car_uk.mp4" {
		t.Errorf("%+v", rows)
	}
	dir := t.TempDir()
	b, err := os.ReadFile(filepath.Join(testdata, "video", "car_uk.mp4"))
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"1.mp4": b, "2.mp4": []byte("no film"), "3.mp4": b, "notes.txt": []byte("not looked at")} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	err = command([]string{"passages", "--fps", "6", dir}, &out)
	if err == nil || !strings.Contains(err.Error(), "1 of the pictures and films") || strings.Count(out.String(), "LS15EBC") != 2 || !strings.Contains(out.String(), "3.mp4\n") {
		t.Errorf("%v\n%s", err, out.String())
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
		dir:                        "no video",
		"--fps -1 " + dir:          "--fps",
		"--lane " + lane + " x":    "lane.json",
		"--regions th " + lane:     `"th"`,
		"--out " + dir + " " + dir: "--out",
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
