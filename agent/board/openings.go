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
	"strconv"

	"gatehouse/agent/gate"
	"gatehouse/sync/fault"
	"gatehouse/sync/outbox"
	"gatehouse/sync/wire"
	"gatehouse/vision/link"
)

// openings is the file of passages that the barrier was opened for on their
// early notice, and whose final result is still to come. A power cut between
// the two leaves the opening here, and the next start tells it. It is a file of
// a few lines and not a database, because it is written once an opening.
//
// Its methods are called from one goroutine. What a crash between the storing of
// a final result and the next line here leaves is found in the outbox at the
// next start (untold), so that the passage is not told twice: unless the cloud has
// acknowledged it, and it was deleted, within those milliseconds.
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
	fault.Point("opening.kept")
}

// told notes that a passage's final result is stored.
func (o *openings) told(passage uint64) {
	if !o.left[passage] {
		return
	}
	fault.Point("opening.stored")
	delete(o.left, passage)
	if len(o.left) == 0 {
		o.empty()
	} else if err := o.append(opening{Told: passage}); err != nil {
		o.log.Error("the file of openings could not be written", "err", err)
	}
	// Once the result was acknowledged, it is in the outbox no more.
	if err := o.file.Sync(); err != nil {
		o.log.Error("the file of openings could not be written", "err", err)
	}
	fault.Point("opening.told")
}

// passageName is how messages name a passage, "" for none.
func passageName(passage uint64) string {
	if passage == 0 {
		return ""
	}
	return strconv.FormatUint(passage, 10)
}

// untold takes out the openings that a crash has left, without those whose
// final result is in the outbox.
func (b *Board) untold() (list []opening) {
	left := b.left
	b.left = nil
	if len(left) == 0 {
		return nil
	}
	stored := map[string]bool{}
	err := b.outbox.Each(func(s outbox.Stored) bool {
		var r wire.IVSResult
		var f struct{ Body wire.FaceResult }
		switch {
		case s.Name == wire.NameIVSResult && json.Unmarshal(s.Payload, &r) == nil && r.Gatehouse != nil:
			stored[r.Gatehouse.Passage] = true
		case s.Name == wire.NameFaceResult && json.Unmarshal(s.Payload, &f) == nil:
			stored[f.Body.Decision.Passage] = true
		}
		return true
	})
	if err != nil { // rather twice than not at all
		b.log.Error("it is not known which openings are told", "err", err)
	}
	for _, l := range left {
		if stored[passageName(l.Result.Passage)] {
			b.openings.told(l.Result.Passage)
		} else {
			list = append(list, l)
		}
	}
	return list
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
