package platform

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"gatehouse/sync/errcode"
)

// condition is one term of `where`; the terms are joined by AND.
type condition struct {
	Name  string `json:"name"`
	Value any    `json:"value"`
	Oper  string `json:"oper"`
}

// page is the answer to a list.
type page struct {
	Results any  `json:"results"`
	Total   int  `json:"total"`
	Offset  *int `json:"offset,omitempty"`
	Limit   *int `json:"limit,omitempty"`
}

// scan filters and cuts a list as the query says (cloud-api.md, "Scanning").
// Errors: 1103 for offset, limit and where, 1102 for where's base64.
func scan[T any](q url.Values, items []T) (page, error) {
	s, err := newSelection[T](q)
	if err != nil {
		return page{}, err
	}
	for _, item := range items {
		if err := s.take(item); err != nil {
			return page{}, err
		}
	}
	return s.page(), nil
}

// selection filters and cuts items that come one after the other, and holds
// only those that are asked for.
type selection[T any] struct {
	conditions []condition
	offset     *int
	limit      *int
	found      []T
	total      int
}

func newSelection[T any](q url.Values) (*selection[T], error) {
	s := &selection[T]{found: []T{}}
	for _, a := range []struct {
		name string
		to   **int
	}{{"offset", &s.offset}, {"limit", &s.limit}} {
		if !q.Has(a.name) {
			continue
		}
		n, err := strconv.Atoi(q.Get(a.name))
		if err != nil || n < 0 {
			return nil, errcode.Param(a.name, "must be a number from 0")
		}
		*a.to = &n
	}
	if s.offset != nil && s.limit == nil {
		return nil, errcode.Param("limit", "is required with offset")
	}
	var err error
	s.conditions, err = parseWhere(q.Get("where"))
	return s, err
}

func (s *selection[T]) take(item T) error {
	ok, err := matches(item, s.conditions)
	if err != nil || !ok {
		return err
	}
	s.total++
	if (s.offset == nil || s.total > *s.offset) && (s.limit == nil || len(s.found) < *s.limit) {
		s.found = append(s.found, item)
	}
	return nil
}

func (s *selection[T]) page() page {
	return page{Results: s.found, Total: s.total, Offset: s.offset, Limit: s.limit}
}

func parseWhere(text string) ([]condition, error) {
	if text == "" {
		return nil, nil
	}
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, errcode.New(errcode.DecodeBase64Failed, "")
	}
	var list []condition
	if err := json.Unmarshal(b, &list); err != nil {
		return nil, errcode.Param("where", "must be a JSON array of name, value, oper")
	}
	for _, c := range list {
		switch c.Oper {
		case "eq", "ne", "lt", "lte", "gt", "gte", "regex":
		default:
			return nil, errcode.Param("where", "oper must be eq, ne, lt, lte, gt, gte or regex")
		}
	}
	return list, nil
}

// matches looks at an item the way it is answered: by its JSON fields.
func matches(item any, conditions []condition) (bool, error) {
	if len(conditions) == 0 {
		return true, nil
	}
	text, err := json.Marshal(item)
	if err != nil {
		return false, err
	}
	var fields map[string]any
	if err := json.Unmarshal(text, &fields); err != nil {
		return false, err
	}
	for _, c := range conditions {
		have, ok := fields[c.Name]
		if !ok {
			return false, errcode.Param("where", "name "+c.Name+" cannot be filtered by")
		}
		if !c.holds(have) {
			return false, nil
		}
	}
	return true, nil
}

func (c condition) holds(have any) bool {
	if c.Oper == "regex" {
		return wildcard(fmt.Sprint(c.Value), fmt.Sprint(have))
	}
	order := 0
	a, aIsNumber := have.(float64)
	b, bIsNumber := c.Value.(float64)
	switch {
	case aIsNumber && bIsNumber && a < b:
		order = -1
	case aIsNumber && bIsNumber && a > b:
		order = 1
	case !aIsNumber || !bIsNumber:
		order = strings.Compare(fmt.Sprint(have), fmt.Sprint(c.Value))
	}
	switch c.Oper {
	case "eq":
		return order == 0
	case "ne":
		return order != 0
	case "lt":
		return order < 0
	case "lte":
		return order <= 0
	case "gt":
		return order > 0
	}
	return order >= 0
}

// wildcard matches * and ? (and SQL's % and _ are plain characters). It takes
// time in proportion to the two lengths' product at most.
func wildcard(pattern, text string) bool {
	p, t := []rune(pattern), []rune(text)
	star, mark, i, j := -1, 0, 0, 0
	for j < len(t) {
		switch {
		case i < len(p) && p[i] == '*':
			star, mark = i, j
			i++
		case i < len(p) && (p[i] == '?' || p[i] == t[j]):
			i++
			j++
		case star >= 0:
			mark++
			i, j = star+1, mark
		default:
			return false
		}
	}
	for i < len(p) && p[i] == '*' {
		i++
	}
	return i == len(p)
}
