package store

import (
	"encoding/binary"
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

// heads counts the good ones of a database's two heads; -1: it cannot be read.
func heads(path string) (good int) {
	f, err := os.Open(path)
	if err != nil {
		return -1
	}
	defer f.Close()
	for i := range int64(2) {
		head := make([]byte, headSum+8)
		if _, err := io.ReadFull(io.NewSectionReader(f, i*int64(os.Getpagesize())+pageHeader, int64(len(head))), head); err != nil {
			continue
		}
		h := fnv.New64a()
		h.Write(head[:headSum])
		if binary.NativeEndian.Uint32(head) == headMagic && binary.NativeEndian.Uint64(head[headSum:]) == h.Sum64() {
			good++
		}
	}
	return good
}
