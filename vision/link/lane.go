package link

import (
	"time"

	"gatehouse/configs"
)

// Events of a Result.
const (
	EventPassage = "passage" // the one final result of a vehicle or a face
	EventQuick   = "quick"   // the same passage's early notice: its plate is sure; no pictures
	EventTrigger = "trigger" // the answer to a Trigger
	EventLane    = "lane"    // something that a vehicle does, see Result.LaneEvent
)

// Triggers of a Result (vendor-mqtt.md, 6.3).
const (
	TriggerVideo    = 1
	TriggerInput    = 2
	TriggerSoftware = 4
	TriggerLoop     = 8
)

// Lane events (vendor-mqtt.md, 6.3).
const (
	LaneStaying      = 64
	LaneStayingEnded = 65
	LaneUTurn        = 66
	LanePassing      = 67
	LaneTailGating   = 68
)

// Directions in the picture (vendor-mqtt.md, 6.4); down is towards the camera.
const (
	DirectionUnknown = 0
	DirectionLeft    = 1
	DirectionRight   = 2
	DirectionUp      = 3
	DirectionDown    = 4
)

// Fraction is a point of the picture: 0,0 its left top, 1,1 its right bottom.
type Fraction struct {
	X float64 `json:"x"`
	Y float64 `json:"y"`
}

// Within reports whether a point of the picture lies in a polygon (even-odd
// rule); no polygon is the whole picture.
func Within(polygon []Fraction, p Fraction) bool {
	if len(polygon) < 3 {
		return true
	}
	in := false
	for i, a := range polygon {
		b := polygon[(i+1)%len(polygon)]
		if (a.Y > p.Y) != (b.Y > p.Y) && p.X < a.X+(p.Y-a.Y)/(b.Y-a.Y)*(b.X-a.X) {
			in = !in
		}
	}
	return in
}

// Lane is what of the picture is looked at and what is told of it. Its zero
// value looks at every frame's whole picture.
type Lane struct {
	Region        []Fraction `json:"region,omitempty"`          // polygon; empty: the whole picture
	TriggerLine   []Fraction `json:"trigger_line,omitempty"`    // two points; empty: none
	Loop          []Fraction `json:"loop,omitempty"`            // polygon; empty: none
	Direction     int        `json:"direction,omitempty"`       // the only one that is a passage; 0: any
	MinPlateWidth float64    `json:"min_plate_width,omitempty"` // fraction of the picture's width
	Sensitivity   int        `json:"sensitivity,omitempty"`     // of motion, 1 to 100; 0: every frame is looked at
	SettleMS      int64      `json:"settle_ms,omitempty"`       // how long a better picture is waited for once the plate is sure
	FinalMayWait  bool       `json:"final_may_wait,omitempty"`  // nobody who opens waits for the final result: all have the early notice
	StayingMS     int64      `json:"staying_ms,omitempty"`      // 0: staying is not told
	TailGatingMS  int64      `json:"tail_gating_ms,omitempty"`  // 0: tail-gating is not told
	UTurn         bool       `json:"u_turn,omitempty"`
	Passing       bool       `json:"passing,omitempty"`
	NoPlate       bool       `json:"no_plate,omitempty"`   // vehicles without plate are told
	Unreadable    bool       `json:"unreadable,omitempty"` // plates that cannot be read are told
	NoVideo       bool       `json:"no_video,omitempty"`   // only triggers are answered
	TimedMS       int64      `json:"timed_ms,omitempty"`   // a look every so often; 0: none
}

var directions = map[string]int{"left": DirectionLeft, "right": DirectionRight, "up": DirectionUp, "down": DirectionDown}

// LaneOf is what a board's config says of the lane.
func LaneOf(c configs.Lane) Lane {
	return Lane{Region: fractions(c.Region), TriggerLine: fractions(c.TriggerLine), Loop: fractions(c.Loop),
		Direction: directions[c.Direction], MinPlateWidth: c.MinPlateWidth, Sensitivity: c.Sensitivity,
		SettleMS: time.Duration(c.Settle).Milliseconds(), StayingMS: time.Duration(c.Staying).Milliseconds(),
		TailGatingMS: time.Duration(c.TailGating).Milliseconds(), UTurn: c.UTurn, Passing: c.Passing,
		NoPlate: c.NoPlate, Unreadable: c.Unreadable, NoVideo: !c.Video, TimedMS: time.Duration(c.Timed).Milliseconds()}
}

func fractions(points []configs.LanePoint) (out []Fraction) {
	for _, p := range points {
		out = append(out, Fraction{X: p.X, Y: p.Y})
	}
	return out
}

// Capture is how a camera is opened.
type Capture struct {
	Transport  string `json:"transport,omitempty"` // of RTSP: tcp or udp; empty is tcp
	Format     string `json:"format,omitempty"`    // of V4L2: MJPG, YUYV, …; empty: the camera's
	Width      int    `json:"width,omitempty"`     // of V4L2; 0: the camera's
	Height     int    `json:"height,omitempty"`
	Exposure   int    `json:"exposure,omitempty"`     // of V4L2, in 100 µs; 0: automatic
	FrameAgeMS int64  `json:"frame_age_ms,omitempty"` // older frames are dropped; 0: none is
	DayNight   string `json:"day_night,omitempty"`    // program that is called with day or night
}
