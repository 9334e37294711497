package main

import (
	"errors"
	"fmt"
	"image"
	"io"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"gocv.io/x/gocv"

	"gatehouse/hal/camera"
	"gatehouse/vision/link"
	"gatehouse/vision/track"
)

// Results' triggers (vendor-mqtt.md, 6.3).
const (
	byVideo    = 1
	bySoftware = 4
)

// run is the agent's child: settings come first, then triggers; results,
// signs of life and faults go back.
func run(args []string) error {
	f := newFlags("run", "", "Is started by gatehouse and speaks with it over file 3. For pictures there are detect and eval.")
	if _, err := parse(f, args, 0, 0); err != nil {
		return err
	}
	var kind syscall.Stat_t
	if err := syscall.Fstat(3, &kind); err != nil || kind.Mode&syscall.S_IFMT != syscall.S_IFSOCK {
		return usageError{errors.New("run is started by gatehouse, with a socket as file 3")}
	}
	signal.Ignore(syscall.SIGINT) // Ctrl-C is the agent's business; it ends this process when it is done
	conn := link.NewConn(os.NewFile(3, "agent"))
	first, err := conn.Receive()
	if err != nil || first.Settings == nil {
		return fmt.Errorf("the agent's settings did not come: %w", err)
	}
	s := *first.Settings
	triggers := make(chan string, 16)
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		for {
			m, err := conn.Receive()
			if err != nil {
				return // the agent has ended
			}
			if m.Trigger != nil {
				triggers <- m.Trigger.ID
			}
		}
	}()
	w, err := newWorker(s, conn.Send)
	if err != nil {
		_ = conn.Send(link.Message{Fault: &link.Fault{Message: err.Error()}})
		return err
	}
	defer w.close()
	if err := conn.Send(link.Message{Hello: &link.Hello{Version: version, PID: os.Getpid(), Models: w.eyes.models}}); err != nil {
		return err
	}
	go w.live(gone)
	if err := w.loop(triggers, gone); err != nil {
		_ = conn.Send(link.Message{Fault: &link.Fault{Message: err.Error()}})
		return err
	}
	return nil
}

// worker looks at a camera's frames and answers passages and triggers.
type worker struct {
	s       link.Settings
	send    func(link.Message) error
	eyes    *eyes
	camera  camera.Camera
	plates  *track.Tracker
	faces   *track.Tracker
	picture gocv.Mat     // the newest frame
	frame   camera.Frame // what it is; MonoNS is 0 where there is none
	seq     uint64
	full    encoder
	crop    encoder

	step   atomic.Int64  // CLOCK_MONOTONIC ns when the loop last went round
	frames atomic.Uint64 // looked at
	ok     atomic.Bool   // the camera gives frames
	done   atomic.Bool   // it has ended
}

func newWorker(s link.Settings, send func(link.Message) error) (*worker, error) {
	w := &worker{s: s, send: send, picture: gocv.NewMat(), full: encoder{most: s.PictureBytes, quality: 85}, crop: encoder{most: s.CropBytes, quality: 90}}
	options := track.Options{Need: 2, Lead: 1, Frames: 2, MinScore: s.MinPlateScore, Lost: 1500 * time.Millisecond, Same: time.Duration(s.SamePlateMS) * time.Millisecond}
	w.plates = track.New(options)
	options.Frames, options.MinScore = 3, 0
	w.faces = track.New(options)
	var err error
	if w.eyes, err = openEyes(s.Models); err != nil {
		return nil, err
	}
	if w.camera, err = camera.Open(s.Camera, s.Loop); err != nil {
		w.eyes.close()
		return nil, err
	}
	w.step.Store(camera.Monotonic())
	return w, nil
}

func (w *worker) close() {
	w.camera.Close()
	w.eyes.close()
	_ = w.picture.Close()
}

// hung is how long one turn of the loop may take before the process no longer
// says that it is alive; the agent then ends it.
const hung = 10 * time.Second

// live says every second that the process is alive, for as long as its loop is.
func (w *worker) live(gone <-chan struct{}) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var before uint64
	for {
		select {
		case <-gone:
			return
		case <-tick.C:
		}
		if time.Duration(camera.Monotonic()-w.step.Load()) > hung {
			continue
		}
		frames := w.frames.Load()
		alive := &link.Alive{Frames: frames, FPS: float64(frames - before), CameraOK: w.ok.Load(), Done: w.done.Load()}
		before = frames
		if err := w.send(link.Message{Alive: alive}); err != nil {
			return
		}
	}
}

// loop looks at frames, at most Settings.FPS a second, until the agent is gone.
func (w *worker) loop(triggers <-chan string, gone <-chan struct{}) error {
	period, skip := w.pace()
	tick := time.NewTicker(period)
	defer tick.Stop()
	last := time.Now() // when there was a frame
	for {
		select {
		case <-gone:
			return nil
		case id := <-triggers:
			if err := w.trigger(id); err != nil {
				return err
			}
		case <-tick.C:
			came, err := w.next(skip)
			if err != nil {
				return err
			}
			if came {
				last = time.Now()
			} else if stall := time.Duration(w.s.StallMS) * time.Millisecond; w.camera.Live() && stall > 0 && time.Since(last) > stall {
				return fmt.Errorf("the camera has given no picture for %s", stall)
			}
		}
		w.step.Store(camera.Monotonic())
	}
}

// pace is how often a frame is looked at, and how many frames of a video file
// are left out in between.
func (w *worker) pace() (period time.Duration, skip int) {
	fps := w.s.FPS
	if fps <= 0 {
		fps = 15
	}
	if own := w.camera.FPS(); !w.camera.Live() && own > 0 {
		skip = max(0, int(own/fps+0.5)-1)
		fps = min(fps, own/float64(skip+1))
	}
	return time.Duration(float64(time.Second) / fps), skip
}

// next looks at the next frame; came is false where there is none.
func (w *worker) next(skip int) (came bool, err error) {
	if w.done.Load() {
		return false, nil
	}
	var frame camera.Frame
	for range skip + 1 {
		if frame, err = w.camera.Next(&w.picture); err != nil {
			break
		}
	}
	switch {
	case err == nil:
	case errors.Is(err, io.EOF):
		w.done.Store(true)
		return false, nil
	case errors.Is(err, camera.ErrNoFrame):
		w.ok.Store(false)
		return false, nil
	default: // one damaged picture
		w.ok.Store(false)
		return false, w.send(link.Message{Fault: &link.Fault{Code: 1110, Message: err.Error()}})
	}
	w.frame = frame
	w.ok.Store(true)
	w.frames.Add(1)
	if w.camera.Still() {
		return true, w.still()
	}
	return true, w.moving()
}

// still takes the picture for a passage of its own.
func (w *worker) still() error {
	saw, err := w.eyes.look(w.picture, wanted{plates: w.s.Plates, faces: w.s.Faces, features: w.s.Faces, far: true, live: w.s.Liveness})
	if err != nil || len(saw.Plates) == 0 && len(saw.Faces) == 0 {
		return err
	}
	return w.result(saw, byVideo, "")
}

// moving adds the frame to the passages that are going on, and reports those
// that became sure with it.
func (w *worker) moving() error {
	saw, err := w.eyes.look(w.picture, wanted{plates: w.s.Plates, faces: w.s.Faces})
	if err != nil {
		return err
	}
	at := time.Unix(0, w.frame.MonoNS)
	sights := make([]track.Sight, len(saw.Plates))
	for i, p := range saw.Plates {
		sights[i] = track.Sight{Text: p.Text, Score: p.Score, Left: p.Box.Left, Top: p.Box.Top, Width: p.Box.Width, Height: p.Box.Height}
	}
	answers := w.plates.Frame(at, sights)
	var near []track.Sight // faces that are large enough to be told apart
	var faces []link.Face
	for _, f := range saw.Faces {
		if f.Box.Height >= minFace {
			near = append(near, track.Sight{Score: f.Score, Left: f.Box.Left, Top: f.Box.Top, Width: f.Box.Width, Height: f.Box.Height})
			faces = append(faces, f)
		}
	}
	people := w.faces.Frame(at, near)
	if len(answers) == 0 && len(people) == 0 {
		return nil
	}
	sure := sight{MS: saw.MS}
	for _, a := range answers {
		p := saw.Plates[a.Index]
		p.Score = a.Score
		sure.Plates = append(sure.Plates, p)
	}
	for _, a := range people {
		f := faces[a.Index]
		if feature, err := w.eyes.faces.Feature(w.picture, f.Box); err == nil {
			f.Feature = feature
		}
		sure.Faces = append(sure.Faces, f)
	}
	return w.result(sure, byVideo, "")
}

// minFace is the least height in pixels of a face that is compared with others.
const minFace = 32

// fresh is how old the frame of a live source may be that answers a trigger.
const fresh = time.Second

// trigger answers a client's wish to see what is there now; there always is an
// answer, also without a plate or without a picture.
func (w *worker) trigger(id string) error {
	old := w.frame.MonoNS == 0 || w.camera.Live() && time.Duration(camera.Monotonic()-w.frame.MonoNS) > fresh
	if old && !w.done.Load() {
		if frame, err := w.camera.Next(&w.picture); err == nil {
			w.frame, old = frame, false
		}
	}
	if old {
		w.seq++
		return w.send(link.Message{Result: &link.Result{Seq: w.seq, CaptureMonoNS: camera.Monotonic(), Trigger: bySoftware, TriggerID: id, Plates: []link.Plate{}, Faces: []link.Face{}}})
	}
	saw, err := w.eyes.look(w.picture, wanted{plates: true, faces: w.s.Faces, features: w.s.Faces, far: true, live: w.s.Liveness})
	if err != nil {
		return err
	}
	return w.result(saw, bySoftware, id)
}

func (w *worker) result(saw sight, trigger int, id string) error {
	begin := time.Now()
	full, err := w.full.encode(w.picture)
	if err != nil {
		return err
	}
	var crop []byte
	if len(saw.Plates) > 0 {
		if crop, err = w.cutOut(saw.Plates[0].Box); err != nil {
			return err
		}
	}
	if saw.MS != nil {
		saw.MS["encode"] = ms(time.Since(begin))
	}
	w.seq++
	return w.send(link.Message{Result: &link.Result{Seq: w.seq, CaptureMonoNS: w.frame.MonoNS, Trigger: trigger, TriggerID: id,
		Width: w.picture.Cols(), Height: w.picture.Rows(), Plates: saw.Plates, Faces: saw.Faces, StageMS: saw.MS, Full: full, Crop: crop}})
}

// cutOut is the picture of a plate with a little of what is around it.
func (w *worker) cutOut(b link.Box) ([]byte, error) {
	dx, dy := b.Width/6+2, b.Height/4+2
	area := image.Rect(b.Left-dx, b.Top-dy, b.Left+b.Width+dx, b.Top+b.Height+dy).Intersect(image.Rect(0, 0, w.picture.Cols(), w.picture.Rows()))
	if area.Empty() {
		return nil, nil
	}
	part := w.picture.Region(area)
	defer part.Close() //nolint:errcheck // a Mat's Close always returns nil
	return w.crop.encode(part)
}

// encoder makes JPEGs of at most so many bytes. It remembers the quality that
// fitted, since a camera's pictures are much alike.
type encoder struct {
	most    int // 0: no picture is wanted
	quality int
}

func (e *encoder) encode(picture gocv.Mat) ([]byte, error) {
	if e.most <= 0 {
		return nil, nil
	}
	const lowest, highest = 35, 90
	small := picture
	defer func() {
		if small.Ptr() != picture.Ptr() {
			_ = small.Close()
		}
	}()
	for {
		buffer, err := gocv.IMEncodeWithParams(gocv.JPEGFileExt, small, []int{gocv.IMWriteJpegQuality, e.quality})
		if err != nil {
			return nil, fmt.Errorf("cannot encode the picture: %w", err)
		}
		size := buffer.Len()
		if size <= e.most {
			out := append([]byte(nil), buffer.GetBytes()...)
			buffer.Close()
			if size < e.most*6/10 {
				e.quality = min(highest, e.quality+5)
			}
			return out, nil
		}
		buffer.Close()
		if e.quality > lowest {
			e.quality = max(lowest, e.quality-10)
			continue
		}
		if small.Cols() < 64 || small.Rows() < 64 {
			return nil, nil // no picture of use fits
		}
		half := gocv.NewMat()
		gocv.Resize(small, &half, image.Pt(small.Cols()*7/10, small.Rows()*7/10), 0, 0, gocv.InterpolationArea)
		if small.Ptr() != picture.Ptr() {
			_ = small.Close()
		}
		small = half
	}
}
