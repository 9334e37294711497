package whitelist

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"io"
	"math/bits"

	"gatehouse/sync/wire"
)

// Sum is the digest of a set while it is made: the sum modulo 2^256 of the
// SHA-256 of each row and group. Adding and taking away a row costs one hash,
// whatever the size of the set. It finds drift and accidents; against a forger
// there are signatures.
type Sum [4]uint64 // least significant first

func hashed(sort byte, value []byte) Sum {
	h := sha256.New()
	h.Write([]byte{sort})
	h.Write(value)
	var b [sha256.Size]byte
	h.Sum(b[:0])
	var s Sum
	for i := range s {
		s[3-i] = binary.BigEndian.Uint64(b[8*i:])
	}
	return s
}

// rowSum and groupSum are over the stored JSON.
func rowSum(value []byte) Sum   { return hashed('r', value) }
func groupSum(value []byte) Sum { return hashed('g', value) }

// plus is s + o modulo 2^256.
func (s Sum) plus(o Sum) Sum {
	var carry uint64
	for i := range s {
		s[i], carry = bits.Add64(s[i], o[i], carry)
	}
	return s
}

// minus is s − o modulo 2^256.
func (s Sum) minus(o Sum) Sum {
	var borrow uint64
	for i := range s {
		s[i], borrow = bits.Sub64(s[i], o[i], borrow)
	}
	return s
}

func (s Sum) String() string {
	var b [sha256.Size]byte
	for i := range s {
		binary.BigEndian.PutUint64(b[8*i:], s[3-i])
	}
	return "sha256:" + hex.EncodeToString(b[:])
}

// parseSum reads what String writes; anything else is the zero sum and false.
func parseSum(text string) (s Sum, ok bool) {
	if len(text) != len("sha256:")+2*sha256.Size {
		return s, false
	}
	b, err := hex.DecodeString(text[len("sha256:"):])
	if err != nil {
		return s, false
	}
	for i := range s {
		s[3-i] = binary.BigEndian.Uint64(b[8*i:])
	}
	return s, true
}

// Summary is what can be told of a content without a list.
type Summary struct {
	Mode   string // replace or delta
	Rows   int    // put
	Remove int    // taken away
	// SetDigest names the set that a board has once a replace is applied there;
	// empty for a delta, where it depends on what was there.
	SetDigest string
}

// Summarise reads and checks a content the way a board does. Errors are 1101,
// or 1103 with the JSON pointer of what is wrong. Open gives the content from
// its beginning; it is called twice at most.
func Summarise(open func() (io.ReadCloser, error)) (Summary, error) {
	var s Summary
	var sum Sum
	v := visitor{
		row: func(_ int, r wire.WhitelistRecord) error {
			value, err := json.Marshal(r)
			s.Rows++
			sum = sum.plus(rowSum(value))
			return err
		},
		group: func(g wire.WhitelistGroup) error {
			value, err := json.Marshal(g)
			sum = sum.plus(groupSum(value))
			return err
		},
		remove: func(string) error { s.Remove++; return nil },
	}
	mode, err := checked(open, v)
	if s.Mode = mode; mode == modeReplace {
		s.SetDigest = sum.String()
	}
	return s, err
}
