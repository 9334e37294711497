package camera

import (
	"errors"
	"hash/crc32"
	"sync"
	"time"

	"gocv.io/x/gocv"
)

// frozen notices that a source repeats one picture to the bit, as OpenCV does
// where a camera's pictures become higher without a new connection: nobody would
// know that the gate has gone blind. The source is then opened again. One whose
// picture has the same size after that may show what does not change, and is
// waited for twice as long each time, until its pictures have changed for long.
type frozen struct {
	mu       sync.Mutex // of a reader that was left behind and the one in its place
	reading  *freezing
	patience time.Duration // how long one picture is borne
	gaveUp   int64         // CLOCK_MONOTONIC ns when one was borne no longer
	rows     int           // of the pictures before the source was opened again
	cols     int
}

// freezing is what one opening of the source has shown.
type freezing struct {
	of    *frozen
	sum   uint32 // of the last picture
	since int64  // CLOCK_MONOTONIC ns when it came first; 0: none has come
}

// How long a picture is borne at first, and at most, and after how long all is
// as at first.
const (
	frozenLeast    = 10 * time.Second
	frozenMost     = 10 * time.Minute
	frozenForgiven = time.Hour
)

var errFrozen = errors.New("the camera repeats one picture")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// begin is called when the source was opened.
func (f *frozen) begin() *freezing {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reading = &freezing{of: f}
	return f.reading
}

// saw takes a picture that came at a time; errFrozen ends the feed.
func (r *freezing) saw(m gocv.Mat, now int64) error {
	b, err := m.DataPtrUint8()
	if err != nil {
		return nil // not in one piece: it was never seen
	}
	const apart = 8 // rows: enough of a picture to see whether it is another one
	sum, row := uint32(0), 3*m.Cols()
	for at := 0; at+row <= len(b); at += apart * row {
		sum = crc32.Update(sum, castagnoli, b[at:at+row])
	}
	f := r.of
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.reading != r {
		return nil // left behind
	}
	if r.since == 0 && (m.Rows() != f.rows || m.Cols() != f.cols) {
		f.patience, f.rows, f.cols = frozenLeast, m.Rows(), m.Cols()
	}
	if r.since == 0 || sum != r.sum {
		if r.since != 0 && time.Duration(now-f.gaveUp) > frozenForgiven {
			f.patience = frozenLeast
		}
		r.sum, r.since = sum, now
		return nil
	}
	if time.Duration(now-r.since) < f.patience {
		return nil
	}
	f.patience, f.gaveUp = min(2*f.patience, frozenMost), now
	return errFrozen
}
