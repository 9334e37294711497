package plate

import (
	"image"
	"image/color"
	"os"
	"strings"
	"testing"

	"gocv.io/x/gocv"

	"gatehouse/vision/models"
	"gatehouse/vision/plate/quad"
)

const modelDir = "../../models"

// needModels skips where PP-OCR has not been fetched (make models).
func needModels(t testing.TB) {
	t.Helper()
	if _, err := os.Stat(modelDir); err != nil {
		t.Skip("the models are not there: make models")
	}
	if _, err := models.Verify(modelDir); err != nil {
		t.Fatal(err)
	}
}

// sign draws a white plate with black characters in one or two rows onto grey.
func sign(rows ...string) (gocv.Mat, Candidate) {
	m := gocv.NewMatWithSizeFromScalar(gocv.NewScalar(90, 90, 90, 0), 240, 320, gocv.MatTypeCV8UC3)
	r := image.Rect(60, 80, 260, 80+60*len(rows))
	gocv.Rectangle(&m, r, color.RGBA{R: 235, G: 235, B: 235}, -1)
	for i, row := range rows {
		gocv.PutText(&m, row, image.Pt(72, 124+56*i), gocv.FontHersheySimplex, 1.28, color.RGBA{}, 4)
	}
	c := Candidate{Score: .99, Rows: len(rows)}
	for i, p := range []image.Point{r.Min, {X: r.Max.X, Y: r.Min.Y}, r.Max, {X: r.Min.X, Y: r.Max.Y}} {
		c.Quad[i] = quad.Point{X: float64(p.X), Y: float64(p.Y)}
	}
	return m, c
}

// The drawn letters are nobody's typeface, so only PP-OCR is asked.
func TestOneAndTwoRowsAreRead(t *testing.T) {
	needModels(t)
	r, err := OpenWith(modelDir, Options{Readers: ReadPPOCR})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, rows := range [][]string{{"ABC1234"}, {"KLM", "5678"}} {
		picture, c := sign(rows...)
		g := r.ground(picture, c)
		e, ok, err := r.read.read(picture, c, g)
		want := strings.Join(rows, "")
		if err != nil || !ok || e.reading.Number != want || e.rows != len(rows) || len(e.reading.Chars) != len(e.reading.Number) || g.color != "white" && g.color != "unknown" || !g.dark {
			t.Errorf("%v is read as %+v on %+v, %v", rows, e, g, err)
		}
		_ = picture.Close()
	}
}

// A plate that is sure to be one and bears nothing readable is a result without
// text; what may be none is no result.
func TestUnreadablePlate(t *testing.T) {
	r, err := OpenWith("", Options{Readers: ReadSmall})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	picture, c := sign("")
	defer picture.Close() //nolint:errcheck // a Mat's Close always returns nil
	size := image.Pt(picture.Cols(), picture.Rows())
	for _, score := range []float64{.9995, .9} {
		c.Score = score
		g := r.ground(picture, c)
		e, read, err := r.read.read(picture, c, g)
		if err != nil {
			t.Fatal(err)
		}
		p, ok := r.describe(size, c, e, read, g, MinScore)
		if ok != (score > surePlate) || ok && (p.Text != "" || p.Score != 0 || p.Box.Width == 0) {
			t.Errorf("with a plate's score %v: %+v %v", score, p.Plate, ok)
		}
	}
}

func TestWrongOptions(t *testing.T) {
	for name, o := range map[string]Options{
		"a reader":    {Readers: "nobody"},
		"a region":    {Readers: ReadSmall, Regions: []string{"atlantis"}},
		"a file":      {Readers: ReadSmall, Templates: "/none"},
		"not a table": {Readers: ReadSmall, Templates: "read_test.go"},
	} {
		if r, err := OpenWith("", o); err == nil {
			t.Errorf("%s is taken", name)
			r.Close()
		}
	}
}

// BenchmarkRead reads one plate of one row; PP-OCR alone is the baseline.
func BenchmarkRead(b *testing.B) {
	needModels(b)
	for _, readers := range []string{ReadPPOCR, ReadSmall, ReadBoth} {
		b.Run(readers, func(b *testing.B) {
			r, err := OpenWith(modelDir, Options{Readers: readers})
			if err != nil {
				b.Fatal(err)
			}
			defer r.Close()
			picture, c := sign("ABC1234")
			defer picture.Close() //nolint:errcheck // a Mat's Close always returns nil
			g := r.ground(picture, c)
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := r.read.read(picture, c, g); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
