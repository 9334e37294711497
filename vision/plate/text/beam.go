package text

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// Reading is one number that a recogniser's output may spell.
type Reading struct {
	Number string
	Form   Form
	Log    float64 // natural logarithm of the number's probability, ≤ 0
}

// Decoder reads the outputs of one recogniser. It is safe for concurrent use.
type Decoder struct {
	keys     int     // width of one step: blank, the keys, space
	ignored  []int   // outputs that say "no plate character here", blank first
	mainland grammar // symbols of mainland numbers
	overseas grammar
}

// grammar is a set of templates over a list of symbols.
type grammar struct {
	templates []template
	symbols   []symbol
	accept    [][]uint64 // position → symbol → templates that allow it there
	final     []uint64   // length → templates complete at it
}

type symbol struct {
	char  rune
	index int // in a step
}

// NewDecoder makes a decoder for a recogniser whose outputs are the blank, one
// key a line of the key file, and a space (PP-OCR's order).
func NewDecoder(keys string) (*Decoder, error) {
	lines := strings.Split(strings.TrimRight(strings.ReplaceAll(keys, "\r", ""), "\n"), "\n")
	index := map[rune]int{}
	d := &Decoder{keys: len(lines) + 2, ignored: []int{0, len(lines) + 1}}
	for i, line := range lines {
		runes := []rune(line)
		if len(runes) != 1 {
			continue
		}
		index[runes[0]] = i + 1
		if strings.ContainsRune("·.•・-:。,'`", runes[0]) {
			d.ignored = append(d.ignored, i+1)
		}
	}
	for _, c := range letters + digits + Provinces {
		if index[c] == 0 {
			return nil, fmt.Errorf("the key file has no %q", c)
		}
	}
	d.mainland, d.overseas = newGrammar(templates, index), newGrammar(overseas, index)
	return d, nil
}

func newGrammar(ts []template, index map[rune]int) grammar {
	g := grammar{templates: ts}
	longest := 0
	at := map[rune]int{}
	for _, t := range ts {
		longest = max(longest, len(t.slots))
		for _, slot := range t.slots {
			for _, c := range slot {
				if _, known := at[c]; !known && index[c] > 0 {
					at[c] = len(g.symbols)
					g.symbols = append(g.symbols, symbol{c, index[c]})
				}
			}
		}
	}
	g.final = make([]uint64, longest+1)
	for i := range longest {
		g.accept = append(g.accept, make([]uint64, len(g.symbols)))
		for n, t := range ts {
			if i < len(t.slots) {
				for _, c := range t.slots[i] {
					if s, known := at[c]; known {
						g.accept[i][s] |= 1 << n
					}
				}
			}
		}
	}
	for n, t := range ts {
		g.final[len(t.slots)] |= 1 << n
	}
	return g
}

// Mainland returns the most probable mainland number; ok is false where the
// output spells none. steps holds whole steps, each a probability per key.
func (d *Decoder) Mainland(steps []float32) (Reading, bool) { return d.decode(&d.mainland, steps) }

// Overseas returns the most probable row of Latin letters and digits.
func (d *Decoder) Overseas(steps []float32) (Reading, bool) { return d.decode(&d.overseas, steps) }

const (
	beamWidth = 24
	never     = -1e30
	tooSmall  = 1e-4 // of a symbol in a step
)

// prefix is the beginning of a number, with the probability that the steps so
// far spell it and end in a blank or in its last symbol.
type prefix struct {
	symbols     string // one byte per symbol: its place in the grammar's list
	blank, last float64
	alive       uint64 // templates that it can still become
}

func (p *prefix) total() float64 { return logAdd(p.blank, p.last) }

// decode is CTC prefix beam search (Hannun et al., 2014) with the grammar as
// its language model.
func (d *Decoder) decode(g *grammar, steps []float32) (Reading, bool) {
	beam := []prefix{{blank: 0, last: never, alive: 1<<len(g.templates) - 1}}
	logs := make([]float64, len(g.symbols))
	for len(steps) >= d.keys {
		step := steps[:d.keys]
		steps = steps[d.keys:]
		var none float64
		for _, i := range d.ignored {
			none += float64(step[i])
		}
		none = math.Log(none + 1e-9)
		for i, s := range g.symbols {
			logs[i] = never
			if p := step[s.index]; p > tooSmall {
				logs[i] = math.Log(float64(p))
			}
		}
		beam = g.advance(beam, none, logs)
	}
	best, found := Reading{Log: math.Inf(-1)}, false
	score := math.Inf(-1)
	for _, p := range beam {
		done := p.alive & g.final[len(p.symbols)]
		for n, t := range g.templates {
			if done&(1<<n) != 0 && p.total()+t.prior > score {
				score, found = p.total()+t.prior, true
				best = Reading{Number: g.number(p.symbols), Form: t.form, Log: min(0, p.total())}
			}
		}
	}
	return best, found
}

func (g *grammar) advance(beam []prefix, none float64, logs []float64) []prefix {
	next := make([]prefix, 0, len(beam)*4)
	index := make(map[string]int, len(beam)*4)
	at := func(symbols string, alive uint64) *prefix {
		i, known := index[symbols]
		if !known {
			i = len(next)
			index[symbols] = i
			next = append(next, prefix{symbols: symbols, blank: never, last: never, alive: alive})
		}
		return &next[i]
	}
	for _, p := range beam {
		total := p.total()
		same := at(p.symbols, p.alive)
		same.blank = logAdd(same.blank, total+none)
		if n := len(p.symbols); n > 0 {
			same.last = logAdd(same.last, p.last+logs[p.symbols[n-1]])
		}
		if len(p.symbols) >= len(g.accept) {
			continue
		}
		for s, allowed := range g.accept[len(p.symbols)] {
			alive := p.alive & allowed
			if alive == 0 || logs[s] == never {
				continue
			}
			from := total
			if n := len(p.symbols); n > 0 && int(p.symbols[n-1]) == s {
				from = p.blank // a repeated symbol needs a blank between
			}
			longer := at(p.symbols+string([]byte{byte(s)}), alive)
			longer.last = logAdd(longer.last, from+logs[s])
		}
	}
	slices.SortFunc(next, func(a, b prefix) int {
		if a.total() > b.total() {
			return -1
		}
		return 1
	})
	return next[:min(len(next), beamWidth)]
}

func (g *grammar) number(symbols string) string {
	var b strings.Builder
	for i := range len(symbols) {
		b.WriteRune(g.symbols[symbols[i]].char)
	}
	return b.String()
}

func logAdd(a, b float64) float64 {
	if a < b {
		a, b = b, a
	}
	if b <= never {
		return a
	}
	return a + math.Log1p(math.Exp(b-a))
}
