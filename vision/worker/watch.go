package main

import (
	"image"
	"maps"
	"math"
	"slices"
	"time"

	"gocv.io/x/gocv"

	"gatehouse/vision/face"
	"gatehouse/vision/link"
	"gatehouse/vision/motion"
	"gatehouse/vision/track"
)

// watch looks at a camera's frames one after the other: whether anything
// moves, what plates and faces there are, and what passages they make.
type watch struct {
	s        link.Settings
	eyes     *eyes
	gate     *motion.Gate // nil: every frame is looked at
	lane     *track.Lane
	vehicles *track.Vehicles // nil: those without plate are not told
	faces    *track.People
	sharp    sharpness
	moved    int64 // when something moved last, ns
	looked   int64 // when the nets looked last, ns
	activity motion.Activity
	waits    int64 // since when faces have been left out of frames, ns; 0: they were looked for in the last one
}

// outcome is what one frame leads to, beside what was told.
type outcome struct {
	people []link.Face // that became sure, with features
	looked bool        // the nets were asked
	// confirmed says that PP-OCR was asked about a plate.
	confirmed bool
	ms        map[string]float64
}

// How long the nets look on after the last movement, with a vehicle that is
// not told yet and without, and how often they look where nothing moves.
const (
	lingerOpen = 3 * time.Second
	linger     = time.Second
	roundEvery = 5 * time.Second
)

// mostWait is how long faces are left out of frames while PP-OCR reads in each.
const mostWait = 300 * time.Millisecond

func newWatch(s link.Settings, e *eyes) *watch {
	if e != nil {
		e.plates.Forget()
	}
	same := time.Duration(s.SamePlateMS) * time.Millisecond
	const lost = 1500 * time.Millisecond
	w := &watch{s: s, eyes: e, sharp: newSharpness(),
		lane:  track.NewLane(track.LaneOptions{Lane: s.Lane, Need: 2, Lead: 1, Frames: 2, MinScore: s.MinPlateScore, Lost: lost, Same: same}),
		faces: track.NewPeople(track.PeopleOptions{Frames: 3, Same: face.Threshold, Lost: lost, Most: 2})}
	if s.Lane.Sensitivity > 0 || s.Lane.NoPlate || s.Capture.DayNight != "" {
		w.gate = motion.NewGate(s.Lane.Region, max(1, s.Lane.Sensitivity))
	}
	if s.Lane.NoPlate {
		w.vehicles = track.NewVehicles(s.Lane, same)
	}
	return w
}

// end gives what is to be told when no more frames come.
func (w *watch) end() []track.Note {
	notes := w.lane.End()
	if w.vehicles != nil {
		if n, ok := w.vehicles.End(w.lane.Busy); ok {
			notes = append(notes, n)
		}
	}
	return notes
}

func (w *watch) close() {
	for _, n := range w.end() {
		drop(n)
	}
	if w.gate != nil {
		w.gate.Close()
	}
	w.sharp.close()
}

func drop(n track.Note) {
	if n.Shot != nil {
		n.Shot.Drop()
	}
}

// frame takes the next frame of the camera. What is to be told of vehicles is
// told before faces are looked for; who is told drops the notes' shots. While
// plates are being read, faces have every other frame, or wait a little where
// PP-OCR reads in each, so that no frame takes the time of both.
func (w *watch) frame(s *shot, tell func([]track.Note, map[string]float64) error) (outcome, error) {
	var out outcome
	begin := time.Now()
	view := track.View{At: s.at, Width: s.picture.Cols(), Height: s.picture.Rows(), Shot: s}
	look := w.stir(s)
	wait := false
	out.ms = map[string]float64{"motion": ms(time.Since(begin))}
	if look {
		w.looked, out.looked = s.at, true
		saw, err := w.eyes.look(s.picture, wanted{plates: w.s.Plates, at: s.at, idle: w.idle(s.at)})
		if err != nil {
			return out, err
		}
		maps.Copy(out.ms, saw.MS)
		view.Plates, out.confirmed = saw.Plates, saw.confirmed
		wait = w.waits == 0 && len(saw.Plates) > 0 || saw.confirmed && (w.waits == 0 || s.at-w.waits < int64(mostWait))
		for _, p := range saw.Plates {
			view.Quality = append(view.Quality, w.sharp.of(s.picture, p.Box))
		}
	}
	if err := tell(w.notes(view, look), out.ms); err != nil || !w.s.Faces {
		return out, err
	}
	if !look {
		w.faces.Still(s.at)
		return out, nil
	}
	if wait {
		if w.waits == 0 {
			w.waits = s.at
		}
		return out, nil
	}
	w.waits = 0
	saw, err := w.eyes.look(s.picture, wanted{faces: true})
	if err != nil {
		return out, err
	}
	maps.Copy(out.ms, saw.MS)
	saw = w.inLane(saw, s.picture)
	out.people = w.faces.Frame(s.at, saw.Faces, func(f *link.Face) { w.eyes.describe(s.picture, f, w.s.Liveness) })
	return out, nil
}

// notes is what the lane has to tell after a frame.
func (w *watch) notes(v track.View, looked bool) (notes []track.Note) {
	if looked {
		notes = w.lane.Frame(v)
	} else {
		notes = w.lane.Still(v)
	}
	if w.vehicles != nil {
		a := w.activity
		if n, ok := w.vehicles.Frame(track.Blob{At: v.At, Box: a.Blob, Share: a.BlobShare, Light: a.Light, Shot: v.Shot}, w.lane.Busy); ok {
			notes = append(notes, n)
		}
	}
	return notes
}

// stir reports whether the nets should look at the frame.
func (w *watch) stir(s *shot) bool {
	if w.gate == nil {
		return true
	}
	w.activity = w.gate.Look(s.picture, s.at)
	if w.activity.Moving {
		w.moved = s.at
	}
	stay := linger
	if w.lane.Open() {
		stay = lingerOpen
	}
	return w.s.Lane.Sensitivity == 0 || w.looked == 0 || s.at-w.moved <= int64(stay) || s.at-w.looked >= int64(roundEvery)
}

// idle reports whether nothing has moved for a while.
func (w *watch) idle(at int64) bool {
	return w.gate != nil && w.s.Lane.Sensitivity > 0 && at-w.moved > int64(lingerOpen)
}

// counts reports whether a plate of a picture that stands alone is told.
func counts(l link.Lane, p link.Plate, width, height int) bool {
	return (p.Text != "" || l.Unreadable) && track.Counts(l, p.Box, width, height)
}

// inLane leaves of a look at a picture what is in the lane: the plates that
// count, and the faces whose middle lies in the region.
func (w *watch) inLane(saw sight, picture gocv.Mat) sight {
	width, height := picture.Cols(), picture.Rows()
	saw.Plates = slices.DeleteFunc(saw.Plates, func(p link.Plate) bool { return !counts(w.s.Lane, p, width, height) })
	saw.Faces = slices.DeleteFunc(saw.Faces, func(f link.Face) bool {
		middle := link.Fraction{X: (float64(f.Box.Left) + float64(f.Box.Width)/2) / float64(width), Y: (float64(f.Box.Top) + float64(f.Box.Height)/2) / float64(height)}
		return !link.Within(w.s.Lane.Region, middle)
	})
	return saw
}

// sharpness measures how good a plate's picture is.
type sharpness struct{ small, grey, edges, mean, deviation gocv.Mat }

func newSharpness() sharpness {
	return sharpness{gocv.NewMat(), gocv.NewMat(), gocv.NewMat(), gocv.NewMat(), gocv.NewMat()}
}

func (s *sharpness) close() {
	for _, m := range []*gocv.Mat{&s.small, &s.grey, &s.edges, &s.mean, &s.deviation} {
		_ = m.Close()
	}
}

// of is sharpness times size: the deviation of the plate's Laplacian, at a
// fixed size, times the plate's width in pixels.
func (s *sharpness) of(picture gocv.Mat, b link.Box) float64 {
	area := image.Rect(b.Left, b.Top, b.Left+b.Width, b.Top+b.Height).Intersect(image.Rect(0, 0, picture.Cols(), picture.Rows()))
	if area.Dx() < 4 || area.Dy() < 4 || picture.Type() != gocv.MatTypeCV8UC3 {
		return 0
	}
	part := picture.Region(area)
	gocv.Resize(part, &s.small, image.Pt(96, 32), 0, 0, gocv.InterpolationLinear)
	_ = part.Close()
	gocv.CvtColor(s.small, &s.grey, gocv.ColorBGRToGray)
	gocv.Laplacian(s.grey, &s.edges, gocv.MatTypeCV16S, 1, 1, 0, gocv.BorderReplicate)
	gocv.MeanStdDev(s.edges, &s.mean, &s.deviation)
	if s.deviation.Empty() || s.deviation.Type() != gocv.MatTypeCV64F {
		return 0
	}
	return s.deviation.GetDoubleAt(0, 0) * math.Sqrt(float64(b.Width*b.Height))
}
