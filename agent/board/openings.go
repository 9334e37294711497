package board

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"os"

	"gatehouse/agent/gate"
	"gatehouse/vision/link"
)

// openings is the file of passages that the barrier was opened for on their
// early notice, and whose final result is still to come. A power cut between
// the two leaves the opening here, and the next start tells it. It is a file of
// a few lines and not a database, because it is written once an opening.
//
// Its methods are called from one goroutine. A crash between the storing of a
// final result and the next line here has that passage told twice: rather that
// than not at all.
type openings struct {
	file *os.File
	log  *slog.Logger
	left map[uint64]bool // passages
}

// opening is a line: a passage that was opened for, or one that is told.
type opening struct {
	Result   *link.Result  `json:"result,omitempty"`
	Decision gate.Decision `json:"decision,omitzero"`
	AtMS     int64         `json:"at_ms,omitempty"` // Unix ms by the board's clock
	Told     uint64        `json:"told,omitempty"`
}

// openOpenings opens the file and gives what a crash has left in it.
func openOpenings(path string, log *slog.Logger) (*openings, []opening, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot open the file of openings: %w", err)
	}
	left, err := readOpenings(f)
	if err != nil {
		f.Close()
		return nil, nil, fmt.Errorf("cannot read the file of openings: %w", err)
	}
	o := &openings{file: f, log: log, left: map[uint64]bool{}}
	for _, l := range left {
		o.left[l.Result.Passage] = true
	}
	if len(left) == 0 {
		o.empty()
	}
	return o, left, nil
}

// maxOpening bounds a line in bytes; a result without pictures has about one KiB.
const maxOpening = 64 << 10

// readOpenings gives the openings that were not told, in their order. A torn or
// damaged line is left out: what it said is not known.
func readOpenings(r io.Reader) (left []opening, err error) {
	told := map[uint64]bool{}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxOpening)
	for lines.Scan() {
		sum, text, ok := bytes.Cut(lines.Bytes(), []byte(" "))
		var l opening
		if !ok || string(sum) != lineSum(text) || json.Unmarshal(text, &l) != nil {
			continue
		}
		if l.Result != nil {
			left = append(left, l)
		}
		if l.Told != 0 {
			told[l.Told] = true
		}
	}
	kept := left[:0]
	for _, l := range left {
		if !told[l.Result.Passage] {
			kept = append(kept, l)
		}
	}
	if err := lines.Err(); err != nil && !errors.Is(err, bufio.ErrTooLong) {
		return nil, err
	}
	return kept, nil
}

func lineSum(text []byte) string {
	return fmt.Sprintf("%08x", crc32.Checksum(text, crc32.MakeTable(crc32.Castagnoli)))
}

// keep writes down an opening; it is on disk when keep returns.
func (o *openings) keep(d decided) {
	r := *d.result
	r.Full, r.Crop, r.StageMS = nil, nil, nil
	err := o.append(opening{Result: &r, Decision: d.decision, AtMS: d.at.UnixMilli()})
	if err == nil {
		err = o.file.Sync()
	}
	if err != nil {
		o.log.Error("an opening could not be written down before its final result", "plate", d.decision.Plate, "err", err)
	}
	o.left[r.Passage] = true
}

// told notes that a passage's final result is stored.
func (o *openings) told(passage uint64) {
	if !o.left[passage] {
		return
	}
	delete(o.left, passage)
	if len(o.left) == 0 {
		o.empty()
		return
	}
	if err := o.append(opening{Told: passage}); err != nil {
		o.log.Error("the file of openings could not be written", "err", err)
	}
}

func (o *openings) append(l opening) error {
	text, err := json.Marshal(l)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(o.file, "%s %s\n", lineSum(text), text)
	return err
}

func (o *openings) empty() {
	if err := o.file.Truncate(0); err != nil {
		o.log.Error("the file of openings could not be emptied", "err", err)
	}
}

func (o *openings) close() {
	if o != nil {
		o.file.Close()
	}
}
