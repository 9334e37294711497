package whitelist

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A set is written to disk in the order of its plates: then each page is
// written once, which spares flash and time. A content has any order and may be
// larger than the memory, so it is sorted in runs that lie in files.

const runPattern = ".whitelist-run-*"

// maxRun is how many bytes of edits are sorted in memory.
const maxRun = 4 << 20

// source gives edits in the order of their plates; io.EOF behind the last.
type source interface{ next() (edit, error) }

// sorter collects edits and gives them back in order.
type sorter struct {
	dir   string
	limit int // bytes of a run
	edits []edit
	bytes int
	count int
	files []*os.File
}

func (s *sorter) add(e edit) error {
	s.edits = append(s.edits, e)
	s.count++
	if s.bytes += len(e.plate) + len(e.value) + 64; s.bytes < s.limit {
		return nil
	}
	return s.spill()
}

// inMemory reports whether nothing was written to disk yet.
func (s *sorter) inMemory() bool { return len(s.files) == 0 }

// order sorts what is in memory; of edits of one plate the last that puts it
// counts, else the removal.
func (s *sorter) order() []edit {
	slices.SortStableFunc(s.edits, func(a, b edit) int { return strings.Compare(a.plate, b.plate) })
	kept := s.edits[:0]
	for _, e := range s.edits {
		if n := len(kept); n > 0 && kept[n-1].plate == e.plate {
			if e.value != nil {
				kept[n-1] = e
			}
			continue
		}
		kept = append(kept, e)
	}
	return kept
}

func (s *sorter) spill() error {
	f, err := os.CreateTemp(s.dir, runPattern)
	if err != nil {
		return fmt.Errorf("cannot sort the rows: %w", err)
	}
	s.files = append(s.files, f)
	_ = os.Remove(f.Name()) // it lives as long as it is open
	w := bufio.NewWriterSize(f, 64<<10)
	for _, e := range s.order() {
		put := byte(0)
		if e.value != nil {
			put = 1
		}
		head := []byte{put, byte(len(e.plate))}
		head = binary.AppendUvarint(head, uint64(len(e.value)))
		for _, part := range [][]byte{head, []byte(e.plate), e.value} {
			if _, err := w.Write(part); err != nil {
				return fmt.Errorf("cannot sort the rows: %w", err)
			}
		}
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("cannot sort the rows: %w", err)
	}
	s.edits, s.bytes = s.edits[:0], 0
	_, err = f.Seek(0, io.SeekStart)
	return err
}

// sources gives the runs.
func (s *sorter) sources() []source {
	list := []source{&memoryRun{s.order()}}
	for _, f := range s.files {
		list = append(list, &fileRun{bufio.NewReaderSize(f, 32<<10)})
	}
	return list
}

func (s *sorter) close() {
	for _, f := range s.files {
		f.Close()
	}
}

type memoryRun struct{ edits []edit }

func (m *memoryRun) next() (edit, error) {
	if len(m.edits) == 0 {
		return edit{}, io.EOF
	}
	e := m.edits[0]
	m.edits = m.edits[1:]
	return e, nil
}

type fileRun struct{ r *bufio.Reader }

func (f *fileRun) next() (edit, error) {
	var head [2]byte
	if _, err := io.ReadFull(f.r, head[:]); err != nil {
		return edit{}, err
	}
	size, err := binary.ReadUvarint(f.r)
	if err != nil || size > maxElement*2 {
		return edit{}, errors.Join(io.ErrUnexpectedEOF, err)
	}
	b := make([]byte, int(head[1])+int(size))
	if _, err := io.ReadFull(f.r, b); err != nil {
		return edit{}, io.ErrUnexpectedEOF
	}
	e := edit{plate: string(b[:head[1]])}
	if head[0] == 1 {
		e.value = b[head[1]:]
	}
	return e, nil
}

// merge joins sources into one. Where several have a plate, an earlier source
// counts before a later one, but a row before a removal; removals are left out
// of the end.
type merge struct {
	sources []source
	heads   []edit
	live    []bool
}

func newMerge(sources []source) (*merge, error) {
	m := &merge{sources: sources, heads: make([]edit, len(sources)), live: make([]bool, len(sources))}
	for i := range sources {
		if err := m.advance(i); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *merge) advance(i int) (err error) {
	m.heads[i], err = m.sources[i].next()
	m.live[i] = err == nil
	if err == io.EOF {
		return nil
	}
	return err
}

// next gives the next row; ok is false behind the last. The base source, the
// last one, loses against any edit of its plate.
func (m *merge) next() (e edit, ok bool, err error) {
	for {
		first := -1
		for i := range m.heads {
			if m.live[i] && (first < 0 || cmp.Compare(m.heads[i].plate, m.heads[first].plate) < 0) {
				first = i
			}
		}
		if first < 0 {
			return edit{}, false, nil
		}
		e = m.heads[first]
		for i := range m.heads {
			if !m.live[i] || m.heads[i].plate != e.plate {
				continue
			}
			if _, base := m.sources[i].(*storedRows); e.value == nil && m.heads[i].value != nil && !base {
				e = m.heads[i]
			}
			if err := m.advance(i); err != nil {
				return edit{}, false, err
			}
		}
		if e.value != nil {
			return e, true, nil
		}
	}
}

// removeRuns removes what an earlier process left.
func removeRuns(dir string) {
	left, _ := filepath.Glob(filepath.Join(dir, runPattern))
	for _, path := range left {
		_ = os.Remove(path)
	}
}
