package face

import (
	"image"
	"math"
	"slices"
	"testing"

	"gatehouse/vision/link"
	"gatehouse/vision/plate/quad"
)

func TestBoxes(t *testing.T) {
	values := []float32{
		.1, .9, .1, .1, .3, .4, // a face
		.2, .8, .11, .1, .31, .4, // the same one again
		.9, .1, .5, .5, .6, .6, // none
		0, .95, .7, .7, 1.2, .9, // half outside
	}
	got := boxes(values, image.Pt(200, 100), image.Rect(0, 0, 200, 100))
	if len(got) != 2 {
		t.Fatalf("%+v", got)
	}
	for _, f := range got {
		if f.Box.Left+f.Box.Width > 200 || f.Box.Top+f.Box.Height > 100 || f.Score < minScore {
			t.Errorf("%+v", f)
		}
	}
	if len(boxes(values[:5], image.Pt(9, 9), image.Rect(0, 0, 9, 9))) != 0 {
		t.Error("too few values give faces")
	}
}

// Points that are the template, turned, scaled and moved, give back exactly
// that square.
func TestAligned(t *testing.T) {
	sin, cos := math.Sincos(.3)
	move := func(p quad.Point) quad.Point {
		return quad.Point{X: 2*(cos*p.X-sin*p.Y) + 40, Y: 2*(sin*p.X+cos*p.Y) - 7}
	}
	var five [5]quad.Point
	for i, p := range template {
		five[i] = move(p)
	}
	got, ok := square(five)
	for i, c := range (quad.Quad{{}, {X: 112}, {X: 112, Y: 112}, {Y: 112}}) {
		if want := move(c); !ok || math.Hypot(got[i].X-want.X, got[i].Y-want.Y) > 1e-9 {
			t.Errorf("corner %d is %v, not %v", i, got[i], want)
		}
	}
	if _, ok := square([5]quad.Point{}); ok {
		t.Error("five points in one place are a face")
	}
}

func TestSimilarity(t *testing.T) {
	a, b := []float32{1, 0}, []float32{.6, .8}
	if s := Similarity(a, b); math.Abs(s-.6) > 1e-6 || Similarity(a, a) != 1 || Similarity(a, b[:1]) != 0 {
		t.Error(s)
	}
}

func TestMainFace(t *testing.T) {
	size := image.Pt(250, 250)
	at := func(left, top, width int) link.Face {
		return link.Face{Score: 1, Box: link.Box{Left: left, Top: top, Width: width, Height: width * 5 / 4}}
	}
	for _, c := range []struct {
		name        string
		main, other link.Face
	}{
		{"the larger one", at(80, 70, 90), at(20, 70, 50)},
		{"the one in the middle", at(85, 60, 80), at(10, 60, 84)},
		{"the whole one", at(60, 60, 80), at(170, 60, 80)},
	} {
		if weight(c.main, size) <= weight(c.other, size) {
			t.Errorf("%s is not the main face", c.name)
		}
	}
}

func TestTiles(t *testing.T) {
	for _, size := range []image.Point{{640, 480}, {800, 600}, {1280, 720}, {720, 1160}, {1920, 1080}, {4000, 300}} {
		list := tiles(size)
		if size.X <= 800 && size.Y <= 600 {
			if list != nil {
				t.Errorf("%v is cut into %v", size, list)
			}
			continue
		}
		// Every face of 100 px lies wholly in a tile.
		for y := 0; y+100 <= size.Y; y += 20 {
			for x := 0; x+100 <= size.X; x += 20 {
				face := image.Rect(x, y, x+100, y+100)
				if !slices.ContainsFunc(list, func(r image.Rectangle) bool { return face.In(r) }) {
					t.Fatalf("%v: no tile of %v holds %v", size, list, face)
				}
			}
		}
	}
}

// A very large picture has larger tiles, not more.
func TestTilesAreNotTooMany(t *testing.T) {
	for _, size := range []image.Point{{12_000, 8000}, {32_766, 3000}, {3000, 32_766}, {8000, 6000}} {
		list := tiles(size)
		covered := image.Rectangle{}
		for _, r := range list {
			covered = covered.Union(r)
		}
		if len(list) > mostTiles || covered != (image.Rectangle{Max: size}) {
			t.Errorf("%v: %d tiles over %v", size, len(list), covered)
		}
	}
}

func TestPose(t *testing.T) {
	yaw, pitch, roll := pose(template)
	if math.Abs(yaw) > 3 || math.Abs(pitch) > 3 || math.Abs(roll) > 1 {
		t.Errorf("the template looks to %.0f, %.0f, %.0f", yaw, pitch, roll)
	}
	side := template
	side[2].X += 15 // the nose goes to the picture's right
	if yaw, _, _ := pose(side); yaw < 30 {
		t.Errorf("a turned face has yaw %.0f", yaw)
	}
	up := template
	up[2].Y -= 10
	if _, pitch, _ := pose(up); pitch < 15 {
		t.Errorf("a face that looks up has pitch %.0f", pitch)
	}
	if yaw, _, _ := pose([5]quad.Point{}); yaw != 90 {
		t.Error("points in one place look forward")
	}
}
