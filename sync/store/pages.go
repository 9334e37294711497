package store

import (
	"encoding/binary"
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
func walk(file io.ReaderAt, bytes int64) error {
	head, _, err := newestHead(file)
	if err != nil {
		return err
	}
	if has := uint64(bytes / head.pageSize); head.pages > has {
		return fmt.Errorf("%d pages are in use, the file has %d", head.pages, has)
	}
	p := pages{file: file, size: head.pageSize, count: head.pages, seen: make([]bool, head.pages)}
	if head.freelist != noFreelist {
		if err := p.freelist(head.freelist); err != nil {
			return err
		}
	}
	return p.tree(head.root, 0)
}

// read gives the content of a page that none has led to before.
func (p *pages) read(id uint64) ([]byte, error) {
	if id < 2 || id >= p.count {
		return nil, fmt.Errorf("a page %d is led to, there are 2 to %d", id, p.count-1)
	}
	header := make([]byte, pageHeader)
	if _, err := p.file.ReadAt(header, int64(id)*p.size); err != nil {
		return nil, fmt.Errorf("page %d: %w", id, err)
	}
	if own := binary.NativeEndian.Uint64(header); own != id {
		return nil, fmt.Errorf("page %d says it is %d", id, own)
	}
	n := uint64(binary.NativeEndian.Uint32(header[12:])) + 1
	if id+n > p.count {
		return nil, fmt.Errorf("page %d leads out of the file", id)
	}
	for i := id; i < id+n; i++ {
		if p.seen[i] {
			return nil, fmt.Errorf("page %d is led to twice", i)
		}
		p.seen[i] = true
	}
	page := make([]byte, int64(n)*p.size)
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

// tree walks a page and what is below it.
func (p *pages) tree(id uint64, depth int) error {
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
		return elements(page, func(element []byte) (at, size uint64) {
			return uint64(binary.NativeEndian.Uint32(element)), uint64(binary.NativeEndian.Uint32(element[4:]))
		}, func(element, _ []byte) error {
			return p.tree(binary.NativeEndian.Uint64(element[8:]), depth+1)
		})
	case leafPage:
		return leaf(page, func(bucket []byte) error { return p.bucket(id, bucket, depth) })
	default:
		return fmt.Errorf("page %d is neither branch nor leaf", id)
	}
}

// leaf walks a leaf page's elements and calls bucket for each that is one.
func leaf(page []byte, bucket func(value []byte) error) error {
	return elements(page, func(element []byte) (at, size uint64) {
		key, value := binary.NativeEndian.Uint32(element[8:]), binary.NativeEndian.Uint32(element[12:])
		return uint64(binary.NativeEndian.Uint32(element[4:])), uint64(key) + uint64(value)
	}, func(element, content []byte) error {
		switch binary.NativeEndian.Uint32(element) {
		case 0:
			return nil
		case bucketLeaf:
			return bucket(content[binary.NativeEndian.Uint32(element[8:]):])
		}
		return fmt.Errorf("an element of unknown kind")
	})
}

// elements calls f for each element of a page and the key and value that are
// where it says; where gives their position and size.
func elements(page []byte, where func(element []byte) (at, size uint64), f func(element, content []byte) error) error {
	_, n := kindOf(page)
	id := binary.NativeEndian.Uint64(page)
	table := pageHeader + n*elementSize
	if table > uint64(len(page)) {
		return fmt.Errorf("page %d: its %d elements are longer than it", id, n)
	}
	for i := range n {
		own := pageHeader + i*elementSize
		element := page[own : own+elementSize]
		at, size := where(element)
		if own+at < table || own+at+size > uint64(len(page)) {
			return fmt.Errorf("page %d: element %d leads out of it", id, i)
		}
		if err := f(element, page[own+at:own+at+size]); err != nil {
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
		return p.tree(root, depth+1)
	}
	inline := value[bucketHeader:]
	if len(inline) < pageHeader {
		return fmt.Errorf("page %d: an inline bucket of %d bytes", id, len(inline))
	}
	if flags, _ := kindOf(inline); flags != leafPage {
		return fmt.Errorf("page %d: an inline bucket that is no leaf", id)
	}
	return leaf(inline, func([]byte) error {
		return fmt.Errorf("page %d: a bucket within an inline bucket", id)
	})
}

// kindOf gives a page's flags and count.
func kindOf(page []byte) (flags uint16, count uint64) {
	return binary.NativeEndian.Uint16(page[8:]), uint64(binary.NativeEndian.Uint16(page[10:]))
}
