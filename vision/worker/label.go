package main

import (
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"os"
	"sync"

	"gocv.io/x/gocv"
	"golang.org/x/image/font"
	"golang.org/x/image/font/gofont/gobold"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/math/fixed"
)

// chineseFont has the Chinese characters of plates (Debian's
// fonts-droid-fallback); all others come from Go's own bold font.
const chineseFont = "/usr/share/fonts/truetype/droid/DroidSansFallbackFull.ttf"

var (
	latin   = sync.OnceValues(func() (*opentype.Font, error) { return opentype.Parse(gobold.TTF) })
	chinese = sync.OnceValues(func() (*opentype.Font, error) {
		b, err := os.ReadFile(chineseFont)
		if err != nil {
			return nil, fmt.Errorf("the font of Debian's package fonts-droid-fallback is missing: %w", err)
		}
		return opentype.Parse(b)
	})
)

// letters is the typeface in which a character is drawn, of so many pixels.
func letters(c rune, size float64) (font.Face, error) {
	get := latin
	if c >= 0x2e80 {
		get = chinese
	}
	f, err := get()
	if err != nil {
		return nil, err
	}
	return opentype.NewFace(f, &opentype.FaceOptions{Size: size, DPI: 72})
}

// label writes text above a point of the picture. Without the Chinese font its
// characters are left out.
func label(m *gocv.Mat, text string, at image.Point, ground color.RGBA) {
	size := max(14, m.Cols()/40)
	tag := image.NewRGBA(image.Rect(0, 0, size*len(text)+6, size+8))
	draw.Draw(tag, tag.Bounds(), image.NewUniform(ground), image.Point{}, draw.Src)
	dot := fixed.P(3, size)
	for _, c := range text {
		face, err := letters(c, float64(size))
		if err != nil {
			continue
		}
		d := font.Drawer{Dst: tag, Src: image.Black, Face: face, Dot: dot}
		d.DrawString(string(c))
		dot = d.Dot
	}
	width := dot.X.Ceil() + 3
	place := image.Rect(at.X, at.Y-size-8, at.X+width, at.Y)
	if place.Min.Y < 0 {
		place = place.Add(image.Pt(0, -place.Min.Y))
	}
	if over := place.Max.X - m.Cols(); over > 0 {
		place = place.Sub(image.Pt(min(over, place.Min.X), 0))
	}
	part := place.Intersect(image.Rect(0, 0, m.Cols(), m.Rows()))
	if part.Empty() {
		return
	}
	picture, err := gocv.ImageToMatRGB(tag)
	if err != nil {
		return
	}
	defer picture.Close() //nolint:errcheck // a Mat's Close always returns nil
	source := picture.Region(image.Rectangle{Max: part.Size()})
	target := m.Region(part)
	source.CopyTo(&target)
	_ = source.Close()
	_ = target.Close()
}
