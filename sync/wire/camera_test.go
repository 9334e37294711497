package wire

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/text/encoding/simplifiedchinese"

	"gatehouse/sync/errcode"
)

// parsed is a parser with its result as any, for tables.
func parsed[T any](parse func([]byte) (T, error)) func([]byte) (any, error) {
	return func(b []byte) (any, error) { return parse(b) }
}

var zone = time.FixedZone("", 8*3600)

func TestCameraBodies(t *testing.T) {
	setTime := func(b []byte) (time.Time, error) { return ParseSetTime(b, zone) }
	at := time.Date(2026, 11, 23, 8, 5, 9, 0, zone)
	for _, c := range []struct {
		name  string
		parse func([]byte) (any, error)
		in    string
		want  any // or an errcode.Code
	}{
		{"one item", parsed(ParseSerialData), `{"serialData":[{"serialChannel":0,"data":"AGT/","dataLen":3}]}`, SerialData{SerialData: []SerialItem{{0, []byte{0, 0x64, 0xff}, 3}}}},
		{"wrong dataLen", parsed(ParseSerialData), `{"serialData":[{"serialChannel":1,"data":"AGT/","dataLen":99}],"interval":50}`, SerialData{[]SerialItem{{1, []byte{0, 0x64, 0xff}, 3}}, 50}},
		{"without array, unpadded", parsed(ParseSerialData), `{"serialData":{"serialChannel":"1","data":"YQ"},"interval":999999}`, SerialData{[]SerialItem{{1, []byte("a"), 1}}, 5000}},
		{"no data", parsed(ParseSerialData), `{"serialData":[{"serialChannel":0}]}`, errcode.ParamsError},
		{"empty data", parsed(ParseSerialData), `{"serialData":[{"serialChannel":0,"data":""}]}`, errcode.ParamsError},
		{"no channel", parsed(ParseSerialData), `{"serialData":[{"data":"YQ=="}]}`, errcode.ParamsError},
		{"channel 2", parsed(ParseSerialData), `{"serialData":[{"serialChannel":2,"data":"YQ=="}]}`, errcode.ParamsError},
		{"no base64", parsed(ParseSerialData), `{"serialData":[{"serialChannel":0,"data":"*"}]}`, errcode.DecodeBase64Failed},
		{"no items", parsed(ParseSerialData), `{"serialData":[]}`, errcode.ParamsError},
		{"nothing", parsed(ParseSerialData), `{}`, errcode.ParamsError},

		{"one lock", parsed(ParseIOLocks), `{"ioout":0,"status":1}`, []IOLock{{0, 1}}},
		{"two locks", parsed(ParseIOLocks), `[{"ioout":0,"status":2},{"ioout":"1","status":"0"}]`, []IOLock{{0, 2}, {1, 0}}},
		{"twice the same", parsed(ParseIOLocks), `[{"ioout":0,"status":2},{"ioout":0,"status":0}]`, errcode.ParamsError},
		{"no output", parsed(ParseIOLocks), `{"status":1}`, errcode.ParamsError},
		{"no status", parsed(ParseIOLocks), `{"ioout":0}`, errcode.ParamsError},
		{"status 3", parsed(ParseIOLocks), `{"ioout":0,"status":3}`, errcode.ParamsError},
		{"empty", parsed(ParseIOLocks), `{}`, errcode.ParamsError},
		{"none", parsed(ParseIOLocks), `[]`, errcode.ParamsError},

		{"input", parsed(ParseIOStatus), `{"type":"input","gpio":1}`, IOStatusQuery{"input", 1}},
		{"output by number", parsed(ParseIOStatus), `{"type":1,"gpio":"0"}`, IOStatusQuery{"output", 0}},
		{"no type", parsed(ParseIOStatus), `{"gpio":0}`, errcode.ParamsError},
		{"gpio 8", parsed(ParseIOStatus), `{"type":"input","gpio":8}`, errcode.ParamsError},

		{"time in texts", parsed(setTime), `{"year":"2026","month":"11","day":"23","hour":"08","min":"05","sec":"09"}`, at},
		{"time in numbers", parsed(setTime), `{"year":2026,"month":11,"day":23,"hour":8,"min":5,"sec":9}`, at},
		{"no such day", parsed(setTime), `{"year":2026,"month":2,"day":30,"hour":8,"min":5,"sec":9}`, errcode.ParamsError},
		{"too early", parsed(setTime), `{"year":1969,"month":2,"day":3,"hour":8,"min":5,"sec":9}`, errcode.ParamsError},
		{"no second", parsed(setTime), `{"year":2026,"month":2,"day":3,"hour":8,"min":5}`, errcode.ParamsError},
		{"a word", parsed(setTime), `{"year":"now","month":2,"day":3,"hour":8,"min":5,"sec":0}`, errcode.ParamsError},

		{"voice", parsed(ParseVoice), `{"voice_male":1,"voice_volume":80,"voice_data":"5qyi6L+O"}`, Voice{1, 80, "欢迎"}},
		{"voice in GBK, too loud", parsed(ParseVoice), `{"voice_volume":"101","voice_data":"u7bTrQ=="}`, Voice{0, 100, "欢迎"}},
		{"no text", parsed(ParseVoice), `{"voice_data":""}`, errcode.ParamsError},
		{"no voice", parsed(ParseVoice), `{}`, errcode.ParamsError},
		{"play", parsed(ParsePlayRequest), `{"type":"ps_voice_play","voice":"aGVsbG8=","voice_male":0}`, Voice{0, 50, "hello"}},
		{"play a file", parsed(ParsePlayRequest), `{"type":"ps_voice_play_file","voice_file":[]}`, errcode.NotSupported},

		{"offline", parsed(ParseCheckOffline), `{"enable":"push"}`, CheckOffline{"push"}},
		{"offline, a number", parsed(ParseCheckOffline), `{"enable":1}`, CheckOffline{"1"}},
		{"offline, nothing", parsed(ParseCheckOffline), `{}`, CheckOffline{}},

		{"long pulse", parsed(ParseIOControl), `{"io":1,"value":2,"delay":"600001"}`, GPIOOut{1, 2, 600000}},
		{"short pulse", parsed(ParseIOControl), `{"io":1,"value":2,"delay":1}`, GPIOOut{1, 2, 500}},
		{"no io", parsed(ParseIOControl), `{"value":2}`, errcode.ParamsError},
	} {
		got, err := c.parse([]byte(c.in))
		if code, failing := c.want.(errcode.Code); failing {
			if !hasCode(err, code) {
				t.Errorf("%s: %v, want %d", c.name, err, code)
			}
			continue
		}
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, %v; want %+v", c.name, got, err, c.want)
		}
	}
	// The error names the field, also one of a wrong type.
	if _, err := ParseIOLocks([]byte(`{"ioout":"x","status":1}`)); err == nil || !strings.Contains(err.Error(), "[ioout]") {
		t.Errorf("%v", err)
	}
	for in, ok := range map[string]bool{"2026-11-23 08:05:09": true, "2026-11-23T08:05:09": false, "": false, "1900-01-01 00:00:00": false} {
		if _, err := ParseTimeString(in, zone); (err == nil) != ok {
			t.Errorf("%s: %v", in, err)
		}
	}
}

func TestParsePushReply(t *testing.T) {
	in := func(parts string) string { return `{"Response_AlarmInfoPlate":{` + parts + `}}` }
	for text, want := range map[string]PushReply{
		`{"status":"ok"}`:                  {},
		`{}`:                               {},
		`{"Response_AlarmInfoPlate":[]}`:   {},
		`{"type":"AVS_TRIGGER"}`:           {Trigger: true},
		in(`"info":"ok"`):                  {Open: true},
		in(`"info":"ok","channelNum":"2"`): {Open: true, Channel: 2},
		in(`"info":"OK"`):                  {},
		in(`"info":"no"`):                  {},
		in(`"info":true`):                  {},
		in(`"manualTrigger":"ok"`):         {Trigger: true},
		in(`"content":"retransfer_stop"`):  {Received: true},
		`{"Response_SerialData":{"serialData":[{"serialChannel":0,"data":"YQ==","dataLen":1}]}}`:        {Serial: []SerialItem{{0, []byte("a"), 1}}},
		in(`"ContinuePushOffline":{"plateid":5,"continue":1}`):                                          {Continue: &PushContinue{5, true}},
		in(`"ContinuePushOffline":{"plateid":"5","continue":0}`):                                        {Continue: &PushContinue{5, false}},
		in(`"ivs_ioctrl":{"io":0,"value":1}`):                                                           {Output: &GPIOOut{0, 1, 500}},
		in(`"TriggerImage":{"port":80,"snapImageRelativeUrl":"/a"}`):                                    {Picture: &PushPictureRequest{80, "/a", ""}},
		in(`"white_list_operate":{"operate_type":1,"msg_id":9,"white_list_data":[{"plate":""}]}`):       {Rows: &PushRows{Operation: WhitelistOperator{OperatorType: "delete", DeleteAll: true}, OperateType: 1, MsgID: "9"}},
		in(`"white_list_operate":{"operate_type":"1","white_list_data":[{"plate":"A"},{"plate":"B"}]}`): {Rows: &PushRows{Operation: WhitelistOperator{OperatorType: "delete", Plates: []string{"A", "B"}}, OperateType: 1}},
	} {
		got, err := ParsePushReply([]byte(text))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	// What is wrong is refused by itself, with a code; the rest counts.
	for parts, code := range map[string]errcode.Code{
		`"channelNum":4,"info":"ok"`:                                                             errcode.ParamsError,
		`"serialData":[{"serialChannel":0,"data":"*"}]`:                                          errcode.DecodeBase64Failed,
		`"ivs_ioctrl":{"io":4,"value":1}`:                                                        errcode.ParamsError,
		`"TriggerImage":{}`:                                                                      errcode.ParamsError,
		`"playserver_json_request":{"type":"ps_get_voice_info"}`:                                 errcode.NotSupported,
		`"set_ad_config":{}`:                                                                     errcode.NotSupported,
		`"white_list_operate":{"operate_type":2,"white_list_data":[]}`:                           errcode.ParamsError,
		`"white_list_operate":{"operate_type":1,"white_list_data":[]}`:                           errcode.ParamsError,
		`"white_list_operate":{"operate_type":1,"white_list_data":[{}]}`:                         errcode.ParamsError,
		`"white_list_operate":{"operate_type":1,"white_list_data":[{"plate":""},{"plate":"A"}]}`: errcode.ParamsError,
		`"ContinuePushOffline":{"continue":1}`:                                                   errcode.ParamsError,
	} {
		got, err := ParsePushReply([]byte(in(parts + `,"content":"retransfer_stop"`)))
		if err != nil || len(got.Refused) != 1 || !hasCode(got.Refused[0], code) || got.Open || got.Rows != nil || !got.Received {
			t.Errorf("%s: %+v, %v", parts, got, err)
		}
	}
	for _, text := range []string{"", "ok", "[]", "null", "{"} {
		if _, err := ParsePushReply([]byte(text)); !hasCode(err, errcode.ParseJSONFailed) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func FuzzCameraBodies(f *testing.F) {
	for _, seed := range []string{`{"serialData":[{"serialChannel":0,"data":"AGT/","dataLen":3}],"interval":50}`, `[{"ioout":0,"status":2}]`, `{"type":"input","gpio":1}`,
		`{"year":"2026","month":"11","day":"23","hour":"08","min":"05","sec":"09"}`, `{"voice_male":1,"voice_volume":80,"voice_data":"5qyi6L+O"}`,
		`{"type":"ps_voice_play","voice":"aGVsbG8="}`, `{"enable":"push"}`, `{"io":1,"value":2,"delay":1}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		d, e1 := ParseSerialData(b)
		locks, e2 := ParseIOLocks(b)
		q, e3 := ParseIOStatus(b)
		at, e4 := ParseSetTime(b, zone)
		v, e5 := ParseVoice(b)
		_, e6 := ParsePlayRequest(b)
		_, e7 := ParseCheckOffline(b)
		g, e8 := ParseIOControl(b)
		for _, err := range []error{e1, e2, e3, e4, e5, e6, e7, e8} {
			var e *errcode.Error
			if err != nil && !errors.As(err, &e) {
				t.Errorf("%v has no code", err)
			}
		}
		for _, i := range d.SerialData {
			if i.SerialChannel < 0 || i.SerialChannel > 1 || len(i.Data) == 0 || i.DataLen != len(i.Data) {
				t.Errorf("%+v", i)
			}
		}
		for _, l := range locks {
			if l.IOOut < 0 || l.IOOut > 3 || l.Status < 0 || l.Status > 2 {
				t.Errorf("%+v", l)
			}
		}
		if e3 == nil && (q.GPIO < 0 || q.GPIO > 7) || e4 == nil && (at.Year() < MinYear || at.Year() > MaxYear) ||
			e5 == nil && (v.VoiceVolume < 1 || v.VoiceVolume > 100 || v.VoiceData == "") ||
			e8 == nil && (g.IO < 0 || g.IO > 3 || g.Value < 0 || g.Value > 2 || g.Delay < MinPulseMS || g.Delay > MaxLongPulse) {
			t.Errorf("%+v %v %+v %+v", q, at, v, g)
		}
	})
}

func FuzzPushReply(f *testing.F) {
	f.Add([]byte(`{"Response_AlarmInfoPlate":{"info":"ok","channelNum":1,"content":"retransfer_stop","plateid":7,"serialData":[{"serialChannel":0,"data":"YQ==","dataLen":4}],
 "TriggerImage":{"port":80,"snapImageRelativeUrl":"/x","snapImageAbsolutelyUrl":""},"manualTrigger":"ok","ivs_ioctrl":{"io":2,"value":2,"delay":700},
 "playserver_json_request":{"type":"ps_voice_play","voice":"aGVsbG8="},"white_list_operate":{"operate_type":0,"msg_id":"m","white_list_data":[{"plate":"A","enable":1}]},
 "ContinuePushOffline":{"plateid":1,"continue":1}}}`))
	f.Add([]byte(`{"type":"AVS_TRIGGER"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParsePushReply(b)
		if err != nil {
			if !hasCode(err, errcode.ParseJSONFailed) && !hasCode(err, errcode.ParamsError) {
				t.Errorf("%v", err)
			}
			return
		}
		if r.Channel < 0 || r.Channel > 3 {
			t.Errorf("%+v", r)
		}
		if r.Rows != nil && (len(r.Rows.Operation.Records)+len(r.Rows.Operation.Plates) > MaxPushRows || r.Rows.Operation.DeleteAll && len(r.Rows.Operation.Plates) > 0) {
			t.Errorf("%+v", r.Rows)
		}
		r.Stale()
		if r.Open || r.Output != nil || r.Serial != nil || r.Trigger || r.Voice != nil {
			t.Error("a stale reply moves something")
		}
	})
}

// Every plate is read as it was sent, in GBK and in UTF-8, and alone, with the
// dot, and within JSON.
func TestPlatesInBothEncodings(t *testing.T) {
	var texts []string
	for _, province := range "京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼黔军使民空海北南济沈兰成广" {
		texts = append(texts, string(province))
		for letter := 'A'; letter <= 'Z'; letter++ {
			plate := string(province) + string(letter)
			texts = append(texts, plate, plate+"12345", plate+"·D1234F")
			for _, special := range "学警港澳领使挂应急临民航" {
				texts = append(texts, plate+"1234"+string(special))
			}
		}
	}
	for _, special := range "学警港澳领使挂应急临民航" {
		texts = append(texts, string(special))
	}
	texts = append(texts, "WJ鲁1234警", "使014001", "民航A1234", "A12345", "", "领")
	for _, text := range texts {
		for _, text := range []string{text, `{"plate":"` + text + `","vehicle_comment":"路"}`} { // 路 is C2B7, which is the dot in UTF-8
			gbk, err := simplifiedchinese.GBK.NewEncoder().String(text)
			if err != nil {
				t.Fatal(err)
			}
			if got := GBKText([]byte(gbk)); got != text {
				t.Errorf("%s in GBK (% x) is read as %s", text, gbk, got)
			}
			if got := GBKText([]byte(text)); got != text {
				t.Errorf("%s in UTF-8 (% x) is read as %s", text, text, got)
			}
		}
	}
}

// All of GB2312 is GBK to a protocol that says GBK, whatever UTF-8 would make
// of it; a text of either encoding that gives no sign is UTF-8 where it gives Chinese.
func TestTextsInBothEncodings(t *testing.T) {
	encode := simplifiedchinese.GBK.NewEncoder()
	for _, text := range []string{"瀚村安", "路", "鲁", "豫", "朱镕基", "一路平安", "停车", "张三"} {
		gbk, err := encode.String(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := GBKText([]byte(gbk)); got != text {
			t.Errorf("%s in GBK is read as %s", text, got)
		}
		if got := Text([]byte(text)); got != text {
			t.Errorf("%s in UTF-8 is read as %s", text, got)
		}
	}
	for _, text := range []string{"鲁", "豫A12345", "您", "一路平安", "欢迎光临"} {
		gbk, err := encode.String(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := Text([]byte(gbk)); got != text {
			t.Errorf("%s in GBK is spoken as %s", text, got)
		}
	}
	if got := GBKText([]byte("“张三”，请进")); got != "“张三”，请进" {
		t.Errorf("UTF-8 is read as %s", got)
	}
}
