package configs

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// MergePatch changes the JSON object target as patch says (RFC 7396): members
// of patch replace those of target, null removes, objects are merged.
func MergePatch(target, patch []byte) ([]byte, error) {
	var from, with any
	for _, p := range []struct {
		text []byte
		into *any
	}{{target, &from}, {patch, &with}} {
		if len(p.text) > MaxText {
			return nil, &ParamError{"", fmt.Sprintf("the config must be at most %d bytes", MaxText)}
		}
		dec := json.NewDecoder(bytes.NewReader(p.text))
		dec.UseNumber()
		if err := dec.Decode(p.into); err != nil {
			return nil, formError(err)
		}
	}
	return json.Marshal(merge(from, with))
}

func merge(target, patch any) any {
	changes, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	object, ok := target.(map[string]any)
	if !ok {
		object = map[string]any{}
	}
	for key, value := range changes {
		if value == nil {
			delete(object, key)
			continue
		}
		object[key] = merge(object[key], value)
	}
	return object
}

// Modes of a pushed config (management.md, "Changes").
const (
	ModeReplace = "replace"
	ModeMerge   = "merge"
)

// Content is what a config change carries.
type Content struct {
	Mode   string          `json:"mode"`
	Config json.RawMessage `json:"config"`
}

// Result is the whole config that content gives. Base is what the board's own
// file says over the defaults; current is what is in force. "replace" is read
// over base: what it leaves out is as base has it. "merge" is a merge patch on
// current; what it removes is as base has it. Errors are *ParamError where one
// parameter is wrong; pointers of the config itself have no prefix.
func (content Content) Result(base, current Config) (Config, error) {
	var next Config
	var err error
	switch content.Mode {
	case ModeReplace:
		next, err = Over(base, content.Config)
	case ModeMerge:
		next, err = patched(base, current, content.Config)
	default:
		return Config{}, &ParamError{"/mode", "must be replace or merge"}
	}
	if err != nil {
		return Config{}, err
	}
	return next, Pushable(base, next)
}

func patched(base, current Config, patch []byte) (Config, error) {
	// A patch is checked as it stands first, so that an error names its own place.
	if len(patch) == 0 || bytes.TrimSpace(patch)[0] != '{' {
		return Config{}, &ParamError{"/config", "must be an object"}
	}
	tree, err := current.tree()
	if err != nil {
		return Config{}, err
	}
	whole, err := json.Marshal(tree)
	if err != nil {
		return Config{}, err
	}
	merged, err := MergePatch(whole, patch)
	if err != nil {
		return Config{}, err
	}
	return Over(base, merged)
}

// ParseContent reads the content of a config change. Errors are *ParamError,
// or of the JSON reader.
func ParseContent(text []byte) (Content, error) {
	var c Content
	if len(text) > MaxText {
		return c, &ParamError{"", fmt.Sprintf("the config must be at most %d bytes", MaxText)}
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&c); err != nil {
		return c, formError(err)
	}
	if dec.More() {
		return c, fmt.Errorf("cannot read the JSON: there is text behind the object")
	}
	switch {
	case c.Mode != ModeReplace && c.Mode != ModeMerge:
		return c, &ParamError{"/mode", "must be replace or merge"}
	case len(bytes.TrimSpace(c.Config)) == 0 || bytes.TrimSpace(c.Config)[0] != '{':
		return c, &ParamError{"/config", "must be an object"}
	}
	return c, nil
}
