package text

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// What follows is the beam search that the first release had, with strings as
// prefixes, a map of them at every step and logarithms: the baseline that
// BenchmarkMainland is measured against, and a second opinion for its answers.

// maskGrammar is a set of templates over a list of symbols.
type maskGrammar struct {
	templates []template
	symbols   []symbol
	accept    [][]uint64 // position → symbol → templates that allow it there
	final     []uint64   // length → templates complete at it
}

func newMaskGrammar(ts []template, index map[rune]int) maskGrammar {
	g := maskGrammar{templates: ts}
	longest := 0
	at := map[rune]int{}
	for _, t := range ts {
		longest = max(longest, len(t.slots))
		for _, slot := range t.slots {
			for _, c := range slot {
				if _, known := at[c]; !known && index[c] > 0 {
					at[c] = len(g.symbols)
					g.symbols = append(g.symbols, symbol{char: c, index: index[c]})
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

const never = -1e30

// stringPrefix is the beginning of a number, with the probability that the steps so
// far spell it and end in a blank or in its last symbol.
type stringPrefix struct {
	symbols     string // one byte per symbol: its place in the maskGrammar's list
	blank, last float64
	alive       uint64 // templates that it can still become
}

func (p *stringPrefix) total() float64 { return logAdd(p.blank, p.last) }

// decode is CTC stringPrefix beam search (Hannun et al., 2014) with the maskGrammar as
// its language model.
func (d *Decoder) decodeMasks(g *maskGrammar, steps []float32) (Reading, bool) {
	beam := []stringPrefix{{blank: 0, last: never, alive: 1<<len(g.templates) - 1}}
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

func (g *maskGrammar) advance(beam []stringPrefix, none float64, logs []float64) []stringPrefix {
	next := make([]stringPrefix, 0, len(beam)*4)
	index := make(map[string]int, len(beam)*4)
	at := func(symbols string, alive uint64) *stringPrefix {
		i, known := index[symbols]
		if !known {
			i = len(next)
			index[symbols] = i
			next = append(next, stringPrefix{symbols: symbols, blank: never, last: never, alive: alive})
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
	slices.SortFunc(next, func(a, b stringPrefix) int {
		if a.total() > b.total() {
			return -1
		}
		return 1
	})
	return next[:min(len(next), beamWidth)]
}

func (g *maskGrammar) number(symbols string) string {
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

func baseline(t testing.TB) (*Decoder, *maskGrammar) {
	t.Helper()
	index := map[rune]int{}
	for i, line := range strings.Split(strings.TrimSpace(keys), "\n") {
		index[[]rune(line)[0]] = i + 1
	}
	g := newMaskGrammar(mainland, index)
	return decoder(t), &g
}

// Both searches read the same number with the same probability.
func TestMainlandAgainstBaseline(t *testing.T) {
	d, g := baseline(t)
	random := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		steps := make([]float32, 20*d.keys)
		for i := 0; i < len(steps); i += d.keys {
			var sum float32
			for range 6 {
				at := i + random.IntN(d.keys)
				if random.IntN(2) == 0 {
					at = i
				}
				steps[at] += random.Float32()
			}
			for _, v := range steps[i : i+d.keys] {
				sum += v
			}
			for k := range d.keys {
				steps[i+k] /= sum
			}
		}
		want, found := d.decodeMasks(g, steps)
		got := d.Mainland(steps, 1)
		if found != (len(got) > 0) {
			t.Fatalf("found %v, got %+v", want, got)
		}
		if found && (got[0].Number != want.Number || got[0].Form != want.Form || math.Abs(got[0].Log-want.Log) > 1e-6) {
			t.Errorf("got %+v, the baseline has %+v", got[0], want)
		}
	}
}

func BenchmarkMainlandBaseline(b *testing.B) {
	d, g := baseline(b)
	steps := noisy(b)
	b.ReportAllocs()
	for b.Loop() {
		d.decodeMasks(g, steps)
	}
}
