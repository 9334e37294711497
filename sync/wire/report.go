package wire

import "time"

// GPIOIn is the body of gpio_in: an input changed (vendor-mqtt.md, 4.3).
type GPIOIn struct {
	AlarmGioIn AlarmGioIn `json:"AlarmGioIn"`
}

// AlarmGioIn tells of one input.
type AlarmGioIn struct {
	DeviceName string `json:"deviceName"` // base64; plain over HTTP push
	IPAddr     string `json:"ipaddr"`     // the board's IPv4 address
	SerialNo   string `json:"serialno"`   // its serial number
	Result     struct {
		TriggerResult TriggerResult `json:"TriggerResult"`
	} `json:"result"`
}

// TriggerResult is the input and what became of it.
type TriggerResult struct {
	Source int `json:"source"` // 0 IN1 … 3 IN4
	Value  int `json:"value"`  // 0 open, 1 closed, 2 closed and open again
}

// Values of an input's change.
const (
	InputOpen   = 0
	InputClosed = 1
	InputPulse  = 2
)

// NewGPIOIn makes the message of one input's change.
func NewGPIOIn(sn, deviceName, ip string, source, value int) GPIOIn {
	m := GPIOIn{AlarmGioIn{DeviceName: B64(deviceName), IPAddr: ip, SerialNo: sn}}
	m.AlarmGioIn.Result.TriggerResult = TriggerResult{source, value}
	return m
}

// SerialUp is the body of serial_data from the board: bytes that a serial port
// received (vendor-mqtt.md, 4.4).
type SerialUp struct {
	SerialData SerialReceived `json:"SerialData"`
}

// SerialReceived is what one port received.
type SerialReceived struct {
	Channel       int    `json:"channel"`       // reserved, 0
	SerialNo      string `json:"serialno"`      // serial number
	IPAddr        string `json:"ipaddr"`        // IPv4 address
	DeviceName    string `json:"deviceName"`    // base64; plain over HTTP push
	SerialChannel int    `json:"serialChannel"` // 0 RS485-1, 1 RS485-2 or RS232
	Data          []byte `json:"data"`          // base64 of bytes
	DataLen       int    `json:"dataLen"`       // bytes before encoding
}

// NewSerialUp makes the message of received bytes.
func NewSerialUp(sn, deviceName, ip string, channel int, data []byte) SerialUp {
	return SerialUp{SerialReceived{SerialNo: sn, IPAddr: ip, DeviceName: B64(deviceName), SerialChannel: channel, Data: data, DataLen: len(data)}}
}

// SnapshotResult is the payload of snapshot from the board (vendor-mqtt.md, 4.5).
type SnapshotResult struct {
	StateCode       int    `json:"state_code"`      // 200 or 500
	MsgID           string `json:"msg_id"`          // the request's id
	ImageFormat     string `json:"imageformat"`     // jpg
	ImgPath         string `json:"imgPath"`         // base64; empty: the content is in the message
	ImgAbsolutePath string `json:"imgAbsolutePath"` // empty
	ImgRelativePath string `json:"imgRelativePath"` // empty
	Bucket          string `json:"bucket"`          // empty
	OSSType         string `json:"oss_type"`        // empty
	ImageContent    []byte `json:"image_content"`   // base64 of JPEG
}

// NewSnapshot makes the answer to request id; without a picture it failed.
func NewSnapshot(id string, jpeg []byte) SnapshotResult {
	m := SnapshotResult{StateCode: 200, MsgID: id, ImageFormat: "jpg", ImageContent: jpeg}
	if len(jpeg) == 0 {
		m.StateCode, m.ImageContent = 500, []byte{}
	}
	return m
}

// OfflineRecord is the body of offline_record (vendor-mqtt.md, 4.7).
type OfflineRecord struct {
	OfflineRecord int `json:"offline_record"` // results that wait
}

// KeepAlive is the body of keep_alive (vendor-mqtt.md, 4.8).
type KeepAlive struct {
	Timestamp int64 `json:"timestamp"` // Unix s
}

// BarrierStatus is the body of barr_gate_status, sent on change
// (vendor-mqtt.md, 4.6).
type BarrierStatus struct {
	GateCtrlID    int `json:"gate_ctrl_id"`   // number of the barrier's controller
	GateStatus    int `json:"gate_status"`    // 0 closed, 1 open, 2 in between or not known
	ConnectStatus int `json:"connect_status"` // 1 the board reaches the barrier's outputs, 0 the last switching failed
	Enable        int `json:"enable"`         // 1 the state is watched
}

// States of a barrier.
const (
	GateClosed  = 0
	GateOpen    = 1
	GateBetween = 2
)

// TimestampReply is the payload of the reply to get_device_timestamp. Clients
// look for the time in two places.
type TimestampReply struct {
	Type      string    `json:"type"`      // get_device_timestamp
	Timestamp int64     `json:"timestamp"` // Unix s
	Body      KeepAlive `json:"body"`
}

// NewTimestampReply tells the board's time.
func NewTimestampReply(at time.Time) TimestampReply {
	return TimestampReply{NameTimestamp, at.Unix(), KeepAlive{at.Unix()}}
}

// Kinds of lane events: event_type of lanectrl_result (vendor-mqtt.md, 4.9).
// The vendor's number for a vehicle that stays no longer is not known; ours is
// that of its trigger type (6.3).
const (
	LaneStaying      = 82
	LaneStayingEnded = 65
	LanePassing      = 83
	LaneUTurn        = 84
	LaneTailGating   = 85
)

// laneEvents gives event_type by trigger type (vendor-mqtt.md, 6.3).
var laneEvents = map[int]int{64: LaneStaying, 65: LaneStayingEnded, 66: LaneUTurn, 67: LanePassing, 68: LaneTailGating}

// LaneEvent gives event_type of a lane event by its trigger type; ok is false
// for one that has none.
func LaneEvent(triggerType int) (event int, ok bool) {
	event, ok = laneEvents[triggerType]
	return event, ok
}

// LaneResult is the payload of lanectrl_result (vendor-mqtt.md, 4.9).
type LaneResult struct {
	DeviceInfo LaneDevice    `json:"device_info"`
	Time       string        `json:"time"`         // local "YYYY-MM-DD hh:mm:ss"
	ResultID   int64         `json:"result_id"`    // number of the event
	IsOffline  int           `json:"isoffline"`    // 1 a stored one, sent later
	EventType  int           `json:"event_type"`   // 82 staying, 65 staying ended, 83 passing, 84 U-turn, 85 tail-gating
	GroupID    int64         `json:"group_id"`     // the passage
	GroupIDStr string        `json:"group_id_str"` // the same as a text
	Result     []LanePicture `json:"result"`       // one picture
}

// LaneDevice is the board that saw it.
type LaneDevice struct {
	AlgChn  int    `json:"alg_chn"`  // reserved, 0
	ChnID   int    `json:"chn_id"`   // reserved, 0
	DevIP   string `json:"dev_ip"`   // IPv4 address
	DevPort int    `json:"dev_port"` // 80
	RuleID  int    `json:"rule_id"`  // 1
	SoftVer string `json:"soft_ver"` // of the agent
}

// LanePicture is a picture of the event and the plate on it.
type LanePicture struct {
	FullImage   LaneImage  `json:"full_image"`
	SmallImage  LaneImage  `json:"small_image"`
	PlateResult *LanePlate `json:"plate_result,omitempty"` // absent where there is no plate
}

// LaneImage is where a picture lies; its content is not part of this message.
type LaneImage struct {
	FullImageID           int64  `json:"full_image_id"`            // number of the event
	FullImagePath         string `json:"full_image_path"`          // base64
	FullImageAbsolutePath string `json:"full_image_absolute_path"` // empty
	FullImageRelativePath string `json:"full_image_relative_path"` // empty
	ImageType             int    `json:"image_type"`               // 0 full, 1 the plate's
	FeCropInfo            struct {
		Left   int `json:"left"`   // of the plate, pixels
		Top    int `json:"top"`    // pixels
		Width  int `json:"width"`  // pixels
		Height int `json:"height"` // pixels
	} `json:"fe_crop_info"`
}

// LanePlate is the plate of a lane event.
type LanePlate struct {
	License        string `json:"license"`          // base64
	ColorType      string `json:"color_type"`       // base64 of the number as a text, table 6.1
	Type           string `json:"type"`             // base64 of the number as a text, table 6.2
	Confidence     int    `json:"confidence"`       // 0–100
	PlateTrueWidth int    `json:"plate_true_width"` // 0: not known
}
