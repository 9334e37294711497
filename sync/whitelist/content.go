package whitelist

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"slices"
	"strings"
	"time"

	"gatehouse/sync/errcode"
	"gatehouse/sync/wire"
)

// The modes of a content (management.md).
const (
	modeReplace = "replace"
	modeDelta   = "delta"
)

// visitor is told what a content holds, in its order. Rows and plates are
// normalised and checked. Nil fields are left out.
type visitor struct {
	row         func(i int, r wire.WhitelistRecord) error
	remove      func(plate string) error
	group       func(g wire.WhitelistGroup) error
	removeGroup func(name string) error
}

// maxElement bounds one row or group of a content, in bytes: the rest of the
// content is never in memory.
const maxElement = 64 << 10

// metered fails when one element takes more than it may.
type metered struct {
	r    io.Reader
	left int
}

var errElement = errors.New("the element is too large")

func (m *metered) Read(b []byte) (int, error) {
	if m.left <= 0 {
		return 0, errElement
	}
	n, err := m.r.Read(b[:min(len(b), m.left)])
	m.left -= n
	return n, err
}

// reader walks through a content.
type reader struct {
	dec   *json.Decoder
	meter *metered
	v     visitor
	mode  string
	gone  bool // plates or groups are removed
	given map[string]bool

	rows, removed, groups, removedGroups int
}

// read walks through a content of the form
//
//	{"mode": "replace"|"delta", "groups": […], "rows": […], "remove": […], "remove_groups": […]}
//
// in any order, each once, and gives its mode. Errors are 1101, 1103 with the JSON pointer
// of what is wrong, or what the visitor returned.
func read(r io.Reader, v visitor) (mode string, err error) {
	meter := &metered{r: bufio.NewReaderSize(r, 32<<10)}
	c := &reader{dec: json.NewDecoder(meter), meter: meter, v: v, given: map[string]bool{}}
	if err := c.object(); err != nil {
		return c.mode, err
	}
	meter.left = maxElement
	if _, err := c.dec.Token(); err != io.EOF {
		return c.mode, errcode.New(errcode.ParseJSONFailed, "There is text behind the end!")
	}
	switch {
	case c.mode != modeReplace && c.mode != modeDelta:
		return c.mode, errcode.Param("/mode", "must be replace or delta")
	case c.mode == modeReplace && c.gone:
		return c.mode, errcode.Param("/remove", "goes with mode delta only")
	}
	return c.mode, nil
}

func (c *reader) object() error {
	if err := c.delimiter('{', ""); err != nil {
		return err
	}
	for {
		key, err := c.token()
		if err != nil {
			return err
		}
		if key == json.Delim('}') {
			return nil
		}
		name, _ := key.(string)
		if c.given[name] {
			return errcode.Param("/"+name, "is given twice")
		}
		switch name {
		case "mode":
			err = c.value("/mode", &c.mode)
		case "rows":
			err = c.array("/rows", c.row)
		case "remove":
			err = c.array("/remove", c.remove)
		case "groups":
			err = c.array("/groups", c.group)
		case "remove_groups":
			err = c.array("/remove_groups", c.removeGroup)
		default:
			err = errcode.Param(fmt.Sprintf("/%.64s", name), "is not known; a whitelist has mode, rows, remove, groups and remove_groups")
		}
		if err != nil {
			return err
		}
		c.given[name] = true
	}
}

func (c *reader) token() (json.Token, error) {
	c.meter.left = maxElement
	t, err := c.dec.Token()
	if err != nil {
		return nil, c.failure("", err)
	}
	return t, nil
}

func (c *reader) delimiter(want json.Delim, pointer string) error {
	t, err := c.token()
	if err == nil && t != want {
		if pointer == "" {
			return errcode.New(errcode.ParseJSONFailed, "")
		}
		return errcode.Param(pointer, "must be an array")
	}
	return err
}

// array calls each for every element; null counts as an empty array.
func (c *reader) array(pointer string, each func(pointer string, i int) error) error {
	t, err := c.token()
	if err != nil || t == nil {
		return err
	}
	if t != json.Delim('[') {
		return errcode.Param(pointer, "must be an array")
	}
	for i := 0; c.more(); i++ {
		if err := each(fmt.Sprintf("%s/%d", pointer, i), i); err != nil {
			return err
		}
	}
	_, err = c.token()
	return err
}

func (c *reader) more() bool {
	c.meter.left = maxElement
	return c.dec.More()
}

func (c *reader) value(pointer string, v any) error {
	c.meter.left = maxElement
	if err := c.dec.Decode(v); err != nil {
		return c.failure(pointer, err)
	}
	return nil
}

// failure gives a reading error its code.
func (c *reader) failure(pointer string, err error) error {
	var t *json.UnmarshalTypeError
	var s *json.SyntaxError
	switch {
	case errors.As(err, &t):
		if t.Field != "" {
			pointer += "/" + strings.ReplaceAll(t.Field, ".", "/")
		}
		return errcode.Param(pointer, "must be of type "+t.Type.String())
	case errors.Is(err, errElement):
		return errcode.Param(pointer, fmt.Sprintf("is larger than %d KiB", maxElement>>10))
	case errors.As(err, &s), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errcode.New(errcode.ParseJSONFailed, fmt.Sprintf("The JSON ends or breaks at byte %d!", c.dec.InputOffset()))
	}
	return fmt.Errorf("cannot read the content: %w", err)
}

// count counts an element of a section that may have so many.
func count(n *int, most int, pointer string) error {
	if *n++; *n > most {
		return errcode.Param(pointer, fmt.Sprintf("must be at most %d", most))
	}
	return nil
}

// below puts an element's pointer before a 1103's parameter.
func below(pointer string, err error) error {
	var e *errcode.Error
	if !errors.As(err, &e) || e.Code != errcode.ParamsError {
		return err
	}
	return errcode.New(e.Code, strings.Replace(e.Detail, "Param [", "Param ["+pointer+"/", 1))
}

func (c *reader) row(pointer string, i int) error {
	var r wire.WhitelistRecord
	if err := c.value(pointer, &r); err != nil {
		return err
	}
	if err := count(&c.rows, MaxRows, "/rows"); err != nil {
		return err
	}
	r.Plate = Normalize(r.Plate)
	if err := checkNew(&r, time.UTC); err != nil {
		return below(pointer, err)
	}
	if c.v.row == nil {
		return nil
	}
	return c.v.row(i, r)
}

func (c *reader) remove(pointer string, _ int) error {
	var plate string
	if err := c.value(pointer, &plate); err != nil {
		return err
	}
	c.gone = true
	if err := count(&c.removed, MaxRows, "/remove"); err != nil {
		return err
	}
	plate = Normalize(plate)
	if plate == "" || len(plate) > maxPlate {
		return errcode.Param(pointer, fmt.Sprintf("must be 1 to %d bytes", maxPlate))
	}
	if c.v.remove == nil {
		return nil
	}
	return c.v.remove(plate)
}

func (c *reader) group(pointer string, _ int) error {
	var g wire.WhitelistGroup
	if err := c.value(pointer, &g); err != nil {
		return err
	}
	if err := count(&c.groups, MaxGroups, "/groups"); err != nil {
		return err
	}
	if _, err := checkGroup(&g, time.UTC); err != nil {
		return below(pointer, err)
	}
	if c.v.group == nil {
		return nil
	}
	return c.v.group(g)
}

func (c *reader) removeGroup(pointer string, _ int) error {
	var name string
	if err := c.value(pointer, &name); err != nil {
		return err
	}
	c.gone = true
	if err := count(&c.removedGroups, MaxGroups, "/remove_groups"); err != nil {
		return err
	}
	if name == "" || len(name) > maxGroup {
		return errcode.Param(pointer, fmt.Sprintf("must be 1 to %d bytes", maxGroup))
	}
	if c.v.removeGroup == nil {
		return nil
	}
	return c.v.removeGroup(name)
}

// checked is read with the checks that look at more than one row: a plate or a
// group that comes twice, and more groups than there may be. It keeps eight
// bytes a row; only where two are the same does it read the content again, to
// tell which.
func checked(open func() (io.ReadCloser, error), v visitor) (mode string, err error) {
	var hashes []uint64
	groups, named := map[string]bool{}, map[string]bool{}
	count := v
	count.row = func(i int, r wire.WhitelistRecord) error {
		hashes = append(hashes, maphash.String(seed, r.Plate))
		if r.Group != "" && !named[r.Group] {
			if named[r.Group] = true; len(named) > MaxGroups {
				return errcode.Param(fmt.Sprintf("/rows/%d/group", i), fmt.Sprintf("is one of more than %d", MaxGroups))
			}
		}
		if v.row == nil {
			return nil
		}
		return v.row(i, r)
	}
	count.group = func(g wire.WhitelistGroup) error {
		if groups[g.Name] {
			return errcode.Param(fmt.Sprintf("/groups/%d/name", len(groups)), "is that of an earlier group too")
		}
		groups[g.Name] = true
		if v.group == nil {
			return nil
		}
		return v.group(g)
	}
	if mode, err = readFrom(open, count); err != nil {
		return mode, err
	}
	slices.Sort(hashes)
	suspects := map[uint64]bool{}
	for i := 1; i < len(hashes); i++ {
		if hashes[i] == hashes[i-1] {
			suspects[hashes[i]] = true
		}
	}
	if len(suspects) == 0 {
		return mode, nil
	}
	first := map[string]int{}
	return readFrom(open, visitor{row: func(i int, r wire.WhitelistRecord) error {
		if !suspects[maphash.String(seed, r.Plate)] {
			return nil
		}
		if j, twice := first[r.Plate]; twice {
			return errcode.Param(fmt.Sprintf("/rows/%d/plate", i), fmt.Sprintf("is that of row %d too", j))
		}
		first[r.Plate] = i
		return nil
	}})
}

func readFrom(open func() (io.ReadCloser, error), v visitor) (string, error) {
	r, err := open()
	if err != nil {
		return "", fmt.Errorf("cannot open the content: %w", err)
	}
	defer r.Close()
	return read(r, v)
}
