package main

import (
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"

	"gocv.io/x/gocv"
	"golang.org/x/image/font"
	"golang.org/x/image/math/fixed"

	"gatehouse/vision/plate/quad"
	"gatehouse/vision/warp"
)

// scene is one picture of the demonstration: a car at a gate, or the gate alone.
type scene struct {
	number string // of the plate; empty: no car
	ground color.RGBA
	ink    color.RGBA
	car    color.RGBA
	lean   float64 // how far the plate is turned, radians
	size   float64 // of the car, 1 is usual
	light  float64 // 1 by day
}

var (
	white  = color.RGBA{245, 245, 245, 255}
	black  = color.RGBA{20, 20, 22, 255}
	blue   = color.RGBA{24, 62, 168, 255}
	yellow = color.RGBA{240, 184, 28, 255}
	green  = color.RGBA{120, 205, 140, 255}
)

// scenes are invented; the numbers belong to nobody we know.
var scenes = []scene{
	{number: "川A82K56", ground: blue, ink: white, car: color.RGBA{176, 180, 186, 255}, size: 1, light: 1},
	{},
	{number: "粤B58D23", ground: blue, ink: white, car: color.RGBA{120, 24, 28, 255}, lean: -.04, size: 1.15, light: .95},
	{number: "苏ED12345", ground: green, ink: black, car: color.RGBA{236, 238, 240, 255}, lean: .03, size: 1.1, light: 1},
	{number: "沪C7H890", ground: yellow, ink: black, car: color.RGBA{40, 76, 116, 255}, lean: .02, size: 1.2, light: .8},
	{number: "京N6K208", ground: blue, ink: white, car: color.RGBA{30, 32, 36, 255}, lean: .05, size: .95, light: .6},
}

// renderDemo draws the demonstration's pictures; they are the same every time.
func renderDemo(args []string, out io.Writer) error {
	f := newFlags("render-demo", "DIR", "Draws the demonstration's gate scenes (cars with invented plates) as JPEG files into DIR.")
	where, err := parse(f, args, 1, 1)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(where[0], 0o755); err != nil {
		return fmt.Errorf("cannot make the directory: %w", err)
	}
	for i, s := range scenes {
		path := filepath.Join(where[0], fmt.Sprintf("scene_%02d.jpg", i+1))
		if err := s.write(path, uint64(i)); err != nil {
			return err
		}
		_, _ = fmt.Fprintln(out, path)
	}
	return nil
}

func (s scene) write(path string, seed uint64) error {
	m, err := s.draw(seed)
	if err != nil {
		return err
	}
	defer m.Close() //nolint:errcheck // a Mat's Close always returns nil
	b, err := gocv.IMEncodeWithParams(gocv.JPEGFileExt, m, []int{gocv.IMWriteJpegQuality, 92})
	if err != nil {
		return fmt.Errorf("cannot encode the scene: %w", err)
	}
	defer b.Close()
	if err := os.WriteFile(path, b.GetBytes(), 0o644); err != nil {
		return fmt.Errorf("cannot write the scene: %w", err)
	}
	return nil
}

// draw makes a picture of 1280×720.
func (s scene) draw(seed uint64) (gocv.Mat, error) {
	const w, h, horizon = 1280, 720, 300
	m := gocv.NewMatWithSize(h, w, gocv.MatTypeCV8UC3)
	for y := 0; y < horizon; y += 4 { // sky
		v := uint8(170 + y*60/horizon)
		fill(&m, color.RGBA{v - 20, v - 6, v, 255}, image.Pt(0, y), image.Pt(w, y), image.Pt(w, y+4), image.Pt(0, y+4))
	}
	for y := horizon; y < h; y += 4 { // road
		v := uint8(96 + (y-horizon)*30/(h-horizon))
		fill(&m, color.RGBA{v, v, v + 2, 255}, image.Pt(0, y), image.Pt(w, y), image.Pt(w, y+4), image.Pt(0, y+4))
	}
	fill(&m, color.RGBA{150, 120, 100, 255}, image.Pt(0, 120), image.Pt(260, 140), image.Pt(260, 330), image.Pt(0, 360)) // gate house
	fill(&m, color.RGBA{70, 90, 110, 255}, image.Pt(60, 180), image.Pt(200, 188), image.Pt(200, 260), image.Pt(60, 264))
	fill(&m, color.RGBA{60, 100, 60, 255}, image.Pt(1000, 200), image.Pt(1280, 170), image.Pt(1280, 330), image.Pt(1000, 310)) // hedge
	for _, x := range []int{420, 860} {                                                                                        // lane marks
		fill(&m, color.RGBA{215, 215, 205, 255}, image.Pt(x, horizon+10), image.Pt(x+8, horizon+10), image.Pt(x+(x-640)*3/4+24, h), image.Pt(x+(x-640)*3/4, h))
	}
	if s.number != "" {
		if err := s.drawCar(&m); err != nil {
			_ = m.Close()
			return m, err
		}
	}
	for i := range 12 { // the boom
		c := color.RGBA{230, 230, 225, 255}
		if i%2 == 0 {
			c = color.RGBA{200, 40, 36, 255}
		}
		fill(&m, c, image.Pt(280+i*60, 292-i), image.Pt(340+i*60, 291-i), image.Pt(340+i*60, 305-i), image.Pt(280+i*60, 306-i))
	}
	fill(&m, color.RGBA{230, 150, 30, 255}, image.Pt(240, 270), image.Pt(290, 270), image.Pt(290, 420), image.Pt(240, 420))
	if s.number != "" && s.light < 1 {
		m.MultiplyFloat(float32(s.light))
	}
	gocv.GaussianBlur(m, &m, image.Pt(3, 3), 0.7, 0.7, gocv.BorderReplicate)
	return m, grain(&m, seed)
}

// grain adds a sensor's noise.
func grain(m *gocv.Mat, seed uint64) error {
	pixels, err := m.DataPtrUint8()
	if err != nil {
		return fmt.Errorf("cannot draw the scene: %w", err)
	}
	r := rand.New(rand.NewPCG(seed, 1))
	for i, v := range pixels {
		pixels[i] = uint8(max(0, min(255, int(v)+int(r.Int32N(9))-4)))
	}
	return nil
}

func fill(m *gocv.Mat, c color.RGBA, points ...image.Point) {
	v := gocv.NewPointsVectorFromPoints([][]image.Point{points})
	defer v.Close()
	gocv.FillPoly(m, v, c)
}

func (s scene) drawCar(m *gocv.Mat) error {
	at := func(x, y float64) image.Point { // from the middle of the car's foot, in 1/100 of its half width
		return image.Pt(640+int(x*2.6*s.size), 640+int(y*2.6*s.size))
	}
	dark := color.RGBA{s.car.R / 2, s.car.G / 2, s.car.B / 2, 255}
	fill(m, color.RGBA{50, 50, 52, 255}, at(-104, -2), at(104, -2), at(96, 8), at(-96, 8))                                           // shadow
	fill(m, color.RGBA{24, 24, 26, 255}, at(-96, -26), at(-70, -26), at(-70, 4), at(-96, 4))                                         // wheels
	fill(m, color.RGBA{24, 24, 26, 255}, at(70, -26), at(96, -26), at(96, 4), at(70, 4))                                             //
	fill(m, s.car, at(-62, -132), at(62, -132), at(84, -84), at(100, -70), at(100, -14), at(-100, -14), at(-100, -70), at(-84, -84)) // body
	fill(m, color.RGBA{52, 64, 78, 255}, at(-54, -126), at(54, -126), at(74, -88), at(-74, -88))                                     // windscreen
	fill(m, color.RGBA{90, 104, 118, 255}, at(-54, -126), at(-30, -126), at(-52, -88), at(-74, -88))                                 // its reflection
	fill(m, dark, at(-100, -34), at(100, -34), at(98, -10), at(-98, -10))                                                            // bumper
	fill(m, color.RGBA{38, 38, 42, 255}, at(-44, -64), at(44, -64), at(40, -46), at(-40, -46))                                       // grille
	fill(m, color.RGBA{240, 240, 226, 255}, at(-94, -68), at(-58, -64), at(-60, -50), at(-92, -54))                                  // lamps
	fill(m, color.RGBA{240, 240, 226, 255}, at(94, -68), at(58, -64), at(60, -50), at(92, -54))                                      //
	flat, err := plateFace(s)
	if err != nil {
		return err
	}
	defer flat.Close() //nolint:errcheck // a Mat's Close always returns nil
	middle, high := at(0, -22), 0.4*26*2.6*s.size
	wide := high * float64(flat.Cols()) / float64(flat.Rows())
	sin, cos := math.Sincos(s.lean)
	var to quad.Quad
	for i, c := range [4][2]float64{{-.5, -.5}, {.5, -.5}, {.5, .5}, {-.5, .5}} {
		x, y := c[0]*wide*1.8, c[1]*high*1.8
		to[i] = quad.Point{X: float64(middle.X) + x*cos - y*sin, Y: float64(middle.Y) + x*sin + y*cos}
	}
	return paste(m, flat, to)
}

// paste draws the picture flat into the quad of m.
func paste(m *gocv.Mat, flat gocv.Mat, to quad.Quad) error {
	size := image.Pt(m.Cols(), m.Rows())
	cutter := warp.NewCutter()
	defer cutter.Close()
	from := warp.Whole(image.Pt(flat.Cols(), flat.Rows()))
	mask := gocv.NewMatWithSize(m.Rows(), m.Cols(), gocv.MatTypeCV8U)
	defer mask.Close() //nolint:errcheck // a Mat's Close always returns nil
	mask.SetTo(gocv.Scalar{})
	var corners []image.Point
	for _, p := range to {
		corners = append(corners, image.Pt(int(math.Round(p.X)), int(math.Round(p.Y))))
	}
	fill(&mask, color.RGBA{255, 255, 255, 255}, corners...)
	warped, ok := cutter.Cut(flat, from, to, size, gocv.InterpolationLinear)
	if !ok {
		return fmt.Errorf("cannot draw the scene: the plate has no area")
	}
	warped.CopyToWithMask(m, mask)
	return nil
}

// plateFace draws a plate from the front: 440×140 mm, or 480×140 mm with
// eight characters, two pixels a millimetre.
func plateFace(s scene) (gocv.Mat, error) {
	characters := []rune(s.number)
	size := image.Rect(0, 0, 880, 280)
	if len(characters) == 8 {
		size.Max.X = 960
	}
	plate := image.NewRGBA(size)
	draw.Draw(plate, size, image.NewUniform(s.ground), image.Point{}, draw.Src)
	for _, inset := range []int{8, 14} {
		c := s.ink
		if inset == 14 {
			c = s.ground
		}
		draw.Draw(plate, size.Inset(inset), image.NewUniform(c), image.Point{}, draw.Src)
	}
	draw.Draw(plate, size.Inset(14), image.NewUniform(s.ground), image.Point{}, draw.Src)
	step := (size.Dx() - 110) / len(characters)
	x := 40
	for i, c := range characters {
		points, thick := 190., 1
		if c >= 0x2e80 {
			points, thick = 130, 7 // the Chinese font has no bold face
		}
		face, err := letters(c, points)
		if err != nil {
			return gocv.Mat{}, fmt.Errorf("cannot draw plates: %w", err)
		}
		width := font.MeasureString(face, string(c)).Ceil()
		for dx := range thick {
			d := font.Drawer{Dst: plate, Src: image.NewUniform(s.ink), Face: face, Dot: fixed.P(x+(step-width)/2+dx-thick/2, 140+int(points*.36))}
			d.DrawString(string(c))
		}
		x += step
		if i == 1 {
			draw.Draw(plate, image.Rect(x+6, 130, x+24, 148), image.NewUniform(s.ink), image.Point{}, draw.Src)
			x += 30
		}
	}
	m, err := gocv.ImageToMatRGB(plate)
	if err != nil {
		return gocv.Mat{}, fmt.Errorf("cannot draw plates: %w", err)
	}
	return m, nil
}
