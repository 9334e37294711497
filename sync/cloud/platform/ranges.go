package platform

import (
	"cmp"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"slices"
)

// ranges is a set of sequences: ranges with both ends included, in order,
// with something missing between any two.
type ranges [][2]uint64

// add puts from to to (both included, from ≤ to) into the set.
func (r *ranges) add(from, to uint64) {
	list := *r
	// The first range that could touch: its end is at least from-1.
	i, _ := slices.BinarySearchFunc(list, from, func(e [2]uint64, from uint64) int {
		if e[1]+1 < from && e[1]+1 != 0 {
			return -1
		}
		return 1
	})
	j := i
	for ; j < len(list) && (to+1 == 0 || list[j][0] <= to+1); j++ {
		from, to = min(from, list[j][0]), max(to, list[j][1])
	}
	*r = slices.Replace(list, i, j, [2]uint64{from, to})
}

// has reports whether n is in the set.
func (r ranges) has(n uint64) bool {
	_, ok := slices.BinarySearchFunc(r, n, func(e [2]uint64, n uint64) int {
		switch {
		case e[1] < n:
			return -1
		case e[0] > n:
			return 1
		}
		return 0
	})
	return ok
}

// count is how many there are.
func (r ranges) count() (n uint64) {
	for _, e := range r {
		n += e[1] - e[0] + 1
	}
	return n
}

// missing are those from 1 to last that the set does not have.
func (r ranges) missing(last uint64) ranges {
	out := ranges{}
	next := uint64(1)
	for _, e := range r {
		if e[0] > last {
			break
		}
		if e[0] > next {
			out = append(out, [2]uint64{next, e[0] - 1})
		}
		next = e[1] + 1
	}
	if next != 0 && next <= last {
		out = append(out, [2]uint64{next, last})
	}
	return out
}

// packed is how a set is stored: a set of thousands of ranges is written anew
// with each commit of a drain. Distances and lengths as varints, in base64.
type packed struct{ ranges }

func (p packed) MarshalJSON() ([]byte, error) {
	var b []byte
	var at uint64
	for _, e := range p.ranges {
		b = binary.AppendUvarint(binary.AppendUvarint(b, e[0]-at), e[1]-e[0])
		at = e[1]
	}
	return json.Marshal(base64.RawStdEncoding.EncodeToString(b))
}

var errPacked = errors.New("the set of sequences cannot be read")

func (p *packed) UnmarshalJSON(text []byte) error {
	var s string
	if err := json.Unmarshal(text, &s); err != nil {
		return err
	}
	b, err := base64.RawStdEncoding.DecodeString(s)
	if err != nil {
		return err
	}
	p.ranges = nil
	var at uint64
	for len(b) > 0 {
		distance, n := binary.Uvarint(b)
		length, m := binary.Uvarint(b[max(n, 0):])
		if n <= 0 || m <= 0 || cmp.Less(at+distance, at) || at+distance+length < at+distance {
			return errPacked
		}
		b = b[n+m:]
		p.ranges.add(at+distance, at+distance+length)
		at += distance + length
	}
	return nil
}
