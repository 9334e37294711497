package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"gatehouse/hal/camera"
	"gatehouse/sync/errcode"
	"gatehouse/vision/link"
	"gatehouse/vision/track"
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
	if err != nil {
		return fmt.Errorf("the agent's settings did not come: %w", err)
	}
	if first.Settings == nil {
		return errors.New("the agent's first message was not its settings")
	}
	s := *first.Settings
	triggers, opened := make(chan link.Trigger, 16), make(chan uint64, 16)
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		for {
			m, err := conn.Receive()
			if err != nil {
				return // the agent has ended
			}
			if m.Trigger != nil {
				select {
				case triggers <- *m.Trigger:
				default: // so many at once are answered no sooner
				}
			}
			if m.Opened != nil {
				select {
				case opened <- m.Opened.Passage:
				default: // its picture is the one there is
				}
			}
		}
	}()
	w, err := newWorker(s, conn.Send)
	if err != nil {
		_ = conn.Send(link.Message{Fault: fault(err)})
		return err
	}
	defer w.close()
	if err := conn.Send(link.Message{Hello: &link.Hello{Version: version, PID: os.Getpid(), Models: w.eyes.models}}); err != nil {
		return err
	}
	go w.live(gone)
	if err := w.loop(triggers, opened, gone); err != nil {
		_ = conn.Send(link.Message{Fault: fault(err)})
		return err
	}
	return nil
}

// fault tells an error with its code, where it has one.
func fault(err error) *link.Fault {
	f := &link.Fault{Message: err.Error()}
	if known := (*errcode.Error)(nil); errors.As(err, &known) {
		f.Code = int(known.Code)
	}
	return f
}

// worker looks at a camera's frames and answers passages and triggers.
type worker struct {
	s         link.Settings
	send      func(link.Message) error
	eyes      *eyes
	watch     *watch
	dayNight  *dayNight // nil: nothing is switched
	camera    camera.Camera
	shots     pool
	newest    *shot // nil where there is none
	anew      bool  // a film has begun again since a frame of it was looked at
	lastFrame time.Time
	silent    bool // the camera's silence was told
	seq       uint64
	full      encoder
	crop      encoder

	step   atomic.Int64  // CLOCK_MONOTONIC ns when the loop last went round
	frames atomic.Uint64 // that came
	ok     atomic.Bool   // the camera gives frames
	done   atomic.Bool   // it has ended
}

func newWorker(s link.Settings, send func(link.Message) error) (*worker, error) {
	w := &worker{s: s, send: send, full: encoder{most: s.PictureBytes, quality: 85}, crop: encoder{most: s.CropBytes, quality: 90}}
	var err error
	if w.eyes, err = openEyesAsSet(s, send); err != nil {
		return nil, err
	}
	if w.camera, err = camera.Open(s.Camera, captureOptions(s)); err != nil {
		w.eyes.close()
		return nil, err
	}
	w.watch = newWatch(s, w.eyes)
	if s.Capture.DayNight != "" {
		w.dayNight = newDayNight(s.Capture.DayNight, func(err error) { _ = send(link.Message{Fault: &link.Fault{Message: err.Error()}}) })
	}
	w.step.Store(camera.Monotonic())
	return w, nil
}

func (w *worker) close() {
	w.camera.Close()
	if w.dayNight != nil {
		w.dayNight.close()
	}
	w.watch.close()
	w.eyes.close()
	if w.newest != nil {
		w.newest.Drop()
	}
	w.shots.close()
}

func captureOptions(s link.Settings) camera.Options {
	c := s.Capture
	return camera.Options{Loop: s.Loop, Transport: c.Transport, Format: c.Format, Width: c.Width, Height: c.Height, Exposure: c.Exposure,
		FrameAge: time.Duration(c.FrameAgeMS) * time.Millisecond, Stall: time.Duration(s.StallMS) * time.Millisecond}
}

// hung is how long one turn of the loop may take before the process no longer
// says that it is alive; the agent then ends it.
const hung = 10 * time.Second

// givesBack is how often free memory is given back to the system.
const givesBack = time.Minute

// live says every second that the process is alive, for as long as its loop is,
// and gives free memory back.
func (w *worker) live(gone <-chan struct{}) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var before uint64
	back := time.NewTicker(givesBack)
	defer back.Stop()
	for {
		select {
		case <-gone:
			return
		case <-back.C:
			giveBack()
			continue
		case <-tick.C:
		}
		if time.Duration(camera.Monotonic()-w.step.Load()) > hung {
			continue
		}
		frames := w.frames.Load()
		alive := &link.Alive{Frames: frames, FPS: float64(frames - before), CameraOK: w.ok.Load(), Done: w.done.Load()}
		if c := w.camera.Stats(); c.Opened > 0 {
			alive.Reconnects, alive.Dropped, alive.Garbage, alive.LagMS = c.Opened-1, c.Dropped, c.Garbage, float64(c.LagNS)/1e6
		}
		before = frames
		if err := w.send(link.Message{Alive: alive}); err != nil {
			return
		}
	}
}

// loop looks at frames, at most Settings.FPS a second, until the agent is gone.
// A live camera's frame is taken as soon as it comes, if that is not too soon.
func (w *worker) loop(triggers <-chan link.Trigger, opened <-chan uint64, gone <-chan struct{}) error {
	period, skip := w.pace()
	turn := time.NewTimer(0)
	defer turn.Stop()
	var timed <-chan time.Time // nil: never
	if w.s.Lane.TimedMS > 0 {
		t := time.NewTicker(time.Duration(w.s.Lane.TimedMS) * time.Millisecond)
		defer t.Stop()
		timed = t.C
	}
	due := time.Now()
	w.lastFrame = due
	for {
		select {
		case <-gone:
			return nil
		case t := <-triggers:
			if err := w.trigger(t); err != nil {
				return err
			}
		case passage := <-opened:
			w.watch.lane.MayWait(passage)
		case <-timed:
			if err := w.trigger(link.Trigger{By: link.TriggerVideo}); err != nil {
				return err
			}
		case <-turn.C:
			if err := w.next(skip); err != nil {
				return err
			}
			due = due.Add(period)
			if soonest := time.Now().Add(-period / 2); due.Before(soonest) {
				due = soonest
			}
			turn.Reset(time.Until(due))
		}
		w.step.Store(camera.Monotonic())
	}
}

// leastFPS is the fewest frames a second that are looked at: so few that none of
// the loop's turns takes long.
const leastFPS = 0.1

// pace is how often a frame is looked at, and how many frames of a video file
// are left out in between.
func (w *worker) pace() (period time.Duration, skip int) {
	fps := w.s.FPS
	if !(fps > 0) {
		fps = 15
	}
	fps = max(fps, leastFPS)
	if own := w.camera.FPS(); !w.camera.Live() && own > 0 {
		skip = max(0, int(own/fps+0.5)-1)
		fps = min(fps, own/float64(skip+1))
	}
	return time.Duration(float64(time.Second) / fps), skip
}

// next looks at the next frame, if there is one.
func (w *worker) next(skip int) error {
	if w.done.Load() {
		return nil
	}
	err := w.grab(skip)
	switch {
	case err == nil:
	case errors.Is(err, io.EOF):
		w.done.Store(true)
		return w.tell(w.watch.end(), nil)
	case errors.Is(err, camera.ErrNoFrame):
		return w.missed(err)
	case errors.Is(err, camera.ErrStuck): // the agent starts this process again
		return err
	default: // one damaged picture
		w.ok.Store(false)
		return w.send(link.Message{Fault: &link.Fault{Code: int(errcode.ImageDecodeFailed), Message: err.Error()}})
	}
	w.ok.Store(true)
	w.lastFrame, w.silent = time.Now(), false
	w.frames.Add(1)
	if w.s.Lane.NoVideo {
		if w.dayNight != nil {
			w.watch.stir(w.newest)
			w.dayNight.see(w.watch.activity.Brightness, w.newest.at)
		}
		w.camera.Idle(true)
		return nil
	}
	if w.camera.Still() {
		return w.still()
	}
	return w.moving()
}

// missed notes that a live camera gives no frame. That is not this process's
// end: the camera is opened again and again.
func (w *worker) missed(why error) error {
	since := time.Since(w.lastFrame)
	stall := time.Duration(w.s.StallMS) * time.Millisecond
	if since > time.Second {
		w.ok.Store(false)
	}
	if stall <= 0 || since <= stall || w.silent {
		return nil
	}
	w.silent = true
	return w.send(link.Message{Fault: &link.Fault{Message: fmt.Sprintf("the camera has given no picture for %s and is opened again: %v", stall, why)}})
}

// grab makes the camera's next frame the newest shot; skip frames before it
// are left out.
func (w *worker) grab(skip int) error {
	s := w.shots.take()
	for range skip + 1 {
		w.step.Store(camera.Monotonic())
		frame, err := w.camera.Next(&s.picture)
		if err != nil {
			s.Drop()
			return err
		}
		s.at, s.name = frame.MonoNS, frame.Name
		w.anew = w.anew || frame.Anew
	}
	if w.newest != nil {
		w.newest.Drop()
	}
	w.newest = s
	return nil
}

// still takes the picture for a passage of its own.
func (w *worker) still() error {
	saw, err := w.eyes.look(w.newest.picture, wanted{plates: w.s.Plates, faces: w.s.Faces, features: w.s.Faces, far: true, live: w.s.Liveness})
	if err != nil {
		return err
	}
	saw = w.watch.inLane(saw, w.newest.picture)
	if len(saw.Plates) == 0 && len(saw.Faces) == 0 {
		return nil
	}
	return w.result(link.Result{Event: link.EventPassage, Trigger: link.TriggerVideo, Plates: saw.Plates, Faces: saw.Faces, StageMS: saw.MS,
		CaptureMonoNS: w.newest.at, BeginMonoNS: w.newest.at, EndMonoNS: w.newest.at}, w.newest)
}

// moving adds the frame to the passages that are going on, and reports what
// there is to tell after it.
func (w *worker) moving() error {
	if w.anew {
		w.anew = false
		if err := w.tell(w.watch.end(), nil); err != nil {
			return err
		}
		w.watch.close()
		w.watch = newWatch(w.s, w.eyes)
	}
	out, err := w.watch.frame(w.newest, w.tell)
	if err != nil {
		return err
	}
	if w.dayNight != nil {
		w.dayNight.see(w.watch.activity.Brightness, w.newest.at)
	}
	w.camera.Idle(w.watch.idle(w.newest.at))
	if len(out.people) == 0 {
		return nil
	}
	return w.result(link.Result{Event: link.EventPassage, Trigger: link.TriggerVideo, Faces: out.people, StageMS: out.ms,
		CaptureMonoNS: w.newest.at, BeginMonoNS: w.newest.at, EndMonoNS: w.newest.at}, w.newest)
}

// tell sends the lane's notes: early notices first, since a barrier waits for
// them and for no picture.
func (w *worker) tell(notes []track.Note, stages map[string]float64) error {
	var failed error
	for _, early := range []bool{true, false} {
		for _, n := range notes {
			if (n.Event == link.EventQuick) != early {
				continue
			}
			if failed == nil {
				failed = w.note(n, stages)
			}
			drop(n)
		}
	}
	return failed
}

func (w *worker) note(n track.Note, stages map[string]float64) error {
	r := link.Result{Event: n.Event, LaneEvent: n.LaneEvent, Trigger: link.TriggerVideo, Passage: n.Passage, Direction: n.Direction, Votes: n.Votes,
		BeginMonoNS: n.Begin, EndMonoNS: n.End, CaptureMonoNS: n.End, Plates: []link.Plate{}, StageMS: stages}
	if len(w.s.Lane.Loop) > 0 {
		r.Trigger = link.TriggerLoop
	}
	if n.Plate.Box.Width > 0 {
		r.Plates = append(r.Plates, n.Plate)
	}
	if w.newest != nil {
		r.Width, r.Height = w.newest.picture.Cols(), w.newest.picture.Rows()
	}
	s, _ := n.Shot.(*shot)
	if s != nil && n.Event == link.EventPassage {
		r.CaptureMonoNS = n.ShotAt
	}
	return w.result(r, s)
}

// result sends a result with the shot's picture and the main plate's; without
// a shot, without pictures.
func (w *worker) result(r link.Result, s *shot) error {
	if r.Faces == nil {
		r.Faces = []link.Face{}
	}
	if r.Plates == nil {
		r.Plates = []link.Plate{}
	}
	if s != nil {
		begin := time.Now()
		var err error
		if r.Full, err = w.full.encode(s.picture); err != nil {
			return err
		}
		if len(r.Plates) > 0 {
			if r.Crop, err = w.cutOut(s.picture, r.Plates[0].Box); err != nil {
				return err
			}
		}
		r.Width, r.Height = s.picture.Cols(), s.picture.Rows()
		stages := map[string]float64{"encode": ms(time.Since(begin))}
		for stage, t := range r.StageMS {
			stages[stage] = t
		}
		r.StageMS = stages
	}
	w.seq++
	r.Seq = w.seq
	err := w.send(link.Message{Result: &r})
	if errors.Is(err, link.ErrTooLarge) { // a large crowd: better without than not at all
		for i := range r.Faces {
			r.Faces[i].Feature = nil
		}
		r.Full, r.Crop = nil, nil
		err = w.send(link.Message{Result: &r})
	}
	return err
}
