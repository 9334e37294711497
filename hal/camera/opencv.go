package camera

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"gocv.io/x/gocv"
)

// capture is what is used of a gocv.VideoCapture; a test has one of its own.
type capture interface {
	Set(gocv.VideoCaptureProperties, float64)
	Get(gocv.VideoCaptureProperties) float64
	ToCodec(fourCC string) float64
	Grab(skip int)
	Read(*gocv.Mat) bool
	Close() error
}

var _ capture = (*gocv.VideoCapture)(nil)

// opencv is a source that OpenCV reads: RTSP through FFmpeg, or V4L2.
type opencv struct {
	in    capture
	timed bool      // it has a clock of its own
	red   bool      // it gives red and blue in each other's place
	still *freezing // nil: it is not looked for
}

// environment is what OpenCV reads when it opens an address. Who has set it
// himself is listened to. FFmpeg and OpenCV would write addresses to the log.
// FFmpeg would also take 20 frames to guess a rate that nobody needs. Those
// that it does take must come first (no fflags;nobuffer): OpenCV has the size
// from them, and ends the process where the first picture is a smaller one.
func environment(o Options) {
	transport := "tcp" // gets through firewalls and loses nothing
	if o.Transport == "udp" {
		transport = "udp"
	}
	stall := o.Stall
	if stall <= 0 {
		stall = stallUsual
	}
	timeout := stall * 2 / 3 // FFmpeg's own, so that a stall mostly ends without a reader that hangs
	ourMu.Lock()
	defer ourMu.Unlock()
	for name, value := range map[string]string{
		"OPENCV_FFMPEG_CAPTURE_OPTIONS": fmt.Sprintf("rtsp_transport;%s|timeout;%d|fpsprobesize;0|max_delay;200000", transport, timeout.Microseconds()),
		"OPENCV_FFMPEG_LOGLEVEL":        "-8",
		"OPENCV_LOG_LEVEL":              "SILENT",
	} {
		if os.Getenv(name) == our[name] {
			_ = os.Setenv(name, value)
			our[name] = value
		}
	}
}

// our is the environment as this package has set it.
var (
	ourMu sync.Mutex
	our   = map[string]string{}
)

var errNotOpened = errors.New("the camera cannot be opened") // OpenCV's error has the address with its password

// opened closes what could not be opened: GoCV makes a capture all the same.
func opened(in capture, err error) (capture, error) {
	if err != nil {
		_ = in.Close()
		return nil, errNotOpened
	}
	return in, nil
}

// stream opens an address with FFmpeg. OpenCV 4.6 takes the size of the first
// picture for that of all until the stream is opened again. Of one that changes
// its size without a new connection, smaller pictures are seen wrong, and
// higher ones not at all: the last one before stays, until frozen notices.
func stream(source string, o Options) opener {
	return streamUntil(source, o, &frozen{})
}

func streamUntil(source string, o Options, still *frozen) opener {
	return func(context.Context) (feed, error) {
		environment(o)
		in, err := opened(gocv.VideoCaptureFileWithAPI(source, gocv.VideoCaptureFFmpeg))
		if err != nil {
			return nil, err
		}
		return &opencv{in: in, timed: true, still: still.begin()}, nil
	}
}

// device opens a V4L2 device by its number.
func device(number int) (capture, error) {
	return gocv.VideoCaptureDeviceWithAPI(number, gocv.VideoCaptureV4L2)
}

// v4l2 opens a device. What it does not take of the options, it does not take:
// cameras differ, and a picture in another size is better than none.
func v4l2(path string, number int, o Options, device func(int) (capture, error)) opener {
	return func(context.Context) (feed, error) {
		if _, err := os.Stat(path); err != nil {
			return nil, fmt.Errorf("%s is not there", path)
		}
		in, err := opened(device(number))
		if err != nil {
			return nil, err
		}
		if o.Format != "" {
			in.Set(gocv.VideoCaptureFOURCC, in.ToCodec(o.Format))
		}
		if o.Width > 0 && o.Height > 0 {
			in.Set(gocv.VideoCaptureFrameWidth, float64(o.Width))
			in.Set(gocv.VideoCaptureFrameHeight, float64(o.Height))
		}
		in.Set(gocv.VideoCaptureBufferSize, 2)
		const manual, automatic = 1, 3 // of V4L2_CID_EXPOSURE_AUTO
		if o.Exposure > 0 {
			in.Set(gocv.VideoCaptureAutoExposure, manual)
			in.Set(gocv.VideoCaptureExposure, float64(o.Exposure))
		} else {
			in.Set(gocv.VideoCaptureAutoExposure, automatic)
		}
		return &opencv{in: in, red: swapsRed && in.Get(gocv.VideoCaptureFOURCC) == in.ToCodec("NV12")}, nil
	}
}

// swapsRed: this OpenCV makes RGB of a V4L2 device's NV12.
var swapsRed = swaps(gocv.OpenCVVersion())

// swaps reports whether an OpenCV of this version does: those before 4.11
// (opencv/opencv#26081). Debian 12 and Ubuntu 24.04 have 4.6, Debian 13 has 4.10.
func swaps(version string) bool {
	var major, minor int
	if _, err := fmt.Sscanf(version, "%d.%d", &major, &minor); err != nil {
		return false
	}
	return major < 4 || major == 4 && minor < 11
}

func (c *opencv) next(b *buffer, needed bool) error {
	if !needed {
		begin := time.Now()
		c.in.Grab(1) // it does not tell whether it failed: the next read does
		if time.Since(begin) < time.Millisecond {
			time.Sleep(time.Millisecond) // nor may an ended stream turn this into a race
		}
		return nil
	}
	b.jpeg = nil
	if !c.in.Read(&b.mat) {
		return errors.New("the camera gives no more frames")
	}
	if b.mat.Empty() || b.mat.Cols() > MaxSide || b.mat.Rows() > MaxSide || b.mat.Type() != gocv.MatTypeCV8UC3 {
		return errGarbage
	}
	if c.red {
		gocv.CvtColor(b.mat, &b.mat, gocv.ColorBGRToRGB)
	}
	if c.still != nil {
		if err := c.still.saw(b.mat, Monotonic()); err != nil {
			return err
		}
	}
	b.full = true
	return nil
}

func (c *opencv) clock() float64 {
	if !c.timed {
		return -1
	}
	return c.in.Get(gocv.VideoCapturePosMsec)
}

func (c *opencv) fps() float64 {
	if fps := c.in.Get(gocv.VideoCaptureFPS); fps > 0 && fps < 1000 {
		return fps
	}
	return 0
}

func (c *opencv) close() { _ = c.in.Close() }
