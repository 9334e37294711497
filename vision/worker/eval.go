package main

import (
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"gatehouse/vision/face"
	"gatehouse/vision/link"
	"gatehouse/vision/plate"
)

// confident is the score from which on a reading must be relied upon, and gate
// the least one that opens a gate (configs: min_plate_score).
const (
	confident = 0.95
	gate      = 0.90
)

// evaluate measures the recognition on labelled pictures.
func evaluate(args []string, out io.Writer) error {
	f := newFlags("eval", "DIR", "Reads every manifest.tsv in DIR and below it (form: file, kind, truth, boxes_xywh, …,\nnote; tab-separated) and every pairs.tsv, and tells what is recognised, by kind.")
	asJSON := f.Bool("json", false, "one JSON object")
	list := f.Bool("list", false, "also list every plate that was misread or missed")
	baseline := f.String("baseline", "", "print before and after side by side; before is what an earlier eval --json wrote into this file")
	most := f.Int("most", 0, "at most so many pictures of a kind (0: all)")
	dir := f.String("models", "", "model directory (default: found by itself)")
	onlyPlates := f.Bool("plates", false, "only pictures of plates and of nothing, and no faces in them")
	reading := readingFlags(f)
	where, err := parse(f, args, 1, 1)
	if err != nil {
		return err
	}
	rows, err := readManifests(where[0])
	if err != nil {
		return err
	}
	e, err := openEyesWith(*dir, reading())
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
	if *baseline != "" {
		before, err := readReport(*baseline)
		if err != nil {
			return err
		}
		rep.compare(out, before)
		return nil
	}
	if *asJSON {
		enc := json.NewEncoder(out)
		enc.SetIndent("", " ")
		return enc.Encode(rep)
	}
	rep.print(out, *list)
	return nil
}

// readingFlags are the flags that say how plates are read; what they say is
// known once they are parsed.
func readingFlags(f *flag.FlagSet) func() plate.Options {
	var o plate.Options
	f.StringVar(&o.Readers, "reader", plate.DefaultReader, "who reads: small (our own), pp (PP-OCR) or both")
	f.StringVar(&o.Templates, "templates", "", "file of further number templates")
	regions := f.String("regions", "", "whose numbers are read, with commas between: cn, a country (gb), a group (eu), * (default cn,*)")
	return func() plate.Options {
		if *regions != "" {
			o.Regions = strings.Split(*regions, ",")
		}
		return o
	}
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
	saw, err := ev.eyes.look(picture, wanted{plates: true, faces: !ev.onlyPlates, far: true})
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
			if p.Score >= gate {
				k.Gate++
			}
			if p.Kind == r.plateKind(i, len(truths)) {
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
