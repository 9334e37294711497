package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/vision/plate"
)

// An earlier report stands beside the new one, kind by kind, and a kind with
// one picture is said to be one.
func TestBeforeAndAfter(t *testing.T) {
	before := report{Kinds: []*figures{{Kind: "cn_blue", Scenes: 10, Plates: 10, Texts: 10, Found: 8, Right: 7, ConfidentWrong: 1}, {Kind: "negative", Scenes: 3, FalsePlates: 2}}}
	b, err := json.Marshal(before)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "before.json")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	read, err := readReport(path)
	if err != nil {
		t.Fatal(err)
	}
	after := report{Kinds: []*figures{{Kind: "cn_blue", Scenes: 10, Plates: 10, Texts: 10, Found: 10, Right: 9, Gate: 8},
		{Kind: "cn_embassy", Scenes: 1, Plates: 1, Texts: 1, Found: 1, Right: 1}, {Kind: "negative", Scenes: 3}}}
	var out bytes.Buffer
	after.compare(&out, read)
	for _, want := range []string{"8/10 80.0% → 10/10 100.0%", "7/10 70.0% → 9/10 90.0%", "1 → 0 of 0", "cn_embassy (a single example)", "2 → 0"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, out.String())
		}
	}
	for _, file := range []string{filepath.Join(t.TempDir(), "none"), os.Args[0]} {
		if _, err := readReport(file); err == nil {
			t.Errorf("%s is taken for a report", file)
		}
	}
}

// Files that could not be read are told beside the figures, which are of the others.
func TestUnreadableFilesAreTold(t *testing.T) {
	var out bytes.Buffer
	report{Kinds: []*figures{{Kind: "cn_blue", Scenes: 10, Unreadable: 2}, {Kind: "negative", Scenes: 3, Unreadable: 1}}}.print(&out, false)
	if !strings.Contains(out.String(), "3 pictures could not be read") {
		t.Error(out.String())
	}
}

func TestKeptReadings(t *testing.T) {
	path := filepath.Join(t.TempDir(), "readings.tsv")
	want := []reading{{plate.Sample{Features: plate.Features{1, -2, .5}, Right: true}, "a.jpg", "cn_blue", "川A12345", "川A12345"}}
	if err := keepReadings(path, want); err != nil {
		t.Fatal(err)
	}
	got, err := keptReadings(path)
	if err != nil || len(got) != 1 || got[0] != want[0] {
		t.Errorf("%+v %v", got, err)
	}
	if err := os.WriteFile(path, []byte("a\tb\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := keptReadings(path); err == nil {
		t.Error("a line without features is taken")
	}
}

// The split by number is the one that the small recogniser is trained with: its
// held-out plates, as vision/plate/train/real.py gives them.
func TestHeldOutPlates(t *testing.T) {
	for number, held := range map[string]bool{"皖A00000": true, "皖A00001": true, "皖A00002": false, "皖A00003": false} {
		r := row{use: "train", truth: number, kind: "cn_blue_crop"}
		if r.fits() != held {
			t.Errorf("%s held out: %v", number, !held)
		}
		r.use = "study"
		if r.fits() {
			t.Errorf("%s may not be used", number)
		}
	}
	if (row{use: "train", kind: "plate_mixed"}).fits() || !(row{use: "train", kind: "background"}).fits() || !(row{use: "train", kind: "cn_wj", truth: "WJ京12345", note: "rendered"}).fits() {
		t.Error("pictures without a number, without a plate, or rendered are taken for others")
	}
}

func TestPlateKind(t *testing.T) {
	for _, c := range []struct {
		kind      string
		i, plates int
		want      string
	}{
		{"cn_blue", 0, 1, "cn_blue"}, {"cn_blue", 1, 2, "cn_blue"}, {"cn_blue_crop", 0, 1, "cn_blue"},
		{"cn_blue+cn_coach", 0, 2, "cn_blue"}, {"cn_blue+cn_coach", 1, 2, "cn_coach"}, {"plate_eu", 0, 1, "overseas"},
	} {
		if got := (row{kind: c.kind}).plateKind(c.i, c.plates); got != c.want {
			t.Errorf("plate %d of %d of the kind %s is told as %s, want %s", c.i, c.plates, c.kind, got, c.want)
		}
	}
}
