package main

import (
	"errors"
	"time"

	"gatehouse/hal/camera"
	"gatehouse/vision/link"
	"gatehouse/vision/track"
)

// fresh is how old the frame of a live source may be that answers a trigger.
const fresh = time.Second

// How many frames are looked at for a trigger that may open the barrier, at the
// most, and how long they are waited for: slow cameras give two a second.
const (
	votingFrames = 5
	votingTime   = 2500 * time.Millisecond
)

// trigger answers the wish to see what is there now; there always is an
// answer, also without a plate or without a picture. It keeps to the lane: a
// listed car that is parked beside it must not open for the one on the coil.
func (w *worker) trigger(t link.Trigger) error {
	if t.By == 0 {
		t.By = link.TriggerSoftware
	}
	w.camera.Idle(false)
	old := w.newest == nil || w.camera.Live() && time.Duration(camera.Monotonic()-w.newest.at) > fresh
	if old && !w.done.Load() {
		old = w.grab(0) != nil
	}
	r := link.Result{Event: link.EventTrigger, Trigger: t.By, TriggerID: t.ID, CaptureMonoNS: camera.Monotonic()}
	if old {
		return w.result(r, nil)
	}
	saw, err := w.eyes.look(w.newest.picture, wanted{plates: true, far: true})
	if err != nil {
		return err
	}
	saw = w.watch.inLane(saw, w.newest.picture)
	r.Plates, r.StageMS = saw.Plates, saw.MS
	if t.By != link.TriggerInput || w.camera.Still() || len(saw.Plates) == 0 {
		return w.answer(r, w.newest)
	}
	return w.vote(r)
}

// answer sends what a trigger has come to, with the people in its picture.
func (w *worker) answer(r link.Result, s *shot) error {
	if w.s.Faces {
		saw, err := w.eyes.look(s.picture, wanted{faces: true, features: true, far: true, live: w.s.Liveness})
		if err != nil {
			return err
		}
		r.Faces = w.watch.inLane(saw, s.picture).Faces
		for stage, t := range saw.MS {
			r.StageMS[stage] = t
		}
	}
	r.CaptureMonoNS = s.at
	return w.result(r, s)
}

// vote answers an input with what several frames agree on, as a passage is
// read. A plate that they do not agree on is told below what the gate asks for.
func (w *worker) vote(r link.Result) error {
	lane := track.NewLane(track.LaneOptions{Lane: link.Lane{Unreadable: true}, Need: 2, Lead: 1, Frames: 2, MinScore: w.s.MinPlateScore, Lost: time.Hour})
	var told []track.Note
	defer func() {
		for _, n := range append(told, lane.End()...) {
			drop(n)
		}
	}()
	plates := r.Plates
	begin := time.Now()
	for i := 0; ; {
		v := track.View{At: w.newest.at, Width: w.newest.picture.Cols(), Height: w.newest.picture.Rows(), Plates: plates, Shot: w.newest}
		for _, p := range plates {
			v.Quality = append(v.Quality, w.watch.sharp.of(w.newest.picture, p.Box))
		}
		told = append(told, lane.Frame(v)...)
		i++
		if i == votingFrames || !lane.Open() || !w.another(begin) {
			break
		}
		saw, err := w.eyes.look(w.newest.picture, wanted{plates: true})
		if err != nil {
			return err
		}
		plates = w.watch.inLane(saw, w.newest.picture).Plates
	}
	told = append(told, lane.End()...)
	best := w.newest
	once := r.Plates
	r.Plates = nil
	for _, n := range told {
		if n.Event != link.EventPassage {
			continue
		}
		if s, _ := n.Shot.(*shot); s != nil && len(r.Plates) == 0 {
			best, r.Votes = s, n.Votes
		}
		r.Plates = append(r.Plates, n.Plate)
	}
	if len(r.Plates) == 0 { // one frame showed something
		for i := range once {
			once[i].Score = min(once[i].Score, max(0, w.s.MinPlateScore-.01))
		}
		r.Plates = once
	}
	return w.answer(r, best)
}

// another waits for the camera's next frame, as long as votes are waited for.
func (w *worker) another(begin time.Time) bool {
	for !w.done.Load() {
		err := w.grab(0)
		if err == nil {
			return true
		}
		if !errors.Is(err, camera.ErrNoFrame) || time.Since(begin) > votingTime {
			return false
		}
	}
	return false
}
