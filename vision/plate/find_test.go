package plate

import (
	"cmp"
	"image"
	"image/color"
	"math"
	"slices"
	"testing"

	"gocv.io/x/gocv"

	"gatehouse/vision/plate/quad"
	"gatehouse/vision/warp"
)

// street is a picture that holds much and no plate.
func street(width, height int) gocv.Mat {
	m := gocv.NewMatWithSizeFromScalar(gocv.NewScalar(90, 100, 110, 0), height, width, gocv.MatTypeCV8UC3)
	for i := range 60 {
		x, y := i*width/60, (i*37)%height
		gocv.Rectangle(&m, image.Rect(x, y, x+width/20, y+height/15), color.RGBA{uint8(i * 4), uint8(255 - i*3), uint8(i * 40 % 256), 0}, -1)
	}
	return m
}

func openFinder(t testing.TB) *finder {
	t.Helper()
	cut := warp.NewCutter()
	f, err := newFinder(cut)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.close(); cut.Close() })
	return f
}

// A picture of one size leaves nothing behind for one of another.
func TestNothingStaysOfTheLastPicture(t *testing.T) {
	f := openFinder(t)
	narrow := street(320, 300)
	defer narrow.Close() //nolint:errcheck // a Mat's Close always returns nil
	first, err := f.near[wide].net.Run(shown(f.near[wide], narrow))
	if err != nil {
		t.Fatal(err)
	}
	want := slices.Clone(first)
	for _, size := range []image.Point{{X: 1280, Y: 720}, {X: 1900, Y: 200}, {X: 200, Y: 190}} {
		other := street(size.X, size.Y)
		shown(f.near[wide], other)
		_ = other.Close()
	}
	again, err := f.near[wide].net.Run(shown(f.near[wide], narrow))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(want, again) {
		t.Error("the same picture gives another output after others")
	}
}

func shown(v *view, picture gocv.Mat) gocv.Mat {
	v.show(picture)
	return v.canvas
}

// Pictures of any shape are looked at, also the narrowest.
func TestFindAnyShape(t *testing.T) {
	f := openFinder(t)
	for _, size := range []image.Point{{X: 1, Y: 1}, {X: 1, Y: 900}, {X: 900, Y: 1}, {X: 720, Y: 1280}, {X: 513, Y: 289}} {
		picture := street(size.X, size.Y)
		if _, err := f.find(picture, false); err != nil {
			t.Errorf("%v: %v", size, err)
		}
		_ = picture.Close()
	}
}

// Where nothing is found the picture is looked at again, unless it is small.
func TestSecondLook(t *testing.T) {
	f := openFinder(t)
	for _, c := range []struct {
		size  image.Point
		again bool
	}{{image.Pt(1280, 720), true}, {image.Pt(512, 288), false}, {image.Pt(720, 1280), true}} {
		f.far[wide].used, f.far[upright].used = image.Point{}, image.Point{}
		picture := gocv.NewMatWithSizeFromScalar(gocv.NewScalar(90, 90, 90, 0), c.size.Y, c.size.X, gocv.MatTypeCV8UC3)
		found, err := f.find(picture, false)
		_ = picture.Close()
		if err != nil || len(found) > 0 {
			t.Fatalf("%v: %v %v", c.size, found, err)
		}
		if again := f.far[wide].used != f.far[upright].used; again != c.again {
			t.Errorf("%v: looked at again %v, not %v", c.size, again, c.again)
		}
	}
}

// A still is looked at again though a plate was found, which is told once.
func TestStillsAreLookedAtTwice(t *testing.T) {
	f := openFinder(t)
	small, _ := sign("ABC1234")
	picture := gocv.NewMat()
	gocv.CopyMakeBorder(small, &picture, 240, 240, 480, 480, gocv.BorderConstant, color.RGBA{R: 90, G: 90, B: 90})
	_ = small.Close()
	defer picture.Close() //nolint:errcheck // a Mat's Close always returns nil
	for _, far := range []bool{false, true} {
		f.far[wide].used = image.Point{}
		found, err := f.find(picture, far)
		if err != nil || len(found) != 1 {
			t.Fatalf("far %v: %v %v", far, found, err)
		}
		if again := f.far[wide].used != (image.Point{}); again != far {
			t.Errorf("far %v: looked at again %v", far, again)
		}
	}
}

// crowd is an output of the corner net with many peaks, some of them plates
// beside each other, some the same plate twice.
func crowd() (out []float32, w, h int) {
	w, h = long/stride, short/stride
	cells := w * h
	out = make([]float32, channels*cells)
	for i := range cells {
		out[i] = -6 + float32(math.Sin(float64(i)*1.7))
	}
	for n := range 24 {
		cell := (2+n%5*7)*w + 3 + n/5*12 + n%2
		out[cell], out[cell+1] = 3-float32(n)/10, 2-float32(n)/10
		for _, at := range []int{cell, cell + 1} {
			for c, offset := range [8]float32{-4, -1, 4, -1, 4, 1, -4, 1} {
				out[(1+c)*cells+at] = offset + float32(n%3)/10
			}
		}
		out[10*cells+cell] = float32(n % 2)
	}
	return out, w, h
}

// The candidates are those of the plain way to write it.
func TestDecodeLikeThePlainWay(t *testing.T) {
	out, w, h := crowd()
	want := plainDecode(slices.Clone(out), w, h, .4)
	var c corners
	for range 2 { // the buffers are used again
		got := c.decode(out, w, h, .4)
		if len(got) != len(want) || len(got) < 10 {
			t.Fatalf("%d candidates, not %d", len(got), len(want))
		}
		for i, g := range got {
			if quad.IoU(g.Quad, want[i].Quad) < .99999 || math.Abs(g.Score-want[i].Score) > 1e-6 || g.Rows != want[i].Rows {
				t.Errorf("candidate %d is %+v, not %+v", i, g, want[i])
			}
		}
	}
}

func TestDecodeAllocatesNothing(t *testing.T) {
	out, w, h := crowd()
	var c corners
	c.decode(out, w, h, .4)
	if n := testing.AllocsPerRun(20, func() { c.decode(out, w, h, .4) }); n > 0 {
		t.Errorf("%.0f allocations a picture", n)
	}
}

// plainDecode is decode without its buffers and shortcuts: the sigmoid of every
// cell, closures, new slices.
func plainDecode(out []float32, w, h int, scale float64) []Candidate {
	plane := func(c int) []float32 { return out[c*w*h : (c+1)*w*h] }
	around := func(i int, ask func(j int) bool) bool {
		for v := max(0, i/w-1); v < min(h, i/w+2); v++ {
			for u := max(0, i%w-1); u < min(w, i%w+2); u++ {
				if ask(v*w + u) {
					return true
				}
			}
		}
		return false
	}
	centre := plane(0)
	for i, v := range centre {
		centre[i] = float32(1 / (1 + math.Exp(-float64(v))))
	}
	var peaks []int
	for i, p := range centre {
		if p > minCentre && !around(i, func(j int) bool { return centre[j] > p }) {
			peaks = append(peaks, i)
		}
	}
	slices.SortStableFunc(peaks, func(a, b int) int { return cmp.Compare(centre[b], centre[a]) })
	var found []Candidate
	for _, peak := range peaks[:min(len(peaks), maxPlates)] {
		var q quad.Quad
		var weights float64
		around(peak, func(j int) bool {
			weight := float64(centre[j]) - 0.5*float64(centre[peak])
			if weight > 0 {
				for c := range q {
					q[c].X += weight * (float64(plane(1 + 2*c)[j]) + float64(j%w) + .5)
					q[c].Y += weight * (float64(plane(2 + 2*c)[j]) + float64(j/w) + .5)
				}
				weights += weight
			}
			return false
		})
		for c := range q {
			q[c].X, q[c].Y = q[c].X/weights*stride/scale-.5, q[c].Y/weights*stride/scale-.5
		}
		if !q.Finite() || slices.ContainsFunc(found, func(o Candidate) bool { return quad.IoU(o.Quad, q) >= maxOverlap }) {
			continue
		}
		rows := 1
		if plane(10)[peak] > plane(9)[peak] {
			rows = 2
		}
		found = append(found, Candidate{Quad: q, Score: float64(centre[peak]), Rows: rows})
	}
	return found
}

func BenchmarkDecode(b *testing.B) {
	out, w, h := crowd()
	b.Run("plain", func(b *testing.B) {
		b.ReportAllocs()
		spare := make([]float32, len(out))
		for b.Loop() {
			copy(spare, out)
			plainDecode(spare, w, h, .4)
		}
	})
	b.Run("kept", func(b *testing.B) {
		b.ReportAllocs()
		var c corners
		for b.Loop() {
			c.decode(out, w, h, .4)
		}
	})
}

func BenchmarkFind(b *testing.B) {
	f := openFinder(b)
	for _, size := range []image.Point{{X: 1280, Y: 720}, {X: 1920, Y: 1080}, {X: 720, Y: 1280}} {
		b.Run(size.String(), func(b *testing.B) {
			picture := street(size.X, size.Y)
			defer picture.Close() //nolint:errcheck // a Mat's Close always returns nil
			b.ReportAllocs()
			for b.Loop() {
				if _, err := f.find(picture, false); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
