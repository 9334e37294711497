package wire

import (
	"encoding/base64"
	"encoding/json"
	"fmt"

	"gatehouse/sync/errcode"
)

// PushResult is a recognition result over HTTP push (vendor-mqtt.md, 7.2): the
// MQTT payload without envelope, texts plain, pictures under other names.
type PushResult struct {
	AlarmInfoPlate PushPlate `json:"AlarmInfoPlate"`
}

// PushPlate is AlarmInfoPlate over HTTP push.
type PushPlate struct {
	AlarmInfoPlate
	Result struct {
		PlateResult PushPlateResult `json:"PlateResult"`
	} `json:"result"`
}

// PushPlateResult is PlateResult over HTTP push: license is plain.
type PushPlateResult struct {
	PlateResult
	CarLocation2         RectLevel `json:"carlocation"`                   // car_location, as the HTTP document spells it
	ImageFile            string    `json:"imageFile"`                     // base64 of JPEG
	ImageFileLen         int       `json:"imageFileLen"`                  // bytes before encoding
	ImageFragmentFile    string    `json:"imageFragmentFile"`             // base64 of JPEG, the plate
	ImageFragmentFileLen int       `json:"imageFragmentFileLen"`          // bytes before encoding
	FullImageContent     string    `json:"full_image_content,omitempty"`  // not used over HTTP push
	SmallImageContent    string    `json:"small_image_content,omitempty"` // not used over HTTP push
}

// NewPushResult makes the form for HTTP push of a result and its pictures,
// which may be nil.
func NewPushResult(r IVSResult, full, small []byte) PushResult {
	var p PushResult
	p.AlarmInfoPlate.AlarmInfoPlate = r.AlarmInfoPlate
	p.AlarmInfoPlate.DeviceName = plain(r.AlarmInfoPlate.DeviceName)
	out := &p.AlarmInfoPlate.Result.PlateResult
	out.PlateResult = r.AlarmInfoPlate.Result.PlateResult
	out.PlateResult.License = plain(out.PlateResult.License)
	out.PlateResult.FullImageContent, out.PlateResult.SmallImageContent = "", ""
	out.Plates = append([]PlateItem{}, out.Plates...)
	for i := range out.Plates {
		out.Plates[i].License = plain(out.Plates[i].License)
	}
	out.CarLocation2 = out.CarLocation
	out.ImageFile, out.ImageFileLen = base64.StdEncoding.EncodeToString(full), len(full)
	out.ImageFragmentFile, out.ImageFragmentFileLen = base64.StdEncoding.EncodeToString(small), len(small)
	return p
}

// plain undoes B64.
func plain(s string) string {
	b, err := unbase64(s)
	if err != nil {
		return s
	}
	return string(b)
}

// PushPicture answers a TriggerImage.
type PushPicture struct {
	IPAddr       string `json:"ipaddr"` // the board's IPv4 address
	TriggerImage struct {
		ImageFile          string `json:"imageFile"`          // base64 of JPEG
		ImageFileLen       int    `json:"imageFileLen"`       // bytes before encoding
		ImageFileBase64Len int    `json:"imageFileBase64Len"` // characters after encoding
	} `json:"TriggerImage"`
}

// NewPushPicture makes the answer of a JPEG.
func NewPushPicture(ip string, jpeg []byte) (p PushPicture) {
	p.IPAddr = ip
	p.TriggerImage.ImageFile, p.TriggerImage.ImageFileLen = base64.StdEncoding.EncodeToString(jpeg), len(jpeg)
	p.TriggerImage.ImageFileBase64Len = len(p.TriggerImage.ImageFile)
	return p
}

// PushRowsResult answers a white_list_operate at its reply_url. Only the name
// is the vendor's; the fields are ours.
type PushRowsResult struct {
	Result struct {
		OperateType int    `json:"operate_type"` // as asked
		MsgID       string `json:"msg_id"`       // as asked
		State       string `json:"state"`        // succeed, or what is wrong
	} `json:"white_list_replay_operate"`
}

// PushReply is what a server's reply has the board do (vendor-mqtt.md, 7.3).
// Every part is optional.
type PushReply struct {
	Open     bool         // pulse an output
	Channel  int          // which, 0–3
	Received bool         // content "retransfer_stop"
	Serial   []SerialItem // in order
	Picture  *PushPictureRequest
	Trigger  bool
	Output   *GPIOOut
	Voice    *Voice
	Rows     *PushRows
	Continue *PushContinue
	Refused  []error // one for each part that is not understood or not offered
}

// PushPictureRequest says where a picture is wanted.
type PushPictureRequest struct {
	Port     int    // 0: the server's
	Relative string // path
	Absolute string // URL; "" where there is only a path
}

// PushRows are changes of rows.
type PushRows struct {
	Operation   WhitelistOperator
	OperateType int    // 0 add, 1 delete
	MsgID       string // echoed
	ReplyURL    string // "" for no answer
}

// PushContinue asks for the next stored result, or for none.
type PushContinue struct {
	PlateID  int64
	Continue bool
}

// Limits of a reply.
const (
	MaxPushRows  = 5
	MaxLongPulse = 600_000 // ms, of ivs_ioctrl
)

// ParsePushReply reads a server's reply. One that is no JSON object is 1101; a
// part that is wrong is refused by itself, and the others count.
func ParsePushReply(body []byte) (PushReply, error) {
	var r PushReply
	if !isObject(body) {
		return r, errcode.New(errcode.ParseJSONFailed, "")
	}
	type parts struct {
		Info       json.RawMessage `json:"info"`
		ChannelNum *Number         `json:"channelNum"`
		Content    json.RawMessage `json:"content"`
		Serial     json.RawMessage `json:"serialData"`
		Picture    json.RawMessage `json:"TriggerImage"`
		Manual     json.RawMessage `json:"manualTrigger"`
		Output     json.RawMessage `json:"ivs_ioctrl"`
		Voice      json.RawMessage `json:"playserver_json_request"`
		Rows       json.RawMessage `json:"white_list_operate"`
		Continue   json.RawMessage `json:"ContinuePushOffline"`
		Type       json.RawMessage `json:"type"`
		GetAd      json.RawMessage `json:"get_ad_config"`
		SetAd      json.RawMessage `json:"set_ad_config"`
		GetVoice   json.RawMessage `json:"get_ad_voice_config"`
		SetVoice   json.RawMessage `json:"set_ad_voice_config"`
		AdPush     json.RawMessage `json:"ad_push_message"`
		OSD        json.RawMessage `json:"http_set_osd_para"`
		PictureOSD json.RawMessage `json:"AVS_SET_PIC_OSD_PRM"`
		AdRequest  json.RawMessage `json:"AD_CONFIG_REQUESTION"`
	}
	var outer struct {
		Plate  json.RawMessage `json:"Response_AlarmInfoPlate"`
		Serial json.RawMessage `json:"Response_SerialData"`
		Input  json.RawMessage `json:"Response_AlarmGioIn"`
		Type   json.RawMessage `json:"type"`
	}
	if err := unmarshal(body, &outer); err != nil {
		return r, err
	}
	if text(outer.Type) == "AVS_TRIGGER" {
		r.Trigger = true
	}
	for _, inner := range []json.RawMessage{outer.Plate, outer.Serial, outer.Input} {
		if isEmpty(inner) {
			continue
		}
		var p parts
		if !isObject(inner) {
			r.refuse(errcode.Param("Response_AlarmInfoPlate", "must be an object"))
			continue
		}
		if err := unmarshal(inner, &p); err != nil {
			r.refuse(err)
			continue
		}
		for name, part := range map[string]json.RawMessage{"get_ad_config": p.GetAd, "set_ad_config": p.SetAd, "get_ad_voice_config": p.GetVoice,
			"set_ad_voice_config": p.SetVoice, "ad_push_message": p.AdPush, "http_set_osd_para": p.OSD, "AVS_SET_PIC_OSD_PRM": p.PictureOSD, "AD_CONFIG_REQUESTION": p.AdRequest} {
			if part != nil {
				r.refuse(errcode.New(errcode.NotSupported, "This board has no "+name+"!"))
			}
		}
		r.open(text(p.Info), p.ChannelNum)
		r.Received = r.Received || text(p.Content) == "retransfer_stop"
		r.Trigger = r.Trigger || text(p.Manual) == "ok" || text(p.Type) == "AVS_TRIGGER"
		for _, part := range []struct {
			text json.RawMessage
			read func(json.RawMessage) error
		}{{p.Serial, r.serial}, {p.Picture, r.picture}, {p.Output, r.output}, {p.Voice, r.voice}, {p.Rows, r.rows}, {p.Continue, r.goOn}} {
			if len(part.text) > 0 && string(part.text) != "null" {
				r.refuse(part.read(part.text))
			}
		}
	}
	return r, nil
}

func (r *PushReply) refuse(err error) {
	if err != nil {
		r.Refused = append(r.Refused, err)
	}
}

// open takes info "ok", and nothing else, for an order to open.
func (r *PushReply) open(info string, channel *Number) {
	if info != "ok" {
		return
	}
	if channel != nil {
		if *channel < 0 || *channel > 3 {
			r.refuse(errcode.Param("channelNum", "must be 0 to 3"))
			return
		}
		r.Channel = int(*channel)
	}
	r.Open = true
}

func (r *PushReply) serial(b json.RawMessage) error {
	if isEmpty(b) {
		return nil
	}
	items, err := ParseSerialItems(b)
	if err == nil {
		r.Serial = append(r.Serial, items...)
	}
	return err
}

func (r *PushReply) picture(b json.RawMessage) error {
	var raw struct {
		Port     *Number `json:"port"`
		Relative string  `json:"snapImageRelativeUrl"`
		Absolute string  `json:"snapImageAbsolutelyUrl"`
	}
	if err := unmarshal(b, &raw); err != nil {
		return err
	}
	p := &PushPictureRequest{Relative: raw.Relative, Absolute: raw.Absolute}
	if raw.Port != nil {
		if *raw.Port < 0 || *raw.Port > 65535 {
			return errcode.Param("TriggerImage/port", "must be 1 to 65535")
		}
		p.Port = int(*raw.Port)
	}
	if p.Relative == "" && p.Absolute == "" {
		return errcode.Param("TriggerImage", "must say where the picture is wanted")
	}
	r.Picture = p
	return nil
}

func (r *PushReply) output(b json.RawMessage) error {
	out, err := ParseIOControl(b)
	if err == nil {
		r.Output = &out
	}
	return err
}

// ParseIOControl reads ivs_ioctrl of HTTP push and ioctl of TCP: as gpio_out,
// but a pulse may be as long as ten minutes.
func ParseIOControl(b []byte) (GPIOOut, error) {
	var raw struct {
		IO    *Number `json:"io"`
		Value *Number `json:"value"`
		Delay *Number `json:"delay"`
	}
	if err := unmarshal(b, &raw); err != nil {
		return GPIOOut{}, err
	}
	if raw.IO == nil || *raw.IO < 0 || *raw.IO > 3 {
		return GPIOOut{}, errcode.Param("io", "must be 0 to 3")
	}
	if raw.Value == nil || *raw.Value < 0 || *raw.Value > 2 {
		return GPIOOut{}, errcode.Param("value", "must be 0, 1 or 2")
	}
	out := GPIOOut{IO: int(*raw.IO), Value: int(*raw.Value), Delay: MinPulseMS}
	if raw.Delay != nil {
		out.Delay = min(max(int(*raw.Delay), MinPulseMS), MaxLongPulse)
	}
	return out, nil
}

func (r *PushReply) voice(b json.RawMessage) error {
	v, err := ParsePlayRequest(b)
	if err == nil {
		r.Voice = &v
	}
	return err
}

func (r *PushReply) rows(b json.RawMessage) error {
	var raw struct {
		OperateType *Number         `json:"operate_type"`
		MsgID       json.RawMessage `json:"msg_id"`
		ReplyURL    string          `json:"reply_url"`
		Data        json.RawMessage `json:"white_list_data"`
	}
	if err := unmarshal(b, &raw); err != nil {
		return err
	}
	if raw.OperateType == nil || *raw.OperateType < 0 || *raw.OperateType > 1 {
		return errcode.Param("white_list_operate/operate_type", "must be 0 or 1")
	}
	var list []struct {
		Plate       *string `json:"plate"`
		Enable      *Number `json:"enable"`
		NeedAlarm   *Number `json:"need_alarm"`
		EnableTime  string  `json:"enable_time"`
		OverdueTime string  `json:"overdue_time"`
	}
	if err := oneOrMany(raw.Data, "white_list_data", &list); err != nil {
		return err
	}
	if len(list) == 0 || len(list) > MaxPushRows {
		return errcode.Param("white_list_data", fmt.Sprintf("must hold 1 to %d rows", MaxPushRows))
	}
	p := &PushRows{OperateType: int(*raw.OperateType), MsgID: text(raw.MsgID), ReplyURL: raw.ReplyURL}
	p.Operation.OperatorType = OperateUpdateOrAdd
	if p.OperateType == 1 {
		p.Operation.OperatorType = OperateDelete
	}
	for i, row := range list {
		if row.Plate == nil {
			return errcode.Param(fmt.Sprintf("white_list_data/%d/plate", i), "is missing")
		}
		switch {
		case p.OperateType == 0:
			record := WhitelistRecord{Plate: *row.Plate, Enable: 1, EnableTime: row.EnableTime, OverdueTime: row.OverdueTime}
			if row.Enable != nil {
				record.Enable = int(*row.Enable)
			}
			if row.NeedAlarm != nil {
				record.NeedAlarm = int(*row.NeedAlarm)
			}
			p.Operation.Records = append(p.Operation.Records, record)
		case *row.Plate == "":
			p.Operation.DeleteAll = true
		default:
			p.Operation.Plates = append(p.Operation.Plates, *row.Plate)
		}
	}
	if p.Operation.DeleteAll {
		if len(list) > 1 {
			return errcode.Param("white_list_data", "must hold nothing beside an empty plate, which deletes all")
		}
		p.Operation.Plates = nil
	}
	r.Rows = p
	return nil
}

func (r *PushReply) goOn(b json.RawMessage) error {
	var raw struct {
		PlateID  json.Number `json:"plateid"`
		Continue *Number     `json:"continue"`
	}
	if err := unmarshal(b, &raw); err != nil {
		return err
	}
	id, err := raw.PlateID.Int64()
	if err != nil {
		return errcode.Param("ContinuePushOffline/plateid", "must be a result's plateid")
	}
	r.Continue = &PushContinue{PlateID: id, Continue: raw.Continue != nil && *raw.Continue == 1}
	return nil
}

// Stale takes out of a reply what may move or say something, for a result that
// is too old to act on, and reports whether there was any. Rows and the
// handshake stay.
func (r *PushReply) Stale() bool {
	had := r.Open || r.Output != nil || len(r.Serial) > 0 || r.Voice != nil || r.Trigger
	r.Open, r.Output, r.Serial, r.Voice, r.Trigger = false, nil, nil, nil, false
	return had
}

// PushRegistration are the fields of a heartbeat's form (vendor-mqtt.md, 7.5).
// The vendor's carries the web login in clear; ours has neutral values.
func PushRegistration(sn, deviceName, ip string) map[string]string {
	return map[string]string{"device_name": deviceName, "ipaddr": ip, "port": "80", "user_name": "", "pass_wd": "", "serialno": sn, "channel_num": "0"}
}

// NewPushInput and NewPushSerial are the forms for HTTP push of gpio_in and
// serial_data: the device's name is plain.
func NewPushInput(m GPIOIn) GPIOIn {
	m.AlarmGioIn.DeviceName = plain(m.AlarmGioIn.DeviceName)
	return m
}

// NewPushSerial see NewPushInput.
func NewPushSerial(m SerialUp) SerialUp {
	m.SerialData.DeviceName = plain(m.SerialData.DeviceName)
	return m
}
