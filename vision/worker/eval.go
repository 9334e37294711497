package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"gatehouse/vision/face"
	"gatehouse/vision/link"
	"gatehouse/vision/plate"
)

// confident is the score from which on a reading must be relied upon.
const confident = 0.95

// figures are what was reached on the pictures of one kind.
type figures struct {
	Kind           string  `json:"kind"`
	Scenes         int     `json:"scenes"`
	Plates         int     `json:"plates"`
	Found          int     `json:"found"`
	Texts          int     `json:"texts"` // plates whose text is labelled
	Right          int     `json:"right"`
	RightAlike     int     `json:"right_alike"` // with O taken for 0 and I for 1
	KindRight      int     `json:"kind_right"`  // of the plates read right, where one kind is labelled
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

// evaluate measures the recognition on labelled pictures.
func evaluate(args []string, out io.Writer) error {
	f := newFlags("eval", "DIR", "Reads every manifest.tsv in DIR and below it (form: file, kind, truth, boxes_xywh, …,\nnote; tab-separated) and every pairs.tsv, and tells what is recognised, by kind.")
	asJSON := f.Bool("json", false, "one JSON object")
	list := f.Bool("list", false, "also list every plate that was misread or missed")
	most := f.Int("most", 0, "at most so many pictures of a kind (0: all)")
	dir := f.String("models", "", "model directory (default: found by itself)")
	onlyPlates := f.Bool("plates", false, "only pictures of plates and of nothing, and no faces in them")
	var reading plate.Options
	f.StringVar(&reading.Readers, "reader", plate.DefaultReader, "who reads: small (our own), pp (PP-OCR) or both")
	regions := f.String("regions", "", "whose numbers are read, with commas between: cn, a country (gb), a group (eu), * (default cn,*)")
	f.StringVar(&reading.Templates, "templates", "", "file of further number templates")
	where, err := parse(f, args, 1, 1)
	if err != nil {
		return err
	}
	rows, err := readManifests(where[0])
	if err != nil {
		return err
	}
	reading.Regions = listed(*regions)
	e, err := openEyesWith(*dir, reading)
	if err != nil {
		return err
	}
	defer e.close()
	ev := evaluation{eyes: e, kinds: map[string]*figures{}, onlyPlates: *onlyPlates}
	for i, r := range rows {
		if i%100 == 99 {
			fmt.Fprintf(os.Stderr, "eval: %d of %d pictures\n", i+1, len(rows))
		}
		if err := ev.picture(r, *most); err != nil {
			return err
		}
	}
	rep := ev.report()
	if !*onlyPlates {
		if rep.Pairs, err = ev.pairs(where[0]); err != nil {
			return err
		}
	}
	if *asJSON {
		enc := json.NewEncoder(out)
		enc.SetIndent("", " ")
		return enc.Encode(rep)
	}
	rep.print(out, *list)
	return nil
}

// listed are the parts of a list with commas.
func listed(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}

type evaluation struct {
	onlyPlates bool
	eyes       *eyes
	kinds      map[string]*figures
	misread    []misread
	people     people
}

// people are the faces of named persons, in the order of the manifest.
type people struct {
	enrolled map[string][]float32
	again    []named
	strange  []named
}

type named struct {
	name    string
	feature []float32
}

func (ev *evaluation) picture(r row, most int) error {
	if strings.HasPrefix(r.kind, "video") || ev.onlyPlates && strings.HasPrefix(r.kind, "face") {
		return nil // moving pictures are for the worker's tests
	}
	k := ev.kinds[r.kind]
	if k == nil {
		k = &figures{Kind: r.kind}
		ev.kinds[r.kind] = k
	}
	if most > 0 && k.Scenes >= most {
		return nil
	}
	k.Scenes++
	isFace := strings.HasPrefix(r.kind, "face")
	isPlate := !isFace && r.kind != "negative" && r.kind != "background"
	picture, err := load(r.path)
	if err != nil {
		k.Unreadable++
		fmt.Fprintf(os.Stderr, "eval: %s: %v\n", r.path, err)
		return nil
	}
	defer picture.Close() //nolint:errcheck // a Mat's Close always returns nil
	saw, err := ev.eyes.look(picture, wanted{plates: true, faces: !ev.onlyPlates, far: !ev.onlyPlates})
	if err != nil {
		return fmt.Errorf("%s: %w", r.path, err)
	}
	var total float64
	for _, t := range saw.MS {
		total += t
	}
	k.took = append(k.took, total)
	switch {
	case isPlate:
		ev.plates(k, r, saw.Plates)
	case isFace:
		want := 1
		if r.kind == "face_count" {
			if want, err = strconv.Atoi(r.truth); err != nil {
				return fmt.Errorf("%s: the truth of a face_count is a number, not %q", r.path, r.truth)
			}
		}
		k.Faces += want
		k.FacesFound += min(want, len(saw.Faces))
		k.FacesExtra += max(0, len(saw.Faces)-want)
		k.FalsePlates += sure(saw.Plates)
		if len(saw.Faces) > 0 && r.kind != "face_count" {
			// Of any quality: what the gate would refuse must count as well.
			if feature, err := ev.eyes.faces.Feature(picture, saw.Faces[0].Box); err == nil {
				ev.people.add(r, feature)
			}
		}
	default:
		k.FalsePlates += len(saw.Plates)
		k.ConfidentWrong += sure(saw.Plates)
		k.Confident += sure(saw.Plates)
		k.FalseFaces += len(saw.Faces)
	}
	return nil
}

// sure counts the results that claim to be right.
func sure(plates []link.Plate) (n int) {
	for _, p := range plates {
		if p.Score >= confident {
			n++
		}
	}
	return n
}

func (ev *evaluation) plates(k *figures, r row, plates []link.Plate) {
	truths := r.plateTruths()
	shown := make([]bool, len(plates))
	for i, j := range assign(r, plates) {
		k.Plates++
		m := misread{File: filepath.Base(r.path), Kind: r.kind, Truth: strings.Join(truths[i], "/")}
		if truths[i] != nil {
			k.Texts++
		}
		if j < 0 {
			ev.misread = append(ev.misread, m)
			continue
		}
		p := plates[j]
		shown[j] = true
		k.Found++
		if truths[i] == nil {
			continue
		}
		right := reads(p.Text, truths[i])
		if right {
			k.Right++
			if p.Kind == strings.TrimSuffix(r.kind, "_crop") || strings.HasPrefix(r.kind, "plate_") && p.Kind == "overseas" {
				k.KindRight++
			}
		} else {
			m.Read, m.Score = p.Text, p.Score
			ev.misread = append(ev.misread, m)
		}
		if readsAlike(p.Text, truths[i]) {
			k.RightAlike++
		}
		if p.Score >= confident {
			k.Confident++
			if !right {
				k.ConfidentWrong++
			}
		}
	}
	for j, p := range plates {
		if !shown[j] && !r.unlabelled && r.truth != "" && p.Score >= confident {
			k.Confident++
			k.ConfidentWrong++
			ev.misread = append(ev.misread, misread{filepath.Base(r.path), r.kind, "(none)", p.Text, p.Score})
		}
	}
}

func (p *people) add(r row, feature []float32) {
	one := named{r.truth, feature}
	switch {
	case r.kind == "face_unknown":
		p.strange = append(p.strange, one)
	case r.kind != "face_id":
	case p.enrolled[r.truth] != nil:
		p.again = append(p.again, one)
	default:
		if p.enrolled == nil {
			p.enrolled = map[string][]float32{}
		}
		p.enrolled[r.truth] = one.feature
	}
}

// figures tells how known people and strangers fare among those enrolled.
func (p *people) figures() *strangerFigures {
	if len(p.enrolled) == 0 {
		return nil
	}
	s := &strangerFigures{Enrolled: len(p.enrolled), Known: len(p.again), Strangers: len(p.strange)}
	best := func(of []float32) (name string, similarity float64) {
		similarity = -1
		for _, n := range slices.Sorted(maps.Keys(p.enrolled)) {
			if v := face.Similarity(of, p.enrolled[n]); v > similarity {
				name, similarity = n, v
			}
		}
		return name, similarity
	}
	for _, k := range p.again {
		if name, v := best(k.feature); name == k.name && v >= face.Known {
			s.Named++
		}
	}
	for _, k := range p.strange {
		_, v := best(k.feature)
		s.Highest = max(s.Highest, v)
		if v >= face.Known {
			s.Accepted++
		}
	}
	return s
}

// pairs measures every pairs.tsv below dir.
func (ev *evaluation) pairs(dir string) ([]*pairFigures, error) {
	groups := map[string]*pairFigures{}
	files, err := filepath.Glob(filepath.Join(dir, "pairs.tsv"))
	if err != nil {
		return nil, err
	}
	below, err := filepath.Glob(filepath.Join(dir, "*", "pairs.tsv"))
	if err != nil {
		return nil, err
	}
	for _, file := range append(files, below...) {
		all, err := readColumns(file, 3)
		if err != nil {
			return nil, err
		}
		known := map[string]answer{}
		for _, c := range all {
			name := "all"
			if len(c) > 3 {
				name = c[3]
			}
			g := groups[name]
			if g == nil {
				g = &pairFigures{Group: name, HighestDifferent: -1, LowestSame: 1}
				groups[name] = g
			}
			g.Pairs++
			a, b := ev.eyes.mainFeature(c[0], file, known), ev.eyes.mainFeature(c[1], file, known)
			if a.err != nil || b.err != nil {
				g.NoFace++
				continue
			}
			v, same := face.Similarity(a.feature, b.feature), c[2] == "1"
			if (v >= face.Threshold) == same {
				g.Right++
			}
			if same {
				g.LowestSame = min(g.LowestSame, v)
			} else {
				g.HighestDifferent = max(g.HighestDifferent, v)
			}
		}
	}
	return slices.SortedFunc(maps.Values(groups), func(a, b *pairFigures) int { return cmp.Compare(a.Group, b.Group) }), nil
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

func (rep report) print(out io.Writer, list bool) {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	line := func(cells ...any) { _, _ = fmt.Fprintln(w, strings.TrimRight(fmt.Sprintln(cells...), "\n")) }
	row := func(cells ...string) { line(strings.Join(cells, "\t")) }
	crop := func(kind string) bool { return strings.HasSuffix(kind, "_crop") }
	plateRow := func(k *figures) {
		row(k.Kind, strconv.Itoa(k.Scenes), share(k.Found, k.Plates), share(k.Right, k.Texts), share(k.RightAlike, k.Texts), share(k.KindRight, k.Right),
			fmt.Sprintf("%d of %d", k.ConfidentWrong, k.Confident), fmt.Sprintf("%.0f / %.0f", k.P50MS, k.P95MS))
	}
	row("plates", "scenes", "found", "whole plate right", "with O=0, I=1", "kind right", fmt.Sprintf("wrong at ≥ %.2f", confident), "ms p50 / p95")
	for _, k := range rep.Kinds {
		if k.Plates > 0 {
			plateRow(k)
		}
	}
	for _, g := range []struct {
		name  string
		match func(string) bool
	}{
		{"= Chinese scenes", func(k string) bool { return strings.HasPrefix(k, "cn_") && !crop(k) }},
		{"= Chinese blue and yellow, one line", func(k string) bool { return k == "cn_blue" || k == "cn_yellow" }},
		{"= Chinese crops", func(k string) bool { return strings.HasPrefix(k, "cn_") && crop(k) }},
		{"= overseas scenes", func(k string) bool { return strings.HasPrefix(k, "plate_") && !crop(k) }},
		{"= overseas crops", func(k string) bool { return strings.HasPrefix(k, "plate_") && crop(k) }},
	} {
		if s := rep.sum(g.name, g.match); s.Scenes > 0 {
			plateRow(s)
		}
	}
	_ = w.Flush()
	_, _ = fmt.Fprintln(out)
	row("others", "pictures", "faces found", "faces too many", "plates that are none", fmt.Sprintf("of these ≥ %.2f", confident), "faces that are none", "ms p50 / p95")
	for _, k := range rep.Kinds {
		if k.Plates > 0 {
			continue
		}
		found := "–"
		if k.Faces > 0 {
			found = share(k.FacesFound, k.Faces)
		}
		row(k.Kind, strconv.Itoa(k.Scenes), found, strconv.Itoa(k.FacesExtra), strconv.Itoa(k.FalsePlates), strconv.Itoa(k.ConfidentWrong),
			strconv.Itoa(k.FalseFaces), fmt.Sprintf("%.0f / %.0f", k.P50MS, k.P95MS))
	}
	_ = w.Flush()
	if len(rep.Pairs) > 0 {
		_, _ = fmt.Fprintln(out)
		row(fmt.Sprintf("face pairs, same from %.2f on", face.Threshold), "right", "without a face", "highest of different", "lowest of same")
		all := &pairFigures{Group: "= all", HighestDifferent: -1, LowestSame: 1}
		for _, g := range append(rep.Pairs, all) {
			if g != all {
				all.Pairs, all.Right, all.NoFace = all.Pairs+g.Pairs, all.Right+g.Right, all.NoFace+g.NoFace
				all.HighestDifferent, all.LowestSame = max(all.HighestDifferent, g.HighestDifferent), min(all.LowestSame, g.LowestSame)
			}
			row(g.Group, share(g.Right, g.Pairs), strconv.Itoa(g.NoFace), fmt.Sprintf("%.2f", g.HighestDifferent), fmt.Sprintf("%.2f", g.LowestSame))
		}
		_ = w.Flush()
	}
	if s := rep.Strangers; s != nil {
		_, _ = fmt.Fprintf(out, "\n%d people enrolled with one picture each: %s further pictures named right, %s strangers accepted (known from %.2f on; highest stranger %.2f)\n",
			s.Enrolled, share(s.Named, s.Known), share(s.Accepted, s.Strangers), face.Known, s.Highest)
	}
	_, _ = fmt.Fprintf(out, "\n%.0f ms p50, %.0f ms p95 per picture\n", rep.P50MS, rep.P95MS)
	if list {
		_, _ = fmt.Fprintln(out)
		row("file", "kind", "truth", "read", "score")
		for _, m := range rep.Misread {
			row(m.File, m.Kind, m.Truth, cmp.Or(m.Read, "(not found)"), fmt.Sprintf("%.3f", m.Score))
		}
		_ = w.Flush()
	}
}
