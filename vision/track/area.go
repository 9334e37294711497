package track

import (
	"math"

	"gatehouse/vision/link"
)

// side is the sign of the area that the three points span: on which side of
// the line through a and b the point p lies.
func side(a, b, p link.Fraction) float64 {
	return math.Copysign(1, (b.X-a.X)*(p.Y-a.Y)-(b.Y-a.Y)*(p.X-a.X))
}

// crosses reports whether the way from p to q crosses the line between a and b.
func crosses(a, b, p, q link.Fraction) bool {
	return side(a, b, p) != side(a, b, q) && side(p, q, a) != side(p, q, b)
}

// Counts reports whether a plate with this box is one of the lane's: it is wide
// enough, and its foot lies in the region. Width and height are the picture's.
func Counts(l link.Lane, b link.Box, width, height int) bool {
	return float64(b.Width) >= l.MinPlateWidth*float64(width) && link.Within(l.Region, foot(b, width, height))
}
