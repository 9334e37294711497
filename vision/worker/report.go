package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"gatehouse/vision/face"
)

// figures are what was reached on the pictures of one kind.
type figures struct {
	Kind           string  `json:"kind"`
	Scenes         int     `json:"scenes"`
	Plates         int     `json:"plates"`
	Found          int     `json:"found"`
	Texts          int     `json:"texts"` // plates whose text is labelled
	Right          int     `json:"right"`
	RightAlike     int     `json:"right_alike"` // with O taken for 0 and I for 1
	KindRight      int     `json:"kind_right"`  // of the plates read right
	Gate           int     `json:"gate_right"`  // of the plates read right, with a score that opens a gate
	Confident      int     `json:"confident"`
	ConfidentWrong int     `json:"confident_wrong"`
	Faces          int     `json:"faces"`
	FacesFound     int     `json:"faces_found"`
	FacesExtra     int     `json:"faces_extra"`
	FalsePlates    int     `json:"false_plates"` // results on pictures without plates
	FalseFaces     int     `json:"false_faces"`
	Unreadable     int     `json:"unreadable"` // files that could not be decoded
	P50MS          float64 `json:"p50_ms"`
	P95MS          float64 `json:"p95_ms"`
	took           []float64
}

// pairFigures are what was reached on pairs of faces.
type pairFigures struct {
	Group  string `json:"group"`
	Pairs  int    `json:"pairs"`
	Right  int    `json:"right"`
	NoFace int    `json:"no_face"`
	// HighestDifferent and LowestSame show how far apart the two lie.
	HighestDifferent float64 `json:"highest_different"`
	LowestSame       float64 `json:"lowest_same"`
}

// strangerFigures are what was reached on people whom nobody enrolled.
type strangerFigures struct {
	Enrolled  int     `json:"enrolled"`
	Known     int     `json:"known"` // further pictures of enrolled people
	Named     int     `json:"known_right"`
	Strangers int     `json:"strangers"`
	Accepted  int     `json:"accepted"`
	Highest   float64 `json:"highest_stranger"`
}

// report is all of eval --json.
type report struct {
	Kinds     []*figures       `json:"kinds"`
	Pairs     []*pairFigures   `json:"pairs"`
	Strangers *strangerFigures `json:"strangers,omitempty"`
	P50MS     float64          `json:"p50_ms"`
	P95MS     float64          `json:"p95_ms"`
	Misread   []misread        `json:"misread"`
}

// misread is a plate that was found and not read right, or not found.
type misread struct {
	File  string  `json:"file"`
	Kind  string  `json:"kind"`
	Truth string  `json:"truth"`
	Read  string  `json:"read"` // empty: not found
	Score float64 `json:"score"`
}

func (ev *evaluation) report() report {
	rep := report{Pairs: []*pairFigures{}, Misread: ev.misread, Strangers: ev.people.figures()}
	var took []float64
	for _, name := range slices.Sorted(maps.Keys(ev.kinds)) {
		k := ev.kinds[name]
		took = append(took, k.took...)
		k.P50MS, k.P95MS = quantiles(k.took)
		rep.Kinds = append(rep.Kinds, k)
	}
	rep.P50MS, rep.P95MS = quantiles(took)
	return rep
}

func quantiles(v []float64) (p50, p95 float64) {
	if len(v) == 0 {
		return 0, 0
	}
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2], v[len(v)*95/100]
}

// sum adds up the kinds that match.
func (rep report) sum(name string, match func(kind string) bool) *figures {
	s := &figures{Kind: name}
	for _, k := range rep.Kinds {
		if !match(k.Kind) {
			continue
		}
		s.Scenes += k.Scenes
		s.Plates += k.Plates
		s.Found += k.Found
		s.Texts += k.Texts
		s.Right += k.Right
		s.RightAlike += k.RightAlike
		s.KindRight += k.KindRight
		s.Gate += k.Gate
		s.Confident += k.Confident
		s.ConfidentWrong += k.ConfidentWrong
		s.took = append(s.took, k.took...)
	}
	s.P50MS, s.P95MS = quantiles(s.took)
	return s
}

func share(n, of int) string {
	if of == 0 {
		return "–"
	}
	return fmt.Sprintf("%d/%d %.1f%%", n, of, 100*float64(n)/float64(of))
}

// group is a set of kinds that is summed up.
type group struct {
	name  string
	match func(kind string) bool
}

func isCrop(kind string) bool { return strings.HasSuffix(kind, "_crop") }

// groups of plate kinds, in the order in which they are printed.
var groups = []group{
	{"= Chinese scenes", func(k string) bool { return strings.HasPrefix(k, "cn_") && !isCrop(k) }},
	{"= Chinese blue and green scenes", func(k string) bool { return k == "cn_blue" || strings.HasPrefix(k, "cn_green") && !isCrop(k) }},
	{"= Chinese blue and yellow, one line", func(k string) bool { return k == "cn_blue" || k == "cn_yellow" }},
	{"= Chinese crops", func(k string) bool { return strings.HasPrefix(k, "cn_") && isCrop(k) }},
	{"= overseas scenes", func(k string) bool { return strings.HasPrefix(k, "plate_") && !isCrop(k) }},
	{"= overseas crops", func(k string) bool { return strings.HasPrefix(k, "plate_") && isCrop(k) }},
}

// plateKinds are the kinds with plates, then the groups of them.
func (rep report) plateKinds() (out []*figures) {
	for _, k := range rep.Kinds {
		if k.Plates > 0 {
			out = append(out, k)
		}
	}
	for _, g := range groups {
		if s := rep.sum(g.name, g.match); s.Scenes > 0 {
			out = append(out, s)
		}
	}
	return out
}

// named is a kind's name, with a warning where there is one picture only.
func (k *figures) named() string {
	if k.Plates == 1 {
		return k.Kind + " (a single example)"
	}
	return k.Kind
}

// table prints rows of cells.
type table struct{ *tabwriter.Writer }

func newTable(out io.Writer) table { return table{tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)} }

func (t table) row(cells ...string) {
	_, _ = fmt.Fprintln(t, strings.Join(cells, "\t"))
}

// end prints what was collected, and an empty line.
func (t table) end() {
	_, _ = fmt.Fprintln(t)
	_ = t.Flush()
}

func (rep report) print(out io.Writer, list bool) {
	w := newTable(out)
	rep.printPlates(w)
	rep.printOthers(w)
	if len(rep.Pairs) > 0 {
		rep.printPairs(w)
	}
	if s := rep.Strangers; s != nil {
		_, _ = fmt.Fprintf(out, "%d people enrolled with one picture each: %s further pictures named right, %s strangers accepted (known from %.2f on; highest stranger %.2f)\n\n",
			s.Enrolled, share(s.Named, s.Known), share(s.Accepted, s.Strangers), face.Known, s.Highest)
	}
	_, _ = fmt.Fprintf(out, "%.0f ms p50, %.0f ms p95 per picture\n", rep.P50MS, rep.P95MS)
	unreadable := 0
	for _, k := range rep.Kinds {
		unreadable += k.Unreadable
	}
	if unreadable > 0 {
		_, _ = fmt.Fprintf(out, "%d pictures could not be read and are in no share above: see the lines that begin with eval\n", unreadable)
	}
	if list {
		_, _ = fmt.Fprintln(out)
		w.row("file", "kind", "truth", "read", "score")
		for _, m := range rep.Misread {
			w.row(m.File, m.Kind, m.Truth, cmp.Or(m.Read, "(not found)"), fmt.Sprintf("%.3f", m.Score))
		}
		w.end()
	}
}

func (rep report) printPlates(w table) {
	w.row("plates", "scenes", "found", "whole plate right", "of these ≥ 0.90", "with O=0, I=1", "kind right", fmt.Sprintf("wrong at ≥ %.2f", confident), "ms p50 / p95")
	for _, k := range rep.plateKinds() {
		w.row(k.named(), strconv.Itoa(k.Scenes), share(k.Found, k.Plates), share(k.Right, k.Texts), share(k.Gate, k.Right), share(k.RightAlike, k.Texts), share(k.KindRight, k.Right),
			fmt.Sprintf("%d of %d", k.ConfidentWrong, k.Confident), fmt.Sprintf("%.0f / %.0f", k.P50MS, k.P95MS))
	}
	w.end()
}

func (rep report) printOthers(w table) {
	w.row("others", "pictures", "faces found", "faces too many", "plates that are none", fmt.Sprintf("of these ≥ %.2f", confident), "faces that are none", "ms p50 / p95")
	for _, k := range rep.Kinds {
		if k.Plates > 0 || k.Scenes == 0 {
			continue
		}
		w.row(k.Kind, strconv.Itoa(k.Scenes), share(k.FacesFound, k.Faces), strconv.Itoa(k.FacesExtra), strconv.Itoa(k.FalsePlates), strconv.Itoa(k.ConfidentWrong),
			strconv.Itoa(k.FalseFaces), fmt.Sprintf("%.0f / %.0f", k.P50MS, k.P95MS))
	}
	w.end()
}

func (rep report) printPairs(w table) {
	w.row(fmt.Sprintf("face pairs, same from %.2f on", face.Threshold), "right", "without a face", "highest of different", "lowest of same")
	for _, g := range append(rep.Pairs, rep.allPairs()) {
		w.row(g.Group, share(g.Right, g.Pairs), strconv.Itoa(g.NoFace), fmt.Sprintf("%.2f", g.HighestDifferent), fmt.Sprintf("%.2f", g.LowestSame))
	}
	w.end()
}

func (rep report) allPairs() *pairFigures {
	all := &pairFigures{Group: "= all", HighestDifferent: -1, LowestSame: 1}
	for _, g := range rep.Pairs {
		all.Pairs, all.Right, all.NoFace = all.Pairs+g.Pairs, all.Right+g.Right, all.NoFace+g.NoFace
		all.HighestDifferent, all.LowestSame = max(all.HighestDifferent, g.HighestDifferent), min(all.LowestSame, g.LowestSame)
	}
	return all
}
