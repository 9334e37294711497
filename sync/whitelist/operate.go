package whitelist

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	bolt "go.etcd.io/bbolt"

	"gatehouse/sync/errcode"
	"gatehouse/sync/store"
	"gatehouse/sync/wire"
)

// Selection is the body of the reply to a select.
type Selection struct {
	OperatorType string                 `json:"operator_type"`
	StateCode    int                    `json:"state_code"`
	Records      []wire.WhitelistRecord `json:"dldb_rec"`
}

// Operate carries out the vendor's row commands, each in one transaction: all
// rows of a command or none. A select gives its rows, the others nil.
func (l *List) Operate(w wire.WhitelistOperator) (*Selection, error) {
	if w.OperatorType == wire.OperateSelect {
		return l.find(w.Plates[0]), nil
	}
	err := l.db.Update(func(tx *bolt.Tx) error {
		if w.DeleteAll {
			return l.Clear(tx)
		}
		b := tx.Bucket(bucket)
		for _, r := range w.Records {
			if err := l.put(b, r); err != nil {
				return err
			}
		}
		for _, p := range w.Plates {
			if err := b.Delete([]byte(Normalize(p))); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return nil, l.Reload()
}

// find gives the rows whose plate contains part, in order.
func (l *List) find(part string) *Selection {
	part = Normalize(part)
	s := &Selection{OperatorType: wire.OperateSelect, StateCode: 200, Records: []wire.WhitelistRecord{}}
	for plate, e := range l.snapshot.Load().rows {
		if strings.Contains(plate, part) {
			s.Records = append(s.Records, e.Record)
		}
	}
	slices.SortFunc(s.Records, func(a, b wire.WhitelistRecord) int { return strings.Compare(a.Plate, b.Plate) })
	return s
}

// content is what a whitelist change holds (management.md).
type content struct {
	Mode   string                 `json:"mode"` // replace or delta
	Rows   []wire.WhitelistRecord `json:"rows"`
	Remove []string               `json:"remove"`
}

// parse reads and checks a change's content. Errors are 1101, or 1103 with the
// JSON pointer of what is wrong.
func (l *List) parse(text []byte) (content, error) {
	var c content
	if err := json.Unmarshal(text, &c); err != nil {
		if t, ok := err.(*json.UnmarshalTypeError); ok {
			return c, errcode.Param("/"+strings.ReplaceAll(t.Field, ".", "/"), "must be of type "+t.Type.String())
		}
		return c, errcode.New(errcode.ParseJSONFailed, "")
	}
	if c.Mode != "replace" && c.Mode != "delta" {
		return c, errcode.Param("/mode", "must be replace or delta")
	}
	if c.Mode == "replace" && len(c.Remove) > 0 {
		return c, errcode.Param("/remove", "goes with mode delta only")
	}
	seen := make(map[string]int, len(c.Rows))
	for i := range c.Rows {
		r := &c.Rows[i]
		r.Plate = Normalize(r.Plate)
		if _, err := l.entry(*r); err != nil {
			return c, errcode.Param(fmt.Sprintf("/rows/%d", i), "is wrong: "+errcode.From(err).Detail)
		}
		if first, twice := seen[r.Plate]; twice {
			return c, errcode.Param(fmt.Sprintf("/rows/%d/plate", i), fmt.Sprintf("is that of row %d too", first))
		}
		seen[r.Plate] = i
	}
	for i, p := range c.Remove {
		if Normalize(p) == "" {
			return c, errcode.Param(fmt.Sprintf("/remove/%d", i), "must not be empty")
		}
	}
	return c, nil
}

// Check reports whether content can be applied; it is done when a change is staged.
func (l *List) Check(text []byte) error {
	_, err := l.parse(text)
	return err
}

// Apply puts content into the list within tx. Base, for a delta, is the digest
// of the set it starts from; empty: whatever is there.
func (l *List) Apply(tx *bolt.Tx, text []byte, base string) error {
	c, err := l.parse(text)
	if err != nil {
		return err
	}
	if c.Mode == "delta" && base != "" && base != l.Digest() {
		return errcode.New(errcode.RequestFailed, "The delta starts from another set than the applied one; send the full set!")
	}
	if c.Mode == "replace" {
		if err := l.Clear(tx); err != nil {
			return err
		}
	}
	b := tx.Bucket(bucket)
	for _, p := range c.Remove {
		if err := b.Delete([]byte(Normalize(p))); err != nil {
			return err
		}
	}
	for _, r := range c.Rows {
		if err := store.PutJSON(b, []byte(r.Plate), r); err != nil {
			return err
		}
	}
	return nil
}
