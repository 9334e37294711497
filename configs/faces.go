package configs

// Faces says when a face is somebody's.
type Faces struct {
	// FalseAccept is the most probability that a stranger is taken for anybody of the library; the more people it has, the more alike a face must be. /gate/min_face_similarity is the least in any case.
	FalseAccept float64 `json:"false_accept" doc:"the most probability that a stranger is taken for anybody who is enrolled; the more people there are, the more alike a face must be (the table: gatehouse-vision faces --rates)" min:"0.000000001" max:"0.1" restart:"agent"`
	// Liveness has each face looked at for being a print or a screen; one below MinLive opens nothing.
	Liveness bool `json:"liveness" doc:"whether a face is examined for being a print or a screen; it refuses many live faces too (vision/face/LIVENESS.md)" restart:"vision"`
	// MinLive is the least probability of being live, 0 to 1, where Liveness is on.
	MinLive float64 `json:"min_live" doc:"the least probability of being live at which a face opens, where liveness is on" min:"0" max:"1" restart:"agent"`
}

// DefaultFaces lets one stranger in a hundred come near at most, and trusts
// the liveness net in nothing.
func DefaultFaces() Faces { return Faces{FalseAccept: 0.01, MinLive: 0.5} }
