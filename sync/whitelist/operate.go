package whitelist

import (
	"encoding/json"
	"math"
	"strings"

	bolt "go.etcd.io/bbolt"

	"gatehouse/sync/store"
	"gatehouse/sync/wire"
)

// Selection is the body of the reply to a select.
type Selection struct {
	OperatorType string                 `json:"operator_type"`
	StateCode    int                    `json:"state_code"`
	TotalCount   int                    `json:"total_count"` // rows that match; ours
	Records      []wire.WhitelistRecord `json:"dldb_rec"`    // the first of them, as many as a message holds
}

// maxSelection bounds the rows of one answer in bytes of their JSON: with its
// envelope it stays below wire.MaxMessage.
const maxSelection = 96 << 10

// Operate carries out the vendor's row commands, each in one transaction: all
// rows of a command or none. A select gives its rows, the others nil. Errors
// are 1103 naming the field.
func (l *List) Operate(w wire.WhitelistOperator) (*Selection, error) {
	if w.OperatorType == wire.OperateSelect {
		return l.find(w.Plates[0])
	}
	s := sorter{limit: math.MaxInt} // a command is small
	for _, r := range w.Records {
		r.Plate = Normalize(r.Plate)
		if err := checkNew(&r, l.zone); err != nil {
			return nil, err
		}
		value, err := json.Marshal(r)
		if err != nil {
			return nil, err
		}
		if err := s.add(edit{plate: r.Plate, value: value}); err != nil {
			return nil, err
		}
	}
	for _, p := range w.Plates {
		if p = Normalize(p); p == "" || len(p) > maxPlate {
			continue // nothing is listed under it
		}
		if err := s.add(edit{plate: p}); err != nil {
			return nil, err
		}
	}
	list := s.order()
	var next *snapshot
	var later bool
	err := l.db.Update(func(tx *bolt.Tx) error {
		h, err := l.headForWriting(tx)
		if err != nil {
			return err
		}
		if w.DeleteAll {
			if later, err = retire(tx, h.Set); err != nil {
				return err
			}
			h.Set = 0
		}
		next, err = l.edit(tx, &h, list, nil, nil)
		return err
	})
	if err != nil {
		return nil, err
	}
	l.publish(next)
	if later {
		l.tidy()
	}
	return nil, nil
}

// find gives the rows whose plate contains part, in order.
func (l *List) find(part string) (*Selection, error) {
	part = Normalize(part)
	s := &Selection{OperatorType: wire.OperateSelect, StateCode: 200, Records: []wire.WhitelistRecord{}}
	size := 0
	err := l.db.View(func(tx *bolt.Tx) error {
		h, err := readHead(tx)
		if err != nil {
			return err
		}
		rows := rowsOf(tx, h.Set)
		if rows == nil {
			return nil
		}
		c := rows.Cursor()
		for k, _ := c.First(); k != nil; k, _ = c.Next() {
			if !strings.Contains(string(k), part) {
				continue
			}
			v, err := store.Get(rows, k)
			var r wire.WhitelistRecord
			if err != nil || json.Unmarshal(v, &r) != nil {
				continue // damaged: it does not count
			}
			s.TotalCount++
			if size += len(v) + 1; size <= maxSelection {
				s.Records = append(s.Records, r)
			}
		}
		return nil
	})
	return s, err
}
