package text

import "slices"

// twins are the letters and digits that many countries print alike.
var twins = map[rune]rune{'O': '0', '0': 'O', 'I': '1', '1': 'I'}

// Ambiguous reports whether a number from abroad has a character with a twin
// that would make a number of some country, too: no picture tells which it is.
// With fewer regions fewer numbers are.
func (d *Decoder) Ambiguous(number string) bool {
	runes := []rune(number)
	for i, c := range runes {
		twin, has := twins[c]
		if !has {
			continue
		}
		runes[i] = twin
		if f := d.overseas.end(runes); f.ok && f.prior > freePrior {
			return true
		}
		runes[i] = c
	}
	return false
}

// end is what a number is at its end; not ok for one that no template allows.
func (a *automaton) end(number []rune) final {
	state := int32(0)
	for _, c := range number {
		s := slices.IndexFunc(a.symbols, func(s symbol) bool { return s.char == c })
		if s < 0 {
			return final{}
		}
		if state = a.next[int(state)*len(a.symbols)+s]; state == dead {
			return final{}
		}
	}
	return a.final[state]
}
