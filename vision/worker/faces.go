package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"gatehouse/vision/face"
)

// measureFaces tells how far the face nets may be relied upon: how often two
// pictures of different people are taken for one (--rates, the table that
// agent/faces/rates.tsv ships), what the tiles find, and what the liveness net
// is worth (--live).
func measureFaces(args []string, out io.Writer) error {
	f := newFlags("faces", "DIR", "Measures the face nets on the pictures of the kinds face_id, face_unknown and face_count\nin every manifest.tsv of DIR.")
	rates := f.Bool("rates", false, "print false accepts by similarity as a table (TSV)")
	others := f.String("others", "", "with --rates: a directory of pictures of yet other people, for more pairs")
	live := f.Bool("live", false, "show each face to the liveness net as it is, enlarged, pasted, as a print and on a screen")
	seed := f.Uint64("seed", 1, "of the rendered prints and screens")
	dir := f.String("models", "", "model directory (default: found by itself)")
	where, err := parse(f, args, 1, 1)
	if err != nil {
		return err
	}
	rows, err := readManifests(where[0])
	if err != nil {
		return err
	}
	rows = slices.DeleteFunc(rows, func(r row) bool { return !strings.HasPrefix(r.kind, "face_") })
	if len(rows) == 0 {
		return fmt.Errorf("%s has no rows of the kinds face_id, face_unknown or face_count", where[0])
	}
	e, err := openEyes(*dir)
	if err != nil {
		return err
	}
	defer e.close()
	switch {
	case *rates:
		return e.rates(rows, *others, out)
	case *live:
		return e.liveness(rows, *seed, out)
	}
	return e.faceSizes(rows, out)
}

// faceSizes compares one look with tiles, and tells how good the faces are.
func (e *eyes) faceSizes(rows []row, out io.Writer) error {
	type tally struct{ pictures, truth, whole, tiled int }
	tallies := map[string]*tally{}
	reasons := map[string]int{}
	var sharp, yaw, pitch []float64
	for _, r := range rows {
		picture, err := load(r.path)
		if err != nil {
			return fmt.Errorf("%s: %w", r.path, err)
		}
		t := tallies[r.kind]
		if t == nil {
			t = &tally{}
			tallies[r.kind] = t
		}
		t.pictures++
		want := 1
		if r.kind == "face_count" {
			want, _ = strconv.Atoi(r.truth)
		}
		t.truth += want
		whole, err1 := e.faces.Find(picture)
		tiled, err2 := e.faces.FindFar(picture)
		for _, f := range tiled {
			q, _, err := e.faces.Describe(picture, f.Box, false)
			if err != nil {
				q.Why = "no points"
			}
			reasons[q.Why]++
			sharp, yaw, pitch = append(sharp, q.Sharpness), append(yaw, q.Yaw), append(pitch, q.Pitch)
		}
		_ = picture.Close()
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		t.whole, t.tiled = t.whole+len(whole), t.tiled+len(tiled)
	}
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "kind\tpictures\tfaces\tfound in one look\tfound with tiles")
	for _, kind := range slices.Sorted(maps.Keys(tallies)) {
		t := tallies[kind]
		_, _ = fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\n", kind, t.pictures, t.truth, t.whole, t.tiled)
	}
	_ = w.Flush()
	usable := reasons[""]
	delete(reasons, "")
	five := func(v []float64) string {
		slices.Sort(v)
		return fmt.Sprintf("%.0f / %.0f / %.0f", v[len(v)/20], v[len(v)/2], v[len(v)*19/20])
	}
	_, _ = fmt.Fprintf(out, "\nusable %d, not: %v\n5 %% / median / 95 %%: sharpness %s, yaw %s°, pitch %s°\n", usable, reasons, five(sharp), five(yaw), five(pitch))
	return nil
}

// person is a face and whose it is.
type person struct {
	who     string
	feature []float32
}

// people are the main faces of labelled pictures.
func (e *eyes) people(rows []row) (all []person) {
	for _, r := range rows {
		if r.kind == "face_count" {
			continue
		}
		_, feature, err := e.featureOf(r.path)
		if err != nil {
			fmt.Fprintf(os.Stderr, "faces: %s is left out: %v\n", r.path, err)
			continue
		}
		all = append(all, person{r.truth, feature})
	}
	return all
}

// others are the usable main faces of the pictures in a directory, each
// somebody else.
func (e *eyes) others(dir string) (all []person, err error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.jpg"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("cannot read pictures in %s: %w", dir, cmp.Or(err, os.ErrNotExist))
	}
	for _, path := range files {
		feature, err := e.usableFeature(path)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if feature != nil {
			all = append(all, person{path, feature})
		}
	}
	return all, nil
}

// usableFeature is the main face's feature; nil where no face is sure and good.
func (e *eyes) usableFeature(path string) ([]float32, error) {
	picture, err := load(path)
	if err != nil {
		return nil, err
	}
	defer picture.Close() //nolint:errcheck // a Mat's Close always returns nil
	found, err := e.faces.Find(picture)
	if err != nil || len(found) == 0 || found[0].Score < .9 {
		return nil, err
	}
	_, feature, err := e.faces.Describe(picture, found[0].Box, false)
	if err != nil {
		return nil, nil //nolint:nilerr // a face without points is of no use here
	}
	return feature, nil
}

// rates prints, per false accept rate, the similarity that keeps to it and the
// share of the same people who reach it.
func (e *eyes) rates(rows []row, dir string, out io.Writer) error {
	all := e.people(rows)
	if dir != "" {
		more, err := e.others(dir)
		if err != nil {
			return err
		}
		all = append(all, more...)
	}
	people := map[string]bool{}
	var same, different []float64
	for i, a := range all {
		people[a.who] = true
		for _, b := range all[:i] {
			if s := face.Similarity(a.feature, b.feature); a.who == b.who {
				same = append(same, s)
			} else {
				different = append(different, s)
			}
		}
	}
	if len(different) < 1000 || len(same) < 20 {
		return fmt.Errorf("%d pairs of different and %d of the same people are too few for a table", len(different), len(same))
	}
	slices.Sort(different)
	slices.Sort(same)
	_, _ = fmt.Fprintf(out, "# %d pictures of %d people: %d pairs of different people, the most alike at %.3f, and %d of the same one.\n", len(all), len(people), len(different), different[len(different)-1], len(same))
	_, _ = fmt.Fprintln(out, "# Rates with fewer than ten pairs behind them are extrapolated: the similarity grows by the same step per tenth of the rate.")
	_, _ = fmt.Fprintln(out, "false_accept\tsimilarity\ttrue_accept\tmeasured")
	const least = 10 // pairs behind a measured rate
	n := float64(len(different))
	at := func(rate float64) float64 { return different[len(different)-1-int(rate*n)] }
	last := least / n
	step := at(last) - at(last*10)
	for power := -1; power >= -10; power-- {
		rate := math.Pow(10, float64(power))
		s, measured := 0.0, rate >= last
		if measured {
			s = at(rate)
		} else {
			s = at(last) + step*math.Log10(last/rate)
		}
		s = min(1, math.Ceil(s*1000)/1000)
		reach, _ := slices.BinarySearch(same, s)
		_, _ = fmt.Fprintf(out, "%.0e\t%.3f\t%.3f\t%t\n", rate, s, float64(len(same)-reach)/float64(len(same)), measured)
	}
	return nil
}

// grey tells whether a file is of a form without colour, which the liveness net
// was not made for.
func grey(path string) bool { return filepath.Ext(path) == ".pgm" }
