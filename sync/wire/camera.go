package wire

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"golang.org/x/text/encoding/simplifiedchinese"

	"gatehouse/sync/errcode"
)

// Names of the vendor's further messages; those above stand in command.go.
const (
	NameQuickResult   = "quick_ivs_result"
	NameGPIOIn        = "gpio_in"
	NameSerialData    = "serial_data" // up and down
	NameSnapshot      = "snapshot"    // down: request, up: result
	NameOfflineRecord = "offline_record"
	NameBarrierStatus = "barr_gate_status"
	NameLaneResult    = "lanectrl_result"
	NameTimestamp     = "get_device_timestamp"
	NameSetTime       = "set_time"
	NameReboot        = "reboot_dev"
	NameSetIOLock     = "set_io_lock_status"
	NameSetIOLockOld  = "io_lock" // the topic of set_io_lock_status in one client
	NameGetIOLock     = "get_io_lock_status"
	NameGetIOStatus   = "get_io_status"
	NameVoice         = "tts_voice"
	NameCheckOffline  = "check_offline_record"
	NameCloudCtrl     = "set_cloud_ctrl"
	NameLCD           = "lcd_cfg"
	NameSetOSS        = "set_oss_cfg"
	NameDeviceSet     = "device_set"
	NameEncryption    = "set_plate_encryption_cfg"
)

// TypeVoice is payload.type of tts_voice and its reply, which is not its name.
const TypeVoice = "play_voice"

// Limits of what a client may ask for at one time.
const (
	MaxSerialItems = 64   // items of one serial_data
	MaxSerialBytes = 4096 // bytes of one item
	MaxIntervalMS  = 5000 // between two items
	MaxVoice       = 1024 // bytes of a text to speak, as UTF-8
)

// SerialItem is bytes for one serial port. Over the wire dataLen is the byte
// count before encoding; reading ignores it, since clients were seen to send
// the length of the base64 text.
type SerialItem struct {
	SerialChannel int    `json:"serialChannel"` // 0 RS485-1, 1 RS485-2 or RS232
	Data          []byte `json:"data"`          // base64 of bytes
	DataLen       int    `json:"dataLen"`       // bytes before encoding
}

// SerialData is the body of serial_data to the board (vendor-mqtt.md, 5.3).
type SerialData struct {
	SerialData []SerialItem `json:"serialData"`         // sent in order
	Interval   int          `json:"interval,omitempty"` // ms between two items, at most 5000
}

// ParseSerialData reads the body of serial_data; one item may come without its
// array. Errors: 1103 for a missing or wrong field, 1102 for data that is no
// base64.
func ParseSerialData(body []byte) (SerialData, error) {
	var raw struct {
		SerialData json.RawMessage `json:"serialData"`
		Interval   *Number         `json:"interval"`
	}
	if err := unmarshal(body, &raw); err != nil {
		return SerialData{}, err
	}
	items, err := ParseSerialItems(raw.SerialData)
	if err != nil {
		return SerialData{}, err
	}
	d := SerialData{SerialData: items}
	if raw.Interval != nil {
		d.Interval = min(max(int(*raw.Interval), 0), MaxIntervalMS)
	}
	return d, nil
}

// ParseSerialItems reads the value of a field serialData.
func ParseSerialItems(text []byte) ([]SerialItem, error) {
	type item struct {
		SerialChannel *Number `json:"serialChannel"`
		Data          *string `json:"data"`
	}
	var list []item
	if err := oneOrMany(text, "serialData", &list); err != nil {
		return nil, err
	}
	if len(list) == 0 || len(list) > MaxSerialItems {
		return nil, errcode.Param("serialData", fmt.Sprintf("must hold 1 to %d items", MaxSerialItems))
	}
	out := make([]SerialItem, 0, len(list))
	for i, it := range list {
		at := func(field string) string { return fmt.Sprintf("serialData/%d/%s", i, field) }
		if it.SerialChannel == nil || *it.SerialChannel < 0 || *it.SerialChannel > 1 {
			return nil, errcode.Param(at("serialChannel"), "must be 0 or 1")
		}
		if it.Data == nil {
			return nil, errcode.Param(at("data"), "is missing")
		}
		data, err := unbase64(*it.Data)
		if err != nil {
			return nil, errcode.New(errcode.DecodeBase64Failed, "Param ["+at("data")+"] must be standard base64!")
		}
		if len(data) == 0 || len(data) > MaxSerialBytes {
			return nil, errcode.Param(at("data"), fmt.Sprintf("must be 1 to %d bytes", MaxSerialBytes))
		}
		out = append(out, SerialItem{int(*it.SerialChannel), data, len(data)})
	}
	return out, nil
}

// IOLock is the lock of an output (vendor-mqtt.md, 5.9).
type IOLock struct {
	IOOut  int `json:"ioout"`  // output 0–3
	Status int `json:"status"` // 0 free, 1 held on, 2 held off
}

// ParseIOLocks reads the body of set_io_lock_status, an object or an array.
func ParseIOLocks(body []byte) ([]IOLock, error) {
	var list []struct {
		IOOut  *Number `json:"ioout"`
		Status *Number `json:"status"`
	}
	if err := oneOrMany(body, "body", &list); err != nil {
		return nil, err
	}
	if len(list) == 0 || len(list) > 4 {
		return nil, errcode.Param("body", "must hold one lock for each of 1 to 4 outputs")
	}
	var out []IOLock
	for _, l := range list {
		if l.IOOut == nil || *l.IOOut < 0 || *l.IOOut > 3 {
			return nil, errcode.Param("ioout", "must be 0 to 3")
		}
		if l.Status == nil || *l.Status < 0 || *l.Status > 2 {
			return nil, errcode.Param("status", "must be 0, 1 or 2")
		}
		if slices.ContainsFunc(out, func(o IOLock) bool { return o.IOOut == int(*l.IOOut) }) {
			return nil, errcode.Param("ioout", "is given twice")
		}
		out = append(out, IOLock{int(*l.IOOut), int(*l.Status)})
	}
	return out, nil
}

// IOStatusQuery is the body of get_io_status.
type IOStatusQuery struct {
	Type string `json:"type"` // input or output
	GPIO int    `json:"gpio"` // its number, from 0
}

// IOStatus answers it.
type IOStatus struct {
	GPIO   int `json:"gpio"`   // its number
	Status int `json:"status"` // 1 on (an input: closed), 0 off
}

// ParseIOStatus reads the body of get_io_status. The form of type is not known
// for certain: words and 0 (input), 1 (output) are taken.
func ParseIOStatus(body []byte) (IOStatusQuery, error) {
	var raw struct {
		Type json.RawMessage `json:"type"`
		GPIO *Number         `json:"gpio"`
	}
	if err := unmarshal(body, &raw); err != nil {
		return IOStatusQuery{}, err
	}
	var q IOStatusQuery
	switch text(raw.Type) {
	case "input", "in", "0", "gpio_in":
		q.Type = "input"
	case "output", "out", "1", "gpio_out":
		q.Type = "output"
	default:
		return q, errcode.Param("type", "must be input or output")
	}
	if raw.GPIO == nil || *raw.GPIO < 0 || *raw.GPIO > 7 {
		return q, errcode.Param("gpio", "must be 0 to 7")
	}
	q.GPIO = int(*raw.GPIO)
	return q, nil
}

// Voice is the body of tts_voice (vendor-mqtt.md, 5.10).
type Voice struct {
	VoiceMale   int    `json:"voice_male"`   // 0 male, 1 female
	VoiceVolume int    `json:"voice_volume"` // 1–100
	VoiceData   string `json:"voice_data"`   // base64 of the text in UTF-8 or GBK; read: the text
}

// ParseVoice reads the body of tts_voice; an absent volume is 50, one out of
// range is clamped.
func ParseVoice(body []byte) (Voice, error) { return parseVoice(body, "voice_data") }

// ParsePlayRequest reads a playserver_json_request, the same for HTTP push and
// TCP. Only ps_voice_play can be carried out.
func ParsePlayRequest(body []byte) (Voice, error) {
	var head struct {
		Type string `json:"type"`
	}
	if err := unmarshal(body, &head); err != nil {
		return Voice{}, err
	}
	if head.Type != "ps_voice_play" {
		return Voice{}, errcode.New(errcode.NotSupported, "Of playserver_json_request this board has ps_voice_play only!")
	}
	return parseVoice(body, "voice")
}

func parseVoice(body []byte, field string) (Voice, error) {
	var raw struct {
		VoiceMale   *Number `json:"voice_male"`
		VoiceVolume *Number `json:"voice_volume"`
		VoiceData   *string `json:"voice_data"`
		Voice       *string `json:"voice"`
	}
	if err := unmarshal(body, &raw); err != nil {
		return Voice{}, err
	}
	v := Voice{VoiceVolume: 50}
	if raw.VoiceVolume != nil {
		v.VoiceVolume = min(max(int(*raw.VoiceVolume), 1), 100)
	}
	if raw.VoiceMale != nil && *raw.VoiceMale == 1 {
		v.VoiceMale = 1
	}
	data := raw.VoiceData
	if field == "voice" {
		data = raw.Voice
	}
	if data == nil {
		return v, errcode.Param(field, "is missing")
	}
	b, err := unbase64(*data)
	if err != nil {
		return v, errcode.New(errcode.DecodeBase64Failed, "Param ["+field+"] must be base64 of a text!")
	}
	if v.VoiceData = Text(b); v.VoiceData == "" || len(v.VoiceData) > MaxVoice {
		return v, errcode.Param(field, fmt.Sprintf("must be a text of 1 to %d bytes", MaxVoice))
	}
	return v, nil
}

// Text gives b, a text in UTF-8 or GBK, as UTF-8. Many words of GBK are valid
// UTF-8 too, of letters that nobody sends: 鲁 would be ³. So b is UTF-8 only where
// that gives Chinese.
func Text(b []byte) string {
	if b = bytes.Trim(b, "\x00"); chinese(b) {
		return string(b)
	}
	return gbk(b)
}

// GBKText gives b, a text in GBK by the protocol, as UTF-8. All texts of GB2312
// are read as GBK. UTF-8, which some clients send all the same, is known by two
// signs: it is no GBK, or it gives Chinese while GBK would need characters
// outside GB2312. Each UTF-8 plate has one of them, since the province's last
// byte takes the letter behind it along: 鲁A would be 椴丄.
func GBKText(b []byte) string {
	if b = bytes.Trim(b, "\x00"); chinese(b) && !gb2312(b) {
		return string(b)
	}
	return gbk(b)
}

// gbk reads b as GBK, or as UTF-8 where it is none.
func gbk(b []byte) string {
	out, err := simplifiedchinese.GBK.NewDecoder().Bytes(b)
	if (err != nil || bytes.ContainsRune(out, utf8.RuneError)) && utf8.Valid(b) {
		return string(b)
	}
	return string(out)
}

// chinese reports whether b is UTF-8 as Chinese writes it: ASCII, the dot of
// plates, and nothing else below the punctuation of U+2000.
func chinese(b []byte) bool {
	return utf8.Valid(b) && !bytes.ContainsFunc(b, func(c rune) bool { return c >= utf8.RuneSelf && c < 0x2000 && c != '·' })
}

// gb2312 reports whether b, in GBK, keeps to the part that was GB2312: both
// bytes of a character from A1 up.
func gb2312(b []byte) bool {
	for len(b) > 0 {
		switch {
		case b[0] < utf8.RuneSelf:
			b = b[1:]
		case len(b) > 1 && b[0] >= 0xa1 && b[1] >= 0xa1:
			b = b[2:]
		default:
			return false
		}
	}
	return true
}

// CheckOffline is the body of check_offline_record.
type CheckOffline struct {
	Enable string `json:"enable"` // "push" asks for an offline_record
}

// CheckOfflineReply answers it.
type CheckOfflineReply struct {
	Enable   string `json:"enable"`    // as asked
	MaxCount int    `json:"max_count"` // results from before the connection that wait
	MinID    int64  `json:"min_id"`    // record_uuid of the oldest of them, 0 for none
}

// ParseCheckOffline reads the body of check_offline_record. Other values of
// enable than push are not known; they are told the count, and nothing more.
func ParseCheckOffline(body []byte) (CheckOffline, error) {
	var raw struct {
		Enable json.RawMessage `json:"enable"`
	}
	if err := unmarshal(body, &raw); err != nil {
		return CheckOffline{}, err
	}
	return CheckOffline{text(raw.Enable)}, nil
}

// Years that set_time takes.
const (
	MinYear = 1970
	MaxYear = 2036
)

// SetTime is the body of set_time (vendor-mqtt.md, 5.5): local time of the
// board, each field as a text or a number.
type SetTime struct {
	Year  Number `json:"year"`  // 1970–2036
	Month Number `json:"month"` // 1–12
	Day   Number `json:"day"`   // 1–31
	Hour  Number `json:"hour"`  // 0–23
	Min   Number `json:"min"`   // 0–59
	Sec   Number `json:"sec"`   // 0–59
}

// ParseSetTime reads the body of set_time as a moment in zone.
func ParseSetTime(body []byte, zone *time.Location) (time.Time, error) {
	var raw struct {
		Year, Month, Day, Hour, Min, Sec *Number
	}
	if err := unmarshal(body, &raw); err != nil {
		return time.Time{}, err
	}
	var v [6]int
	for i, f := range []struct {
		name       string
		value      *Number
		least, top int
	}{{"year", raw.Year, MinYear, MaxYear}, {"month", raw.Month, 1, 12}, {"day", raw.Day, 1, 31},
		{"hour", raw.Hour, 0, 23}, {"min", raw.Min, 0, 59}, {"sec", raw.Sec, 0, 59}} {
		if f.value == nil || int(*f.value) < f.least || int(*f.value) > f.top {
			return time.Time{}, errcode.Param(f.name, fmt.Sprintf("must be %d to %d", f.least, f.top))
		}
		v[i] = int(*f.value)
	}
	at := time.Date(v[0], time.Month(v[1]), v[2], v[3], v[4], v[5], 0, zone)
	if at.Day() != v[2] {
		return time.Time{}, errcode.Param("day", "is not in that month")
	}
	return at, nil
}

// ParseTimeString reads the timestring of set_time over TCP.
func ParseTimeString(s string, zone *time.Location) (time.Time, error) {
	at, err := time.ParseInLocation(time.DateTime, s, zone)
	if err != nil || at.Year() < MinYear || at.Year() > MaxYear {
		return time.Time{}, errcode.Param("timestring", "must look like 2026-11-23 08:00:00, the year 1970 to 2036")
	}
	return at, nil
}

// Number is an integer that may come as a text, as PHP and the vendor's own
// examples send some. It is written as a number.
type Number int

// UnmarshalJSON reads 17, "17", "08"; floats, other texts and what does not
// fit into 32 bits are errors.
func (n *Number) UnmarshalJSON(b []byte) error {
	s := string(b)
	if len(b) > 1 && b[0] == '"' {
		if err := json.Unmarshal(b, &s); err != nil {
			return err
		}
	}
	v, err := strconv.ParseInt(s, 10, 32)
	if err != nil {
		return &json.UnmarshalTypeError{Value: "text", Type: reflect.TypeFor[int]()} // the decoder adds the field
	}
	*n = Number(v)
	return nil
}

// oneOrMany reads an array, or a single object as an array of one.
func oneOrMany[T any](b []byte, field string, list *[]T) error {
	b = bytes.TrimSpace(b)
	switch {
	case len(b) == 0 || string(b) == "null":
		return errcode.Param(field, "is missing")
	case b[0] == '[':
		return unmarshal(b, list)
	}
	*list = make([]T, 1)
	return unmarshal(b, &(*list)[0])
}

// unbase64 reads standard base64, padded or not, line breaks ignored.
func unbase64(s string) ([]byte, error) {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		return base64.RawStdEncoding.DecodeString(s)
	}
	return b, nil
}
