package link

// FaceQuality says how well a face can be compared with others.
type FaceQuality struct {
	Height    int     `json:"height"`        // of the face in pixels
	Sharpness float64 `json:"sharpness"`     // standard deviation of the Laplacian of the aligned 112×112 face, grey levels
	Light     float64 `json:"light"`         // mean grey level, 0–255
	Contrast  float64 `json:"contrast"`      // standard deviation of the grey level
	Yaw       float64 `json:"yaw"`           // degrees, positive: turned to the picture's right
	Pitch     float64 `json:"pitch"`         // degrees, positive: looks up
	Roll      float64 `json:"roll"`          // degrees, positive: leans clockwise in the picture
	Frontal   float64 `json:"frontal"`       // 0–1; 1 looks straight at the camera
	Strength  float64 `json:"strength"`      // length of the feature before it is made 1; what hardly is a face has little; 0: no feature was made
	Why       string  `json:"why,omitempty"` // what is against comparing it: small, turned, blurred, unclear, dark, bright, flat; empty: nothing
}

// Usable tells whether a face of this quality may decide anything.
func (q FaceQuality) Usable() bool { return q.Why == "" }
