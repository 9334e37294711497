// Package configs holds what a board can be set to: the typed configuration,
// its defaults and its checks.
//
// A board runs without any configuration file: Default is complete. A file
// given by --config states only what differs; it is read over the defaults,
// and an unknown field is an error, so that a misspelt name is never silently
// ignored. Secrets have no place in it: broker credentials come from binding
// and lie in the state database.
package configs

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"
)

// DefaultJSON is default.json, the defaults as a file to start from. A test
// holds it equal to Default.
//
//go:embed default.json
var DefaultJSON []byte

// Duration is a time.Duration written in JSON as text such as "10s" or "1m30s".
type Duration time.Duration

// MarshalJSON writes d the way time.Duration prints itself.
func (d Duration) MarshalJSON() ([]byte, error) {
	return json.Marshal(time.Duration(d).String())
}

// UnmarshalJSON reads text as time.ParseDuration takes it.
func (d *Duration) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return errors.New(`a duration is text such as "10s" or "1m30s"`)
	}
	v, err := time.ParseDuration(s)
	if err != nil {
		return fmt.Errorf(`%q is no duration; write it like "10s" or "1m30s"`, s)
	}
	*d = Duration(v)
	return nil
}

// Config is everything a board can be set to.
type Config struct {
	// Device is how the board names itself.
	Device Device `json:"device"`
	// Camera is where pictures come from.
	Camera Camera `json:"camera"`
	// Capture is how the camera is opened and what is taken from it.
	Capture Capture `json:"capture"`
	// Vision is the recognition process and its limits.
	Vision Vision `json:"vision"`
	// Lane is the part of the picture that vehicles pass and what is told of them.
	Lane Lane `json:"lane"`
	// Gate says who may pass.
	Gate Gate `json:"gate"`
	// Faces says when a face is somebody's.
	Faces Faces `json:"faces"`
	// Barrier is how the barrier is driven.
	Barrier Barrier `json:"barrier"`
	// MQTT is the connection to the broker.
	MQTT MQTT `json:"mqtt"`
	// Delivery is the outbox and what leaves it.
	Delivery Delivery `json:"delivery"`
}

// Device is how the board names itself.
type Device struct {
	// SN is the serial number, xxxxxxxx-xxxxxxxx in lower-case hex. Empty: made at the first start and kept.
	SN string `json:"sn"`
	// Name appears in every result, UTF-8, at most 64 bytes.
	Name string `json:"name"`
	// BoardVersion is the board type as the vendor numbers it.
	BoardVersion int `json:"board_version"`
}

// Camera is where pictures come from.
type Camera struct {
	// Source is a picture or video file, a directory of pictures, /dev/videoN or an rtsp:// URL. Empty: no camera.
	Source string `json:"source"`
	// FPS is the most pictures a second that are looked at, 0 < FPS ≤ 60.
	FPS float64 `json:"fps"`
	// Loop starts a directory or file again at its end.
	Loop bool `json:"loop"`
	// StallTimeout is how long a live source may give no picture before it is opened again.
	StallTimeout Duration `json:"stall_timeout"`
}

// Vision is the recognition process and its limits.
type Vision struct {
	// Program is the path of gatehouse-vision. Empty: beside the running gatehouse.
	Program string `json:"program"`
	// Models is the directory of model files. Empty: ../models from the program.
	Models string `json:"models"`
	// Plates and Faces switch the two recognitions.
	Plates bool `json:"plates"`
	Faces  bool `json:"faces"`
	// MaxRSSMiB is the resident memory in MiB at which the process is restarted, 128 and up.
	MaxRSSMiB int `json:"max_rss_mib"`
	// SilenceTimeout is how long the process may say nothing before it is killed and restarted.
	SilenceTimeout Duration `json:"silence_timeout"`
}

// Gate says who may pass.
type Gate struct {
	// MinPlateScore is the least probability, 0 to 1, at which a plate is believed.
	MinPlateScore float64 `json:"min_plate_score"`
	// SamePlate is how long the same plate is not reported again.
	SamePlate Duration `json:"same_plate"`
	// OpenByWhitelist lets the board open for listed plates.
	OpenByWhitelist bool `json:"open_by_whitelist"`
	// OpenByFace lets the board open for enrolled faces.
	OpenByFace bool `json:"open_by_face"`
	// MinFaceSimilarity is the least cosine, 0 to 1, at which a face counts as an enrolled one. Below 0.35 strangers pass.
	MinFaceSimilarity float64 `json:"min_face_similarity"`
	// RowCommands accepts the vendor's unsigned white_list_operator.
	RowCommands bool `json:"row_commands"`
}

// Barrier is how the barrier is driven.
type Barrier struct {
	// Driver is "software" (nothing is driven), "serial" (relay board) or "gpio".
	Driver string `json:"driver"`
	// Pulse is how long the opening relay is held, 500 ms to 5 s.
	Pulse Duration `json:"pulse"`
	// CloseAfter is when the software barrier closes by itself.
	CloseAfter Duration `json:"close_after"`
	// Serial is the relay board of the driver "serial".
	Serial Serial `json:"serial"`
	// GPIO are the lines of the driver "gpio".
	GPIO GPIO `json:"gpio"`
}

// Serial is a relay board on a serial line; its relays are outputs 0 to 3.
type Serial struct {
	// Port is the device, e.g. /dev/ttyS1.
	Port string `json:"port"`
	// Baud is the line's speed.
	Baud int `json:"baud"`
	// Protocol is "modbus" (RTU, function 5) or "lcus" (the small USB relay boards).
	Protocol string `json:"protocol"`
	// Address is the board's Modbus address, 1 to 247.
	Address int `json:"address"`
}

// GPIO are lines of the board.
type GPIO struct {
	// Lines are outputs 0 to 3 in order: "gpiochip0/17" or a line's name, "" for none.
	Lines []string `json:"lines"`
	// ActiveLow means that a line at 0 is an output that is on.
	ActiveLow bool `json:"active_low"`
}

// MQTT is the connection to the broker; address and credentials come from binding unless Broker is set.
type MQTT struct {
	// Broker overrides the bound broker: tcp://host:port or ssl://host:port. Empty: as bound.
	Broker string `json:"broker"`
	// Layout is the topic layout, "new" (device/{sn}/…) or "old" ({sn}/device/…).
	Layout string `json:"layout"`
	// Topics overrides single topics: name → topic, {sn} is replaced.
	Topics map[string]string `json:"topics"`
	// KeepAlive is the period of the vendor's keep_alive message, 1 s to 10 min.
	KeepAlive Duration `json:"keep_alive"`
	// BackoffMax is the longest wait between two attempts to connect.
	BackoffMax Duration `json:"backoff_max"`
}

// Delivery is the outbox and what leaves it.
type Delivery struct {
	// Ack is who acknowledges an event: "cloud" (event_ack) or "puback" (any broker). Empty: cloud once bound, else puback.
	Ack string `json:"ack"`
	// MaxBytesMiB is the outbox's largest size in MiB, 8 and up.
	MaxBytesMiB int `json:"max_bytes_mib"`
	// MaxAge is how long an undelivered event is kept.
	MaxAge Duration `json:"max_age"`
	// PictureQuotaMiB is the room for pictures in MiB.
	PictureQuotaMiB int `json:"picture_quota_mib"`
	// EventsPerSecond and Burst are the token bucket on publishing.
	EventsPerSecond float64 `json:"events_per_second"`
	Burst           int     `json:"burst"`
}

// Default is a complete configuration: no camera, software barrier, strict gate.
func Default() Config {
	return Config{
		Device:  Device{Name: "Gatehouse", BoardVersion: 12378},
		Camera:  Camera{FPS: 15, Loop: true, StallTimeout: Duration(10 * time.Second)},
		Capture: defaultCapture(),
		Lane:    defaultLane(),
		Vision:  Vision{Plates: true, Faces: true, MaxRSSMiB: 1024, SilenceTimeout: Duration(15 * time.Second)},
		Gate: Gate{MinPlateScore: 0.9, SamePlate: Duration(10 * time.Second),
			OpenByWhitelist: true, OpenByFace: true, MinFaceSimilarity: 0.45, RowCommands: true},
		Faces: DefaultFaces(),
		Barrier: Barrier{Driver: "software", Pulse: Duration(500 * time.Millisecond), CloseAfter: Duration(5 * time.Second),
			Serial: Serial{Baud: 9600, Protocol: "modbus", Address: 1}, GPIO: GPIO{Lines: []string{}}},
		MQTT: MQTT{Layout: "new", Topics: map[string]string{}, KeepAlive: Duration(10 * time.Second), BackoffMax: Duration(2 * time.Minute)},
		Delivery: Delivery{MaxBytesMiB: 256, MaxAge: Duration(30 * 24 * time.Hour), PictureQuotaMiB: 512,
			EventsPerSecond: 20, Burst: 40},
	}
}

// Load reads the file at path over the defaults and checks the result. An
// empty path gives the defaults. Errors name the parameter as a JSON pointer.
func Load(path string) (Config, error) {
	if path == "" {
		return Default(), nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return Config{}, fmt.Errorf("cannot read config: %w", err)
	}
	c, err := Parse(b)
	if err != nil {
		return Config{}, fmt.Errorf("cannot use config %s: %w", path, err)
	}
	return c, nil
}

// Parse reads JSON over the defaults and checks the result.
func Parse(b []byte) (Config, error) {
	c := Default()
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&c); err != nil {
		return Config{}, err
	}
	if _, err := dec.Token(); err != io.EOF {
		return Config{}, errors.New("there is text behind the end of the JSON object")
	}
	return c, c.Validate()
}

// ParamError names the parameter that is wrong and what it should be.
type ParamError struct {
	Pointer string // JSON pointer, e.g. /camera/fps
	What    string
}

func (e *ParamError) Error() string { return e.Pointer + " " + e.What }

var serialNumber = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{8}$`)

// Validate returns a *ParamError for the first field out of its range.
func (c Config) Validate() error {
	for _, r := range []struct {
		bad           bool
		pointer, what string
	}{
		{c.Device.SN != "" && !serialNumber.MatchString(c.Device.SN), "/device/sn", "must look like 265e1040-85e01fb7"},
		{len(c.Device.Name) > 64, "/device/name", "must be at most 64 bytes"},
		{!(c.Camera.FPS > 0 && c.Camera.FPS <= 60), "/camera/fps", "must be above 0 and at most 60"},
		{c.Camera.StallTimeout < Duration(time.Second), "/camera/stall_timeout", "must be at least 1s"},
		{c.Vision.MaxRSSMiB < 128, "/vision/max_rss_mib", "must be at least 128"},
		{c.Vision.SilenceTimeout < Duration(2*time.Second), "/vision/silence_timeout", "must be at least 2s"},
		{!(c.Gate.MinPlateScore >= 0 && c.Gate.MinPlateScore <= 1), "/gate/min_plate_score", "must be 0 to 1"},
		{c.Gate.SamePlate < 0, "/gate/same_plate", "must not be negative"},
		{!(c.Gate.MinFaceSimilarity > 0 && c.Gate.MinFaceSimilarity <= 1), "/gate/min_face_similarity", "must be above 0 and at most 1"},
		{!oneOf(c.Barrier.Driver, "software", "serial", "gpio"), "/barrier/driver", "must be software, serial or gpio"},
		{c.Barrier.Driver == "serial" && c.Barrier.Serial.Port == "", "/barrier/serial/port", "must name the relay board's device, e.g. /dev/ttyS1"},
		{c.Barrier.Serial.Baud < 300 || c.Barrier.Serial.Baud > 4_000_000, "/barrier/serial/baud", "must be 300 to 4000000"},
		{!oneOf(c.Barrier.Serial.Protocol, "modbus", "lcus"), "/barrier/serial/protocol", "must be modbus or lcus"},
		{c.Barrier.Serial.Address < 1 || c.Barrier.Serial.Address > 247, "/barrier/serial/address", "must be 1 to 247"},
		{c.Barrier.Driver == "gpio" && (len(c.Barrier.GPIO.Lines) == 0 || c.Barrier.GPIO.Lines[0] == ""), "/barrier/gpio/lines", "must name at least the line of output 0, which raises the barrier"},
		{len(c.Barrier.GPIO.Lines) > 4, "/barrier/gpio/lines", "must be at most 4"},
		{c.Barrier.Pulse < Duration(500*time.Millisecond) || c.Barrier.Pulse > Duration(5*time.Second), "/barrier/pulse", "must be 500ms to 5s"},
		{!brokerURL(c.MQTT.Broker), "/mqtt/broker", "must look like tcp://host:port or ssl://host:port"},
		{!oneOf(c.MQTT.Layout, "new", "old"), "/mqtt/layout", "must be new or old"},
		{c.MQTT.KeepAlive < Duration(time.Second) || c.MQTT.KeepAlive > Duration(10*time.Minute), "/mqtt/keep_alive", "must be 1s to 10m"},
		{c.MQTT.BackoffMax < Duration(time.Second), "/mqtt/backoff_max", "must be at least 1s"},
		{!oneOf(c.Delivery.Ack, "", "cloud", "puback"), "/delivery/ack", "must be cloud, puback or empty"},
		{c.Delivery.MaxBytesMiB < 8, "/delivery/max_bytes_mib", "must be at least 8"},
		{c.Delivery.MaxAge < Duration(time.Minute), "/delivery/max_age", "must be at least 1m"},
		{c.Delivery.PictureQuotaMiB < 1, "/delivery/picture_quota_mib", "must be at least 1"},
		{!(c.Delivery.EventsPerSecond > 0), "/delivery/events_per_second", "must be above 0"},
		{c.Delivery.Burst < 1, "/delivery/burst", "must be at least 1"},
	} {
		if r.bad {
			return &ParamError{Pointer: r.pointer, What: r.what}
		}
	}
	if err := c.Lane.validate(); err != nil {
		return err
	}
	if err := c.Capture.validate(); err != nil {
		return err
	}
	for name, topic := range c.MQTT.Topics {
		if topic == "" || strings.ContainsAny(topic, "+#") {
			return &ParamError{Pointer: "/mqtt/topics/" + name, What: "must be a topic without wildcards"}
		}
	}
	return nil
}

func oneOf(s string, set ...string) bool {
	for _, v := range set {
		if s == v {
			return true
		}
	}
	return false
}

func brokerURL(s string) bool {
	if s == "" {
		return true
	}
	u, err := url.Parse(s)
	return err == nil && oneOf(u.Scheme, "tcp", "ssl") && u.Port() != "" && u.User == nil
}

// Redact leaves user, password and query out of a camera's address, for logs.
func Redact(source string) string {
	scheme, rest, ok := strings.Cut(source, "://")
	if !ok {
		return source
	}
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		rest = "***" + rest[i:]
	}
	if before, _, has := strings.Cut(rest, "?"); has {
		rest = before + "?***"
	}
	return scheme + "://" + rest
}
