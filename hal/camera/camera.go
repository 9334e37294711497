// Package camera gives pictures: from a directory or single picture, a video
// file, a V4L2 device, or an RTSP or HTTP stream.
//
// A live source is read by its own goroutine, which keeps the newest frame
// only: who looks slowly misses frames and never lags. When the source fails,
// stalls or hangs, it is opened again, for as long as it takes. OpenCV cannot
// be interrupted: a read that hangs is left behind with its thread, and only
// after several of them Next gives ErrStuck, upon which the process should end.
//
// Addresses may hold passwords; no error of this package shows one. They go
// over the network as the camera's protocol sends them: in the clear with
// rtsp:// and http://.
package camera

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"gocv.io/x/gocv"
	"golang.org/x/sys/unix"

	"gatehouse/hal/camera/source"
)

// Camera is an opened source. It is for one goroutine.
type Camera interface {
	// Next puts the next frame into m (H×W×3 BGR, uint8). Of a live source it
	// waits a little for one and then gives ErrNoFrame; a directory or file
	// that is not repeated ends with io.EOF. Other errors tell of one frame that
	// cannot be had; the next one may.
	Next(m *gocv.Mat) (Frame, error)
	// Still reports whether each picture stands alone instead of showing what
	// the one before it showed, a moment later.
	Still() bool
	// Live reports whether frames come by themselves.
	Live() bool
	// Idle says that not every frame of a live source is needed: some are then
	// dropped before they cost anything.
	Idle(bool)
	// Stats tells how a live source has done; of others it is zero. It may be
	// called from any goroutine.
	Stats() Stats
	// FPS is how many frames a second the source has by itself, 0 if unknown.
	FPS() float64
	Close()
}

// Frame tells of a picture.
type Frame struct {
	MonoNS int64  // CLOCK_MONOTONIC when it came
	Name   string // of the picture file, else empty
	Anew   bool   // a film that has ended begins again: nobody of before is in it
}

// ErrNoFrame means that the camera has given no new frame yet.
var ErrNoFrame = errors.New("the camera has no new frame")

// ErrStuck means that too many reads hang; only the process's end frees them.
var ErrStuck = errors.New("reading the camera hangs again and again")

// Stats are a live source's counters since it was opened.
type Stats struct {
	Frames  uint64 // that came
	Dropped uint64 // of them, that nobody took
	Late    uint64 // of those, that were older than Options.FrameAge
	Garbage uint64 // pictures that could not be decoded
	Opened  uint64 // times that the source was opened
	Hung    uint64 // reads that were left behind
	LagNS   int64  // age of the newest frame when it was taken
}

// Options of a source.
type Options struct {
	Loop      bool          // start a directory or file again at its end
	Transport string        // of RTSP: tcp or udp; empty is tcp
	Format    string        // of V4L2, four letters such as MJPG; empty: the camera's
	Width     int           // of V4L2; 0: the camera's
	Height    int           // of V4L2; 0: the camera's
	Exposure  int           // of V4L2, in 100 µs; 0: automatic
	FrameAge  time.Duration // frames of a live source that are older when they are to be taken are dropped; 0: none is
	Stall     time.Duration // a live source that gives no frame for so long is opened again; 0: 10 s
}

// Open opens a source. A live one is opened in the background: Next tells how
// it goes.
func Open(path string, o Options) (Camera, error) {
	loop := o.Loop
	if path == "" {
		return nil, errors.New("cannot open the camera: no source is named")
	}
	if o.Format != "" && len(o.Format) != 4 {
		return nil, fmt.Errorf("cannot open the camera: the format %q has not four letters", o.Format)
	}
	if scheme, _, ok := strings.Cut(path, "://"); ok {
		switch scheme {
		case "rtsp", "rtsps":
			return startLive(stream(path, o), o), nil
		case "http", "https":
			return startLive(overHTTP(path, o), o), nil
		}
		return nil, fmt.Errorf("cannot open the camera: %s:// is none of rtsp://, rtsps://, http:// and https://", scheme)
	}
	if number, ok := source.Device(path); ok {
		return startLive(v4l2(path, number, o, device), o), nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("cannot open the camera: %w", err)
	}
	switch {
	case info.IsDir():
		files, err := source.Pictures(path)
		if err != nil {
			return nil, fmt.Errorf("cannot open the camera: %w", err)
		}
		return &stills{files: files, loop: loop}, nil
	case source.IsPicture(path):
		return &stills{files: []string{path}, loop: loop}, nil
	}
	return openVideo(path, loop)
}

// Monotonic is CLOCK_MONOTONIC in ns.
func Monotonic() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		return 0
	}
	return t.Nano()
}
