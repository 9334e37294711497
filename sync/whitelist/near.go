package whitelist

import (
	"time"
	"unicode/utf8"
)

// confusable are the pairs of characters that readers of plates take for one
// another: they differ in a stroke that dirt, a screw or blur adds or hides.
var confusable = [][2]byte{
	{'0', 'O'}, {'0', 'D'}, {'0', 'Q'}, {'O', 'D'}, {'O', 'Q'}, {'D', 'Q'},
	{'1', 'I'}, {'1', 'L'}, {'1', 'T'}, {'1', '7'}, {'7', 'T'}, {'2', 'Z'}, {'5', 'S'}, {'6', 'G'}, {'8', 'B'},
	{'C', 'G'}, {'E', 'F'}, {'U', 'V'}, {'V', 'Y'}, {'K', 'X'}, {'M', 'N'}, {'4', 'A'},
}

// partners are the characters that one may have been.
var partners = func() (p [128][]byte) {
	for _, pair := range confusable {
		p[pair[0]] = append(p[pair[0]], pair[1])
		p[pair[1]] = append(p[pair[1]], pair[0])
	}
	return p
}()

// MaxTolerance is the most characters that Near takes for others.
const MaxTolerance = 2

// Near looks for rows that differ from a reading in at most so many characters,
// each by a confusable pair. It gives the row where there is exactly one; with
// two or more it cannot be known whose plate was read, and it gives none. The
// row that is the reading itself counts as one of them. Verdict is NotListed
// where none is given. It does not block and does not allocate.
func (l *List) Near(reading string, most int, at time.Time) (Entry, Verdict) {
	if len(reading) > maxPlate || most <= 0 {
		return Entry{}, NotListed
	}
	n := search{s: l.snapshot.Load(), at: at.In(l.zone)}
	n.size = copy(n.text[:], reading)
	n.try()
	n.vary(0, min(most, MaxTolerance))
	if n.found != 1 {
		return Entry{}, NotListed
	}
	return n.entry, n.verdict
}

// search goes through the readings that were possible.
type search struct {
	s       *snapshot
	at      time.Time
	text    [maxPlate]byte
	size    int
	found   int // distinct rows, at most 2
	entry   Entry
	verdict Verdict
}

// vary changes up to left characters from place i on.
func (n *search) vary(i, left int) {
	for ; i < n.size && n.found < 2; i++ {
		c := n.text[i]
		if c >= utf8.RuneSelf {
			continue // the Chinese characters stay as they are
		}
		for _, other := range partners[c] {
			n.text[i] = other
			n.try()
			if left > 1 {
				n.vary(i+1, left-1)
			}
		}
		n.text[i] = c
	}
}

func (n *search) try() {
	e, v := n.s.lookupBytes(n.text[:n.size], n.at)
	if v == NotListed || n.found > 0 && e.Plate == n.entry.Plate {
		return
	}
	n.found++
	n.entry, n.verdict = e, v
}
