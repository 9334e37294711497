package configs

import (
	"reflect"
	"strconv"
	"strings"
	"time"
)

// Restart is what is started anew when a field changes, from little to much.
type Restart string

// What may have to be started anew.
const (
	RestartNone    Restart = "none"
	RestartVision  Restart = "vision"
	RestartSession Restart = "session"
	RestartAgent   Restart = "agent"
)

// Field is one field of Config with the facts of its tags.
type Field struct {
	Pointer  string // JSON pointer, e.g. /camera/fps
	Doc      string
	Unit     string
	Min, Max string // both included; of the elements where the field is a list
	Above    string // not included itself
	Enum     []string
	Pattern  string
	MaxLen   string // bytes of a text
	MaxItems string // elements of a list
	Restart  Restart
	Local    bool   // only the board's own file may set it
	Secret   string // "url": see Redact

	kind  reflect.Type
	index []int // of the field in Config, for reflect's FieldByIndex
}

// Fields lists the fields of Config that hold a value, in order. A list is one
// field, whatever its elements consist of.
func Fields() []Field { return append([]Field(nil), fields...) }

var (
	fields       = collect(reflect.TypeFor[Config](), "", nil)
	byPointer    = indexed(fields)
	durationType = reflect.TypeFor[Duration]()
)

func collect(t reflect.Type, at string, index []int) (found []Field) {
	for i := range t.NumField() {
		f := t.Field(i)
		own := append(append([]int(nil), index...), i)
		pointer := at + "/" + jsonName(f)
		if f.Type.Kind() == reflect.Struct {
			found = append(found, collect(f.Type, pointer, own)...)
			continue
		}
		field := facts(f)
		field.Pointer, field.index = pointer, own
		found = append(found, field)
	}
	return found
}

func facts(f reflect.StructField) Field {
	get := f.Tag.Get
	field := Field{Doc: get("doc"), Unit: get("unit"), Min: get("min"), Max: get("max"), Above: get("above"), Pattern: get("pattern"),
		MaxLen: get("maxlen"), MaxItems: get("maxitems"), Restart: Restart(get("restart")), Local: get("pushed") == "no", Secret: get("secret"), kind: f.Type}
	if enum, ok := f.Tag.Lookup("enum"); ok {
		field.Enum = strings.Split(enum, "|")
	}
	return field
}

func indexed(list []Field) map[string]*Field {
	m := make(map[string]*Field, len(list))
	for i := range list {
		m[list[i].Pointer] = &list[i]
	}
	return m
}

func jsonName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}

// escapePointer writes a key as a part of a JSON pointer (RFC 6901).
func escapePointer(key string) string {
	return strings.ReplaceAll(strings.ReplaceAll(key, "~", "~0"), "/", "~1")
}

// bound reads a min, max or above for values of type t: seconds for a Duration.
func bound(text string, t reflect.Type) (float64, bool) {
	if text == "" {
		return 0, false
	}
	if t == durationType {
		d, err := time.ParseDuration(text)
		return d.Seconds(), err == nil
	}
	n, err := strconv.ParseFloat(text, 64)
	return n, err == nil
}

// Change is one field that two configs have different.
type Change struct {
	Pointer  string  `json:"pointer"`
	From, To any     `json:"-"`
	Restart  Restart `json:"restart"`
	Secret   bool    `json:"-"`
}

// Diff lists the fields in which two configs differ, in order.
func Diff(from, to Config) (list []Change) {
	a, b := reflect.ValueOf(from), reflect.ValueOf(to)
	for _, f := range fields {
		x, y := a.FieldByIndex(f.index).Interface(), b.FieldByIndex(f.index).Interface()
		if reflect.DeepEqual(x, y) || isEmpty(x) && isEmpty(y) {
			continue
		}
		if f.Secret != "" {
			x, y = concealed(x), concealed(y)
		}
		list = append(list, Change{Pointer: f.Pointer, From: x, To: y, Restart: f.Restart, Secret: f.Secret != ""})
	}
	return list
}

// isEmpty reports whether v is a list or map without elements: nil and empty are the same.
func isEmpty(v any) bool {
	r := reflect.ValueOf(v)
	return (r.Kind() == reflect.Slice || r.Kind() == reflect.Map) && r.Len() == 0
}

func concealed(v any) any {
	if s, ok := v.(string); ok {
		return Redact(s)
	}
	return "***"
}

// Restarts tells which parts a list of changes starts anew.
func Restarts(list []Change) map[Restart]bool {
	parts := map[Restart]bool{}
	for _, c := range list {
		parts[c.Restart] = true
	}
	return parts
}

// Redacted is c without what must not be shown.
func (c Config) Redacted() Config {
	v := reflect.ValueOf(&c).Elem()
	for _, f := range fields {
		if f.Secret != "" && f.kind.Kind() == reflect.String {
			at := v.FieldByIndex(f.index)
			at.SetString(Redact(at.String()))
		}
	}
	return c
}

// WithLocal is c with the fields that only the board's own file may set as own has them.
func (c Config) WithLocal(own Config) Config {
	to, from := reflect.ValueOf(&c).Elem(), reflect.ValueOf(own)
	for _, f := range fields {
		if f.Local {
			to.FieldByIndex(f.index).Set(from.FieldByIndex(f.index))
		}
	}
	return c
}

// Pushable checks that next, which came from the cloud, leaves the board's own
// fields as they are in own: a broker must not choose the program that runs.
func Pushable(own, next Config) error {
	for _, d := range Diff(own, next) {
		if byPointer[d.Pointer].Local {
			return &ParamError{d.Pointer, "can be set in the board's own file only, not by the cloud"}
		}
	}
	return nil
}
