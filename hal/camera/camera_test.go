package camera

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"gocv.io/x/gocv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// picture is a JPEG of one grey.
func picture(t *testing.T, w, h int, grey uint8) []byte {
	t.Helper()
	m := image.NewGray(image.Rect(0, 0, w, h))
	for i := range m.Pix {
		m.Pix[i] = grey
	}
	var b bytes.Buffer
	if err := jpeg.Encode(&b, m, nil); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, source string, loop bool) (Camera, *gocv.Mat) {
	t.Helper()
	c, err := Open(source, Options{Loop: loop, Stall: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	m := gocv.NewMat()
	t.Cleanup(func() {
		c.Close()
		_ = m.Close()
	})
	return c, &m
}

func TestDirectory(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "b.jpg"), picture(t, 64, 48, 200))
	write(t, filepath.Join(dir, "a.JPEG"), picture(t, 32, 24, 10))
	write(t, filepath.Join(dir, "c.png"), []byte("no picture"))
	write(t, filepath.Join(dir, "notes.txt"), nil)
	c, m := open(t, dir, false)
	if !c.Still() || c.Live() {
		t.Error("a directory's pictures stand alone")
	}
	for _, want := range []struct {
		name string
		w    int
	}{{"a.JPEG", 32}, {"b.jpg", 64}} {
		f, err := c.Next(m)
		if err != nil || f.Name != want.name || m.Cols() != want.w || f.MonoNS == 0 {
			t.Errorf("%+v %v, width %d; want %+v", f, err, m.Cols(), want)
		}
	}
	if _, err := c.Next(m); err == nil || errors.Is(err, io.EOF) || !strings.Contains(err.Error(), "c.png") {
		t.Errorf("a damaged picture gave %v", err)
	}
	if _, err := c.Next(m); !errors.Is(err, io.EOF) {
		t.Errorf("the end gave %v", err)
	}
	again, m := open(t, dir, true)
	for range 4 {
		_, _ = again.Next(m)
	}
	if m.Cols() != 32 {
		t.Error("a repeated directory does not start again")
	}
}

func TestVideoFile(t *testing.T) {
	t.Setenv("OPENCV_FFMPEG_CAPTURE_OPTIONS", "") // that of a stream, from a test before, costs a file its last frame
	path := filepath.Join(t.TempDir(), "v.avi")
	w, err := gocv.VideoWriterFile(path, "MJPG", 10, 64, 48, true)
	if err != nil {
		t.Skip("this OpenCV writes no video:", err)
	}
	for i := range 5 {
		f := gocv.NewMatWithSizeFromScalar(gocv.NewScalar(float64(40*i), 0, 0, 0), 48, 64, gocv.MatTypeCV8UC3)
		if err := w.Write(f); err != nil {
			t.Fatal(err)
		}
		_ = f.Close()
	}
	_ = w.Close()
	c, m := open(t, path, false)
	n := 0
	for ; n < 100; n++ {
		if _, err := c.Next(m); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if n != 5 || c.FPS() != 10 || c.Still() {
		t.Errorf("%d frames at %v", n, c.FPS())
	}
	again, m := open(t, path, true)
	for i := range 12 {
		if f, err := again.Next(m); err != nil || f.Anew { // it takes half a second only
			t.Fatalf("frame %d: %+v, %v", i, f, err)
		}
	}
	film := again.(*video)
	film.fps = 5
	for i := range 10 {
		if f, err := again.Next(m); err != nil || f.Anew != (i == 3 || i == 8) {
			t.Fatalf("frame %d: %+v, %v", i, f, err)
		}
		film.fps = 5
	}
}

func TestSourcesThatAreNone(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "text.txt"), []byte("text"))
	for source, want := range map[string]string{
		"":                             "no source",
		"ftp://example.invalid/x":      "ftp://",
		filepath.Join(dir, "none"):     "no such file",
		dir:                            "there is no picture",
		filepath.Join(dir, "text.txt"): "neither a picture nor a video",
	} {
		if _, err := Open(source, Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q in it", source, err, want)
		}
	}
}

// A stream that ends, stays away and comes back in another size; the newest
// frame is the one that is seen.
func TestStreamComesBack(t *testing.T) {
	var connections atomic.Int32
	small, large := picture(t, 64, 48, 90), picture(t, 128, 96, 90)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := connections.Add(1)
		if n == 2 {
			http.Error(w, "away", http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "multipart/x-mixed-replace; boundary=frame")
		frame, frames := small, 30
		if n > 2 {
			frame, frames = large, 10_000
		}
		for range frames {
			if _, err := fmt.Fprintf(w, "--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n", len(frame), frame); err != nil {
				return
			}
			w.(http.Flusher).Flush()
			select {
			case <-r.Context().Done():
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}))
	defer server.Close()
	c, m := open(t, strings.Replace(server.URL, "http://", "http://user:secret@", 1)+"/video.mjpg", false)
	defer server.CloseClientConnections()
	var before int64
	sizes := map[int]bool{}
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end) && !sizes[128]; {
		f, err := c.Next(m)
		if errors.Is(err, ErrNoFrame) {
			if strings.Contains(err.Error(), "secret") {
				t.Fatal("the password is in the error:", err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if f.MonoNS <= before {
			t.Fatal("a frame is older than the one before")
		}
		before = f.MonoNS
		sizes[m.Cols()] = true
	}
	if !sizes[64] || !sizes[128] || !c.Live() {
		t.Errorf("seen widths: %v after %d connections", sizes, connections.Load())
	}
}

func TestDeviceThatIsAway(t *testing.T) {
	c, m := open(t, "/dev/video99", false)
	begin := time.Now()
	if _, err := c.Next(m); !errors.Is(err, ErrNoFrame) {
		t.Error(err)
	}
	if time.Since(begin) > 30*time.Second {
		t.Error("Next waits too long")
	}
}
