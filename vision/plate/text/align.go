package text

import "math"

// aligner finds where in the steps each character of a number stands.
type aligner struct {
	best []float64
	from []uint8 // how many places back the path came: 0, 1 or 2
}

// characters returns the highest probability of each symbol on the likeliest
// way to spell them (Viterbi's algorithm over CTC's places: none, first symbol,
// none, second symbol, …). A step has width values: none, then the symbols.
func (a *aligner) characters(steps []float64, width int, symbols []uint8) []float64 {
	out := make([]float64, len(symbols))
	places, n := 2*len(symbols)+1, len(steps)/width
	if n == 0 {
		return out
	}
	a.best, a.from = a.best[:0], a.from[:0]
	at := func(step, place int) float64 {
		p := steps[step*width]
		if place%2 == 1 {
			p = steps[step*width+1+int(symbols[place/2])]
		}
		return math.Log(p + 1e-12)
	}
	for t := range n {
		for place := range places {
			best, from := math.Inf(-1), uint8(0)
			switch {
			case t > 0:
				best, from = a.before(t, places, place, symbols)
			case place < 2:
				best = 0
			}
			a.best = append(a.best, best+at(t, place))
			a.from = append(a.from, from)
		}
	}
	place, last := places-1, (n-1)*places
	if places > 1 && a.best[last+places-2] > a.best[last+places-1] {
		place--
	}
	for t := n - 1; t >= 0; t-- {
		if place%2 == 1 {
			i := place / 2
			out[i] = max(out[i], steps[t*width+1+int(symbols[i])])
		}
		place -= int(a.from[t*places+place])
	}
	return out
}

// before is the best way into a place at step t.
func (a *aligner) before(t, places, place int, symbols []uint8) (best float64, from uint8) {
	row := a.best[(t-1)*places : t*places]
	best = row[place]
	if place > 0 && row[place-1] > best {
		best, from = row[place-1], 1
	}
	if place > 1 && place%2 == 1 && symbols[place/2] != symbols[place/2-1] && row[place-2] > best {
		best, from = row[place-2], 2
	}
	return best, from
}
