package configs

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

func compiled(t testing.TB) *jsonschema.Schema {
	t.Helper()
	text, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("config.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("config.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// What the schema takes, Parse takes, and the other way round, each with the
// place of the error.
func TestSchemaAndParseAgree(t *testing.T) {
	schema := compiled(t)
	for _, c := range []struct {
		json, pointer string // pointer: where it is wrong; "-": nowhere
	}{
		{string(DefaultJSON), "-"},
		{`{}`, "-"},
		{`[]`, ""},
		{`{"camera":[]}`, "/camera"},
		{`{"camera":{"fsp":5}}`, "/camera/fsp"},
		{`{"camera":{"FPS":5}}`, "/camera/FPS"},
		{`{"camera":{"fps":"5"}}`, "/camera/fps"},
		{`{"camera":{"fps":0}}`, "/camera/fps"},
		{`{"camera":{"fps":60.5}}`, "/camera/fps"},
		{`{"camera":{"fps":0.5}}`, "-"},
		{`{"camera":{"fps":null}}`, "/camera/fps"},
		{`{"camera":{"loop":"yes"}}`, "/camera/loop"},
		{`{"camera":null}`, "/camera"},
		{`{"vision":{"max_rss_mib":127}}`, "/vision/max_rss_mib"},
		{`{"vision":{"max_rss_mib":128.5}}`, "/vision/max_rss_mib"},
		{`{"barrier":{"driver":"steam"}}`, "/barrier/driver"},
		{`{"barrier":{"gpio":{"lines":["a","b","c","d","e"]}}}`, "/barrier/gpio/lines"},
		{`{"barrier":{"gpio":{"lines":["a",1]}}}`, "/barrier/gpio/lines/1"},
		{`{"mqtt":{"topics":{"a/b":1}}}`, "/mqtt/topics/a~1b"},
		{`{"device":{"sn":"265E1040-85e01fb7"}}`, "/device/sn"},
		{`{"device":{"sn":""}}`, "-"},
		{`{"maintenance":{"windows":[{"from":"02:00","to":"04:00","days":["mon","sunday"]}]}}`, "/maintenance/windows/0/days/1"},
		{`{"maintenance":{"windows":[{"from":"2:00","to":"04:00"}]}}`, "/maintenance/windows/0/from"},
		{`{"lane":{"trigger_inputs":[8]}}`, "/lane/trigger_inputs/0"},
		{`{"delivery":{"ack":""}}`, "-"},
	} {
		_, err := Parse([]byte(c.json))
		v, jsonErr := jsonschema.UnmarshalJSON(strings.NewReader(c.json))
		if jsonErr != nil {
			t.Fatal(jsonErr)
		}
		schemaErr := schema.Validate(v)
		var p *ParamError
		if (c.pointer == "-") != (err == nil) || (c.pointer == "-") != (schemaErr == nil) || err != nil && (!errors.As(err, &p) || p.Pointer != c.pointer) {
			t.Errorf("%s: Parse says %v, the schema %v; want an error at %q", c.json, err, schemaErr, c.pointer)
		}
	}
	// Durations have their range in a keyword of ours.
	for text, pointer := range map[string]string{
		`{"barrier":{"pulse":"499ms"}}`: "/barrier/pulse",
		`{"barrier":{"pulse":"6s"}}`:    "/barrier/pulse",
		`{"mqtt":{"keep_alive":5}}`:     "/mqtt/keep_alive",
		`{"mqtt":{"keep_alive":"5"}}`:   "/mqtt/keep_alive",
	} {
		var p *ParamError
		if _, err := Parse([]byte(text)); !errors.As(err, &p) || p.Pointer != pointer {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// Every field says what it means and what changing it starts anew.
func TestFieldsAreDocumented(t *testing.T) {
	for _, f := range Fields() {
		if f.Doc == "" || strings.Contains(f.Pointer, "//") || !slices.Contains([]Restart{RestartNone, RestartVision, RestartSession, RestartAgent}, f.Restart) {
			t.Errorf("%s: doc %q, restart %q", f.Pointer, f.Doc, f.Restart)
		}
		for _, b := range []string{f.Min, f.Max, f.Above} {
			kind := f.kind
			if kind.Kind().String() == "slice" {
				kind = kind.Elem()
			}
			if _, ok := bound(b, kind); b != "" && !ok {
				t.Errorf("%s: %q is no bound", f.Pointer, b)
			}
		}
	}
	if err := Default().Validate(); err != nil {
		t.Error(err)
	}
}

// The examples of RFC 7396, appendix A.
func TestMergePatch(t *testing.T) {
	for _, c := range [][3]string{
		{`{"a":"b"}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"b"}`, `{"b":"c"}`, `{"a":"b","b":"c"}`},
		{`{"a":"b"}`, `{"a":null}`, `{}`},
		{`{"a":"b","b":"c"}`, `{"a":null}`, `{"b":"c"}`},
		{`{"a":["b"]}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"c"}`, `{"a":["b"]}`, `{"a":["b"]}`},
		{`{"a":{"b":"c"}}`, `{"a":{"b":"d","c":null}}`, `{"a":{"b":"d"}}`},
		{`{"a":[{"b":"c"}]}`, `{"a":[1]}`, `{"a":[1]}`},
		{`["a","b"]`, `["c","d"]`, `["c","d"]`},
		{`{"a":"b"}`, `["c"]`, `["c"]`},
		{`{"a":"foo"}`, `null`, `null`},
		{`{"a":"foo"}`, `"bar"`, `"bar"`},
		{`{"e":null}`, `{"a":1}`, `{"a":1,"e":null}`},
		{`[1,2]`, `{"a":"b","c":null}`, `{"a":"b"}`},
		{`{}`, `{"a":{"bb":{"ccc":null}}}`, `{"a":{"bb":{}}}`},
	} {
		if got, err := MergePatch([]byte(c[0]), []byte(c[1])); err != nil || string(got) != c[2] {
			t.Errorf("%s with %s = %s, %v; want %s", c[0], c[1], got, err, c[2])
		}
	}
}

func TestContent(t *testing.T) {
	base := Default()
	base.Camera.Source, base.Device.Name, base.Vision.Program = "/scenes", "north", "/opt/vision"
	base.MQTT.Topics = map[string]string{"ivs_result": "a"}
	current := base
	current.Camera.FPS, current.MQTT.Topics = 5, map[string]string{"ivs_result": "b", "gap": "c"}
	for _, c := range []struct {
		content, pointer string
		want             func(*Config)
	}{
		{`{"mode":"replace","config":{}}`, "", func(*Config) {}},
		{`{"mode":"replace","config":{"mqtt":{"topics":{"x":"y"}}}}`, "", func(c *Config) { c.MQTT.Topics = map[string]string{"x": "y"} }},
		{`{"mode":"merge","config":{"device":{"name":"south"}}}`, "", func(c *Config) { *c = current; c.Device.Name = "south" }},
		{`{"mode":"merge","config":{"camera":{"fps":null}}}`, "", func(c *Config) { c.MQTT.Topics = current.MQTT.Topics }},
		{`{"mode":"merge","config":{"mqtt":{"topics":{"gap":null}}}}`, "", func(c *Config) { c.Camera.FPS, c.MQTT.Topics = 5, map[string]string{"ivs_result": "b"} }},
		{`{"mode":"merge","config":{"camera":null}}`, "", func(c *Config) { c.MQTT.Topics = current.MQTT.Topics }},
		{`{"mode":"merge","config":{"camera":{"fps":99}}}`, "/camera/fps", nil},
		{`{"mode":"merge","config":{"vision":{"program":"/tmp/mine"}}}`, "/vision/program", nil},
		{`{"mode":"replace","config":{"device":{"sn":"265e1040-85e01fb7"}}}`, "/device/sn", nil},
		{`{"mode":"mix","config":{}}`, "/mode", nil},
		{`{"mode":"merge","config":[]}`, "/config", nil},
		{`{"mode":"merge"}`, "/config", nil},
	} {
		content, err := ParseContent([]byte(c.content))
		var got Config
		if err == nil {
			got, err = content.Result(base, current)
		}
		var p *ParamError
		if c.pointer != "" {
			if !errors.As(err, &p) || p.Pointer != c.pointer {
				t.Errorf("%s: %v, want an error at %s", c.content, err, c.pointer)
			}
			continue
		}
		want := base
		c.want(&want)
		if d := Diff(want, got); err != nil || len(d) > 0 {
			t.Errorf("%s: %v, differs in %+v", c.content, err, d)
		}
	}
	// Lists that were never set do not stand in the way of a patch.
	current.Lane.Region, current.Maintenance.Windows = nil, []Window{{From: "01:00", To: "02:00"}}
	if _, err := (Content{ModeMerge, json.RawMessage(`{"camera":{"fps":3}}`)}).Result(base, current); err != nil {
		t.Error(err)
	}
	if base.MQTT.Topics["ivs_result"] != "a" || len(base.MQTT.Topics) != 1 {
		t.Errorf("the base was changed: %v", base.MQTT.Topics)
	}
}

func TestDiffTellsRestarts(t *testing.T) {
	a, b := Default(), Default()
	b.Camera.Source, b.Device.Name, b.MQTT.Layout = "rtsp://u:secret@cam/1", "x", "old"
	d := Diff(a, b)
	if len(d) != 3 || d[0].Pointer != "/device/name" || d[1].To != "rtsp://***@cam/1" {
		t.Errorf("%+v", d)
	}
	if r := Restarts(d); !r[RestartNone] || !r[RestartVision] || !r[RestartSession] || r[RestartAgent] {
		t.Errorf("%v", r)
	}
	if text, _ := json.Marshal(b.Redacted()); strings.Contains(string(text), "secret") || b.Camera.Source == b.Redacted().Camera.Source {
		t.Errorf("%s", text)
	}
}

func TestMaintenanceWindows(t *testing.T) {
	m := Maintenance{Kinds: []string{"config"}, Windows: []Window{{Days: []string{"sat"}, From: "22:00", To: "04:00"}, {From: "12:00", To: "12:30"}}}
	for at, want := range map[string]bool{
		"2026-11-28 21:59:59": false, // Saturday
		"2026-11-28 22:00:00": true,
		"2026-11-29 03:59:59": true, // Sunday
		"2026-11-29 04:00:00": false,
		"2026-11-29 22:30:00": false,
		"2026-11-25 12:00:00": true,
		"2026-11-25 12:30:00": false,
	} {
		when, err := time.ParseInLocation(time.DateTime, at, time.UTC)
		if err != nil {
			t.Fatal(err)
		}
		if m.Open("config", when) != want || !m.Open("whitelist", when) {
			t.Errorf("%s: %v", at, !want)
		}
	}
	if !(Maintenance{Kinds: []string{"config"}}).Open("config", time.Now()) {
		t.Error("no windows, and it waits")
	}
}

// What Parse takes, the schema takes; what comes out is valid and stays as it is.
func FuzzOver(f *testing.F) {
	f.Add(DefaultJSON)
	f.Add([]byte(`{"mqtt":{"topics":{"a":"b"}},"lane":{"region":[{"x":0,"y":1}]}}`))
	f.Add([]byte(`{"camera":{"fps":1e400}}`))
	schema := compiled(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := Parse(b)
		if err != nil {
			return
		}
		v, err := jsonschema.UnmarshalJSON(strings.NewReader(string(b)))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(v); err != nil {
			t.Errorf("Parse takes what the schema refuses: %v", err)
		}
		text, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse(text)
		if err != nil || len(Diff(c, again)) > 0 {
			t.Errorf("%v %v", err, Diff(c, again))
		}
	})
}

func FuzzContent(f *testing.F) {
	f.Add([]byte(`{"mode":"merge","config":{"camera":{"fps":5}}}`))
	f.Add([]byte(`{"mode":"replace","config":{"mqtt":{"topics":{"a":null}}}}`))
	base := Default()
	base.Vision.Program = "/opt/vision"
	f.Fuzz(func(t *testing.T, b []byte) {
		content, err := ParseContent(b)
		if err != nil {
			return
		}
		c, err := content.Result(base, base)
		if err == nil && (c.Validate() != nil || c.Vision.Program != base.Vision.Program) {
			t.Errorf("%s gives %+v", b, c)
		}
	})
}
