package source

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestIsLive(t *testing.T) {
	for source, want := range map[string]bool{"rtsp://h/1": true, "http://h/": true, "/dev/video0": true, "/dev/videos": false, "gate.mp4": false, "": false} {
		if IsLive(source) != want {
			t.Errorf("%q: live %v", source, !want)
		}
	}
	if n, ok := Device("/dev/video12"); !ok || n != 12 {
		t.Error(n, ok)
	}
	if _, ok := Device("/dev/video99999999999999999999"); ok {
		t.Error("no machine has so many devices")
	}
}

func TestFilms(t *testing.T) {
	dir := t.TempDir()
	put := func(names ...string) {
		t.Helper()
		for _, n := range names {
			if err := os.WriteFile(filepath.Join(dir, n), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	expect := func(what string, want ...string) {
		t.Helper()
		got, err := Films(dir)
		for i := range want {
			want[i] = filepath.Join(dir, want[i])
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v", what, got, err)
		}
	}
	if _, err := Films(dir); err == nil || !strings.Contains(err.Error(), ".mp4") {
		t.Errorf("an empty directory: %v", err)
	}
	put("b.MP4", "a.gif", "notes.txt")
	expect("videos", "a.gif", "b.MP4")
	if _, err := Pictures(dir); err == nil || !strings.Contains(err.Error(), "a.gif") {
		t.Errorf("the videos are not named: %v", err)
	}
	put("1.JPG")
	expect("pictures and videos", "", "a.gif", "b.MP4")
	if got, err := Films(filepath.Join(dir, "notes.txt")); err != nil || len(got) != 1 {
		t.Errorf("a file: %q, %v", got, err)
	}
	if _, err := Films(filepath.Join(dir, "none")); err == nil {
		t.Error("what is not there has films")
	}
}
