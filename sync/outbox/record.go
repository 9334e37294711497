package outbox

import (
	"encoding/binary"
	"errors"

	"gatehouse/sync/store"
	"gatehouse/sync/wire"
)

// formatOne is the first byte of a stored event. Behind it: priority, a byte of
// flags, the numbers as varints, the name, the pictures, and the payload to the end.
const formatOne = 1

const trustedFlag = 1

var errRecord = errors.New("the stored event cannot be read")

// appendRecord appends s as it is stored to b, after room for the CRC.
func appendRecord(b []byte, s *Stored) []byte {
	b = append(b, make([]byte, store.Headroom)...)
	var flags byte
	if s.ID.Trusted {
		flags |= trustedFlag
	}
	b = append(b, formatOne, byte(s.Priority), flags)
	for _, n := range [...]int64{s.Account, s.AddedMS, s.ID.MonoMS, s.ID.WallMS} {
		b = binary.AppendVarint(b, n)
	}
	b = appendText(b, s.Name)
	b = binary.AppendUvarint(b, uint64(len(s.Files)))
	for _, f := range s.Files {
		b = appendText(b, f.Field)
		b = binary.AppendUvarint(b, uint64(f.Size))
		b = binary.AppendUvarint(b, uint64(f.CRC))
	}
	return append(b, s.Payload...)
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// parseRecord reads what appendRecord wrote, without the CRC. The payload
// points into b.
func parseRecord(k key, b []byte) (s Stored, err error) {
	if len(b) < 3 || b[0] != formatOne || b[1] > byte(Result) {
		return s, errRecord
	}
	r := reader{b: b[3:]}
	s.Priority, s.ID.Boot, s.ID.Seq, s.ID.Trusted = Priority(b[1]), k.boot, k.seq, b[2]&trustedFlag != 0
	for _, to := range [...]*int64{&s.Account, &s.AddedMS, &s.ID.MonoMS, &s.ID.WallMS} {
		*to = r.varint()
	}
	s.Name = r.text()
	for n := r.uvarint(); n > 0 && !r.bad; n-- {
		f := File{Field: r.text(), Size: int64(r.uvarint()), CRC: uint32(r.uvarint())}
		f.Name = fileName(k, f.Field)
		s.Files = append(s.Files, f)
	}
	if r.bad {
		return Stored{}, errRecord
	}
	s.Payload = r.b
	return s, nil
}

// reader takes values from the front of b; after the first that is not there, bad is set.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	r.skip(n)
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	r.skip(n)
	return v
}

func (r *reader) skip(n int) {
	if n <= 0 || n > len(r.b) {
		r.bad, r.b = true, nil
		return
	}
	r.b = r.b[n:]
}

func (r *reader) text() string {
	n := r.uvarint()
	if n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return ""
	}
	s := string(r.b[:n])
	r.b = r.b[n:]
	return s
}

// key is where an event is stored: boots sort by time, sequences within them.
type key struct {
	boot string
	seq  uint64
}

func (k key) less(o key) bool { return k.boot < o.boot || k.boot == o.boot && k.seq < o.seq }

// append writes the key's bytes: boot, NUL, sequence big-endian.
func (k key) append(b []byte) []byte {
	return binary.BigEndian.AppendUint64(append(append(b, k.boot...), 0), k.seq)
}

func (k key) bytes() []byte { return k.append(make([]byte, 0, len(k.boot)+9)) }

// maxBoot is longer than any name of a series that nextBoot makes; a longer one
// comes from a damaged page.
const maxBoot = 64

// maxSeq is more than any boot gets to: ten events a second for thirteen years.
// A larger sequence comes from a damaged page too; a gap in its place would tell
// the receiver of as many missing events.
const maxSeq = 1 << 32

func parseKey(b []byte) (key, bool) {
	if len(b) < 10 || len(b) > maxBoot+9 || b[len(b)-9] != 0 {
		return key{}, false
	}
	k := key{string(b[:len(b)-9]), binary.BigEndian.Uint64(b[len(b)-8:])}
	return k, k.seq <= maxSeq
}

func keyOf(id wire.EventID) key { return key{id.Boot, id.Seq} }
