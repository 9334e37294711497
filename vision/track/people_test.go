package track

import (
	"math"
	"testing"
	"time"

	"gatehouse/vision/link"
)

// visitor is a face of a direction in a feature space of three values.
type visitor struct {
	box     link.Box
	feature []float32
	height  int
	why     string
}

func follow(p *People, at *int64, visitors ...visitor) []link.Face {
	*at += int64(100 * time.Millisecond)
	var faces []link.Face
	byBox := map[link.Box]visitor{}
	for _, v := range visitors {
		faces = append(faces, link.Face{Score: 1, Box: v.box})
		byBox[v.box] = v
	}
	return p.Frame(*at, faces, func(f *link.Face) {
		v := byBox[f.Box]
		f.Quality = &link.FaceQuality{Height: v.height, Sharpness: 20, Frontal: 1, Why: v.why}
		if v.why == "" {
			f.Feature = v.feature
		}
	})
}

func people() *People {
	return NewPeople(PeopleOptions{Frames: 3, Same: .35, Lost: time.Second, Most: 2})
}

func at(left int) link.Box { return link.Box{Left: left, Top: 100, Width: 80, Height: 100} }

var (
	ann = []float32{1, 0, 0}
	bob = []float32{0, 1, 0}
)

func TestPeopleAreToldOnceWithTheirFramesJoined(t *testing.T) {
	p, now := people(), int64(time.Hour)
	var got []link.Face
	for i := range 10 {
		f := []float32{.9, .436, 0}
		if i%2 == 1 {
			f = []float32{.9, -.436, 0}
		}
		got = append(got, follow(p, &now, visitor{at(100 + 10*i), f, 50, ""})...)
	}
	if len(got) != 1 {
		t.Fatalf("told %d times", len(got))
	}
	f := got[0].Feature
	if math.Abs(dot(f, f)-1) > 1e-5 || dot(f, ann) < .95 || got[0].Box != at(120) {
		t.Errorf("joined %v at %v", f, got[0].Box)
	}
	// Nearer by far: a second answer, and no third.
	for i := range 20 {
		got = append(got, follow(p, &now, visitor{at(190 + 5*i), ann, 96, ""})...)
	}
	if len(got) != 2 {
		t.Errorf("told %d times", len(got))
	}
}

func TestPoorFacesAreNotTold(t *testing.T) {
	p, now := people(), int64(time.Hour)
	for range 20 {
		if got := follow(p, &now, visitor{at(100), ann, 20, "small"}); len(got) > 0 {
			t.Fatal("a face too small to compare is told")
		}
	}
	n := 0
	for range 5 {
		n += len(follow(p, &now, visitor{at(100), ann, 60, ""}))
	}
	if n != 1 {
		t.Errorf("the same person, near at last, is told %d times", n)
	}
}

func TestTwoPeopleAreNotMixed(t *testing.T) {
	p, now := people(), int64(time.Hour)
	var got []link.Face
	for range 4 {
		got = append(got, follow(p, &now, visitor{at(100), ann, 60, ""}, visitor{at(400), bob, 60, ""})...)
	}
	if len(got) != 2 || dot(got[0].Feature, ann) < .99 || dot(got[1].Feature, bob) < .99 {
		t.Fatalf("%+v", got)
	}
	// Bob takes Ann's place between two frames.
	got = nil
	for range 4 {
		got = append(got, follow(p, &now, visitor{at(110), bob, 60, ""})...)
	}
	if len(got) != 1 || dot(got[0].Feature, bob) < .99 {
		t.Errorf("who took a place is told as %+v", got)
	}
}

func TestACrowdIsDescribedInTurns(t *testing.T) {
	p, now := people(), int64(time.Hour)
	calls, told := 0, 0
	for range 20 {
		now += int64(100 * time.Millisecond)
		var faces []link.Face
		for i := range 6 {
			faces = append(faces, link.Face{Box: at(150 * i)})
		}
		before := calls
		sure := p.Frame(now, faces, func(f *link.Face) {
			calls++
			f.Quality, f.Feature = &link.FaceQuality{Height: 60, Sharpness: 20, Frontal: 1}, ann
		})
		told += len(sure)
		if calls-before > 2 {
			t.Fatalf("%d faces described in one frame", calls-before)
		}
	}
	if told != 6 {
		t.Errorf("%d of six people were told in twenty frames", told)
	}
}

func TestWhoStandsStillStays(t *testing.T) {
	p, now := people(), int64(time.Hour)
	n := 0
	for range 5 {
		n += len(follow(p, &now, visitor{at(100), ann, 60, ""}))
	}
	for range 50 {
		now += int64(100 * time.Millisecond)
		p.Still(now)
	}
	for range 5 {
		n += len(follow(p, &now, visitor{at(100), ann, 60, ""}))
	}
	if n != 1 {
		t.Errorf("told %d times", n)
	}
}
