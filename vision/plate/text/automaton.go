package text

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// automaton follows all templates of a grammar at once: one state per set of
// templates that a beginning of a number can still become.
type automaton struct {
	twins   bool // O may be 0 and I may be 1
	symbols []symbol
	next    []int32 // state × symbol → state, or dead
	final   []final // by state: what a number that ends here is
}

type symbol struct {
	char  rune
	index int // in a step
	twin  int // of the character that is printed alike; 0 for none
}

// final is what a state tells about a number that ends in it.
type final struct {
	ok      bool
	form    Form
	prior   float64
	country Country // "" where the templates do not agree
}

const (
	dead      = -1
	maxStates = 1 << 14 // the templates that come with the program need a few hundred
	// maxSymbols is how many characters a search tells apart (prefix.symbols).
	maxSymbols = 256
)

// set is a set of templates.
type set []uint64

func newSet(n int) set { return make(set, (n+63)/64) }

func (s set) put(i int) { s[i/64] |= 1 << (i % 64) }

func (s set) has(i int) bool { return s[i/64]&(1<<(i%64)) != 0 }

// newAutomaton builds the automaton. Templates with a place for which the
// recogniser has no character at all are left out.
func newAutomaton(all []template, index map[rune]int) (*automaton, error) {
	a := &automaton{}
	var ts []template
	at := map[rune]int{}
	for _, t := range all {
		if !spells(index, t.slots) {
			continue
		}
		ts = append(ts, t)
		for _, slot := range t.slots {
			for _, c := range slot {
				if _, known := at[c]; !known && index[c] > 0 {
					at[c] = len(a.symbols)
					a.symbols = append(a.symbols, symbol{c, index[c], index[twins[c]]})
				}
			}
		}
	}
	if len(a.symbols) > maxSymbols {
		return nil, fmt.Errorf("the number templates have %d different characters, more than %d", len(a.symbols), maxSymbols)
	}
	allowed := allowedAt(ts, at, len(a.symbols))
	type place struct {
		depth int
		alive set
	}
	start := place{0, newSet(len(ts))}
	for i := range ts {
		start.alive.put(i)
	}
	known := map[string]int32{}
	var key []byte
	var queue []place
	enter := func(p place) int32 {
		key = append(key[:0], byte(p.depth))
		for _, word := range p.alive {
			key = binary.LittleEndian.AppendUint64(key, word)
		}
		s, seen := known[string(key)]
		if !seen {
			s = int32(len(queue))
			known[string(key)] = s
			queue = append(queue, place{p.depth, slices.Clone(p.alive)})
			a.final = append(a.final, finalOf(ts, p.depth, p.alive))
		}
		return s
	}
	enter(start)
	alive := newSet(len(ts))
	for at := 0; at < len(queue); at++ {
		if len(queue) > maxStates {
			return nil, fmt.Errorf("the number templates are too many different ones: more than %d states", maxStates)
		}
		p := queue[at]
		for s := range a.symbols {
			to := int32(dead)
			if p.depth < len(allowed) {
				some := uint64(0)
				for w := range alive {
					alive[w] = p.alive[w] & allowed[p.depth][s][w]
					some |= alive[w]
				}
				if some != 0 {
					to = enter(place{p.depth + 1, alive})
				}
			}
			a.next = append(a.next, to)
		}
	}
	return a, nil
}

// spells reports whether there is a character for every place.
func spells(index map[rune]int, slots []string) bool {
	return !slices.ContainsFunc(slots, func(slot string) bool {
		return !slices.ContainsFunc([]rune(slot), func(c rune) bool { return index[c] > 0 })
	})
}

// allowedAt tells, by position and symbol, which templates allow it there.
func allowedAt(ts []template, at map[rune]int, symbols int) [][]set {
	var allowed [][]set
	for n, t := range ts {
		for i, slot := range t.slots {
			if i == len(allowed) {
				row := make([]set, symbols)
				for s := range row {
					row[s] = newSet(len(ts))
				}
				allowed = append(allowed, row)
			}
			for _, c := range slot {
				if s, known := at[c]; known {
					allowed[i][s].put(n)
				}
			}
		}
	}
	return allowed
}

// finalOf picks the likeliest of the templates that are complete. The country
// is named where all complete ones of that prior agree on it.
func finalOf(ts []template, depth int, alive set) (f final) {
	for i, t := range ts {
		if !alive.has(i) || len(t.slots) != depth {
			continue
		}
		country := ""
		if len(t.countries) == 1 {
			country = t.countries[0]
		}
		switch {
		case !f.ok || t.prior > f.prior:
			f = final{true, t.form, t.prior, country}
		case t.prior == f.prior && t.form == f.form && country != f.country:
			f.country = ""
		}
	}
	return f
}

// number spells symbols.
func (a *automaton) number(symbols []uint8) string {
	runes := make([]rune, 0, maxNumber)
	for _, s := range symbols {
		runes = append(runes, a.symbols[s].char)
	}
	return string(runes)
}
