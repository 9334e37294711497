// Package link is what agent and vision process say to each other over a
// socket pair: settings and triggers one way, recognitions with their
// pictures the other.
//
// It is pure Go, so that the agent may import it. Neither side trusts the
// other's lengths: a message above the limits ends the connection, and the
// agent then restarts the vision process.
package link

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
)

// Limits of one message in bytes.
const (
	MaxHeader = 1 << 20
	MaxBlob   = 8 << 20
)

// Box is left, top, width, height in pixels of the full picture.
type Box struct {
	Left   int `json:"left"`
	Top    int `json:"top"`
	Width  int `json:"width"`
	Height int `json:"height"`
}

// Overlap is the intersection of two boxes over their union, 0 to 1.
func (b Box) Overlap(o Box) float64 {
	w := min(b.Left+b.Width, o.Left+o.Width) - max(b.Left, o.Left)
	h := min(b.Top+b.Height, o.Top+o.Height) - max(b.Top, o.Top)
	if w <= 0 || h <= 0 {
		return 0
	}
	return float64(w*h) / float64(b.Width*b.Height+o.Width*o.Height-w*h)
}

// Point is a corner in pixels.
type Point struct {
	X float64 `json:"x"`
	Y float64 `json:"y"`
}

// Plate is a recognised plate.
type Plate struct {
	Text       string    `json:"text"`
	Score      float64   `json:"score"` // probability that the whole text is right, 0–1
	CharScores []float64 `json:"char_scores,omitempty"`
	Country    string    `json:"country,omitempty"` // ISO 3166, where an overseas number tells
	Kind       string    `json:"kind"`              // as in the evaluation sets: cn_blue, …
	Color      string    `json:"color"`             // blue, yellow, white, black, green, unknown
	Type       int       `json:"type"`              // vendor-mqtt.md, 6.2
	ColorType  int       `json:"color_type"`        // vendor-mqtt.md, 6.1
	Box        Box       `json:"box"`
	Corners    [4]Point  `json:"corners"` // clockwise from the plate's own top left
}

// Face is a found face.
type Face struct {
	Score   float64   `json:"score"` // 0–1
	Box     Box       `json:"box"`
	Feature []float32 `json:"feature,omitempty"` // 512 values of length 1
	// Quality is nil where only the box was asked for.
	Quality *FaceQuality `json:"quality,omitempty"`
	// Live is the probability that it is no picture of a face, 0–1; nil where it was not asked for.
	Live *float64 `json:"live,omitempty"`
}

// Hello is the vision process's first message.
type Hello struct {
	Version string            `json:"version"`
	PID     int               `json:"pid"`
	Models  map[string]string `json:"models"` // name → beginning of its SHA-256
}

// Settings are the agent's first message.
type Settings struct {
	Lane          Lane    `json:"lane"`
	Capture       Capture `json:"capture"`
	Camera        string  `json:"camera"`
	FPS           float64 `json:"fps"`
	Loop          bool    `json:"loop"`
	StallMS       int64   `json:"stall_ms"`
	Models        string  `json:"models"` // directory; empty: the default
	Plates        bool    `json:"plates"`
	Faces         bool    `json:"faces"`
	Liveness      bool    `json:"liveness"` // have each face that is compared examined
	Reading       Reading `json:"reading"`
	SamePlateMS   int64   `json:"same_plate_ms"`
	PictureBytes  int     `json:"picture_bytes"` // the most of a full picture's JPEG
	CropBytes     int     `json:"crop_bytes"`
	MinPlateScore float64 `json:"min_plate_score"`
}

// Reading is how plates are read; its zero value is the default.
type Reading struct {
	Regions   []string `json:"regions,omitempty"`   // whose numbers: cn, a country, a group, *
	Templates string   `json:"templates,omitempty"` // file of further number templates
	Reader    string   `json:"reader,omitempty"`    // both, small or pp
}

// Trigger asks for a recognition now; its result has the same id.
type Trigger struct {
	ID string `json:"id"`
	By int    `json:"by,omitempty"` // who asks: a Trigger… constant; 0: TriggerSoftware
}

// Opened says that the barrier was opened for a passage on its early notice:
// its final result may wait for the best picture.
type Opened struct {
	Passage uint64 `json:"passage"`
}

// Alive is sent every second.
type Alive struct {
	Frames   uint64  `json:"frames"`
	FPS      float64 `json:"fps"`
	CameraOK bool    `json:"camera_ok"`
	Done     bool    `json:"done"` // a source that does not loop has ended
	// Of a live camera, since the process began: how often it was opened again,
	// frames that nobody took, frames that could not be decoded, and the age of
	// the last frame when it was taken.
	Reconnects uint64  `json:"reconnects,omitempty"`
	Dropped    uint64  `json:"dropped,omitempty"`
	Garbage    uint64  `json:"garbage,omitempty"`
	LagMS      float64 `json:"lag_ms,omitempty"`
}

// Fault is a problem that the vision process reports before it goes on or ends.
type Fault struct {
	Code    int    `json:"code"` // of the error table
	Message string `json:"message"`
}

// Votes is how far the frames of a passage agree on its plate.
type Votes struct {
	Frames int     `json:"frames"` // that read the plate
	Share  float64 `json:"share"`  // of them, weighted by score, that read this text, 0–1
}

// Result is one passage, its early notice, one triggered recognition or one
// event of the lane.
//
// A plate whose text is empty is one that nobody can read; a result without
// plates is a vehicle without one, or a trigger that saw none.
type Result struct {
	Seq           uint64             `json:"seq"`
	Event         string             `json:"event,omitempty"`         // an Event… constant; empty is EventPassage
	LaneEvent     int                `json:"lane_event,omitempty"`    // of EventLane: a Lane… constant
	Direction     int                `json:"direction,omitempty"`     // a Direction… constant
	Passage       uint64             `json:"passage,omitempty"`       // the same in all results of one passage; 0: it belongs to none
	BeginMonoNS   int64              `json:"begin_mono_ns,omitempty"` // CLOCK_MONOTONIC of the passage's first frame
	EndMonoNS     int64              `json:"end_mono_ns,omitempty"`   // and of its last one so far
	Votes         Votes              `json:"votes"`
	CaptureMonoNS int64              `json:"capture_mono_ns"` // CLOCK_MONOTONIC when the frame came
	Trigger       int                `json:"trigger"`         // vendor-mqtt.md, 6.3
	TriggerID     string             `json:"trigger_id,omitempty"`
	Width         int                `json:"width"`
	Height        int                `json:"height"`
	Plates        []Plate            `json:"plates"` // the main one first
	Faces         []Face             `json:"faces"`
	StageMS       map[string]float64 `json:"stage_ms,omitempty"`
	FullSize      int                `json:"full_size"` // length of Full within the blob
	Full          []byte             `json:"-"`         // JPEG
	Crop          []byte             `json:"-"`         // JPEG of the main plate
}

// Message has exactly one field set.
type Message struct {
	Hello    *Hello    `json:"hello,omitempty"`
	Settings *Settings `json:"settings,omitempty"`
	Trigger  *Trigger  `json:"trigger,omitempty"`
	Opened   *Opened   `json:"opened,omitempty"`
	Alive    *Alive    `json:"alive,omitempty"`
	Fault    *Fault    `json:"fault,omitempty"`
	Result   *Result   `json:"result,omitempty"`
}

// Conn sends and receives messages. Send may be called from many goroutines,
// Receive from one.
type Conn struct {
	rw io.ReadWriter
	mu sync.Mutex
}

// NewConn wraps a stream socket.
func NewConn(rw io.ReadWriter) *Conn { return &Conn{rw: rw} }

// ErrTooLarge is a message above the limits.
var ErrTooLarge = errors.New("the message is above the limits")

// Send writes one message: header length, blob length (both 32 bits, big
// endian), header JSON, blob.
func (c *Conn) Send(m Message) error {
	var blob [][]byte
	var size int
	if m.Result != nil {
		m.Result.FullSize = len(m.Result.Full)
		blob = [][]byte{m.Result.Full, m.Result.Crop}
		size = len(m.Result.Full) + len(m.Result.Crop)
	}
	header, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("cannot write the message: %w", err)
	}
	if len(header) > MaxHeader || size > MaxBlob {
		return ErrTooLarge
	}
	start := binary.BigEndian.AppendUint32(nil, uint32(len(header)))
	start = binary.BigEndian.AppendUint32(start, uint32(size))
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, part := range append([][]byte{append(start, header...)}, blob...) {
		if _, err := c.rw.Write(part); err != nil {
			return fmt.Errorf("cannot write the message: %w", err)
		}
	}
	return nil
}

// Receive reads one message. After an error the stream is of no use any more.
func (c *Conn) Receive() (Message, error) {
	var start [8]byte
	if _, err := io.ReadFull(c.rw, start[:]); err != nil {
		return Message{}, err
	}
	header, size := binary.BigEndian.Uint32(start[:]), binary.BigEndian.Uint32(start[4:])
	if header > MaxHeader || size > MaxBlob {
		return Message{}, ErrTooLarge
	}
	b := make([]byte, header+size)
	if _, err := io.ReadFull(c.rw, b); err != nil {
		return Message{}, fmt.Errorf("cannot read the message: %w", err)
	}
	var m Message
	if err := json.Unmarshal(b[:header], &m); err != nil {
		return Message{}, fmt.Errorf("cannot read the message: %w", err)
	}
	if r := m.Result; r != nil {
		blob := b[header:]
		if r.FullSize < 0 || r.FullSize > len(blob) {
			return Message{}, ErrTooLarge
		}
		r.Full, r.Crop = blob[:r.FullSize:r.FullSize], blob[r.FullSize:]
	}
	return m, nil
}
