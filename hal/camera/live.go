package camera

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"gocv.io/x/gocv"
)

// live reads a source that goes on by itself.
type live struct {
	open func() (*gocv.VideoCapture, error)
	stop chan struct{}
	done chan struct{}
	wake chan struct{} // a frame or a failure has come

	mu     sync.Mutex
	newest gocv.Mat
	at     int64 // CLOCK_MONOTONIC ns of newest; 0: it was taken
	err    error // why there is no frame; nil while frames come
	fps    float64
}

// transport is read by OpenCV when it opens an address: RTSP over TCP gets
// through firewalls and loses nothing. Who sets it himself is listened to.
const transport = "OPENCV_FFMPEG_CAPTURE_OPTIONS"

func startLive(open func() (*gocv.VideoCapture, error)) *live {
	if os.Getenv(transport) == "" {
		_ = os.Setenv(transport, "rtsp_transport;tcp")
	}
	l := &live{open: open, stop: make(chan struct{}), done: make(chan struct{}), wake: make(chan struct{}, 1), newest: gocv.NewMat()}
	go l.grab()
	return l
}

func (l *live) Still() bool { return false }
func (l *live) Live() bool  { return true }

func (l *live) FPS() float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fps
}

// Close ends the reading. OpenCV cannot be interrupted: a read that hangs is
// left behind after a second, and the process should end.
func (l *live) Close() {
	close(l.stop)
	select {
	case <-l.done:
		_ = l.newest.Close()
	case <-time.After(time.Second):
	}
}

// grab opens the source and keeps its newest frame, again and again.
func (l *live) grab() {
	defer close(l.done)
	frame := gocv.NewMat()
	defer func() { _ = frame.Close() }()
	const shortest, longest = 250 * time.Millisecond, 5 * time.Second
	for wait := shortest; ; wait = min(2*wait, longest) {
		in, err := l.open()
		if err == nil {
			l.mu.Lock()
			l.fps = in.Get(gocv.VideoCaptureFPS)
			l.mu.Unlock()
			for in.Read(&frame) && !frame.Empty() {
				wait = shortest
				if !l.put(&frame) {
					_ = in.Close()
					return
				}
			}
			_ = in.Close()
			err = errors.New("the camera gives no more frames")
		} else {
			err = errors.New("the camera cannot be opened") // OpenCV's error has the address with its password
		}
		l.fail(err)
		select {
		case <-l.stop:
			return
		case <-time.After(wait):
		}
	}
}

// put makes frame the newest one and takes the old one's memory.
func (l *live) put(frame *gocv.Mat) (goOn bool) {
	l.mu.Lock()
	l.newest, *frame = *frame, l.newest
	l.at, l.err = Monotonic(), nil
	l.mu.Unlock()
	l.signal()
	select {
	case <-l.stop:
		return false
	default:
		return true
	}
}

func (l *live) fail(err error) {
	l.mu.Lock()
	l.err = err
	l.mu.Unlock()
	l.signal()
}

func (l *live) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (l *live) Next(m *gocv.Mat) (Frame, error) {
	late := time.NewTimer(frameWait)
	defer late.Stop()
	for {
		l.mu.Lock()
		if l.at != 0 {
			l.newest, *m = *m, l.newest
			frame := Frame{MonoNS: l.at}
			l.at = 0
			l.mu.Unlock()
			return frame, nil
		}
		err := l.err
		l.mu.Unlock()
		select {
		case <-l.wake:
		case <-late.C:
			if err != nil {
				return Frame{}, fmt.Errorf("%w: %w", ErrNoFrame, err)
			}
			return Frame{}, ErrNoFrame
		}
	}
}
