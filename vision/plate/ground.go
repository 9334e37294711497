package plate

import (
	"image"

	"gocv.io/x/gocv"

	"gatehouse/vision/plate/quad"
	"gatehouse/vision/warp"
)

// ground is what a plate looks like without its characters.
type ground struct {
	color string // blue, yellow, white, black, green or unknown
	dark  bool   // the characters are darker than the ground
	grey  bool   // the picture has no colour
}

// surely is from when on the refiner is believed about a plate's colour.
const surely = 0.8

// ground looks at a plate's colour. Where most of the pixels are blue or yellow,
// it is that; else the refiner says what it is, since blue in the dark or in
// glaring light is hardly blue. But no net sees colour in a grey picture.
func (r *Recognizer) ground(picture gocv.Mat, c Candidate) ground {
	g := r.seen(picture, c.Quad)
	if g.color != "blue" && g.color != "yellow" && !g.grey && c.sure >= surely {
		return c.paint
	}
	return g
}

// seen is the ground as its pixels say.
func (r *Recognizer) seen(picture gocv.Mat, q quad.Quad) ground {
	size := image.Pt(96, 32)
	patch, ok := r.cut.Cut(picture, q.Grow(-.06, -.12), warp.Whole(size), size, gocv.InterpolationLinear)
	if !ok {
		return ground{color: "unknown"}
	}
	gocv.CvtColor(patch, &r.hsv, gocv.ColorBGRToHSV)
	pixels, err := r.hsv.DataPtrUint8()
	if err != nil {
		return ground{color: "unknown"}
	}
	return groundOf(pixels)
}

// Below the mean value dim, or above the mean saturation colourful (noise in the
// dark, or a lamp's colour), a dark ground has no colour that can be told.
const (
	dim       = 50
	colourful = 90
)

// groundOf decides from HSV pixels (three bytes each, hue 0–179). The shares
// asked for were chosen on the training pictures.
func groundOf(hsv []uint8) ground {
	var blue, yellow, green, bright, saturation, value, n int
	var lightOfBlue, lightOfOthers int
	for i := 0; i+2 < len(hsv); i += 3 {
		h, s, v := hsv[i], int(hsv[i+1]), int(hsv[i+2])
		n++
		saturation += s
		value += v
		light := v * (340 - s) // a saturated blue is darker than its value says
		if v >= 35 && s >= 40 && h >= 95 && h <= 135 {
			lightOfBlue += light
		} else {
			lightOfOthers += light
		}
		switch {
		case v < 35 || s < 40:
		case h >= 95 && h <= 135:
			blue++
		case h >= 12 && h < 36 && s >= 70:
			yellow++
		case h >= 36 && h < 95:
			green++
		}
	}
	if n == 0 {
		return ground{color: "unknown"}
	}
	for i := 2; i < len(hsv); i += 3 {
		if int(hsv[i])*n > value {
			bright++
		}
	}
	best := max(blue, yellow, green)
	dark := bright*2 > n // most is brighter than the mean: dark characters
	switch {
	case saturation < 12*n:
		return ground{"unknown", dark, true} // infrared, or black and white
	case best*10 < n*3 && dark:
		return ground{color: "white", dark: true}
	case best*10 < n*3 && (value < dim*n || saturation > colourful*n):
		return ground{color: "unknown"} // too dark to tell black from blue
	case best*10 < n*3:
		return ground{color: "black"}
	case best == blue:
		return ground{color: "blue", dark: blue < n && lightOfBlue/blue > lightOfOthers/(n-blue)}
	case best == yellow:
		return ground{color: "yellow", dark: dark}
	}
	return ground{color: "green", dark: dark}
}

// foreign is how much rarer a plate from abroad is held to be than a mainland
// one, where plates have this ground: with a province that can hardly be read,
// the rest of a mainland number would otherwise pass for a foreign one.
func (g ground) foreign() float64 {
	if g.color == "blue" && !g.dark || g.color == "green" {
		return 0.01
	}
	return 0.135
}
