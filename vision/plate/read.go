package plate

import (
	"gocv.io/x/gocv"

	"gatehouse/vision/plate/text"
	"gatehouse/vision/warp"
)

// margins are read with a plate; the second and third only where the first
// leaves doubt. cutMargins are for pictures that someone has cut out: there is
// nothing around the plate.
var (
	margins    = [][2]float64{{0, 0}, {.04, .12}, {.08, .05}}
	cutMargins = [][2]float64{{0, 0}, {-.02, -.04}, {.02, .04}}
)

// partings are the places where two rows may part: on mainland plates at 40 %,
// with a short upper row (GA 36-2018), on others in the middle.
var partings = []parting{{.42, false}, {.38, false}, {.46, false}, {.50, true}}

// sure is the mean probability from which on a recogniser needs no further cut.
var sure = [engines]float64{small: 0.9, ppocr: 0.97}

// evidence is what is known of the best number: what the confidence is
// calculated from.
type evidence struct {
	reading text.Reading
	rows    int
	shares  [engines]float64 // mean probability of the number with each recogniser
	tops    [engines]float64 // share of the cuts whose likeliest number it is
	read    [engines]bool    // whether the recogniser has read at all
	lead    float64          // how much likelier it is than the next number
	// recalled says that PP-OCR's word is from an earlier frame.
	recalled bool
}

// reader turns a plate's picture into the likeliest number.
type reader struct {
	engines [engines]*engine
	lines   *liner
	follow  follower
	tallies [5]tally // one row, and two rows at every split; kept for their buffers
	used    int
	// confirmed says that PP-OCR has read since that was last unset.
	confirmed bool
}

func newReader(dir string, o Options, cut *warp.Cutter) (*reader, error) {
	all, err := newEngines(dir, o)
	if err != nil {
		return nil, err
	}
	return &reader{engines: all, lines: newLiner(cut)}, nil
}

func (r *reader) close() {
	closeEngines(r.engines)
	r.lines.close()
}

// home reports whether mainland numbers are the expected ones.
func (r *reader) home() bool {
	return r.engines[r.first()].decoder.Home()
}

// ambiguous reports whether an overseas number has a twin.
func (r *reader) ambiguous(number string) bool {
	return r.engines[r.first()].decoder.Ambiguous(number)
}

// first is the recogniser that looks for the best cut.
func (r *reader) first() int {
	if r.engines[small] != nil {
		return small
	}
	return ppocr
}

// both reports whether PP-OCR confirms what the small recogniser reads.
func (r *reader) both() bool { return r.engines[small] != nil && r.engines[ppocr] != nil }

// read returns the most probable number; ok is false where nothing was read.
func (r *reader) read(picture gocv.Mat, c Candidate, g ground) (best evidence, ok bool, err error) {
	w := weighing{ground: g, foreign: g.foreign(), home: r.home()}
	if !c.cut {
		w.rows = c.Rows
	}
	r.used = 0
	width, height := c.Quad.Size()
	layouts := []int{1}
	switch {
	case c.Rows == 2:
		layouts = []int{2, 1}
	case width < 2.2*height:
		layouts = []int{1, 2}
	}
	for _, rows := range layouts {
		t, err := r.explore(picture, c, rows, w)
		if err != nil {
			return best, false, err
		}
		if t.agreed(r.first(), w) {
			break // no other layout can say more
		}
	}
	recalled := r.recall(c, w)
	if r.both() && !recalled {
		if recalled, err = r.confirm(picture, c, w); err != nil {
			return best, false, err
		}
	}
	best, ok = r.best(w).evidence(w)
	best.recalled = recalled
	return best, ok, nil
}

// recall counts what PP-OCR has said in an earlier frame of the number that the
// small recogniser reads in the same place, hardly thinking of another: where it
// is in doubt PP-OCR is asked anew, in this frame or the next (confirm).
func (r *reader) recall(c Candidate, w weighing) bool {
	t := r.best(w)
	at, _ := t.best(w)
	if r.first() != small || at < 0 || t.share(&t.found[at], small) < leastRecalled {
		return false
	}
	for i := range t.found {
		if i != at && t.share(&t.found[i], small) > mostBeside {
			return false
		}
	}
	h := &t.found[at]
	share, top, ok := r.follow.recall(h.reading, c.Quad)
	if ok {
		t.cuts[ppocr]++
		h.sums[ppocr] += share
		h.tops[ppocr] += int(top)
	}
	return ok
}

// best is the layout with the likeliest number, of those that PP-OCR was asked
// about as soon as it was: they were likelier than the others before, and only
// they are held against its word.
func (r *reader) best(w weighing) *tally {
	best, most, confirmed := &r.tallies[0], 0.0, false
	for i := range r.tallies[:r.used] {
		t := &r.tallies[i]
		asked := t.cuts[ppocr] > 0
		if confirmed && !asked {
			continue
		}
		if _, weight := t.best(w); weight > most || asked && !confirmed {
			best, most = t, weight
		}
		confirmed = confirmed || asked
	}
	return best
}

// evidence of the tally's best number.
func (t *tally) evidence(w weighing) (e evidence, ok bool) {
	at, _ := t.best(w)
	if at < 0 {
		return e, false
	}
	h := &t.found[at]
	e = evidence{reading: h.reading, rows: t.at.rows(), lead: t.lead(at, w)}
	for i := range engines {
		if e.read[i] = t.cuts[i] > 0; e.read[i] {
			e.shares[i], e.tops[i] = t.share(h, i), float64(h.tops[i])/float64(t.cuts[i])
		}
	}
	return e, true
}

// fresh is an empty tally that lives until the next read.
func (r *reader) fresh(at parting) *tally {
	t := &r.tallies[r.used]
	r.used++
	t.reset(at)
	return t
}

// explore has the first recogniser read plates of so many rows: one row at all
// margins, or two rows at all places where they may part, and at the best of
// these at all margins.
func (r *reader) explore(picture gocv.Mat, c Candidate, rows int, w weighing) (best *tally, err error) {
	engine := r.first()
	if rows == 1 {
		best = r.fresh(parting{})
		return best, r.atMargins(picture, c, best, engine, 0, w)
	}
	most := -1.0
	for _, at := range partings {
		t := r.fresh(at)
		if _, _, err := r.count(picture, c, t, engine, margins[0]); err != nil {
			return nil, err
		}
		if _, weight := t.best(w); weight > most {
			best, most = t, weight
		}
		if best.agreed(engine, w) {
			break
		}
	}
	return best, r.atMargins(picture, c, best, engine, 1, w)
}

// leastRecalled is the least mean probability of a number that is recalled, and
// mostBeside the most that any other number may have.
const (
	leastRecalled = 0.8
	mostBeside    = 0.1
)

// lost is the probability below which the first recogniser has not made out the
// layout either.
const lost = 0.3

// confirm has PP-OCR read the best layout too. One cut is enough: more were not
// right more often and cost 20 ms each. Only where nothing convinces it reads
// all layouts. recalled says that what it has read in the last frame was enough.
func (r *reader) confirm(picture gocv.Mat, c Candidate, w weighing) (recalled bool, err error) {
	t := r.best(w)
	before := text.Reading{} // what the small one takes for the likeliest
	if at, _ := t.best(w); at >= 0 {
		before = t.found[at].reading
	}
	var mainland, overseas []text.Reading
	if d := r.follow.heard(before, t.at, c.Quad); d != nil {
		recalled = true
		t.add(ppocr, d.mainland, d.overseas)
	} else if mainland, overseas, err = r.count(picture, c, t, ppocr, margins[0]); err != nil {
		return false, err
	}
	if at, _ := t.best(w); at >= 0 && t.mean(&t.found[at]) >= lost {
		if !recalled && before.Number != "" {
			r.follow.asked(before, t.at, c.Quad, mainland, overseas)
		}
		return recalled, nil
	}
	for i := range r.tallies[:r.used] {
		if o := &r.tallies[i]; o != t {
			if _, _, err := r.count(picture, c, o, ppocr, margins[0]); err != nil {
				return false, err
			}
		}
	}
	return recalled, nil
}

// atMargins reads at all margins from one on, or until two cuts agree surely.
func (r *reader) atMargins(picture gocv.Mat, c Candidate, t *tally, engine, from int, w weighing) error {
	around := margins
	if c.cut {
		around = cutMargins
	}
	for i := from; i < len(around); i++ {
		if i >= 2 && t.agreed(engine, w) {
			break
		}
		if _, _, err := r.count(picture, c, t, engine, around[i]); err != nil {
			return err
		}
	}
	return nil
}

// agreed tells whether the cuts so far are sure of one number.
func (t *tally) agreed(engine int, w weighing) bool {
	at, _ := t.best(w)
	return at >= 0 && t.share(&t.found[at], engine) >= sure[engine]
}

// count reads one cut.
func (r *reader) count(picture gocv.Mat, c Candidate, t *tally, engine int, margin [2]float64) (mainland, overseas []text.Reading, err error) {
	line, ok := r.lines.make(picture, c.Quad, cut{margin[0], margin[1], t.at})
	if !ok {
		return nil, nil, nil
	}
	if mainland, overseas, err = r.engines[engine].read(line); err != nil {
		return nil, nil, err
	}
	t.add(engine, mainland, overseas)
	r.confirmed = r.confirmed || engine == ppocr
	return mainland, overseas, nil
}
