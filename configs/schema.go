package configs

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
)

// Schema is the JSON Schema (draft 2020-12) of a config, made from the tags:
// what Parse takes is what it describes, but for conditions between fields.
// Every member may be left out; x-unit and x-restart are ours.
func Schema() ([]byte, error) {
	root := object(reflect.TypeFor[Config](), reflect.ValueOf(Default()))
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "Configuration of a Gatehouse board"
	text, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("cannot write the schema: %w", err)
	}
	return append(text, '\n'), nil
}

// object is the schema of a struct; v holds its defaults where it is valid.
func object(t reflect.Type, v reflect.Value) map[string]any {
	properties := map[string]any{}
	for i := range t.NumField() {
		f := t.Field(i)
		var value reflect.Value
		if v.IsValid() {
			value = v.Field(i)
		}
		var s map[string]any
		if f.Type.Kind() == reflect.Struct {
			s = object(f.Type, value)
			s["description"] = f.Tag.Get("doc")
		} else {
			s = described(f, value)
		}
		properties[jsonName(f)] = s
	}
	return map[string]any{"type": "object", "properties": properties, "additionalProperties": false}
}

// described is the schema of a field that is no section.
func described(f reflect.StructField, value reflect.Value) map[string]any {
	field := facts(f)
	s := valueSchema(field, f.Type)
	s["description"] = field.Doc
	if field.Unit != "" {
		s["x-unit"] = field.Unit
	}
	if field.Restart != "" {
		s["x-restart"] = string(field.Restart)
	}
	if field.Local {
		s["x-pushed"] = false
	}
	if value.IsValid() && !(value.Kind() == reflect.Slice && value.IsNil()) {
		s["default"] = value.Interface()
	}
	return s
}

// valueSchema is the schema of a value of type t with the facts of its field.
func valueSchema(f Field, t reflect.Type) map[string]any {
	if t == durationType {
		s := map[string]any{"type": "string", "format": "go-duration", "examples": []string{"10s", "1m30s"}}
		for name, bound := range map[string]string{"x-minimum": f.Min, "x-maximum": f.Max} {
			if bound != "" {
				s[name] = bound
			}
		}
		return s
	}
	switch t.Kind() {
	case reflect.Struct:
		return object(t, reflect.Value{})
	case reflect.Slice:
		return limited(map[string]any{"type": "array", "items": valueSchema(f, t.Elem())}, "maxItems", f.MaxItems)
	case reflect.Map:
		return limited(map[string]any{"type": "object", "additionalProperties": valueSchema(Field{}, t.Elem())}, "maxProperties", f.MaxItems)
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.String:
		s := limited(map[string]any{"type": "string"}, "x-max-bytes", f.MaxLen)
		if f.Enum != nil {
			s["enum"] = f.Enum
		}
		if f.Pattern != "" {
			s["pattern"] = "^$|" + f.Pattern
		}
		return s
	}
	s := map[string]any{"type": map[bool]string{true: "number", false: "integer"}[t.Kind() == reflect.Float64]}
	limited(s, "minimum", f.Min)
	limited(s, "maximum", f.Max)
	return limited(s, "exclusiveMinimum", f.Above)
}

// limited sets a numeric keyword, where there is a bound.
func limited(s map[string]any, keyword, bound string) map[string]any {
	if n, err := strconv.ParseFloat(bound, 64); err == nil {
		s[keyword] = n
	}
	return s
}
