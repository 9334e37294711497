package configs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ParamError names the parameter that is wrong and what it should be.
type ParamError struct {
	Pointer string // JSON pointer, e.g. /camera/fps
	What    string
}

func (e *ParamError) Error() string {
	if e.Pointer == "" {
		return "the config " + e.What
	}
	return e.Pointer + " " + e.What
}

// Validate returns a *ParamError for the first field out of its range.
func (c Config) Validate() error { return validate(reflect.ValueOf(c), "") }

// validator is a section with conditions that tags cannot say. Its errors are
// *ParamError with the whole pointer.
type validator interface{ validate() error }

// validate checks a struct by its tags, then by its own method.
func validate(v reflect.Value, at string) error {
	t := v.Type()
	for i := range t.NumField() {
		f := t.Field(i)
		pointer := at + "/" + jsonName(f)
		if err := validateValue(v.Field(i), facts(f), pointer); err != nil {
			return err
		}
	}
	if own, ok := v.Interface().(validator); ok {
		return own.validate()
	}
	return nil
}

func validateValue(v reflect.Value, f Field, pointer string) error {
	switch v.Kind() {
	case reflect.Struct:
		return validate(v, pointer)
	case reflect.Slice, reflect.Map:
		if n, ok := bound(f.MaxItems, v.Type()); ok && float64(v.Len()) > n {
			return &ParamError{pointer, "must have at most " + f.MaxItems + " elements"}
		}
		if v.Kind() == reflect.Map {
			return nil
		}
		for i := range v.Len() {
			if err := validateValue(v.Index(i), f, pointer+"/"+strconv.Itoa(i)); err != nil {
				return err
			}
		}
		return nil
	case reflect.String:
		return validateText(v.String(), f, pointer)
	case reflect.Int, reflect.Int64, reflect.Float64:
		return validateNumber(number(v), v.Type(), f, pointer)
	}
	return nil
}

// number is a value as it is compared with its bounds: seconds for a Duration.
func number(v reflect.Value) float64 {
	switch {
	case v.Type() == durationType:
		return time.Duration(v.Int()).Seconds()
	case v.CanInt():
		return float64(v.Int())
	}
	return v.Float()
}

func validateNumber(n float64, t reflect.Type, f Field, pointer string) error {
	low, hasLow := bound(f.Min, t)
	above, hasAbove := bound(f.Above, t)
	high, hasHigh := bound(f.Max, t)
	if math.IsNaN(n) || hasLow && n < low || hasAbove && n <= above || hasHigh && n > high {
		return &ParamError{pointer, "must be " + rangeText(f)}
	}
	return nil
}

// rangeText says a field's range in words.
func rangeText(f Field) string {
	low := f.Min
	if f.Above != "" {
		low = "above " + f.Above
	}
	switch {
	case low != "" && f.Max != "" && f.Above != "":
		return low + " and at most " + f.Max
	case low != "" && f.Max != "":
		return low + " to " + f.Max
	case f.Max != "":
		return "at most " + f.Max
	case f.Above != "":
		return low
	}
	return "at least " + low
}

func validateText(s string, f Field, pointer string) error {
	if f.Enum != nil && !slices.Contains(f.Enum, s) {
		return &ParamError{pointer, "must be " + enumText(f.Enum)}
	}
	if n, ok := bound(f.MaxLen, reflect.TypeFor[int]()); ok && float64(len(s)) > n {
		return &ParamError{pointer, "must be at most " + f.MaxLen + " bytes"}
	}
	if f.Pattern != "" && s != "" && !pattern(f.Pattern).MatchString(s) {
		return &ParamError{pointer, "must match " + f.Pattern}
	}
	if strings.ContainsRune(s, 0) {
		return &ParamError{pointer, "must not contain a NUL"}
	}
	return nil
}

var patterns = func() map[string]*regexp.Regexp {
	m := map[string]*regexp.Regexp{}
	for _, f := range fields {
		if f.Pattern != "" {
			m[f.Pattern] = regexp.MustCompile(f.Pattern)
		}
	}
	return m
}()

func pattern(text string) *regexp.Regexp {
	if p, ok := patterns[text]; ok {
		return p
	}
	return regexp.MustCompile(text) // of a list's element
}

func enumText(values []string) string {
	var words []string
	for _, v := range values {
		if v == "" {
			v = "empty"
		}
		words = append(words, v)
	}
	if len(words) == 1 {
		return words[0]
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}

func oneOf(s string, set ...string) bool { return slices.Contains(set, s) }

func hasWildcard(topic string) bool { return strings.ContainsAny(topic, "+#\x00") }

// MaxText is the longest config that is read, in bytes.
const MaxText = 1 << 20

// checkForm reads text as one JSON object with known fields of the right
// types, and names the place where it is not.
func checkForm(text []byte) (map[string]any, error) {
	if len(text) > MaxText {
		return nil, &ParamError{"", fmt.Sprintf("the config must be at most %d bytes", MaxText)}
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, formError(err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("there is text behind the end of the JSON object")
	}
	if err := form(v, reflect.TypeFor[Config](), ""); err != nil {
		return nil, err
	}
	return v.(map[string]any), nil
}

// formError is an error of the JSON reader; a value of the wrong type gets its place.
func formError(err error) error {
	var t *json.UnmarshalTypeError
	if errors.As(err, &t) {
		return &ParamError{"/" + strings.ReplaceAll(t.Field, ".", "/"), "must be of type " + t.Type.String()}
	}
	return fmt.Errorf("cannot read the JSON: %w", err)
}

// form checks that v, as the JSON reader gives it, can become a t.
func form(v any, t reflect.Type, at string) error {
	if t == durationType {
		s, ok := v.(string)
		if _, err := time.ParseDuration(s); !ok || err != nil {
			return &ParamError{at, `must be a duration as text, such as "10s" or "1m30s"`}
		}
		return nil
	}
	switch t.Kind() {
	case reflect.Struct:
		object, ok := v.(map[string]any)
		if !ok {
			return &ParamError{at, "must be an object"}
		}
		return formObject(object, t, at)
	case reflect.Map:
		object, ok := v.(map[string]any)
		if !ok {
			return &ParamError{at, "must be an object"}
		}
		for _, key := range sortedKeys(object) {
			if err := form(object[key], t.Elem(), at+"/"+escapePointer(key)); err != nil {
				return err
			}
		}
		return nil
	case reflect.Slice:
		list, ok := v.([]any)
		if !ok {
			return &ParamError{at, "must be a list"}
		}
		for i, e := range list {
			if err := form(e, t.Elem(), at+"/"+strconv.Itoa(i)); err != nil {
				return err
			}
		}
		return nil
	}
	return formScalar(v, t, at)
}

func formObject(object map[string]any, t reflect.Type, at string) error {
	known := map[string]reflect.Type{}
	for i := range t.NumField() {
		known[jsonName(t.Field(i))] = t.Field(i).Type
	}
	for _, key := range sortedKeys(object) {
		field, ok := known[key]
		if !ok {
			return &ParamError{at + "/" + escapePointer(key), "is unknown; see `gatehouse config schema`"}
		}
		if err := form(object[key], field, at+"/"+key); err != nil {
			return err
		}
	}
	return nil
}

func formScalar(v any, t reflect.Type, at string) error {
	switch t.Kind() {
	case reflect.String:
		if _, ok := v.(string); !ok {
			return &ParamError{at, "must be a text"}
		}
	case reflect.Bool:
		if _, ok := v.(bool); !ok {
			return &ParamError{at, "must be true or false"}
		}
	case reflect.Float64:
		n, ok := v.(json.Number)
		if _, err := n.Float64(); !ok || err != nil {
			return &ParamError{at, "must be a number"}
		}
	default:
		n, ok := v.(json.Number)
		if _, err := strconv.ParseInt(n.String(), 10, t.Bits()); !ok || err != nil {
			return &ParamError{at, "must be a whole number"}
		}
	}
	return nil
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
