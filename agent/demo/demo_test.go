package demo

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const mark = `{"HTTP":"127.0.0.1:1","MQTT":"127.0.0.1:2"}`

// Nothing is deleted but what an earlier demonstration has made, and that only
// once the camera is known to be there and elsewhere.
func TestOnlyAnEarlierDemonstrationIsCleared(t *testing.T) {
	bin, pictures, films := t.TempDir(), t.TempDir(), t.TempDir()
	write(t, filepath.Join(pictures, "car.jpg"), "")
	write(t, filepath.Join(films, "car.mp4"), "")
	for _, program := range []string{"gatehouse", "gatehouse-cloud", "gatehouse-vision"} {
		write(t, filepath.Join(bin, program), "")
	}
	for _, c := range []struct {
		name, mark, camera, complaint string
		cleared                       bool
	}{
		{"somebody's", "", pictures, "not empty", false},
		{"somebody's site.json", `{"title":"my site"}`, pictures, "not empty", false},
		{"an earlier one", mark, pictures, "", true},
		{"no camera", mark, "/nowhere/at/all", "(/ does)", false},
		{"a camera of films", mark, films, "car.mp4", false},
		{"the camera is in it", mark, "scenes", "is cleared first", false},
		{"the camera is it", mark, ".", "is cleared first", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			kept := write(t, filepath.Join(dir, "scenes", "photo.jpg"), "mine")
			if c.mark != "" {
				write(t, filepath.Join(dir, "site.json"), c.mark)
			}
			camera := c.camera
			if !filepath.IsAbs(camera) {
				link := filepath.Join(t.TempDir(), "link")
				if err := os.Symlink(filepath.Join(dir, camera), link); err != nil {
					t.Fatal(err)
				}
				camera = link
			}
			d := &demo{Options: Options{Dir: dir, Bin: bin, Camera: camera}, reporter: &reporter{lang: "en"}}
			_, err := d.pictures(t.Context())
			if (err == nil) != (c.complaint == "") || err != nil && !strings.Contains(err.Error(), c.complaint) {
				t.Errorf("got %v, want %q", err, c.complaint)
			}
			if _, err := os.Stat(kept); os.IsNotExist(err) != c.cleared {
				t.Errorf("cleared: %v, want %v", os.IsNotExist(err), c.cleared)
			}
		})
	}
}

// Who ends the demonstration is not told that a step took too long.
func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	d := &demo{Options: Options{Wait: time.Minute}, reporter: &reporter{lang: "en"}}
	if err := d.until(ctx, func() (bool, error) { return false, errNoPlate }); err == nil || err.Error() != "interrupted" {
		t.Error(err)
	}
}
