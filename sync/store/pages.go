package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// Layout of a bbolt page (bbolt, internal/common/page.go and bucket.go), in the
// machine's byte order: id u64, flags u16, count u16, overflow u32, then count
// elements, then their keys and values, to which the elements lead:
//
//	leaf    flags, position, key's size, value's size, u32 each
//	branch  position, key's size, u32 each, the page's id u64
//
// A position counts from its element. A bucket is a leaf's value: the id of its
// root u64, its sequence u64, and where the root is 0 a leaf page follows.
const (
	branchPage   = 0x01
	leafPage     = 0x02
	freelistPage = 0x10
	bucketLeaf   = 0x01 // an element's flag
	elementSize  = 16   // bytes, of either kind
	bucketHeader = 16   // bytes before an inline page
	noFreelist   = ^uint64(0)
	manyFree     = 0xFFFF // a free list's count where the true one is in front of the list, as u64
	deepest      = 64     // levels of pages and buckets in each other; a sound database has less than ten
)

// pages walks all pages that a database has in use. It reads the file and
// nothing else, so that no damage can kill it; bbolt follows positions, sizes and
// ids where they lead, out of its mapping too, and in goroutines of its own.
type pages struct {
	file  io.ReaderAt
	size  int64  // of a page, bytes
	count uint64 // pages up to the last in use
	seen  []bool // by id
}

// checkPages holds everything that leads from one place of a database to
// another against where it may lead.
func checkPages(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return walk(f, info.Size())
}

// walk walks a database of so many bytes.
func walk(file io.ReaderAt, size int64) error {
	head, _, err := newestHead(file)
	if err != nil {
		return err
	}
	if has := uint64(size / head.pageSize); head.pages > has {
		return fmt.Errorf("%d pages are in use, the file has %d", head.pages, has)
	}
	p := pages{file: file, size: head.pageSize, count: head.pages, seen: make([]bool, head.pages)}
	if head.freelist != noFreelist {
		if err := p.freelist(head.freelist); err != nil {
			return err
		}
	}
	return p.tree(head.root, nil, 0)
}

// read gives the content of a page that none has led to before.
func (p *pages) read(id uint64) ([]byte, error) {
	if id < 2 || id >= p.count {
		return nil, fmt.Errorf("a page %d is led to, there are 2 to %d", id, p.count-1)
	}
	page := make([]byte, p.size)
	if _, err := p.file.ReadAt(page, int64(id)*p.size); err != nil {
		return nil, fmt.Errorf("page %d: %w", id, err)
	}
	if own := binary.NativeEndian.Uint64(page); own != id {
		return nil, fmt.Errorf("page %d says it is %d", id, own)
	}
	n := uint64(binary.NativeEndian.Uint32(page[12:])) + 1
	if id+n > p.count {
		return nil, fmt.Errorf("page %d leads out of the file", id)
	}
	for i := id; i < id+n; i++ {
		if p.seen[i] {
			return nil, fmt.Errorf("page %d is led to twice", i)
		}
		p.seen[i] = true
	}
	if n == 1 {
		return page, nil
	}
	page = make([]byte, int64(n)*p.size)
	if _, err := p.file.ReadAt(page, int64(id)*p.size); err != nil {
		return nil, fmt.Errorf("page %d: %w", id, err)
	}
	return page, nil
}

func (p *pages) freelist(id uint64) error {
	page, err := p.read(id)
	if err != nil {
		return err
	}
	flags, n := kindOf(page)
	if flags != freelistPage {
		return fmt.Errorf("page %d is no free list", id)
	}
	list := page[pageHeader:]
	if n == manyFree {
		n, list = binary.NativeEndian.Uint64(list), list[8:]
	}
	if n > uint64(len(list)/8) {
		return fmt.Errorf("page %d: a free list of %d pages is longer than its page", id, n)
	}
	for ; n > 0; n-- {
		if free := binary.NativeEndian.Uint64(list); free < 2 || free >= p.count {
			return fmt.Errorf("a page %d is said to be free, there are 2 to %d", free, p.count-1)
		}
		list = list[8:]
	}
	return nil
}

// tree walks a page and what is below it; first is the key that it must begin
// with, as the page above says, nil where there is none. (With another one bbolt
// would not find the page again when it is written, and free it twice.)
func (p *pages) tree(id uint64, first []byte, depth int) error {
	if depth > deepest {
		return fmt.Errorf("page %d: too deep", id)
	}
	page, err := p.read(id)
	if err != nil {
		return err
	}
	switch flags, n := kindOf(page); flags {
	case branchPage:
		if n == 0 {
			return fmt.Errorf("page %d leads nowhere", id)
		}
		return elements(page, first, func(e element) (at, key, value uint32) {
			return e.u32(0), e.u32(4), 0
		}, func(e element, key, _ []byte) error {
			return p.tree(binary.NativeEndian.Uint64(e[8:]), key, depth+1)
		})
	case leafPage:
		return leaf(page, first, func(bucket []byte) error { return p.bucket(id, bucket, depth) })
	default:
		return fmt.Errorf("page %d is neither branch nor leaf", id)
	}
}

// leaf walks a leaf page's elements and calls bucket for each that is one.
func leaf(page, first []byte, bucket func(value []byte) error) error {
	return elements(page, first, func(e element) (at, key, value uint32) {
		return e.u32(4), e.u32(8), e.u32(12)
	}, func(e element, _, value []byte) error {
		switch e.u32(0) {
		case 0:
			return nil
		case bucketLeaf:
			return bucket(value)
		}
		return errors.New("an element of unknown kind")
	})
}

// element is one of a page, elementSize bytes.
type element []byte

func (e element) u32(at int) uint32 { return binary.NativeEndian.Uint32(e[at:]) }

// elements calls f for each element of a page with its key and value; where
// gives their position and sizes. Keys rise.
func elements(page, first []byte, where func(element) (at, key, value uint32), f func(e element, key, value []byte) error) error {
	_, n := kindOf(page)
	id := binary.NativeEndian.Uint64(page)
	table := pageHeader + n*elementSize
	if table > uint64(len(page)) {
		return fmt.Errorf("page %d: its %d elements are longer than it", id, n)
	}
	var last []byte
	for i := range n {
		own := pageHeader + i*elementSize
		e := element(page[own : own+elementSize])
		at, keySize, valueSize := where(e)
		begin := own + uint64(at)
		middle := begin + uint64(keySize)
		end := middle + uint64(valueSize)
		if begin < table || end > uint64(len(page)) {
			return fmt.Errorf("page %d: element %d leads out of it", id, i)
		}
		key := page[begin:middle]
		if len(key) == 0 || i > 0 && bytes.Compare(last, key) >= 0 || i == 0 && first != nil && !bytes.Equal(first, key) {
			return fmt.Errorf("page %d: element %d has a key that cannot be there", id, i)
		}
		last = key
		if err := f(e, key, page[middle:end]); err != nil {
			return err
		}
	}
	return nil
}

// bucket walks a bucket whose value is in the page that id names.
func (p *pages) bucket(id uint64, value []byte, depth int) error {
	if len(value) < bucketHeader {
		return fmt.Errorf("page %d: a bucket of %d bytes", id, len(value))
	}
	if root := binary.NativeEndian.Uint64(value); root != 0 {
		return p.tree(root, nil, depth+1)
	}
	inline := value[bucketHeader:]
	if len(inline) < pageHeader {
		return fmt.Errorf("page %d: an inline bucket of %d bytes", id, len(inline))
	}
	if flags, _ := kindOf(inline); flags != leafPage {
		return fmt.Errorf("page %d: an inline bucket that is no leaf", id)
	}
	if binary.NativeEndian.Uint64(inline) != 0 || binary.NativeEndian.Uint32(inline[12:]) != 0 { // bbolt would free the page
		return fmt.Errorf("page %d: an inline bucket that says it is a page", id)
	}
	return leaf(inline, nil, func([]byte) error {
		return fmt.Errorf("page %d: a bucket within an inline bucket", id)
	})
}

// kindOf gives a page's flags and count.
func kindOf(page []byte) (flags uint16, count uint64) {
	return binary.NativeEndian.Uint16(page[8:]), uint64(binary.NativeEndian.Uint16(page[10:]))
}
