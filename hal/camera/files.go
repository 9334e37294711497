package camera

import (
	"fmt"
	"io"
	"path/filepath"

	"gocv.io/x/gocv"
)

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
func (s *stills) Idle(bool)    {}
func (s *stills) Stats() Stats { return Stats{} }

func (s *stills) Next(m *gocv.Mat) (Frame, error) {
	if s.next == len(s.files) {
		if !s.loop {
			return Frame{}, io.EOF
		}
		s.next = 0
	}
	name := s.files[s.next]
	s.next++
	b, err := ReadPicture(name)
	if err != nil {
		return Frame{}, fmt.Errorf("cannot read a picture: %w", err)
	}
	frame := Frame{MonoNS: Monotonic(), Name: filepath.Base(name)}
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
		_ = in.Close() // GoCV makes it all the same
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
func (v *video) Idle(bool)    {}
func (v *video) Stats() Stats { return Stats{} }

func (v *video) Next(m *gocv.Mat) (Frame, error) {
	for anew := false; ; {
		if v.in.Read(m) && !m.Empty() {
			v.read++
			return Frame{MonoNS: Monotonic(), Anew: anew}, nil
		}
		if v.read == 0 {
			return Frame{}, fmt.Errorf("there is no frame in %s", v.path)
		}
		if !v.loop {
			return Frame{}, io.EOF
		}
		anew = float64(v.read) >= v.fps // one of less than a second is more like a picture
		again, err := openVideo(v.path, v.loop)
		if err != nil {
			return Frame{}, err
		}
		_ = v.in.Close()
		*v = *again
	}
}
