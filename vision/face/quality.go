package face

import (
	"math"

	"gocv.io/x/gocv"

	"gatehouse/vision/link"
	"gatehouse/vision/plate/quad"
)

// Limits of a face that may be compared. Below 32 px height a third of the
// same people are no longer known (TAR at FAR 0.001 0.93 at 32 px, 0.66 at 24);
// the other limits only keep out what is hardly a face any more, since each
// refusal costs somebody a try.
const (
	minHeight    = 32
	maxYaw       = 45.0 // degrees
	maxPitch     = 40.0
	minSharpness = 4.0 // grey levels; a 112×112 face enlarged from 20 px has about 3
	minLight     = 25.0
	maxLight     = 235.0
	minContrast  = 12.0
	// The detector takes a logo, a pizza or a cat for a face now and then. Of
	// 80 "faces" in the plate-free pictures of ../shared/train, what is none
	// mostly moves between the two looks for its points, and has a short
	// feature: the net is not impressed. Faces of the 126 portraits move by
	// 0.044 at most and have a length of 2.4 at least.
	maxMoved    = 0.06
	minStrength = 2.3
)

// quality judges an aligned face (112×112×3 BGR) with its five points in the
// picture.
func (r *Recognizer) quality(face gocv.Mat, five [5]quad.Point, box link.Box, moved float64) link.FaceQuality {
	q := link.FaceQuality{Height: box.Height}
	q.Yaw, q.Pitch, q.Roll = pose(five)
	q.Frontal = math.Max(0, math.Cos(q.Yaw*math.Pi/180)*math.Cos(q.Pitch*math.Pi/180))
	gocv.CvtColor(face, &r.grey, gocv.ColorBGRToGray)
	q.Light, q.Contrast = r.spread(r.grey)
	gocv.Laplacian(r.grey, &r.edges, gocv.MatTypeCV64F, 1, 1, 0, gocv.BorderReplicate)
	_, q.Sharpness = r.spread(r.edges)
	switch {
	case q.Height < minHeight:
		q.Why = "small"
	case math.Abs(q.Yaw) > maxYaw || math.Abs(q.Pitch) > maxPitch:
		q.Why = "turned"
	case moved > maxMoved:
		q.Why = "unclear"
	case q.Light < minLight:
		q.Why = "dark"
	case q.Light > maxLight:
		q.Why = "bright"
	case q.Contrast < minContrast:
		q.Why = "flat"
	case q.Sharpness < minSharpness:
		q.Why = "blurred"
	}
	return q
}

// spread is the mean and the standard deviation of a one-channel picture.
func (r *Recognizer) spread(m gocv.Mat) (mean, deviation float64) {
	gocv.MeanStdDev(m, &r.mean, &r.deviation)
	return r.mean.GetDoubleAt(0, 0), r.deviation.GetDoubleAt(0, 0)
}

// pose estimates a head's turn in degrees from eyes, nose tip and mouth corners
// under a weak perspective. The head: eyes 64 mm apart, the mouth 62 mm below
// them, the nose tip 31 mm below, as in the template, and 25 mm before the plane of
// eyes and mouth. Some people differ by 10 degrees from it.
func pose(five [5]quad.Point) (yaw, pitch, roll float64) {
	const eyes, mouth, nose, depth = 64.0, 62.0, 31.0, 25.0
	across := quad.Point{X: five[1].X - five[0].X, Y: five[1].Y - five[0].Y}
	distance := math.Hypot(across.X, across.Y)
	if distance == 0 {
		return 90, 0, 0
	}
	ux, uy := across.X/distance, across.Y/distance // along the eyes
	middle := quad.Point{X: (five[0].X + five[1].X) / 2, Y: (five[0].Y + five[1].Y) / 2}
	lips := quad.Point{X: (five[3].X+five[4].X)/2 - middle.X, Y: (five[3].Y+five[4].Y)/2 - middle.Y}
	tip := quad.Point{X: five[2].X - middle.X, Y: five[2].Y - middle.Y}
	down := -lips.X*uy + lips.Y*ux // eyes to mouth, across the eyes' line
	if down <= 0 {
		return 0, 90, math.Atan2(uy, ux) * 180 / math.Pi
	}
	// The nose lies on the line from the eyes to the mouth when seen from the
	// front; what it leaves that line by is its depth times the turn.
	share := (-tip.X*uy + tip.Y*ux) / down
	aside := (tip.X*ux + tip.Y*uy) - share*(lips.X*ux+lips.Y*uy)
	yaw = math.Atan2(aside/distance*eyes, depth)
	pitch = math.Atan2((nose/mouth-share)*mouth, depth)
	const degrees = 180 / math.Pi
	return yaw * degrees, pitch * degrees, math.Atan2(uy, ux) * degrees
}
