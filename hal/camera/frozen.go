package camera

import (
	"errors"
	"hash/crc32"
	"time"

	"gocv.io/x/gocv"
)

// frozen notices that a source repeats one picture to the bit, as OpenCV does
// where a camera's pictures become higher without a new connection: nobody would
// know that the gate has gone blind. The source is then opened again. One whose
// picture has the same size after that may show what does not change, and is
// waited for twice as long each time.
type frozen struct {
	patience time.Duration // how long one picture is borne
	sum      uint32        // of the last picture
	since    int64         // CLOCK_MONOTONIC ns when it came first; 0: none has come
	rows     int           // of the pictures before the source was opened again
	cols     int
}

// How long a picture is borne at first, and at most.
const (
	frozenLeast = 10 * time.Second
	frozenMost  = 10 * time.Minute
)

var errFrozen = errors.New("the camera repeats one picture")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// begin is called when the source was opened.
func (f *frozen) begin() { f.since = 0 }

// saw takes a picture that came at a time; errFrozen ends the feed.
func (f *frozen) saw(m gocv.Mat, now int64) error {
	b, err := m.DataPtrUint8()
	if err != nil {
		return nil // not in one piece: it was never seen
	}
	if f.since == 0 && (m.Rows() != f.rows || m.Cols() != f.cols) {
		f.patience, f.rows, f.cols = frozenLeast, m.Rows(), m.Cols()
	}
	const apart = 8 // rows: enough of a picture to see whether it is another one
	sum, row := uint32(0), 3*m.Cols()
	for at := 0; at+row <= len(b); at += apart * row {
		sum = crc32.Update(sum, castagnoli, b[at:at+row])
	}
	if f.since == 0 || sum != f.sum {
		f.sum, f.since = sum, now
		return nil
	}
	if time.Duration(now-f.since) < f.patience {
		return nil
	}
	f.patience = min(2*f.patience, frozenMost)
	return errFrozen
}
