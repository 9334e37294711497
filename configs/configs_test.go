package configs

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestDefaultFileEqualsDefault(t *testing.T) {
	want, err := json.MarshalIndent(Default(), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile("default.json", append(want, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if strings.TrimSpace(string(DefaultJSON)) != string(want) {
		t.Error("default.json differs from Default(); run `UPDATE=1 go test ./configs`")
	}
	got, err := Parse(DefaultJSON)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, Default()) {
		t.Errorf("Parse(default.json) = %+v", got)
	}
}

func TestValidateNamesTheParameter(t *testing.T) {
	for _, c := range []struct{ json, pointer string }{
		{`{"camera":{"fps":0}}`, "/camera/fps"},
		{`{"device":{"sn":"265E1040-85e01fb7"}}`, "/device/sn"},
		{`{"barrier":{"driver":"steam"}}`, "/barrier/driver"},
		{`{"barrier":{"pulse":"20s"}}`, "/barrier/pulse"},
		{`{"mqtt":{"broker":"http://x"}}`, "/mqtt/broker"},
		{`{"mqtt":{"broker":"tcp://user:secret@x:1883"}}`, "/mqtt/broker"},
		{`{"mqtt":{"topics":{"ivs_result":"a/+/b"}}}`, "/mqtt/topics/ivs_result"},
		{`{"gate":{"min_plate_score":1.5}}`, "/gate/min_plate_score"},
	} {
		_, err := Parse([]byte(c.json))
		var p *ParamError
		if !errors.As(err, &p) || p.Pointer != c.pointer {
			t.Errorf("Parse(%s) = %v, want an error at %s", c.json, err, c.pointer)
		}
	}
}

func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c.json")
	for text, ok := range map[string]bool{
		`{"camera":{"fps":5}}`:      true,
		`{"camera":{"fsp":5}}`:      false, // misspelt
		`{} {}`:                     false,
		`{"camera":{"fps":"five"}}`: false,
		`{"mqtt":{"keep_alive":5}}`: false,
		``:                          false,
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(path); (err == nil) != ok {
			t.Errorf("Load(%s) error = %v, want ok=%v", text, err, ok)
		}
	}
	if _, err := Load(path + ".missing"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(DefaultJSON)
	f.Add([]byte(`{"mqtt":{"topics":{"a":""}}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := Parse(b)
		if err == nil && c.Validate() != nil {
			t.Error("Parse gave an invalid config")
		}
	})
}
