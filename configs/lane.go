package configs

import "time"

// Lane is the part of the picture that vehicles pass and what is told of them.
// All coordinates are fractions of the picture: 0,0 its left top, 1,1 its right
// bottom. Directions are those in the picture; down is towards the camera.
type Lane struct {
	// Region is where plates are looked for.
	Region []LanePoint `json:"region" doc:"corners of the polygon in which vehicles and people are looked for; empty: the whole picture" restart:"vision"`
	// TriggerLine gives the result when a plate crosses it.
	TriggerLine []LanePoint `json:"trigger_line" doc:"two points of a line; the result is given when the plate crosses it; empty: none" restart:"vision"`
	// Loop gives the result when a plate comes into it.
	Loop []LanePoint `json:"loop" doc:"corners of a virtual loop; the result is given when the plate comes into it; empty: none" restart:"vision"`
	// Direction is the only one that counts as a passage.
	Direction string `json:"direction" doc:"the direction in the picture that is a passage; vehicles that move otherwise are not told" enum:"any|up|down|left|right" restart:"vision"`
	// MinPlateWidth leaves out the plates of cars that are far away.
	MinPlateWidth float64 `json:"min_plate_width" doc:"the least width of a plate, as a fraction of the picture's width" min:"0" max:"1" restart:"vision"`
	// Sensitivity is that of the motion detector.
	Sensitivity int `json:"sensitivity" doc:"sensitivity of the motion detector that spares the nets in an empty lane, 1 to 100; 0: every picture is looked at" min:"0" max:"100" restart:"vision"`
	// Settle is how long a better picture is waited for.
	Settle Duration `json:"settle" doc:"how long a better picture of the passage is waited for once its plate is sure, and up to 3s where nobody opens by the final result; the gate does not wait" unit:"duration" min:"0s" max:"10s" restart:"vision"`
	// EarlyResult sends quick_ivs_result.
	EarlyResult bool `json:"early_result" doc:"send quick_ivs_result, without pictures, as soon as the plate is sure; the final result may then come up to 3s later, with the passage's best picture" restart:"vision"`
	// NoPlate tells vehicles without plate.
	NoPlate bool `json:"no_plate" doc:"give a result for a vehicle that passes without a plate" restart:"vision"`
	// Unreadable tells plates that cannot be read.
	Unreadable bool `json:"unreadable" doc:"give a result for a plate that cannot be read" restart:"vision"`
	// Staying is the time after which a vehicle stays.
	Staying Duration `json:"staying" doc:"after this long in the region a vehicle is told as staying; 0s: not told" unit:"duration" min:"0s" max:"1h" restart:"vision"`
	// TailGating is how soon after another a vehicle tail-gates.
	TailGating Duration `json:"tail_gating" doc:"a vehicle that passes within this time after another one is told as tail-gating; 0s: not told" unit:"duration" min:"0s" max:"1m" restart:"vision"`
	// UTurn tells vehicles that turn back.
	UTurn bool `json:"u_turn" doc:"tell vehicles that turn back in the region" restart:"vision"`
	// Passing tells each vehicle that has left the region.
	Passing bool `json:"passing" doc:"tell each vehicle that has left the region after its passage" restart:"vision"`
	// Video answers by itself what the camera sees.
	Video bool `json:"video" doc:"give results for what the camera sees; off: only triggers are answered" restart:"vision"`
	// TriggerInputs are the inputs that ask for a recognition.
	TriggerInputs []int `json:"trigger_inputs" doc:"numbers of the digital inputs (loop coils) that trigger a recognition" min:"0" max:"7" maxitems:"8" restart:"none"`
	// Software accepts a client's ivs_trigger.
	Software bool `json:"software" doc:"accept a client's trigger" restart:"none"`
	// Timed is the period of a recognition whatever moves.
	Timed Duration `json:"timed" doc:"period of a recognition whatever the camera sees; 0s: none" unit:"duration" min:"0s" max:"24h" restart:"vision"`
}

// LanePoint is a point of the picture.
type LanePoint struct {
	X float64 `json:"x" doc:"from the left" min:"0" max:"1"`
	Y float64 `json:"y" doc:"from the top" min:"0" max:"1"`
}

// Capture is how the camera is opened and what is taken from it.
type Capture struct {
	// Transport is RTSP's.
	Transport string `json:"transport" doc:"transport of an RTSP camera" enum:"tcp|udp" restart:"vision"`
	// Format is a V4L2 camera's.
	Format string `json:"format" doc:"pixel format of a V4L2 camera; empty: the camera's own" enum:"|MJPG|YUYV|NV12|GREY" restart:"vision"`
	// Width and Height are a V4L2 camera's.
	Width  int `json:"width" doc:"width asked of a V4L2 camera; 0: its own" unit:"px" min:"0" max:"8192" restart:"vision"`
	Height int `json:"height" doc:"height asked of a V4L2 camera; 0: its own" unit:"px" min:"0" max:"8192" restart:"vision"`
	// Exposure is a V4L2 camera's.
	Exposure int `json:"exposure" doc:"exposure time of a V4L2 camera; 0: automatic" unit:"100 µs" min:"0" max:"10000" restart:"vision"`
	// FrameAge is how old a frame may be. What it has waited on its way is known of RTSP only, whose frames have a clock.
	FrameAge Duration `json:"frame_age" doc:"a live camera's frame that has waited longer to be looked at, or with RTSP on its way, is dropped" unit:"duration" min:"50ms" max:"10s" restart:"vision"`
	// DayNight is a program for lamps and filters.
	DayNight string `json:"day_night" doc:"path of a program that is called with the argument day or night when the light changes; empty: none" restart:"vision" pushed:"no"`
}

func defaultLane() Lane {
	return Lane{Region: []LanePoint{}, TriggerLine: []LanePoint{}, Loop: []LanePoint{}, Direction: "any", MinPlateWidth: 0.02, Sensitivity: 50,
		Settle: Duration(400 * time.Millisecond), Unreadable: true, Video: true, TriggerInputs: []int{}, Software: true}
}

func defaultCapture() Capture {
	return Capture{Transport: "tcp", FrameAge: Duration(time.Second)}
}

// validate checks what the tags cannot say.
func (l Lane) validate() error {
	for _, p := range []struct {
		name   string
		points []LanePoint
		line   bool
	}{{"region", l.Region, false}, {"trigger_line", l.TriggerLine, true}, {"loop", l.Loop, false}} {
		switch {
		case len(p.points) == 0:
		case p.line && len(p.points) != 2:
			return &ParamError{Pointer: "/lane/" + p.name, What: "must be two points, or none"}
		case !p.line && (len(p.points) < 3 || len(p.points) > 32):
			return &ParamError{Pointer: "/lane/" + p.name, What: "must be 3 to 32 corners of a polygon, or none"}
		}
	}
	if len(l.TriggerLine) > 0 && len(l.Loop) > 0 {
		return &ParamError{Pointer: "/lane/loop", What: "must be empty where there is a trigger_line: choose one of the two"}
	}
	if l.Timed > 0 && l.Timed < Duration(time.Second) {
		return &ParamError{Pointer: "/lane/timed", What: "must be at least 1s, or 0s"}
	}
	return nil
}
