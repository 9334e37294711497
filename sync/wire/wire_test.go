package wire

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"gatehouse/sync/errcode"
)

const sn = "265e1040-85e01fb7"

// The composed example of vendor-mqtt.md, 4.1.1, shortened only in its pictures.
const vendorExample = `{"AlarmInfoPlate":{"channel":0,"deviceName":"R0FURS0x","ipaddr":"192.0.2.10","serialno":"265e1040-85e01fb7",
  "rule_id":1,"user_data":"","result":{"PlateResult":{
   "license":"5bedQTEyMzQ1","license_ext_type":0,"colorType":1,"type":1,"confidence":98,"direction":4,"triggerType":1,
   "plateid":594785,"isoffline":0,"is_fake_plate":0,"is_encrypted":0,"feature_code":true,
   "location":{"RECT":{"left":954,"top":502,"right":1109,"bottom":555}},
   "car_location":{"RECT":{"left":850,"top":427,"right":1213,"bottom":630}},
   "carColor":255,"car_brand":{"brand":255,"type":255,"year":65535},"bright":0,"carBright":0,"clean_time":0,
   "timeUsed":120000,"plate_distance":0,"plate_true_width":0,
   "timeStamp":{"Timeval":{"decyear":2026,"decmon":11,"decday":23,"dechour":10,"decmin":13,"decsec":20,"sec":1795400000,"usec":0}},
   "gioouts":[],"bucket":"","oss_type":"","imagePath":"","imageAbsolutePath":"","imageRelativePath":"",
   "imageFragmentPath":"","imageFragmentAbsolutePath":"","imageFragmentRelativePath":"",
   "full_image_content":"/9j/","small_image_content":"/9j/",
   "plates":[{"color":1,"type":1,"license":"5bedQTEyMzQ1","plate_width":155,"is_danger":0,
     "pos":{"left":954,"top":502,"right":1109,"bottom":555},"image_path":"","image_absolute_path":"","image_relative_path":"","content":""}]
  }}}}`

func TestResultIsTheVendorsExample(t *testing.T) {
	m := NewResult(sn, "GATE-1", "192.0.2.10", time.Unix(1795400000, 0).In(time.FixedZone("", 3600*2)))
	r := &m.AlarmInfoPlate.Result.PlateResult
	r.AddPlate("川A12345", 98, 1, 1, Rect{954, 502, 1109, 555})
	r.Direction, r.TriggerType, r.PlateID, r.FeatureCode, r.TimeUsed = 4, TriggerVideo, 594785, true, 120000
	r.CarLocation.RECT = Rect{850, 427, 1213, 630}
	r.FullImageContent, r.SmallImageContent = "/9j/", "/9j/"
	r.TimeStamp.Timeval = Timeval{2026, 11, 23, 10, 13, 20, 1795400000, 0}
	have, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	var a, b map[string]any
	if err := json.Unmarshal(have, &a); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(vendorExample), &b); err != nil {
		t.Fatal(err)
	}
	result := a["AlarmInfoPlate"].(map[string]any)["result"].(map[string]any)["PlateResult"].(map[string]any)
	for _, optional := range []string{"start_time", "record_uuid", "event_channel", "unique_id"} { // with the vendor, not in the example
		delete(result, optional)
	}
	for _, optional := range []string{"binimg_path", "binimg_content", "binImgSize", "clipImgSize"} {
		delete(result["plates"].([]any)[0].(map[string]any), optional)
	}
	if !reflect.DeepEqual(a, b) {
		t.Errorf("have %s", have)
	}
}

func TestNewResultHasNoPlate(t *testing.T) {
	r := NewResult(sn, "", "", time.Now()).AlarmInfoPlate.Result.PlateResult
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	if r.License != "X+aXoF8=" || strings.Contains(string(b), "null") {
		t.Errorf("%s", b)
	}
}

func TestTopics(t *testing.T) {
	for _, c := range []struct {
		layout    Layout
		up, reply string
	}{
		{LayoutNew, "device/" + sn + "/message/up/ivs_result", "device/" + sn + "/message/down/gpio_out/reply"},
		{LayoutOld, sn + "/device/message/up/ivs_result", sn + "/device/message/down/gpio_out/reply"},
	} {
		topics, err := NewTopics(c.layout, sn, nil)
		if err != nil {
			t.Fatal(err)
		}
		if topics.Up("ivs_result") != c.up || topics.Reply("gpio_out") != c.reply {
			t.Errorf("%s: %s %s", c.layout, topics.Up("ivs_result"), topics.Reply("gpio_out"))
		}
		if name, ok := topics.ParseDown(topics.Down("gpio_out")); !ok || name != "gpio_out" {
			t.Errorf("%s: a command's topic is not understood", c.layout)
		}
		if _, ok := topics.ParseDown(topics.Reply("gpio_out")); ok {
			t.Errorf("%s: a reply counts as a command", c.layout)
		}
		if id, name, layout, reply, ok := ParseUp(topics.Up("birth")); !ok || id != sn || name != "birth" || layout != c.layout || reply {
			t.Errorf("ParseUp: %s %s %s %v %v", id, name, layout, reply, ok)
		}
		if id, name, _, reply, ok := ParseUp(topics.Reply("gpio_out")); !ok || id != sn || name != "gpio_out" || !reply {
			t.Errorf("ParseUp of a reply: %s %s %v %v", id, name, reply, ok)
		}
	}
	custom, err := NewTopics(LayoutNew, sn, map[string]string{"down/gpio_out": "/x/{sn}/open", "keep_alive": "/device/message/up/keep_alive"})
	if err != nil {
		t.Fatal(err)
	}
	if name, ok := custom.ParseDown("/x/" + sn + "/open"); !ok || name != "gpio_out" || custom.Up("keep_alive") != "/device/message/up/keep_alive" {
		t.Error("overridden topics are not used")
	}
	if _, ok := custom.ParseDown("device/" + sn + "/message/down/gpio_out"); ok {
		t.Error("an overridden command is understood on its old topic too: it would act twice")
	}
	for _, bad := range []string{"", "x", "265E1040-85e01fb7", "+"} {
		if _, err := NewTopics(LayoutNew, bad, nil); err == nil {
			t.Errorf("serial number %q is taken", bad)
		}
	}
}

func TestParseCommandIsTolerant(t *testing.T) {
	for _, in := range []string{
		`{"id":"a","sn":"s","timestamp":1795400000123,"payload":{"type":"ivs_trigger","body":{}}}`,
		`{"id":"a","payload":{"body":[]}}`,
		`{"id":"a","payload":{"body":null}}`,
		`{"id":"a","payload":{}}`,
		`{"id":"a","payload":[]}`,
		`{"id":"a","payload":null}`,
		`{"id":"a"}`,
	} {
		c, err := ParseCommand("ivs_trigger", []byte(in))
		if err != nil || c.ID != "a" || c.Type != "ivs_trigger" || string(c.Body) != "{}" {
			t.Errorf("%s: %+v, %v", in, c, err)
		}
	}
	if c, err := ParseCommand("x", []byte(`{"id":17}`)); err != nil || c.ID != "17" {
		t.Errorf("a number as id: %q, %v", c.ID, err)
	}
	for in, code := range map[string]errcode.Code{
		``: errcode.ParseJSONFailed, `[]`: errcode.ParseJSONFailed, `{`: errcode.ParseJSONFailed,
		`{"payload":3}`: errcode.ParamsError, `{"payload":{"body":"x"}}`: errcode.ParamsError,
	} {
		if _, err := ParseCommand("x", []byte(in)); !hasCode(err, code) {
			t.Errorf("%s: %v, want %d", in, err, code)
		}
	}
}

func hasCode(err error, code errcode.Code) bool {
	var e *errcode.Error
	return errors.As(err, &e) && e.Code == code
}

func TestParseGPIOOut(t *testing.T) {
	for in, want := range map[string]GPIOOut{
		`{"io":0,"value":2,"delay":500}`:    {0, 2, 500},
		`{"io":3,"value":1}`:                {3, 1, 500},
		`{"io":0,"value":2,"delay":600000}`: {0, 2, 5000},
		`{"io":0,"value":2,"delay":-1}`:     {0, 2, 500},
	} {
		if got, err := ParseGPIOOut([]byte(in)); err != nil || got != want {
			t.Errorf("%s: %+v, %v", in, got, err)
		}
	}
	// An output that is not named must not be taken for output 0, the barrier.
	for _, in := range []string{`{}`, `{"value":2}`, `{"io":0}`, `{"io":4,"value":2}`, `{"io":0,"value":3}`, `{"io":"0","value":2}`} {
		if _, err := ParseGPIOOut([]byte(in)); !hasCode(err, errcode.ParamsError) {
			t.Errorf("%s: %v, want 1103", in, err)
		}
	}
}

func TestParseWhitelistOperator(t *testing.T) {
	for in, want := range map[string]WhitelistOperator{
		`{"operator_type":"update_or_add","dldb_rec":{"plate":"川A12345","enable":1}}`: {OperatorType: "update_or_add", Records: []WhitelistRecord{{Plate: "川A12345", Enable: 1}}},
		`{"operator_type":"add","dldb_rec":[{"plate":"a","enable":1,"index":3}]}`:     {OperatorType: "update_or_add", Records: []WhitelistRecord{{Plate: "a", Enable: 1}}},
		`{"operator_type":"delete","plate":""}`:                                       {OperatorType: "delete", DeleteAll: true},
		`{"operator_type":"delete","plate":[]}`:                                       {OperatorType: "delete", Plates: []string{}},
		`{"operator_type":"delete","plate":["a","b"]}`:                                {OperatorType: "delete", Plates: []string{"a", "b"}},
		`{"operator_type":"select","sub_type":"plate","plate":"A1"}`:                  {OperatorType: "select", Plates: []string{"A1"}},
		`{"operator_type":"select"}`:                                                  {OperatorType: "select", Plates: []string{""}},
	} {
		if got, err := ParseWhitelistOperator([]byte(in)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", in, got, err)
		}
	}
	for _, in := range []string{`{}`, `{"operator_type":"delete"}`, `{"operator_type":"update_or_add"}`, `{"operator_type":"delete","plate":3}`, `{"operator_type":"drop"}`} {
		if _, err := ParseWhitelistOperator([]byte(in)); !hasCode(err, errcode.ParamsError) {
			t.Errorf("%s: %v, want 1103", in, err)
		}
	}
}

func TestParseChangeCommand(t *testing.T) {
	digest := "sha256:" + strings.Repeat("0", 64)
	for in, ok := range map[string]bool{
		`{"operator_type":"stage","change_id":"c-1","digest":"` + digest + `","content":"{}"}`:                  true,
		`{"operator_type":"apply","change_id":"c_1"}`:                                                           true,
		`{"operator_type":"query"}`:                                                                             true,
		`{"operator_type":"stage","change_id":"c","content":"{}"}`:                                              false,
		`{"operator_type":"stage","change_id":"c","digest":"` + digest + `"}`:                                   false,
		`{"operator_type":"stage","change_id":"c","digest":"` + digest + `","content":"{}","url":"http://x/y"}`: false,
		`{"operator_type":"apply","change_id":""}`:                                                              false,
		`{"operator_type":"apply","change_id":"../x"}`:                                                          false,
		`{"operator_type":"run","change_id":"c"}`:                                                               false,
	} {
		if _, err := ParseChangeCommand([]byte(in)); (err == nil) != ok {
			t.Errorf("%s: %v", in, err)
		}
	}
}

func TestReplyAlwaysHasAPayload(t *testing.T) {
	b, err := json.Marshal(Reply{ID: "k3Jx0Qm81ZtPa9Vd", SN: sn, Name: "gpio_out", Version: Version, Timestamp: 1795400001, Code: 200})
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"id":"k3Jx0Qm81ZtPa9Vd","sn":"` + sn + `","name":"gpio_out","version":"1.0","timestamp":1795400001,"code":200,"payload":null}`; string(b) != want {
		t.Errorf("%s", b)
	}
}

func FuzzParsers(f *testing.F) {
	f.Add([]byte(`{"id":"a","payload":{"type":"gpio_out","body":{"io":0,"value":2,"delay":500}}}`))
	f.Add([]byte(`{"operator_type":"delete","plate":["a"]}`))
	f.Add([]byte(`{"boot":"0-0","ranges":[[1,2]]}`))
	f.Add([]byte(`{"account_id":1,"broker":{"url":"tcp://x:1"}}`))
	f.Add([]byte(`{"payload":{"body":[1]}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, e1 := ParseCommand("x", b)
		g, e2 := ParseGPIOOut(b)
		_, e3 := ParseWhitelistOperator(b)
		_, e4 := ParseChangeCommand(b)
		_, e5 := ParseEventAck(b)
		_, e6 := ParseBindBody(b)
		if e2 == nil && (g.IO < 0 || g.IO > 3 || g.Delay < MinPulseMS || g.Delay > MaxPulseMS) {
			t.Errorf("%+v", g)
		}
		for _, err := range []error{e1, e2, e3, e4, e5, e6} {
			var e *errcode.Error
			if err != nil && !errors.As(err, &e) {
				t.Errorf("%v has no code", err)
			}
		}
	})
}

func FuzzTopics(f *testing.F) {
	f.Add("device/" + sn + "/message/up/birth")
	f.Add("a/b/c")
	topics, err := NewTopics(LayoutNew, sn, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, topic string) {
		if id, _, _, _, ok := ParseUp(topic); ok && !ValidSN(id) {
			t.Error(id)
		}
		if name, ok := topics.ParseDown(topic); ok && topics.Down(name) != topic {
			t.Error(name)
		}
	})
}
