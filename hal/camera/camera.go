// Package camera gives pictures: from a directory or single picture, a video
// file, a V4L2 device, or an RTSP or HTTP stream.
//
// A live source is read by its own goroutine, which keeps the newest frame
// only: who looks slowly misses frames and never lags. It opens the source
// again by itself when it fails.
package camera

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"gocv.io/x/gocv"
	"golang.org/x/sys/unix"
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
	// FPS is how many frames a second the source has by itself, 0 if unknown.
	FPS() float64
	Close()
}

// Frame tells of a picture.
type Frame struct {
	MonoNS int64  // CLOCK_MONOTONIC when it came
	Name   string // of the picture file, else empty
}

// ErrNoFrame means that the camera has given no new frame yet.
var ErrNoFrame = errors.New("the camera has no new frame")

// pictureTypes are the suffixes of what is taken for a picture.
var pictureTypes = []string{".jpg", ".jpeg", ".png", ".bmp", ".webp", ".pgm", ".ppm", ".tif", ".tiff"}

var device = regexp.MustCompile(`^/dev/video([0-9]+)$`)

// Open opens a source; loop starts a directory or file again at its end. A
// live source is opened in the background: Next tells how it goes.
func Open(source string, loop bool) (Camera, error) {
	if source == "" {
		return nil, errors.New("cannot open the camera: no source is named")
	}
	if scheme, _, ok := strings.Cut(source, "://"); ok {
		if !slices.Contains([]string{"rtsp", "rtsps", "http", "https"}, scheme) {
			return nil, fmt.Errorf("cannot open the camera: %s:// is none of rtsp://, rtsps://, http:// and https://", scheme)
		}
		return startLive(func() (*gocv.VideoCapture, error) {
			return gocv.VideoCaptureFileWithAPI(source, gocv.VideoCaptureFFmpeg)
		}), nil
	}
	if n := device.FindStringSubmatch(source); n != nil {
		number, err := strconv.Atoi(n[1])
		if err != nil {
			return nil, fmt.Errorf("cannot open the camera: %w", err)
		}
		return startLive(func() (*gocv.VideoCapture, error) {
			if _, err := os.Stat(source); err != nil {
				return nil, err
			}
			return gocv.VideoCaptureDeviceWithAPI(number, gocv.VideoCaptureV4L2)
		}), nil
	}
	info, err := os.Stat(source)
	if err != nil {
		return nil, fmt.Errorf("cannot open the camera: %w", err)
	}
	switch {
	case info.IsDir():
		files, err := pictureFiles(source)
		if err != nil {
			return nil, fmt.Errorf("cannot open the camera: %w", err)
		}
		return &stills{files: files, loop: loop}, nil
	case isPicture(source):
		return &stills{files: []string{source}, loop: loop}, nil
	}
	return openVideo(source, loop)
}

// IsLive reports whether a source's frames come by themselves.
func IsLive(source string) bool { return strings.Contains(source, "://") || device.MatchString(source) }

func isPicture(name string) bool {
	return slices.Contains(pictureTypes, strings.ToLower(filepath.Ext(name)))
}

// pictureFiles lists a directory's pictures by name; its sub-directories are
// left alone.
func pictureFiles(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, e := range entries {
		if !e.IsDir() && isPicture(e.Name()) {
			files = append(files, filepath.Join(dir, e.Name()))
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("there is no picture (%s) in %s", strings.Join(pictureTypes, ", "), dir)
	}
	return files, nil
}

// stills are pictures that stand alone.
type stills struct {
	files []string
	next  int
	loop  bool
}

func (s *stills) Still() bool  { return true }
func (s *stills) Live() bool   { return false }
func (s *stills) FPS() float64 { return 0 }
func (s *stills) Close()       {}

func (s *stills) Next(m *gocv.Mat) (Frame, error) {
	if s.next == len(s.files) {
		if !s.loop {
			return Frame{}, io.EOF
		}
		s.next = 0
	}
	name := s.files[s.next]
	s.next++
	b, err := os.ReadFile(name)
	if err != nil {
		return Frame{}, fmt.Errorf("cannot read a picture: %w", err)
	}
	frame := Frame{Monotonic(), filepath.Base(name)}
	picture, err := Decode(b)
	if err != nil {
		return frame, fmt.Errorf("cannot use %s: %w", name, err)
	}
	_ = m.Close()
	*m = picture
	return frame, nil
}

// video is a file with moving pictures.
type video struct {
	path string
	loop bool
	in   *gocv.VideoCapture
	fps  float64
	read int // frames since the start
}

func openVideo(path string, loop bool) (*video, error) {
	in, err := gocv.VideoCaptureFileWithAPI(path, gocv.VideoCaptureFFmpeg)
	if err != nil {
		return nil, fmt.Errorf("cannot open the camera: %s is neither a picture nor a video that FFmpeg can read", path)
	}
	v := &video{path: path, loop: loop, in: in}
	if fps := in.Get(gocv.VideoCaptureFPS); fps > 0 && fps < 1000 {
		v.fps = fps
	}
	return v, nil
}

func (v *video) Still() bool  { return false }
func (v *video) Live() bool   { return false }
func (v *video) FPS() float64 { return v.fps }
func (v *video) Close()       { _ = v.in.Close() }

func (v *video) Next(m *gocv.Mat) (Frame, error) {
	for {
		if v.in.Read(m) && !m.Empty() {
			v.read++
			return Frame{MonoNS: Monotonic()}, nil
		}
		if v.read == 0 {
			return Frame{}, fmt.Errorf("there is no frame in %s", v.path)
		}
		if !v.loop {
			return Frame{}, io.EOF
		}
		again, err := openVideo(v.path, v.loop)
		if err != nil {
			return Frame{}, err
		}
		_ = v.in.Close()
		*v = *again
	}
}

// Monotonic is CLOCK_MONOTONIC in ns.
func Monotonic() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		return 0
	}
	return t.Nano()
}

// frameWait is how long Next of a live source waits.
const frameWait = 200 * time.Millisecond
