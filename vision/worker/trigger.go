package main

import (
	"time"

	"gatehouse/hal/camera"
	"gatehouse/vision/link"
	"gatehouse/vision/track"
)

// fresh is how old the frame of a live source may be that answers a trigger.
const fresh = time.Second

// votingFrames is how many frames are looked at, at the most, for a trigger
// that may open the barrier.
const votingFrames = 5

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
	// Where frames are looked at anyway, people are told by what those show.
	faces := w.s.Faces && (t.By == link.TriggerSoftware || w.s.Lane.NoVideo)
	saw, err := w.eyes.look(w.newest.picture, wanted{plates: true, faces: faces, features: faces, far: true, live: w.s.Liveness})
	if err != nil {
		return err
	}
	saw = w.watch.inLane(saw, w.newest.picture)
	r.Plates, r.Faces, r.StageMS, r.CaptureMonoNS = saw.Plates, saw.Faces, saw.MS, w.newest.at
	if t.By != link.TriggerInput || w.camera.Still() || len(saw.Plates) == 0 {
		return w.result(r, w.newest)
	}
	return w.vote(r)
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
	for i := 0; ; {
		v := track.View{At: w.newest.at, Width: w.newest.picture.Cols(), Height: w.newest.picture.Rows(), Plates: plates, Shot: w.newest}
		for _, p := range plates {
			v.Quality = append(v.Quality, w.watch.sharp.of(w.newest.picture, p.Box))
		}
		told = append(told, lane.Frame(v)...)
		if i++; i == votingFrames || !lane.Open() || w.done.Load() || w.grab(0) != nil {
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
	r.CaptureMonoNS = best.at
	return w.result(r, best)
}
