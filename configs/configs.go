// Package configs holds what a board can be set to: the typed configuration,
// its defaults, its checks and its JSON Schema, all from the tags of Config.
//
// A board runs without any configuration file: Default is complete. A file
// given by --config states only what differs; it is read over the defaults,
// and an unknown field is an error, so that a misspelt name is never silently
// ignored. Secrets have no place in it: broker credentials come from binding
// and lie in the state database.
//
// What is in force, the last word last: the defaults, the board's own file
// (--config), the config that the cloud has pushed. A pushed config is kept
// whole, so from then on the file decides only what a "replace" leaves out and
// the fields that the cloud may not set (tag pushed:"no").
package configs

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
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

// Default is a complete configuration: no camera, software barrier, strict gate.
func Default() Config {
	return Config{
		Device:  Device{Name: "Gatehouse", BoardVersion: 12378},
		Camera:  Camera{FPS: 15, Loop: true, StallTimeout: Duration(10 * time.Second)},
		Capture: defaultCapture(),
		Lane:    defaultLane(),
		Vision:  Vision{Plates: true, Faces: true, MaxRSSMiB: 1024, SilenceTimeout: Duration(15 * time.Second)},
		Plates:  defaultPlates(),
		Gate: Gate{MinPlateScore: 0.9, SamePlate: Duration(10 * time.Second),
			OpenByWhitelist: true, OpenByFace: true, MinFaceSimilarity: 0.45, RowCommands: true},
		Faces: DefaultFaces(),
		Barrier: Barrier{Driver: "software", Pulse: Duration(500 * time.Millisecond), CloseAfter: Duration(5 * time.Second),
			Serial: Serial{Baud: 9600, Protocol: "modbus", Address: 1}, GPIO: GPIO{Lines: []string{}}},
		MQTT: MQTT{Layout: "new", Topics: map[string]string{}, KeepAlive: Duration(10 * time.Second), BackoffMax: Duration(2 * time.Minute), Trial: Duration(2 * time.Minute),
			LastWill: true, Allow: []string{"open", "output", "lock", "serial", "trigger", "snapshot", "rows", "speak", "time", "reboot"}},
		Delivery: Delivery{MaxBytesMiB: 256, MaxAge: Duration(30 * 24 * time.Hour), PictureQuotaMiB: 512,
			EventsPerSecond: 20, Burst: 40},
		Pictures:    defaultPictures(),
		Ports:       defaultPorts(),
		Push:        defaultPush(),
		Port8131:    defaultPort8131(),
		Maintenance: defaultMaintenance(),
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
func Parse(b []byte) (Config, error) { return Over(Default(), b) }

// Over reads JSON over base, which it leaves as it is, and checks the result:
// what b does not say is as base has it. An unknown field is an error. Errors
// are *ParamError where one parameter is wrong.
func Over(base Config, b []byte) (Config, error) {
	said, err := checkForm(b)
	if err != nil {
		return Config{}, err
	}
	whole, err := base.tree()
	if err != nil {
		return Config{}, err
	}
	return put(whole, said)
}

// Restore reads a config that was written by another version of the agent, as
// Over does, but fields that this version does not know are passed over.
func Restore(base Config, b []byte) (Config, error) {
	var said map[string]any
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	if err := dec.Decode(&said); err != nil {
		return Config{}, formError(err)
	}
	whole, err := base.tree()
	if err != nil {
		return Config{}, err
	}
	return put(whole, said)
}

// put gives whole with what is said, checked.
func put(whole, said map[string]any) (Config, error) {
	overlay(whole, said, reflect.TypeFor[Config]())
	text, err := json.Marshal(whole)
	if err != nil {
		return Config{}, fmt.Errorf("cannot put the config together: %w", err)
	}
	var c Config
	if err := json.Unmarshal(text, &c); err != nil {
		return Config{}, formError(err)
	}
	return c, c.Validate()
}

// tree is c as the JSON reader gives it.
func (c Config) tree() (map[string]any, error) {
	text, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("cannot write the config: %w", err)
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var tree map[string]any
	err = dec.Decode(&tree)
	dropNulls(tree)
	return tree, err
}

// dropNulls leaves out members that are null: a list that was never set is
// written so, and means the same as one that is left out.
func dropNulls(v any) {
	switch v := v.(type) {
	case map[string]any:
		for key, member := range v {
			if member == nil {
				delete(v, key)
				continue
			}
			dropNulls(member)
		}
	case []any:
		for _, element := range v {
			dropNulls(element)
		}
	}
}

// overlay puts what is said into whole, section by section; lists and maps are
// replaced, not mixed. Both have the form of t.
func overlay(whole, said map[string]any, t reflect.Type) {
	for i := range t.NumField() {
		f := t.Field(i)
		name := jsonName(f)
		v, ok := said[name]
		switch {
		case !ok:
		case f.Type.Kind() == reflect.Struct:
			section, isObject := v.(map[string]any)
			if !isObject {
				whole[name] = v // the reader will say that it is none
				continue
			}
			overlay(whole[name].(map[string]any), section, f.Type)
		default:
			whole[name] = v
		}
	}
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
