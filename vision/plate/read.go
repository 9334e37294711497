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
const sure = 0.97

// evidence is what is known of the best number: what the confidence is
// calculated from.
type evidence struct {
	reading text.Reading
	rows    int
	shares  [engines]float64 // mean probability of the number with each recogniser
	tops    [engines]float64 // share of the cuts whose likeliest number it is
	read    [engines]bool    // whether the recogniser has read at all
	weight  float64          // with how rare such a number is
	rival   float64          // of the next number
}

// reader turns a plate's picture into the likeliest number.
type reader struct {
	engines [engines]*engine
	lines   *liner
	tallies [5]tally // one row, and two rows at every split; kept for their buffers
	used    int
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
	for _, e := range r.engines {
		if e != nil {
			return e.decoder.Home()
		}
	}
	return true
}

// first is the recogniser that looks for the best cut.
func (r *reader) first() int {
	if r.engines[small] != nil {
		return small
	}
	return ppocr
}

// read returns the most probable number; ok is false where nothing was read.
func (r *reader) read(picture gocv.Mat, c Candidate, g ground) (best evidence, ok bool, err error) {
	w := weighing{g, g.foreign(), r.home()}
	r.used = 0
	width, height := c.Quad.Size()
	layouts := []int{1}
	switch {
	case c.Rows == 2:
		layouts = []int{2, 1}
	case width < 2.2*height:
		layouts = []int{1, 2}
	}
	var chosen *tally
	var at parting
	var most float64
	for _, rows := range layouts {
		t, where, err := r.explore(picture, c, rows, w)
		if err != nil {
			return best, false, err
		}
		if _, weight, _ := t.best(w); weight > most {
			chosen, at, most = t, where, weight
		}
		if most > sure {
			break // no other layout can say more
		}
	}
	if chosen == nil {
		return best, false, nil
	}
	if err := r.confirm(picture, c, chosen, at, w); err != nil {
		return best, false, err
	}
	return chosen.evidence(w)
}

// evidence of the tally's best number.
func (t *tally) evidence(w weighing) (e evidence, ok bool, err error) {
	at, weight, rival := t.best(w)
	if at < 0 {
		return e, false, nil
	}
	h := &t.found[at]
	e = evidence{reading: h.reading, rows: t.rows, weight: weight, rival: rival}
	for i := range engines {
		if e.read[i] = t.cuts[i] > 0; e.read[i] {
			e.shares[i], e.tops[i] = t.share(h, i), float64(h.tops[i])/float64(t.cuts[i])
		}
	}
	return e, true, nil
}

// fresh is an empty tally that lives until the next read.
func (r *reader) fresh(rows int) *tally {
	t := &r.tallies[r.used]
	r.used++
	t.reset(rows)
	return t
}

// explore has the first recogniser read one layout: one row at all margins, or
// two rows at all places where they may part and then the best one at all margins.
func (r *reader) explore(picture gocv.Mat, c Candidate, rows int, w weighing) (best *tally, at parting, err error) {
	engine := r.first()
	if rows == 1 {
		best = r.fresh(1)
		return best, at, r.atMargins(picture, c, best, engine, at, 0, w)
	}
	var most float64
	for _, p := range partings {
		t := r.fresh(2)
		if err := r.count(picture, c, t, engine, cut{parting: p}); err != nil {
			return nil, at, err
		}
		if _, weight, _ := t.best(w); best == nil || weight > most {
			best, at, most = t, p, weight
		}
		if most > sure {
			break
		}
	}
	return best, at, r.atMargins(picture, c, best, engine, at, 1, w)
}

// confirm has the other recogniser read the chosen layout.
func (r *reader) confirm(picture gocv.Mat, c Candidate, t *tally, at parting, w weighing) error {
	if r.first() == ppocr || r.engines[ppocr] == nil {
		return nil
	}
	return r.atMargins(picture, c, t, ppocr, at, 0, w)
}

// atMargins reads at all margins from one on, or until two cuts agree surely.
func (r *reader) atMargins(picture gocv.Mat, c Candidate, t *tally, engine int, at parting, from int, w weighing) error {
	around := margins
	if c.cut {
		around = cutMargins
	}
	for i, m := range around {
		if i < from {
			continue
		}
		if i > 0 && t.agreed(engine, i, w) {
			break
		}
		if err := r.count(picture, c, t, engine, cut{m[0], m[1], at}); err != nil {
			return err
		}
	}
	return nil
}

// agreed tells, after n cuts, whether a recogniser needs no more: two cuts that
// are sure of one number, or one that is sure of what the other recogniser says.
func (t *tally) agreed(engine, n int, w weighing) bool {
	at, _, _ := t.best(w)
	if at < 0 || t.share(&t.found[at], engine) < sure {
		return false
	}
	if n >= 2 {
		return true
	}
	other := engines - 1 - engine
	return t.cuts[other] > 0 && t.share(&t.found[at], other) > sure
}

// count reads one cut.
func (r *reader) count(picture gocv.Mat, c Candidate, t *tally, engine int, k cut) error {
	line, ok := r.lines.make(picture, c.Quad, k)
	if !ok {
		return nil
	}
	mainland, overseas, err := r.engines[engine].read(line)
	if err != nil {
		return err
	}
	t.add(engine, mainland, overseas)
	return nil
}
