package plate

import (
	"math"

	"gatehouse/vision/plate/text"
)

// hypothesis is one number and what the cuts say for it.
type hypothesis struct {
	reading text.Reading // of the cut that reads it most clearly
	sums    [engines]float64
	tops    [engines]int // cuts whose likeliest number it is
}

// tally adds up the readings of cuts of one layout: one row, or two rows that
// part at one place.
type tally struct {
	at    parting
	found []hypothesis
	cuts  [engines]int
}

func (t *tally) reset(at parting) {
	t.at, t.found, t.cuts = at, t.found[:0], [engines]int{}
}

// add counts one cut's readings, the likeliest first.
func (t *tally) add(engine int, mainland, overseas []text.Reading) {
	t.cuts[engine]++
	for _, all := range [2][]text.Reading{mainland, overseas} {
		for _, r := range all {
			h := &t.found[t.find(r)]
			h.sums[engine] += math.Exp(r.Log)
			if r.Log > h.reading.Log {
				h.reading = r
			}
		}
	}
	if top := likeliest(mainland, overseas); top.Number != "" {
		t.found[t.find(top)].tops[engine]++
	}
}

// likeliest is a cut's likeliest number, before anything else is known of it.
func likeliest(mainland, overseas []text.Reading) (best text.Reading) {
	most := 0.
	for _, all := range [2][]text.Reading{mainland, overseas} {
		for _, r := range all {
			if w := math.Exp(r.Log + r.Prior); w > most {
				best, most = r, w
			}
		}
	}
	return best
}

func (t *tally) find(r text.Reading) int {
	for i := range t.found {
		if h := &t.found[i]; h.reading.Number == r.Number && h.reading.Form == r.Form {
			return i
		}
	}
	t.found = append(t.found, hypothesis{reading: r})
	return len(t.found) - 1
}

// share is a number's mean probability with one recogniser.
func (t *tally) share(h *hypothesis, engine int) float64 {
	if t.cuts[engine] == 0 {
		return 0
	}
	return h.sums[engine] / float64(t.cuts[engine])
}

// trust is how much a recogniser's word weighs in the mean. The small one knows
// mainland plates better, and its probabilities mean more: PP-OCR's are near 1
// for many wrong numbers.
func trust(engine int, form text.Form) float64 {
	if engine == small && form != text.Overseas {
		return 2
	}
	return 1
}

// mean is a number's mean probability over the recognisers that have read.
func (t *tally) mean(h *hypothesis) float64 {
	var sum, all float64
	for e := range engines {
		if t.cuts[e] > 0 {
			weight := trust(e, h.reading.Form)
			sum += weight * t.share(h, e)
			all += weight
		}
	}
	if all == 0 {
		return 0
	}
	return sum / all
}

// unlikely is added to a number's probability with a recogniser: one that did not
// think of it may err.
var unlikely = [engines]float64{small: 0.01, ppocr: 0.001}

// weighing says how rare numbers are before anything is read.
type weighing struct {
	ground  ground
	foreign float64 // plates from abroad against mainland ones
	home    bool    // mainland plates are the expected ones
	rows    int     // that the plate seems to have; 0 where nobody has looked
}

// otherwise is how much rarer other rows are than those that a plate seems to have.
const otherwise = 0.5

// tail is how much rarer a plate from abroad is whose number is what remains of
// a mainland one without its province.
const tail = 0.3

// rarity is how rare a number of this kind is before anything is read; 1 is usual.
func (w weighing) rarity(t *tally, h *hypothesis) float64 {
	rare := math.Exp(h.reading.Prior) * plausible(h.reading.Form, w.ground)
	if (h.reading.Form == text.Overseas) == w.home {
		rare *= w.foreign
	}
	if w.rows != 0 && w.rows != t.at.rows() {
		rare *= otherwise
	}
	if w.home && h.reading.Form == text.Overseas && text.Tail(h.reading.Number) {
		rare *= tail
	}
	return rare
}

// of is how likely a number is, against others that the same recognisers have
// read. Of two all is multiplied, the small one's word twice, in all countries:
// they err in different ways, so a number that one of them rules out is seldom
// the right one, however sure the other is (CONFIDENCE.md).
func (w weighing) of(t *tally, h *hypothesis) float64 {
	rarity := w.rarity(t, h)
	if t.cuts[small] == 0 || t.cuts[ppocr] == 0 {
		return t.mean(h) * rarity
	}
	s, p := t.share(h, small)+unlikely[small], t.share(h, ppocr)+unlikely[ppocr]
	return s * s * p * rarity
}

// best returns the place of the likeliest number and its weight; at is -1 for an
// empty tally.
func (t *tally) best(w weighing) (at int, weight float64) {
	at = -1
	for i := range t.found {
		if s := w.of(t, &t.found[i]); s > weight {
			at, weight = i, s
		}
	}
	return at, weight
}

// lead is how much likelier the number at a place is than the likeliest other
// one, by their mean probabilities: below 1 where the recognisers contradict
// each other.
func (t *tally) lead(at int, w weighing) float64 {
	const least = 1e-6
	rival := 0.0
	for i := range t.found {
		if i != at {
			rival = max(rival, t.mean(&t.found[i])*w.rarity(t, &t.found[i]))
		}
	}
	return (t.mean(&t.found[at])*w.rarity(t, &t.found[at]) + least) / (rival + least)
}
