package store

import (
	"encoding/binary"
	"errors"
	"hash/fnv"
	"io"
	"os"
)

// A bbolt file begins with two heads (meta pages), written in turn; each has a
// checksum, and the newer good one counts (bbolt, internal/common/meta.go). With
// one damaged the database opens, perhaps as it was one transaction ago.
const (
	headMagic  = 0xED0CDAED
	pageHeader = 16 // bytes before a page's content
	headSum    = 56 // where the checksum is in a head: FNV-1a of what is before it
)

// head is what a database begins with.
type head struct {
	pageSize    int64  // bytes
	root        uint64 // the page of the bucket of all buckets
	freelist    uint64 // its page, or noFreelist
	pages       uint64 // one more than the last page in use
	transaction uint64 // that wrote it
}

// newestHead gives the head that counts and how many of the two are good.
func newestHead(f io.ReaderAt) (newest head, good int, err error) {
	newest, sound := headAt(f, 0)
	if sound {
		if second, sound := headAt(f, newest.pageSize); sound {
			if second.transaction > newest.transaction {
				newest = second
			}
			return newest, 2, nil
		}
		return newest, 1, nil
	}
	// The file may come from a machine or kernel with other pages.
	for size := int64(1 << 10); size <= 1<<24; size <<= 1 {
		if second, sound := headAt(f, size); sound && second.pageSize == size {
			return second, 1, nil
		}
	}
	return head{}, 0, errors.New("both heads are damaged")
}

// headAt gives the head that is in the page at an offset.
func headAt(f io.ReaderAt, offset int64) (h head, sound bool) {
	b := make([]byte, headSum+8)
	if _, err := f.ReadAt(b, offset+pageHeader); err != nil {
		return head{}, false
	}
	sum := fnv.New64a()
	sum.Write(b[:headSum])
	h = head{
		pageSize:    int64(binary.NativeEndian.Uint32(b[8:])),
		root:        binary.NativeEndian.Uint64(b[16:]),
		freelist:    binary.NativeEndian.Uint64(b[32:]),
		pages:       binary.NativeEndian.Uint64(b[40:]),
		transaction: binary.NativeEndian.Uint64(b[48:]),
	}
	sound = binary.NativeEndian.Uint32(b) == headMagic && binary.NativeEndian.Uint64(b[headSum:]) == sum.Sum64()
	return h, sound && h.pageSize >= pageHeader+headSum
}

// heads counts the good ones of a database's two heads; -1: it cannot be read.
func heads(path string) (good int) {
	f, err := os.Open(path)
	if err != nil {
		return -1
	}
	defer f.Close()
	_, good, _ = newestHead(f)
	return good
}
