package configs

import (
	"net/url"
	"strconv"
)

// Config is everything a board can be set to. The tags of its fields are the
// single source for checks, schema and documentation:
//
//	doc      what the field means
//	unit     of numbers, e.g. MiB
//	min, max the range, both included; of the elements where it is a list
//	above    a bound that is not included itself
//	enum     the values that are allowed, "|" between them
//	pattern  a regular expression for texts; an empty text is always allowed
//	maxlen   the most bytes of a text
//	maxitems the most elements of a list
//	restart  what is started anew when it changes: none, vision, session, agent
//	pushed   "no": only the board's own file may set it, never the cloud
//	secret   "url": user, password and query are not shown
type Config struct {
	// Device is how the board names itself.
	Device Device `json:"device" doc:"how the board names itself"`
	// Camera is where pictures come from.
	Camera Camera `json:"camera" doc:"where pictures come from"`
	// Capture is how the camera is opened and what is taken from it.
	Capture Capture `json:"capture" doc:"how the camera is opened and what is taken from it"`
	// Vision is the recognition process and its limits.
	Vision Vision `json:"vision" doc:"the recognition process and its limits"`
	// Lane is the part of the picture that vehicles pass and what is told of them.
	Lane Lane `json:"lane" doc:"the part of the picture that vehicles pass and what is told of them"`
	// Plates says whose number plates are read, and by whom.
	Plates Plates `json:"plates" doc:"whose number plates are read, and by whom"`
	// Gate says who may pass.
	Gate Gate `json:"gate" doc:"who may pass"`
	// Faces says when a face is somebody's.
	Faces Faces `json:"faces" doc:"when a face is somebody's"`
	// Barrier is how the barrier is driven.
	Barrier Barrier `json:"barrier" doc:"how the barrier is driven"`
	// MQTT is the connection to the broker.
	MQTT MQTT `json:"mqtt" doc:"the connection to the broker"`
	// Delivery is the outbox and what leaves it.
	Delivery Delivery `json:"delivery" doc:"the outbox and what leaves it"`
	// Broker is how the board proves itself to the broker.
	Broker Broker `json:"broker" doc:"how the board proves itself to a broker that is not its bound cloud's, or that asks for more"`
	// Pictures is how pictures leave the board.
	Pictures Pictures `json:"pictures" doc:"how pictures leave the board"`
	// Ports are serial ports, inputs and speaker.
	Ports Ports `json:"ports" doc:"serial ports, inputs and speaker, and what clients may do to the board itself"`
	// Push is the vendor's HTTP push.
	Push Push `json:"push" doc:"the vendor's HTTP push, a channel beside MQTT"`
	// Port8131 is the vendor's TCP protocol.
	Port8131 Port8131 `json:"port8131" doc:"the vendor's TCP protocol, with the board as the server"`
	// Maintenance is when changes may be applied.
	Maintenance Maintenance `json:"maintenance" doc:"when changes may be applied"`
}

// Device is how the board names itself.
type Device struct {
	SN           string `json:"sn" doc:"serial number, two times eight hex digits; empty: made at the first start and kept" pattern:"^[0-9a-f]{8}-[0-9a-f]{8}$" restart:"agent" pushed:"no"`
	Name         string `json:"name" doc:"name in every result" unit:"UTF-8" maxlen:"64" restart:"none"`
	UserData     string `json:"user_data" doc:"free text of the customer's in every recognition result" unit:"UTF-8" maxlen:"256" restart:"none"`
	BoardVersion int    `json:"board_version" doc:"board type as the vendor numbers it" min:"0" max:"2147483647" restart:"none"`
}

// Camera is where pictures come from.
type Camera struct {
	Source       string   `json:"source" doc:"a picture or video file, a directory of pictures, /dev/videoN or an rtsp:// or http:// URL; empty: no camera" maxlen:"1024" restart:"vision" secret:"url"`
	FPS          float64  `json:"fps" doc:"the most pictures a second that are looked at" unit:"1/s" min:"0.1" max:"60" restart:"vision"`
	Loop         bool     `json:"loop" doc:"start a directory or file again at its end; the vehicles and people of a film are then new ones, whatever gate.same_plate says" restart:"vision"`
	StallTimeout Duration `json:"stall_timeout" doc:"how long a live source may give no picture before it is opened again" unit:"duration" min:"1s" max:"10m" restart:"vision"`
}

// Vision is the recognition process and its limits.
type Vision struct {
	Program        string   `json:"program" doc:"path of gatehouse-vision; empty: beside the running gatehouse" restart:"agent" pushed:"no"`
	Models         string   `json:"models" doc:"directory of the model files; empty: ../models from the program" restart:"vision" pushed:"no"`
	Plates         bool     `json:"plates" doc:"recognise plates" restart:"vision"`
	Faces          bool     `json:"faces" doc:"recognise faces" restart:"vision"`
	MaxRSSMiB      int      `json:"max_rss_mib" doc:"resident memory at which the process is restarted" unit:"MiB" min:"128" max:"65536" restart:"vision"`
	SilenceTimeout Duration `json:"silence_timeout" doc:"how long the process may say nothing before it is killed and restarted" unit:"duration" min:"2s" max:"10m" restart:"vision"`
}

// Gate says who may pass.
type Gate struct {
	MinPlateScore     float64  `json:"min_plate_score" doc:"the least probability at which a plate is believed" min:"0" max:"1" restart:"vision"`
	SamePlate         Duration `json:"same_plate" doc:"how long the same plate is not reported again, by the lane, by the timer, or by an input behind the lane where the outcome is the same" unit:"duration" min:"0s" max:"24h" restart:"vision"`
	OpenByWhitelist   bool     `json:"open_by_whitelist" doc:"open for listed plates" restart:"none"`
	PlateTolerance    int      `json:"plate_tolerance" doc:"how many characters of a plate may be others of their confusable pair (0 and O, 8 and B and the like) for it to count as the one listed plate it may have been; 0: a plate must be listed as it was read" min:"0" max:"2" restart:"none"`
	OpenByFace        bool     `json:"open_by_face" doc:"open for enrolled faces" restart:"none"`
	MinFaceSimilarity float64  `json:"min_face_similarity" doc:"the least cosine at which a face counts as an enrolled one; below 0.35 strangers pass" above:"0" max:"1" restart:"none"`
	RowCommands       bool     `json:"row_commands" doc:"accept the vendor's unsigned white_list_operator" restart:"none"`
}

// Barrier is how the barrier is driven.
type Barrier struct {
	Driver     string   `json:"driver" doc:"software: nothing is driven; serial: a relay board; gpio: lines of the board" enum:"software|serial|gpio" restart:"agent"`
	Pulse      Duration `json:"pulse" doc:"how long the opening relay is held" unit:"duration" min:"500ms" max:"5s" restart:"none"`
	CloseAfter Duration `json:"close_after" doc:"when the software barrier closes by itself" unit:"duration" min:"0s" max:"10m" restart:"agent"`
	Serial     Serial   `json:"serial" doc:"the relay board of the driver serial"`
	GPIO       GPIO     `json:"gpio" doc:"the lines of the driver gpio"`
}

// Serial is a relay board on a serial line; its relays are outputs 0 to 3.
type Serial struct {
	Port     string `json:"port" doc:"device of the relay board, e.g. /dev/ttyS1" maxlen:"256" restart:"agent"`
	Baud     int    `json:"baud" doc:"speed of the line" unit:"Bd" min:"300" max:"4000000" restart:"agent"`
	Protocol string `json:"protocol" doc:"modbus: RTU, function 5; lcus: the small USB relay boards" enum:"modbus|lcus" restart:"agent"`
	Address  int    `json:"address" doc:"Modbus address of the relay board" min:"1" max:"247" restart:"agent"`
}

// GPIO are lines of the board.
type GPIO struct {
	Lines     []string `json:"lines" doc:"outputs 0 to 3 in order: gpiochip0/17 or a line's name; empty text: none" maxitems:"4" restart:"agent"`
	ActiveLow bool     `json:"active_low" doc:"a line at 0 is an output that is on" restart:"agent"`
}

// MQTT is the connection to the broker; address and credentials come from binding unless Broker is set.
type MQTT struct {
	Broker     string            `json:"broker" doc:"address instead of the bound one: tcp://host:port or ssl://host:port; empty: as bound" maxlen:"256" restart:"session"`
	Layout     string            `json:"layout" doc:"topic layout: new is device/{sn}/…, old is {sn}/device/…" enum:"new|old" restart:"session"`
	Topics     map[string]string `json:"topics" doc:"single topics by name of the message; {sn} is replaced" maxitems:"64" restart:"session"`
	KeepAlive  Duration          `json:"keep_alive" doc:"period of the vendor's keep_alive message" unit:"duration" min:"1s" max:"10m" restart:"session"`
	BackoffMax Duration          `json:"backoff_max" doc:"the longest wait between two attempts to connect" unit:"duration" min:"1s" max:"24h" restart:"session"`
	LastWill   bool              `json:"last_will" doc:"have the broker tell when the connection is lost; off for one that refuses a last will, as the vendor's cloud does" restart:"session"`
	Allow      []string          `json:"allow" doc:"what clients may do with the vendor's commands: open the barrier (gate_direct_open, a pulse on output 0), switch any output, lock outputs, send serial data, trigger a recognition, take a picture, read and change rows of the list, speak, set the clock, restart the board; unsigned_rows: change rows also while the account's policy asks for signed whitelists; the default is all but that" enum:"open|output|lock|serial|trigger|snapshot|rows|speak|time|reboot|unsigned_rows" maxitems:"11" restart:"none"`
	Trial      Duration          `json:"trial" doc:"how soon the cloud must be reached over a changed connection, else the change is undone" unit:"duration" min:"5s" max:"30m" restart:"none"`
}

// Delivery is the outbox and what leaves it.
type Delivery struct {
	Ack             string   `json:"ack" doc:"who acknowledges an event: the cloud (event_ack) or any broker (puback, which says that the broker has it, not that anybody does); empty: cloud once bound, else puback" enum:"|cloud|puback" restart:"session"`
	MaxBytesMiB     int      `json:"max_bytes_mib" doc:"largest size of the outbox" unit:"MiB" min:"8" max:"65536" restart:"agent"`
	MaxAge          Duration `json:"max_age" doc:"how long an undelivered event is kept" unit:"duration" min:"1m" max:"8760h" restart:"agent"`
	PictureQuotaMiB int      `json:"picture_quota_mib" doc:"most room for pictures" unit:"MiB" min:"1" max:"1048576" restart:"agent"`
	EventsPerSecond float64  `json:"events_per_second" doc:"rate of the token bucket on publish" unit:"1/s" above:"0" max:"100000" restart:"session"`
	Burst           int      `json:"burst" doc:"depth of the token bucket" min:"1" max:"100000" restart:"session"`
}

// validate checks what the tags cannot say.
func (c Config) validate() error {
	switch {
	case c.Barrier.Driver == "serial" && c.Barrier.Serial.Port == "":
		return &ParamError{"/barrier/serial/port", "must name the relay board's device, e.g. /dev/ttyS1"}
	case c.Barrier.Driver == "gpio" && (len(c.Barrier.GPIO.Lines) == 0 || c.Barrier.GPIO.Lines[0] == ""):
		return &ParamError{"/barrier/gpio/lines", "must name at least the line of output 0, which raises the barrier"}
	}
	for i, p := range c.Ports.Serial {
		if c.Barrier.Driver == "serial" && p.Path == c.Barrier.Serial.Port {
			return &ParamError{"/ports/serial/" + strconv.Itoa(i) + "/path", "is the relay board's port (/barrier/serial/port): what clients send would reach the relays"}
		}
	}
	return nil
}

func (m MQTT) validate() error {
	if !brokerURL(m.Broker) {
		return &ParamError{"/mqtt/broker", "must look like tcp://host:port or ssl://host:port"}
	}
	for name, topic := range m.Topics {
		if topic == "" || len(topic) > 256 || hasWildcard(topic) {
			return &ParamError{"/mqtt/topics/" + escapePointer(name), "must be a topic of at most 256 bytes without wildcards"}
		}
	}
	return nil
}

func brokerURL(s string) bool {
	if s == "" {
		return true
	}
	u, err := url.Parse(s)
	return err == nil && oneOf(u.Scheme, "tcp", "ssl") && u.Hostname() != "" && u.Port() != "" && u.User == nil
}
