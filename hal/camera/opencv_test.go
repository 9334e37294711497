package camera

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gocv.io/x/gocv"
)

// usb is a V4L2 device that can be unplugged.
type usb struct {
	*gocv.VideoCapture // for ToCodec, which needs no device
	mu                 sync.Mutex
	set                map[gocv.VideoCaptureProperties]float64
	format             float64
	away               bool
	closed             int // times
}

func (u *usb) Set(p gocv.VideoCaptureProperties, v float64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.set[p] = v
}

func (u *usb) Read(m *gocv.Mat) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.away {
		return false
	}
	time.Sleep(time.Millisecond)
	_ = m.Close()
	*m = gocv.NewMatWithSizeFromScalar(gocv.NewScalar(200, 0, 10, 0), 2, 2, gocv.MatTypeCV8UC3)
	return true
}

func (u *usb) Get(p gocv.VideoCaptureProperties) float64 {
	if p == gocv.VideoCaptureFOURCC {
		return u.format
	}
	return 25
}

func (u *usb) Grab(int)     {}
func (u *usb) Close() error { u.closed++; return nil }

// GoCV makes a capture even where it cannot be opened; one a try is lost
// unless it is closed.
func TestWhatCannotBeOpenedIsClosed(t *testing.T) {
	u := &usb{}
	busy := func(int) (capture, error) { return u, errors.New("busy") }
	if _, err := v4l2(t.TempDir(), 0, Options{}, busy)(t.Context()); !errors.Is(err, errNotOpened) || u.closed != 1 {
		t.Errorf("%v, closed %d times", err, u.closed)
	}
}

// A device gets the options at each opening, and may be unplugged and plugged
// in again.
func TestV4L2(t *testing.T) {
	path := filepath.Join(t.TempDir(), "video0")
	write(t, path, nil)
	u := &usb{set: map[gocv.VideoCaptureProperties]float64{}}
	was := func() map[gocv.VideoCaptureProperties]float64 {
		u.mu.Lock()
		defer u.mu.Unlock()
		set := maps.Clone(u.set)
		clear(u.set)
		return set
	}
	o := Options{Format: "MJPG", Width: 1280, Height: 720, Exposure: 50}
	l := startLive(v4l2(path, 0, o, func(int) (capture, error) { return u, nil }), o)
	defer l.Close()
	m := gocv.NewMat()
	defer m.Close() //nolint:errcheck // a Mat's Close always returns nil
	want := map[gocv.VideoCaptureProperties]float64{
		gocv.VideoCaptureFOURCC: 'M' | 'J'<<8 | 'P'<<16 | 'G'<<24, gocv.VideoCaptureFrameWidth: 1280, gocv.VideoCaptureFrameHeight: 720,
		gocv.VideoCaptureBufferSize: 2, gocv.VideoCaptureAutoExposure: 1, gocv.VideoCaptureExposure: 50,
	}
	for _, when := range []string{"the first frame", "a frame once it is back"} {
		await(t, l, &m, when, func(Frame) bool { return m.Cols() == 2 })
		if set := was(); !maps.Equal(set, want) {
			t.Errorf("%s: set were %v, not %v", when, set, want)
		}
		u.mu.Lock()
		u.away = true
		u.mu.Unlock()
		if err := os.Rename(path, path+".away"); err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(time.Minute); ; {
			_, err := l.Next(&m)
			if err != nil && strings.Contains(err.Error(), "is not there") {
				break
			}
			if time.Now().After(end) {
				t.Fatal("unplugged, it gives", err)
			}
		}
		u.mu.Lock()
		u.away = false
		u.mu.Unlock()
		if err := os.Rename(path+".away", path); err != nil {
			t.Fatal(err)
		}
	}
	await(t, l, &m, "a frame at the end", whichever)
	if l.FPS() != 25 || l.Stats().Opened < 3 {
		t.Errorf("%+v", l.Stats())
	}
}

// Where nothing is set, the device's own format and size stay.
func TestV4L2AsItIs(t *testing.T) {
	u := &usb{set: map[gocv.VideoCaptureProperties]float64{}}
	if _, err := v4l2(t.TempDir(), 0, Options{}, func(int) (capture, error) { return u, nil })(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := map[gocv.VideoCaptureProperties]float64{gocv.VideoCaptureBufferSize: 2, gocv.VideoCaptureAutoExposure: 3}
	if !maps.Equal(u.set, want) {
		t.Errorf("set were %v, not %v", u.set, want)
	}
}

func TestVersionsThatSwapRed(t *testing.T) {
	for version, want := range map[string]bool{"3.4.20": true, "4.6.0": true, "4.10.0": true, "4.10.0-dev": true, "4.11.0": false, "4.12.0-dev": false, "5.0.0": false, "": false} {
		if got := swaps(version); got != want {
			t.Errorf("%q: %v", version, got)
		}
	}
}

// OpenCV before 4.11 gives NV12 with red and blue in each other's place.
func TestV4L2Colours(t *testing.T) {
	u := &usb{set: map[gocv.VideoCaptureProperties]float64{}}
	b := buffer{mat: gocv.NewMat()}
	defer b.mat.Close() //nolint:errcheck // a Mat's Close always returns nil
	for format, red := range map[string]uint8{"YUYV": 10, "NV12": 200} {
		u.format = u.ToCodec(format)
		f, err := v4l2(t.TempDir(), 0, Options{}, func(int) (capture, error) { return u, nil })(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := f.next(&b, true); err != nil {
			t.Fatal(err)
		}
		if format == "NV12" && !swapsRed {
			red = 10
		}
		if p := b.mat.GetVecbAt(1, 1); p[2] != red || p[0] != 210-red {
			t.Errorf("%s: a pixel is %v", format, p)
		}
	}
}
