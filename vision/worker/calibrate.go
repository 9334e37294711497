package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"

	"gatehouse/vision/link"
	"gatehouse/vision/plate"
)

// reading is one judged number of a labelled picture.
type reading struct {
	plate.Sample
	file, kind, truth, text string
}

// calibrate fits the confidence of plate readings on labelled pictures.
func calibrate(args []string, out io.Writer) error {
	f := newFlags("calibrate", "DIR…", "Reads labelled pictures (form: see eval --help) and fits the map from what a reading looks like\n"+
		"to the probability that it is right. Rows whose column use is not train are left out, and of real\n"+
		"plates those that the small recogniser was trained on.\nPrints how sure and how right the readings are, each judged by a map that was fitted without it.")
	file := f.String("out", "", "write the fitted map into this file (vision/plate/weights/confidence.json), in its part for the reader")
	kept := f.String("samples", "", "keep the readings in this file; where it is there, no picture is looked at")
	most := f.Int("most", 0, "at most so many pictures of a kind (0: all)")
	dir := f.String("models", "", "model directory (default: found by itself)")
	var o plate.Options
	f.StringVar(&o.Readers, "reader", plate.DefaultReader, "who reads: small (our own), pp (PP-OCR) or both")
	dirs, err := parse(f, args, 0, -1)
	if err != nil {
		return err
	}
	readings, err := keptReadings(*kept)
	if errors.Is(err, fs.ErrNotExist) {
		readings, err = judge(dirs, *dir, o, *most)
		if err == nil && *kept != "" {
			err = keepReadings(*kept, readings)
		}
	}
	if err != nil {
		return err
	}
	judged, err := crossJudge(readings)
	if err != nil {
		return err
	}
	printReliability(out, readings, judged)
	fitted, err := plate.Fit(samplesOf(readings, -1))
	if err != nil || *file == "" {
		return err
	}
	fitted.Fitted = fmt.Sprintf("%d readings, %d right", len(readings), count(readings, func(r reading) bool { return r.Right }))
	return storeConfidence(*file, o.Readers, fitted)
}

// judge reads all pictures.
func judge(dirs []string, models string, o plate.Options, most int) ([]reading, error) {
	if len(dirs) == 0 {
		return nil, usageError{errors.New("calibrate: name at least one directory of labelled pictures")}
	}
	e, err := openEyesWith(models, o)
	if err != nil {
		return nil, err
	}
	defer e.close()
	var all []reading
	looked := map[string]int{}
	for _, dir := range dirs {
		rows, err := readManifests(dir)
		if err != nil {
			return nil, err
		}
		for _, r := range rows {
			if !r.fits() || most > 0 && looked[r.kind] >= most {
				continue
			}
			looked[r.kind]++
			more, err := e.readings(r)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", r.path, err)
			}
			all = append(all, more...)
			if len(all)%100 == 0 {
				fmt.Fprintf(os.Stderr, "calibrate: %d readings\n", len(all))
			}
		}
	}
	return all, nil
}

// heldShare of real plates were not shown to the small recogniser in training
// (vision/plate/train/real.py: HELD_SHARE, and _fraction below).
const heldShare = 0.12

// fits reports whether a picture may be used: its licence says so, its number or
// that it has none is known, and the small recogniser has never seen it.
func (r row) fits() bool {
	if r.use != "train" || r.truth == "" && r.kind != "background" {
		return false
	}
	if r.truth == "" || r.note == "rendered" {
		return true
	}
	sum := sha256.Sum256([]byte(r.truth))
	return float64(binary.BigEndian.Uint32(sum[:4]))/(1<<32) < heldShare
}

// readings are those of one picture: the one that shows the labelled
// plate, or all where there is none. Others are of plates without label.
func (e *eyes) readings(r row) ([]reading, error) {
	picture, err := load(r.path)
	if err != nil {
		return nil, err
	}
	defer picture.Close() //nolint:errcheck // a Mat's Close always returns nil
	seen, _, err := e.plates.Judge(picture, true, 0)
	if err != nil {
		return nil, err
	}
	var all []reading
	var plates []link.Plate
	for _, s := range seen {
		plates = append(plates, s.Plate)
		if r.truth == "" && s.Text != "" {
			all = append(all, reading{plate.Sample{Features: s.Features}, filepath.Base(r.path), r.kind, "", s.Text})
		}
	}
	if r.truth == "" {
		return all, nil
	}
	truths := r.plateTruths()
	for i, j := range assign(r, plates) {
		if j >= 0 && plates[j].Text != "" {
			right := reads(plates[j].Text, truths[i])
			all = append(all, reading{plate.Sample{Features: seen[j].Features, Right: right}, filepath.Base(r.path), r.kind, strings.Join(truths[i], "/"), plates[j].Text})
		}
	}
	return all, nil
}

// folds is how many parts the readings are cut into to judge each by the others.
const folds = 5

func samplesOf(readings []reading, without int) []plate.Sample {
	var out []plate.Sample
	for i, r := range readings {
		if without < 0 || i%folds != without {
			out = append(out, r.Sample)
		}
	}
	return out
}

// crossJudge gives every reading the confidence of a map fitted without it.
func crossJudge(readings []reading) ([]float64, error) {
	judged := make([]float64, len(readings))
	for fold := range folds {
		c, err := plate.Fit(samplesOf(readings, fold))
		if err != nil {
			return nil, err
		}
		for i := fold; i < len(readings); i += folds {
			judged[i] = c.Of(readings[i].Features)
		}
	}
	return judged, nil
}

func count(readings []reading, match func(reading) bool) (n int) {
	for _, r := range readings {
		if match(r) {
			n++
		}
	}
	return n
}

// printReliability tells how many readings of each confidence are right.
func printReliability(out io.Writer, readings []reading, judged []float64) {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	row := func(cells ...string) { _, _ = fmt.Fprintln(w, strings.Join(cells, "\t")) }
	row("confidence", "readings", "right", "mean confidence")
	edges := []float64{0, .1, .3, .5, .7, .8, .9, .95, .98, .99, 1.01}
	for k := range len(edges) - 1 {
		n, right, sum := 0, 0, 0.0
		for i, p := range judged {
			if p >= edges[k] && p < edges[k+1] {
				n++
				sum += p
				if readings[i].Right {
					right++
				}
			}
		}
		if n > 0 {
			row(fmt.Sprintf("%.2f to %.2f", edges[k], min(1, edges[k+1])), strconv.Itoa(n), share(right, n), fmt.Sprintf("%.3f", sum/float64(n)))
		}
	}
	_ = w.Flush()
	_, _ = fmt.Fprintln(out)
	row("kinds", "readings", "right", "right at ≥ 0.90", "wrong at ≥ 0.90", "wrong at ≥ 0.95")
	for _, g := range []struct {
		name  string
		match func(reading) bool
	}{
		{"all", func(reading) bool { return true }},
		{"real crops", func(r reading) bool { return strings.HasSuffix(r.kind, "_crop") }},
		{"real scenes", func(r reading) bool { return strings.HasPrefix(r.file, "tr_0") }},
		{"rendered, mainland", func(r reading) bool { return strings.HasPrefix(r.kind, "cn_") && !strings.HasPrefix(r.file, "tr_") }},
		{"rendered, abroad", func(r reading) bool { return strings.HasPrefix(r.kind, "plate_") }},
		{"backgrounds", func(r reading) bool { return r.kind == "background" }},
	} {
		all, right, kept, wrong, confidentWrong := 0, 0, 0, 0, 0
		for i, r := range readings {
			if !g.match(r) {
				continue
			}
			all++
			switch {
			case r.Right:
				right++
				if judged[i] >= .9 {
					kept++
				}
			case judged[i] >= confident:
				confidentWrong++
				wrong++
			case judged[i] >= .9:
				wrong++
			}
		}
		row(g.name, strconv.Itoa(all), share(right, all), share(kept, right), strconv.Itoa(wrong), strconv.Itoa(confidentWrong))
	}
	_ = w.Flush()
}

// storeConfidence writes a fitted map in its reader's place of the file.
func storeConfidence(path, readers string, c plate.Confidence) error {
	all := map[string]plate.Confidence{}
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, &all)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot read %s: %w", path, err)
	}
	all[readers] = c
	if b, err = json.MarshalIndent(all, "", " "); err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o644)
}

func keepReadings(path string, readings []reading) error {
	var b strings.Builder
	for _, r := range readings {
		fmt.Fprintf(&b, "%s\t%s\t%s\t%s\t%t", r.file, r.kind, r.truth, r.text, r.Right)
		for _, v := range r.Features {
			fmt.Fprintf(&b, "\t%.5f", v)
		}
		b.WriteByte('\n')
	}
	return os.WriteFile(path, []byte(b.String()), 0o644)
}

func keptReadings(path string) ([]reading, error) {
	if path == "" {
		return nil, fs.ErrNotExist
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // it was only read
	var all []reading
	lines := bufio.NewScanner(file)
	for n := 1; lines.Scan(); n++ {
		c := strings.Split(lines.Text(), "\t")
		r := reading{}
		if len(c) != 5+len(r.Features) {
			return nil, fmt.Errorf("%s, line %d: %d columns, not those of this program's features", path, n, len(c))
		}
		r.file, r.kind, r.truth, r.text, r.Right = c[0], c[1], c[2], c[3], c[4] == "true"
		for i := range r.Features {
			if r.Features[i], err = strconv.ParseFloat(c[5+i], 64); err != nil {
				return nil, fmt.Errorf("%s, line %d: %w", path, n, err)
			}
		}
		all = append(all, r)
	}
	return all, lines.Err()
}
