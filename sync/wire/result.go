package wire

import "time"

// PlateNone is the license of a result without a plate.
const PlateNone = "_无_"

// Trigger types of a result (vendor-mqtt.md, 6.3).
const (
	TriggerVideo    = 1
	TriggerInput    = 2
	TriggerSoftware = 4
)

// Control types of a relay the board drove itself (vendor-mqtt.md, 4.1).
const (
	RelayByServer    = 1
	RelayByWhitelist = 2
)

// Rect is a box by its edges in pixels of the full picture.
type Rect struct {
	Left   int `json:"left"`   // pixels
	Top    int `json:"top"`    // pixels
	Right  int `json:"right"`  // pixels
	Bottom int `json:"bottom"` // pixels
}

// RectLevel is the extra level RECT that most boxes of the protocol have.
type RectLevel struct {
	RECT Rect `json:"RECT"`
}

// RelayAction is a relay that the board drove because of a result.
type RelayAction struct {
	IONum    int `json:"ionum"`    // output 0–3
	CtrlType int `json:"ctrltype"` // 1 on a server's order, 2 by the list or a face
}

// Timeval is a moment in Unix time and in the board's local time.
type Timeval struct {
	DecYear int   `json:"decyear"` // local time
	DecMon  int   `json:"decmon"`  // 1–12
	DecDay  int   `json:"decday"`  // 1–31
	DecHour int   `json:"dechour"` // 0–23
	DecMin  int   `json:"decmin"`  // 0–59
	DecSec  int   `json:"decsec"`  // 0–59
	Sec     int64 `json:"sec"`     // Unix s
	Usec    int64 `json:"usec"`    // µs within the second
}

// CarBrand is {brand, type, year}; unknown is 255, 255, 65535.
type CarBrand struct {
	Brand int `json:"brand"` // 255: not known
	Type  int `json:"type"`  // table 6.6; 255: not known
	Year  int `json:"year"`  // 65535: not known
}

// PlateItem is one plate of a result.
type PlateItem struct {
	Color             int    `json:"color"`               // table 6.1
	Type              int    `json:"type"`                // table 6.2
	License           string `json:"license"`             // base64; plain over HTTP push
	PlateWidth        int    `json:"plate_width"`         // pixels
	IsDanger          int    `json:"is_danger"`           // 1 dangerous goods; always 0
	Pos               Rect   `json:"pos"`                 // the plate
	ImagePath         string `json:"image_path"`          // base64 of path or URL; empty: content
	ImageAbsolutePath string `json:"image_absolute_path"` // path mode
	ImageRelativePath string `json:"image_relative_path"` // path mode
	Content           string `json:"content"`             // base64 of JPEG
	BinImgPath        string `json:"binimg_path"`         // empty
	BinImgContent     string `json:"binimg_content"`      // empty
	BinImgSize        int    `json:"binImgSize"`          // bytes
	ClipImgSize       int    `json:"clipImgSize"`         // bytes of the cut-out
}

// PlateResult is the vendor's table 4.1, in full.
type PlateResult struct {
	License        string    `json:"license"`          // base64; plain over HTTP push
	LicenseExtType int       `json:"license_ext_type"` // 0 not known
	ColorType      int       `json:"colorType"`        // 0–6, table 6.1
	Type           int       `json:"type"`             // table 6.2
	Confidence     int       `json:"confidence"`       // 0–100
	Direction      int       `json:"direction"`        // table 6.4
	TriggerType    int       `json:"triggerType"`      // table 6.3: 1 video, 2 input, 4 software, 8 virtual loop
	PlateID        int64     `json:"plateid"`          // number of the result, growing
	IsOffline      int       `json:"isoffline"`        // 1 a stored one, sent later
	IsFakePlate    int       `json:"is_fake_plate"`    // always 0
	IsEncrypted    int       `json:"is_encrypted"`     // always 0
	FeatureCode    bool      `json:"feature_code"`     // always false
	Location       RectLevel `json:"location"`         // the plate
	CarLocation    RectLevel `json:"car_location"`     // the vehicle, zeros: not known
	CarColor       int       `json:"carColor"`         // table 6.5; 255 not known
	CarBrand       CarBrand  `json:"car_brand"`        // not known: 255, 255, 65535
	Bright         int       `json:"bright"`           // reserved, 0
	CarBright      int       `json:"carBright"`        // reserved, 0
	CleanTime      int       `json:"clean_time"`       // reserved, 0
	TimeUsed       int       `json:"timeUsed"`         // µs
	PlateDistance  int       `json:"plate_distance"`   // 0 not known
	PlateTrueWidth int       `json:"plate_true_width"` // 0 not known
	TimeStamp      struct {
		Timeval Timeval `json:"Timeval"`
	} `json:"timeStamp"`
	StartTime int64         `json:"start_time"`           // Unix ms
	BeginTime int64         `json:"begin_time,omitempty"` // Unix s of the passage's first frame
	EndTime   int64         `json:"end_time,omitempty"`   // Unix s of its last one
	UniqueID  string        `json:"unique_id,omitempty"`  // serial number, "_" and Unix ms
	RecordID  int64         `json:"record_uuid"`          // as plateid
	EventChan int           `json:"event_channel"`        // reserved, 0
	GioOuts   []RelayAction `json:"gioouts"`              // relays that the board drove because of it

	Bucket                    string `json:"bucket"`                    // path mode: the store
	OSSType                   string `json:"oss_type"`                  // path mode: the kind of store
	ImagePath                 string `json:"imagePath"`                 // base64 of path or URL of the full picture; empty: content
	ImageAbsolutePath         string `json:"imageAbsolutePath"`         // path mode
	ImageRelativePath         string `json:"imageRelativePath"`         // path mode
	ImageFragmentPath         string `json:"imageFragmentPath"`         // base64 of path or URL of the plate's picture; empty: content
	ImageFragmentAbsolutePath string `json:"imageFragmentAbsolutePath"` // path mode
	ImageFragmentRelativePath string `json:"imageFragmentRelativePath"` // path mode
	FullImageContent          string `json:"full_image_content"`        // base64 of JPEG
	SmallImageContent         string `json:"small_image_content"`       // base64 of JPEG

	Plates []PlateItem `json:"plates"` // one per plate, the main one first
}

// AlarmInfoPlate is a recognition result (vendor-mqtt.md, 4.1).
type AlarmInfoPlate struct {
	Channel    int    `json:"channel"`    // reserved, 0
	DeviceName string `json:"deviceName"` // base64; plain over HTTP push
	IPAddr     string `json:"ipaddr"`     // the board's IPv4 address
	SerialNo   string `json:"serialno"`   // serial number
	RuleID     int    `json:"rule_id"`    // 1
	UserData   string `json:"user_data"`  // base64 of device.user_data
	Result     struct {
		PlateResult PlateResult `json:"PlateResult"`
	} `json:"result"`
}

// IVSResult is the payload of ivs_result and quick_ivs_result. Gatehouse is our
// own addition beside the vendor's object; vendor clients do not read it.
type IVSResult struct {
	AlarmInfoPlate AlarmInfoPlate  `json:"AlarmInfoPlate"`
	Gatehouse      *DecisionReport `json:"gatehouse,omitempty"`
}

// DecisionReport says what the gate did about a result, and why.
type DecisionReport struct {
	Opened bool   `json:"opened"` // whether the barrier was opened
	Reason string `json:"reason"` // e.g. listed, not_listed, out_of_time
	// Listed is the whitelist's row that the plate was taken for, Group its group.
	Listed string `json:"listed,omitempty"`
	Group  string `json:"group,omitempty"`
	// Tolerated says that the plate, which is told as it was read, differs from
	// that row by characters that are taken for one another.
	Tolerated bool `json:"tolerated,omitempty"`
	Alarm     bool `json:"alarm,omitempty"` // the plate is on the black list
	// Passage names the vehicle's passage, the same in all messages of it.
	Passage string `json:"passage,omitempty"`
	// Votes says what the passage's frames agreed on; absent where one picture was looked at.
	Votes *Votes `json:"votes,omitempty"`
	// Readings tells of each plate of the result, in its order, what the vendor's
	// fields have no room for.
	Readings []Reading `json:"readings,omitempty"`
}

// Votes are the frames of a passage.
type Votes struct {
	Frames int     `json:"frames"` // that read the plate
	Share  float64 `json:"share"`  // of them, weighted by their scores, that read this text; 0–1
}

// Reading is how a plate was read.
type Reading struct {
	Kind       string    `json:"kind"`                  // cn_blue, cn_green_small, … or overseas
	Country    string    `json:"country,omitempty"`     // ISO 3166, where the number tells
	Score      float64   `json:"score"`                 // probability that the whole number is right; 0–1
	CharScores []float64 `json:"char_scores,omitempty"` // of each character; 0–1
}

// SetTime fills the result's times: at by the board's clock, in its local zone.
func (r *PlateResult) SetTime(at time.Time) {
	r.TimeStamp.Timeval = Timeval{
		DecYear: at.Year(), DecMon: int(at.Month()), DecDay: at.Day(),
		DecHour: at.Hour(), DecMin: at.Minute(), DecSec: at.Second(),
		Sec: at.Unix(), Usec: int64(at.Nanosecond() / 1000),
	}
	r.StartTime = at.UnixMilli()
}

// NewResult makes a result of board sn at the given time, every field the
// clients read filled with the value for "unknown".
func NewResult(sn, deviceName, ip string, at time.Time) IVSResult {
	var m IVSResult
	m.AlarmInfoPlate = AlarmInfoPlate{DeviceName: B64(deviceName), IPAddr: ip, SerialNo: sn, RuleID: 1}
	r := &m.AlarmInfoPlate.Result.PlateResult
	r.License = B64(PlateNone)
	r.CarColor, r.CarBrand = 255, CarBrand{255, 255, 65535}
	r.GioOuts, r.Plates = []RelayAction{}, []PlateItem{}
	r.SetTime(at)
	return m
}

// AddPlate adds a plate; the first one added is the result's main plate.
// Confidence is 0–100, colour and kind are tables 6.1 and 6.2.
func (r *PlateResult) AddPlate(license string, confidence, colorType, kind int, box Rect) {
	if len(r.Plates) == 0 {
		r.License, r.Confidence, r.ColorType, r.Type = B64(license), confidence, colorType, kind
		r.Location.RECT = box
	}
	r.Plates = append(r.Plates, PlateItem{Color: colorType, Type: kind, License: B64(license),
		PlateWidth: box.Right - box.Left, Pos: box})
}
