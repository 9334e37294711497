package text

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
)

// Reading is one number that a recogniser's output may spell.
type Reading struct {
	Number  string
	Form    Form
	Country Country   // "" for a mainland number, or where templates do not tell
	Log     float64   // natural logarithm of the number's probability, ≤ 0
	Prior   float64   // of its template, added to Log to weigh readings
	Chars   []float64 // probability of each character where it is clearest, 0–1
}

// Decoder reads the outputs of one recogniser. It is safe for concurrent use.
type Decoder struct {
	keys     int   // width of one step: blank, the keys, space
	ignored  []int // outputs that say "no plate character here", blank first
	mainland *automaton
	overseas *automaton
	chosen   choice
	unspelt  []string
	searches sync.Pool
}

// Unspelt are the named regions none of whose numbers can be read, since the
// recogniser lacks their letters.
func (d *Decoder) Unspelt() []string { return d.unspelt }

// NewDecoder makes a decoder for a recogniser whose outputs are the blank, one
// key a line of the key file, and a space (PP-OCR's order), and for the numbers
// of some regions.
func NewDecoder(keys string, abroad *Abroad, regions Regions) (*Decoder, error) {
	chosen, err := abroad.choose(regions)
	if err != nil {
		return nil, err
	}
	lines := strings.Split(strings.TrimRight(strings.ReplaceAll(keys, "\r", ""), "\n"), "\n")
	index := map[rune]int{}
	d := &Decoder{keys: len(lines) + 2, ignored: []int{0, len(lines) + 1}, chosen: chosen}
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
	if d.mainland, err = newAutomaton(mainland, index); err != nil {
		return nil, err
	}
	if d.overseas, err = newAutomaton(abroad.overseas(chosen), index); err != nil {
		return nil, err
	}
	d.overseas.twins = true
	d.unspelt = abroad.unspelt(regions, index)
	d.searches.New = func() any { return new(search) }
	return d, nil
}

// Home reports whether mainland numbers are the expected ones, and numbers from
// abroad the rare ones.
func (d *Decoder) Home() bool { return d.chosen.home }

// Keys is the width of one step.
func (d *Decoder) Keys() int { return d.keys }

// Mainland returns at most n mainland numbers, the likeliest first. Steps holds
// whole steps, each a probability per key.
func (d *Decoder) Mainland(steps []float32, n int) []Reading {
	if !d.chosen.mainland {
		return nil
	}
	return d.decode(d.mainland, steps, n)
}

// Overseas returns at most n rows of Latin letters and digits, the likeliest first.
func (d *Decoder) Overseas(steps []float32, n int) []Reading {
	if !d.chosen.abroad {
		return nil
	}
	return d.decode(d.overseas, steps, n)
}

const (
	beamWidth = 24
	tooSmall  = 1e-4 // probability of a symbol in a step below which it is not there
	leastNone = 1e-9 // probability of no character in a step, at least
)

// prefix is the beginning of a number, with the probabilities that the steps so
// far spell it and end in no character or in its last one.
type prefix struct {
	symbols            [maxNumber]uint8
	length             int
	state              int32
	blank, last, total float64
}

// search is the working memory of one decoding; it is used again and again.
type search struct {
	beam, next []prefix
	best       []int     // places in next of the likeliest
	present    []uint8   // the symbols of the step that are not too small
	probable   []float64 // of each symbol in the step, 0 for too small
	steps      []float64 // all steps: the probability of none, then probable
	align      aligner
}

// decode is CTC prefix beam search (Hannun et al., 2014) with the automaton as
// its language model. Probabilities are kept as such, with a common factor
// taken out at every step: logarithms would cost most of the time.
func (d *Decoder) decode(a *automaton, steps []float32, n int) []Reading {
	if n < 1 {
		return nil
	}
	s := d.searches.Get().(*search)
	defer d.searches.Put(s)
	s.beam = append(s.beam[:0], prefix{blank: 1, total: 1})
	s.steps = s.steps[:0]
	var scale float64 // logarithm of what was taken out
	for len(steps) >= d.keys {
		none := s.look(a, steps[:d.keys], d.ignored)
		steps = steps[d.keys:]
		s.advance(a, none)
		best := s.beam[0].total
		if !(best > 0) {
			return nil // not probabilities
		}
		scale += math.Log(best)
		for i := range s.beam {
			p := &s.beam[i]
			p.blank, p.last, p.total = p.blank/best, p.last/best, p.total/best
		}
	}
	return s.readings(a, scale, n)
}

// likeness is how much of a character's probability its twin gets, too: where
// both are printed alike, the recogniser's choice of one says little, and the
// templates decide.
const likeness = 0.25

// look takes what matters out of a step; it returns the probability that the
// step holds no character.
func (s *search) look(a *automaton, step []float32, ignored []int) (none float64) {
	for _, i := range ignored {
		none += float64(step[i])
	}
	none = max(none, leastNone)
	s.probable, s.present = s.probable[:0], s.present[:0]
	for i, symbol := range a.symbols {
		p := float64(step[symbol.index])
		if a.twins && symbol.twin > 0 {
			p += likeness * float64(step[symbol.twin])
		}
		if p > tooSmall {
			s.present = append(s.present, uint8(i))
		} else {
			p = 0
		}
		s.probable = append(s.probable, p)
	}
	s.steps = append(append(s.steps, none), s.probable...)
	return none
}

// advance extends every prefix by one step and keeps the likeliest.
func (s *search) advance(a *automaton, none float64) {
	s.next = s.next[:0]
	for i := range s.beam {
		p := s.beam[i]
		p.blank = p.total * none
		if p.length > 0 {
			p.last *= s.probable[p.symbols[p.length-1]]
		}
		s.next = append(s.next, p)
	}
	for i := range s.beam {
		p := &s.beam[i]
		if p.length == maxNumber {
			continue
		}
		for _, symbol := range s.present {
			state := a.next[int(p.state)*len(a.symbols)+int(symbol)]
			if state == dead {
				continue
			}
			from := p.total
			if p.length > 0 && p.symbols[p.length-1] == symbol {
				from = p.blank // a repeated symbol needs no character between
			}
			if from > 0 {
				s.extend(p, symbol, state, from*s.probable[symbol])
			}
		}
	}
	s.keep()
}

// keep makes the likeliest of next the beam, in order.
func (s *search) keep() {
	s.best = s.best[:0]
	for i := range s.next {
		p := &s.next[i]
		p.total = p.blank + p.last
		if len(s.best) == beamWidth {
			if p.total <= s.next[s.best[beamWidth-1]].total {
				continue
			}
			s.best = s.best[:beamWidth-1]
		}
		at, _ := slices.BinarySearchFunc(s.best, p.total, func(o int, total float64) int { return cmp.Compare(total, s.next[o].total) })
		s.best = slices.Insert(s.best, at, i)
	}
	s.beam = s.beam[:0]
	for _, i := range s.best {
		s.beam = append(s.beam, s.next[i])
	}
}

// extend adds a prefix that is longer by a symbol, or its probability to that
// of the same prefix in the beam.
func (s *search) extend(p *prefix, symbol uint8, state int32, probability float64) {
	for i := range s.beam { // next begins with these, in their order
		o := &s.next[i]
		if o.length == p.length+1 && o.symbols[p.length] == symbol && slices.Equal(o.symbols[:p.length], p.symbols[:p.length]) {
			o.last += probability
			return
		}
	}
	longer := prefix{symbols: p.symbols, length: p.length + 1, state: state, last: probability}
	longer.symbols[p.length] = symbol
	s.next = append(s.next, longer)
}

// readings are the complete numbers of the beam, by probability and prior.
func (s *search) readings(a *automaton, scale float64, n int) []Reading {
	complete := s.beam[:0]
	for _, p := range s.beam {
		if f := a.final[p.state]; f.ok && p.total > 0 {
			p.blank = math.Log(p.total) + f.prior // what it is sorted by
			complete = append(complete, p)
		}
	}
	slices.SortStableFunc(complete, func(x, y prefix) int { return cmp.Compare(y.blank, x.blank) })
	out := make([]Reading, 0, n)
	for i := range complete[:min(n, len(complete))] {
		p := &complete[i]
		f, symbols := a.final[p.state], p.symbols[:p.length]
		out = append(out, Reading{Number: a.number(symbols), Form: f.form, Country: f.country, Prior: f.prior,
			Log: min(0, math.Log(p.total)+scale), Chars: s.align.characters(s.steps, len(a.symbols)+1, symbols)})
	}
	return out
}
