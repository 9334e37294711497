package camera

import (
	"bytes"
	"context"
	"errors"
	"image"
	"image/color"
	"image/jpeg"
	"io"
	"math/rand/v2"
	"mime/multipart"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gocv.io/x/gocv"

	"gatehouse/hal/camera/cameratest"
)

// coloured is a JPEG of one colour that n decides.
func coloured(w, h, n int) []byte {
	m := image.NewRGBA(image.Rect(0, 0, w, h))
	for i := range w * h {
		m.Set(i%w, i/w, color.RGBA{uint8(n * 37), uint8(n * 11), 90, 255})
	}
	var b bytes.Buffer
	_ = jpeg.Encode(&b, m, nil)
	return b.Bytes()
}

// await takes frames until want is true, or fails after a minute.
func await(t *testing.T, c Camera, m *gocv.Mat, what string, want func(Frame) bool) {
	t.Helper()
	var last error
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		f, err := c.Next(m)
		if err == nil && want(f) {
			return
		}
		if err != nil && !errors.Is(err, ErrNoFrame) {
			t.Fatal(err)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Fatal("the password is in the error:", err)
		}
		last = err
	}
	t.Fatalf("%s: it does not happen; the last error is %v, %+v", what, last, c.Stats())
}

// silence waits until the camera has given no frame for a while.
func silence(t *testing.T, c Camera, m *gocv.Mat) error {
	t.Helper()
	for none, end := 0, time.Now().Add(time.Minute); time.Now().Before(end); {
		_, err := c.Next(m)
		if none++; err == nil {
			none = 0
		}
		if none == 8 && strings.Contains(err.Error(), ":") {
			return err
		}
	}
	t.Fatal("frames come all the time")
	return nil
}

func whichever(Frame) bool { return true }

// Whatever the camera does, frames come again once it behaves.
func TestCamerasComeBack(t *testing.T) {
	for name, start := range map[string]func(*cameratest.Camera) (address string, end func()){
		"HTTP": func(c *cameratest.Camera) (string, func()) {
			s := c.HTTP()
			return strings.Replace(s.URL, "http://", "http://gate:secret@", 1), func() { s.CloseClientConnections(); s.Close() }
		},
		"RTSP": func(c *cameratest.Camera) (string, func()) {
			s, err := c.RTSP()
			if err != nil {
				t.Fatal(err)
			}
			return strings.Replace(s.URL, "rtsp://", "rtsp://gate:secret@", 1), s.Close
		},
	} {
		t.Run(name, func(t *testing.T) {
			var wide atomic.Bool
			fake := cameratest.New(func(n int) []byte {
				if wide.Load() {
					return coloured(320, 240, n)
				}
				return coloured(160, 120, n)
			}, 25)
			address, end := start(fake)
			defer end()
			c, err := Open(address, Options{Stall: time.Second, FrameAge: time.Second})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			m := gocv.NewMat()
			defer m.Close() //nolint:errcheck // a Mat's Close always returns nil
			await(t, c, &m, "the first frame", whichever)
			for _, mood := range []cameratest.Mood{cameratest.Stalls, cameratest.Drops, cameratest.Garbage, cameratest.Torn, cameratest.Refuses} {
				fake.Behave(mood)
				switch mood {
				case cameratest.Stalls, cameratest.Refuses:
					if err := silence(t, c, &m); strings.Contains(err.Error(), "secret") {
						t.Error("the password is in the error:", err)
					}
				default:
					for range 10 {
						_, _ = c.Next(&m)
					}
				}
				before := fake.Frames()
				fake.Behave(cameratest.Fine)
				await(t, c, &m, "a frame after "+mood.String(), func(Frame) bool { return fake.Frames() > before+3 })
			}
			wide.Store(true)
			fake.Behave(cameratest.Drops) // cameras begin anew with another size
			for range 20 {
				_, _ = c.Next(&m)
			}
			fake.Behave(cameratest.Fine)
			await(t, c, &m, "a frame of another size", func(Frame) bool { return m.Cols() == 320 })
			if s := c.Stats(); s.Opened < 3 || s.Frames == 0 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// A camera may change its size just after it was connected to; OpenCV must not
// end the process over that.
func TestRTSPSizeChangesAtTheBeginning(t *testing.T) {
	fake := cameratest.New(func(n int) []byte {
		if n < 10 {
			return coloured(320, 240, n)
		}
		return coloured(160, 120, n)
	}, 25)
	s, err := fake.RTSP()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c, m := open(t, s.URL, false)
	await(t, c, m, "a frame after the change", func(Frame) bool { return fake.Frames() > 30 })
}

// A camera whose pictures become larger without a new connection is seen again:
// OpenCV would repeat the last one before for ever.
func TestRTSPThatGrowsIsSeenAgain(t *testing.T) {
	fake := cameratest.New(func(n int) []byte {
		if n < 25 {
			return coloured(160, 120, n)
		}
		return coloured(320, 240, n)
	}, 25)
	s, err := fake.RTSP()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	still := &frozen{patience: time.Second, rows: 120, cols: 160}
	c := startLive(streamUntil(s.URL, Options{Stall: time.Second}, still), Options{Stall: time.Second})
	defer c.Close()
	m := gocv.NewMat()
	defer m.Close() //nolint:errcheck // a Mat's Close always returns nil
	await(t, c, &m, "a frame before the change", func(Frame) bool { return m.Cols() == 160 })
	await(t, c, &m, "a frame after it", func(Frame) bool { return m.Cols() == 320 })
}

// A source that shows what does not change is opened again more and more seldom.
func TestAStillSourceIsBorne(t *testing.T) {
	m := gocv.NewMatWithSizeFromScalar(gocv.NewScalar(1, 2, 3, 0), 48, 64, gocv.MatTypeCV8UC3)
	defer m.Close() //nolint:errcheck // a Mat's Close always returns nil
	higher := gocv.NewMatWithSizeFromScalar(gocv.NewScalar(1, 2, 3, 0), 96, 64, gocv.MatTypeCV8UC3)
	defer higher.Close() //nolint:errcheck // see above
	f := &frozen{}
	now := int64(time.Hour)
	borne := func(m gocv.Mat) time.Duration {
		r := f.begin()
		begin := now
		for r.saw(m, now) == nil {
			now += int64(time.Second)
		}
		return time.Duration(now - begin)
	}
	for want := frozenLeast; want < frozenMost; want *= 2 {
		if got := borne(m); got != want {
			t.Errorf("it is borne for %s, want %s", got, want)
		}
	}
	if a, b := borne(m), borne(m); a != frozenMost || b != frozenMost {
		t.Errorf("in the end it is borne for %s and %s", a, b)
	}
	r := f.begin()
	for i := range 3700 {
		changed := m
		if i%2 == 1 {
			changed = higher
		}
		if err := r.saw(changed, now); err != nil {
			t.Fatal(err)
		}
		now += int64(time.Second)
	}
	if got := borne(m); got != frozenLeast {
		t.Errorf("after an hour of pictures that change it is borne for %s", got)
	}
	if got := borne(higher); got != frozenLeast {
		t.Errorf("after another size it is borne for %s", got)
	}
}

func TestRTSPOverUDP(t *testing.T) {
	fake := cameratest.New(func(n int) []byte { return coloured(160, 120, n) }, 25)
	s, err := fake.RTSP()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c, err := Open(s.URL, Options{Stall: 2 * time.Second, Transport: "udp"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	m := gocv.NewMat()
	defer m.Close() //nolint:errcheck // a Mat's Close always returns nil
	n := 0
	await(t, c, &m, "ten frames", func(Frame) bool { n++; return n == 10 && m.Cols() == 160 })
}

// Who looks slowly sees the newest frame; an idle lane's frames cost less.
func TestOldFramesAreDropped(t *testing.T) {
	fake := cameratest.New(func(n int) []byte { return coloured(160, 120, n) }, 50)
	s := fake.HTTP()
	defer s.Close()
	defer s.CloseClientConnections()
	c, m := open(t, s.URL, false)
	await(t, c, m, "the first frame", whichever)
	dropped := func(n uint64) {
		t.Helper()
		for end := time.Now().Add(time.Minute); c.Stats().Dropped < n; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%+v", c.Stats())
			}
		}
	}
	dropped(5)
	then := Monotonic()
	dropped(c.Stats().Dropped + 2) // the second came after it
	if f, err := c.Next(m); err != nil || f.MonoNS < then {
		t.Errorf("%v, a frame from %d ms before", err, (then-f.MonoNS)/1e6)
	}
	c.Idle(true)
	var last int64
	n := 0
	await(t, c, m, "frames of an idle lane", func(f Frame) bool {
		if n++; n > 3 && f.MonoNS-last < int64(idleApart) { // the first ones were under way
			t.Errorf("two frames are %d ms apart", (f.MonoNS-last)/1e6)
		}
		last = f.MonoNS
		return n == 6
	})
}

// onDemand is a feed that gives a frame for each value of its channel, and ends
// with it.
type onDemand chan struct{}

func (d onDemand) next(b *buffer, _ bool) error {
	if _, more := <-d; !more {
		return errors.New("ended")
	}
	b.jpeg, b.full = coloured(16, 16, 1), true
	return nil
}
func (onDemand) clock() float64 { return -1 }
func (onDemand) fps() float64   { return 0 }
func (onDemand) close()         {}

// A frame that has waited too long is not shown, even if no newer one comes.
func TestFramesThatWaitedAreDropped(t *testing.T) {
	d := make(onDemand)
	const age = 300 * time.Millisecond
	l := startLive(func(context.Context) (feed, error) { return d, nil }, Options{Stall: time.Hour, FrameAge: age})
	defer l.Close()
	defer close(d)
	m := gocv.NewMat()
	defer m.Close() //nolint:errcheck // a Mat's Close always returns nil
	d <- struct{}{}
	for l.Stats().Frames == 0 {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(age + time.Millisecond)
	if f, err := l.Next(&m); !errors.Is(err, ErrNoFrame) || l.Stats().Late != 1 || l.Stats().Dropped != 1 {
		t.Errorf("%v, %d ms old, %+v", err, (Monotonic()-f.MonoNS)/1e6, l.Stats())
	}
	var giving sync.WaitGroup
	defer giving.Wait()
	done := make(chan struct{})
	defer close(done)
	giving.Go(func() {
		for {
			select {
			case d <- struct{}{}:
				time.Sleep(10 * time.Millisecond)
			case <-done:
				return
			}
		}
	})
	await(t, l, &m, "a frame in time", whichever)
}

// hanging is a feed whose reads hang until they are let go.
type hanging struct{ release chan struct{} }

func (h hanging) next(*buffer, bool) error { <-h.release; return errors.New("let go") }
func (h hanging) clock() float64           { return -1 }
func (h hanging) fps() float64             { return 0 }
func (h hanging) close()                   {}

func TestReadsThatHangAreLeftBehind(t *testing.T) {
	h := hanging{make(chan struct{})}
	l := startLive(func(context.Context) (feed, error) { return h, nil }, Options{Stall: 10 * time.Millisecond})
	m := gocv.NewMat()
	defer m.Close() //nolint:errcheck // a Mat's Close always returns nil
	for n := 0; ; n++ {
		_, err := l.Next(&m)
		if errors.Is(err, ErrStuck) {
			break
		}
		if !errors.Is(err, ErrNoFrame) || n > 50 {
			t.Fatal(n, err)
		}
	}
	if s := l.Stats(); s.Hung != mostHung {
		t.Errorf("%+v", s)
	}
	close(h.release)
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		l.mu.Lock()
		n := l.hanging
		l.mu.Unlock()
		if n == 0 {
			break
		}
	}
	l.Close()
	if l.hanging != 0 {
		t.Errorf("%d readers are still counted", l.hanging)
	}
}

// lagging is a feed whose frames come ever later by its own clock.
type lagging struct{ frame int }

func (l *lagging) next(b *buffer, _ bool) error {
	time.Sleep(10 * time.Millisecond)
	l.frame++
	b.jpeg, b.full = coloured(16, 16, l.frame), true
	return nil
}
func (l *lagging) clock() float64 { return float64(l.frame) } // a tenth of the time that passes
func (l *lagging) fps() float64   { return 0 }
func (l *lagging) close()         {}

// A source whose frames only come late is opened again, since a new connection
// begins with the present; old frames are not shown.
func TestLateFramesAreDropped(t *testing.T) {
	var opened atomic.Int32
	l := startLive(func(context.Context) (feed, error) {
		opened.Add(1)
		return &lagging{}, nil
	}, Options{Stall: time.Second, FrameAge: 100 * time.Millisecond})
	defer l.Close()
	m := gocv.NewMat()
	defer m.Close() //nolint:errcheck // a Mat's Close always returns nil
	for end := time.Now().Add(time.Minute); opened.Load() < 2 && time.Now().Before(end); {
		_, _ = l.Next(&m)
	}
	await(t, l, &m, "a frame of the second connection", whichever)
	if s := l.Stats(); s.Late == 0 || s.Dropped < s.Late || opened.Load() < 2 {
		t.Errorf("%+v, opened %d times", s, opened.Load())
	}
}

func TestAgeing(t *testing.T) {
	var a ageing
	at := int64(time.Hour)
	for i := range 100 { // 15 frames/s, in time
		if age := a.of(at+int64(i)*66e6, float64(i)*66); age > 10e6 {
			t.Fatalf("frame %d is %d ms old", i, age/1e6)
		}
	}
	at += 100 * 66e6
	if age := a.of(at+800e6, 100*66); age < 700e6 || age > 800e6 {
		t.Errorf("a frame that comes 800 ms late is %d ms old", age/1e6)
	}
	if age := a.of(at+900e6, 3); age != 0 {
		t.Errorf("a clock that starts anew makes a frame %d ms old", age/1e6)
	}
	for i := range 1000 { // no clock
		if age := a.of(at+int64(i)*66e6, 0); age > 0 && i > 0 {
			t.Fatalf("a clock that stands makes a frame %d ms old", age/1e6)
		}
	}
}

// Addresses stay out of what OpenCV and FFmpeg write, too.
func TestPasswordsStayOutOfTheLog(t *testing.T) {
	if os.Getenv("GATEHOUSE_TEST_LOG") != "" {
		c, err := Open("rtsp://gate:secret@127.0.0.1:1/lane", Options{Stall: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		m := gocv.NewMat()
		defer m.Close() //nolint:errcheck // a Mat's Close always returns nil
		_ = silence(t, c, &m)
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run", "^TestPasswordsStayOutOfTheLog$", "-test.v")
	cmd.Env = append(os.Environ(), "GATEHOUSE_TEST_LOG=1")
	out, err := cmd.CombinedOutput()
	if err != nil || bytes.Contains(out, []byte("secret")) {
		t.Errorf("%v: %s", err, out)
	}
}

func FuzzStream(f *testing.F) {
	frame := coloured(16, 16, 1)
	f.Add([]byte("--x\r\nContent-Length: 5\r\n\r\n\xff\xd8abc\r\n--x--"), 3)
	f.Add(append(append([]byte("--x\r\nContent-Type: image/jpeg\r\n\r\n"), frame...), "\r\n--x\r\n"...), 2)
	f.Add([]byte("--x\r\nContent-Length: 99999999999999999999\r\n\r\n"), 1)
	f.Fuzz(func(t *testing.T, b []byte, n int) {
		m := &mjpeg{body: io.NopCloser(bytes.NewReader(b)), stall: time.Minute, cancel: func() {}, alarm: time.NewTimer(time.Minute)}
		m.parts = multipart.NewReader(m.body, "x")
		defer m.close()
		var buf buffer
		for range 1 + uint(n)%50 {
			buf.full = false
			if err := m.next(&buf, rand.IntN(2) == 0); err != nil && !errors.Is(err, errGarbage) {
				return
			}
			if buf.full && (len(buf.jpeg) > MaxJPEG || len(buf.jpeg) < 2) {
				t.Fatalf("a frame of %d bytes", len(buf.jpeg))
			}
			if buf.full && len(buf.jpeg) < 1<<16 {
				if p, err := Decode(buf.jpeg); err == nil {
					_ = p.Close()
				}
			}
		}
	})
}
