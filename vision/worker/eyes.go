package main

import (
	"errors"
	"fmt"
	"math"
	"time"

	"gocv.io/x/gocv"

	"gatehouse/hal/camera"
	"gatehouse/sync/errcode"
	"gatehouse/vision/face"
	"gatehouse/vision/link"
	"gatehouse/vision/models"
	"gatehouse/vision/plate"
)

// eyes are the recognisers of plates and faces.
type eyes struct {
	plates *plate.Recognizer
	faces  *face.Recognizer
	models map[string]string // name → beginning of its SHA-256
}

func openEyes(dir string) (*eyes, error) { return openEyesWith(dir, plate.Options{}) }

// openEyesWith is openEyes with plates read in a certain way.
func openEyesWith(dir string, o plate.Options) (*eyes, error) {
	dir, err := models.Dir(dir)
	if err != nil {
		return nil, err
	}
	hashes, err := models.Verify(dir)
	if err != nil {
		return nil, err
	}
	e := &eyes{models: hashes}
	if e.plates, err = plate.OpenWith(dir, o); err != nil {
		return nil, fmt.Errorf("cannot load the plate nets: %w", err)
	}
	if e.faces, err = face.Open(dir); err != nil {
		return nil, fmt.Errorf("cannot load the face nets: %w", err)
	}
	return e, nil
}

// openEyesAsSet opens them as the agent's settings say. Where these are wrong
// about plates, plates are read as without them and the fault is told: a gate
// must not go blind for a misspelt region.
func openEyesAsSet(s link.Settings, send func(link.Message) error) (*eyes, error) {
	e, err := openEyesWith(s.Models, plate.Options{Regions: s.Reading.Regions, Templates: s.Reading.Templates, Readers: s.Reading.Reader})
	if !errors.Is(err, plate.ErrOption) {
		return e, err
	}
	if err := send(link.Message{Fault: &link.Fault{Code: int(errcode.ParamsError), Message: err.Error()}}); err != nil {
		return nil, err
	}
	return openEyes(s.Models)
}

func (e *eyes) close() {
	e.plates.Close()
	e.faces.Close()
}

// wanted says what to look for in a picture.
type wanted struct {
	plates, faces, features bool
	// at is the time of a frame that a camera's others come before and after, in
	// ns; 0 for a picture that stands alone.
	at int64
	// idle says that nothing moves at that camera.
	idle bool
	// far is for stills: faces are looked for in tiles too, plates in a second look.
	far bool
	// live has faces with a feature examined for being prints or screens.
	live bool
}

// sight is what was seen in one picture.
type sight struct {
	Plates []link.Plate
	Faces  []link.Face
	MS     map[string]float64 // per stage
	// confirmed says that PP-OCR was asked about a plate, which takes long.
	confirmed bool
}

func (e *eyes) look(picture gocv.Mat, w wanted) (sight, error) {
	s := sight{Plates: []link.Plate{}, Faces: []link.Face{}, MS: map[string]float64{}}
	if w.plates {
		plates, times, err := e.readPlates(picture, w)
		if err != nil {
			return s, coded(errcode.PlateDetectFailed, err)
		}
		s.Plates = append(s.Plates, plates...)
		s.MS["plate_find"], s.MS["plate_read"], s.confirmed = ms(times.Find), ms(times.Read), times.Confirmed
	}
	if !w.faces {
		return s, nil
	}
	begin := time.Now()
	find := e.faces.Glance
	if w.far {
		find = e.faces.FindFar
	}
	faces, err := find(picture)
	if err != nil {
		return s, coded(errcode.FaceDetectFailed, err)
	}
	s.MS["face_find"] = ms(time.Since(begin))
	if w.features {
		begin = time.Now()
		for i := range faces[:min(len(faces), mostDescribed)] {
			e.describe(picture, &faces[i], w.live)
		}
		s.MS["face_feature"] = ms(time.Since(begin))
	}
	s.Faces = append(s.Faces, faces...)
	return s, nil
}

func (e *eyes) readPlates(picture gocv.Mat, w wanted) ([]link.Plate, plate.Times, error) {
	if w.at > 0 {
		return e.plates.Follow(picture, w.at, w.idle)
	}
	return e.plates.Recognize(picture, w.far)
}

// mostDescribed is how many faces of a picture are compared, the main ones first.
const mostDescribed = 32

// describe gives a face its quality and, where that is good enough, its feature;
// with live it is examined too, and what cannot be is not compared. A face
// without a feature is still a face.
func (e *eyes) describe(picture gocv.Mat, f *link.Face, live bool) {
	quality, feature, err := e.faces.Describe(picture, f.Box, false)
	if err != nil {
		return
	}
	f.Quality, f.Feature = &quality, feature
	if !live || feature == nil {
		return
	}
	if v, err := e.faces.Liveness(picture, f.Box); err == nil && !math.IsNaN(v) {
		f.Live = &v
	} else {
		f.Feature = nil
	}
}

// coded gives an error the code that clients know it by.
func coded(code errcode.Code, err error) error {
	return &errcode.Error{Code: code, Detail: err.Error(), Err: err}
}

// codeOf is the code of the first error that has one, 0 where none has.
func codeOf(err error) errcode.Code {
	var known *errcode.Error
	if errors.As(err, &known) {
		return known.Code
	}
	return 0
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// load reads a picture file as H×W×3 BGR: 3006 where there is no such file or
// it cannot be read, 1110 where it is no picture.
func load(path string) (gocv.Mat, error) {
	b, err := camera.ReadPicture(path)
	if err != nil {
		return gocv.Mat{}, coded(errcode.ViewImageFailed, err)
	}
	picture, err := camera.Decode(b)
	if err != nil {
		return picture, coded(errcode.ImageDecodeFailed, err)
	}
	return picture, nil
}
