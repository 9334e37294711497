package main

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"gatehouse/vision/link"
)

// row is one labelled picture.
type row struct {
	path, kind string
	truth      string
	boxes      []link.Box // in the order of truth, or none
	unlabelled bool       // further plates without label may be in the picture
	use, note  string
}

// readManifests reads every manifest.tsv in dir and below it, in order of path.
func readManifests(dir string) ([]row, error) {
	var rows []row
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() != "manifest.tsv" {
			return err
		}
		more, err := readManifest(path)
		rows = append(rows, more...)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot read the labels: %w", err)
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("cannot read the labels: there is no manifest.tsv with rows in %s or below it", dir)
	}
	return rows, nil
}

func readManifest(path string) ([]row, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // it was only read
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	var header []string
	var rows []row
	for n := 1; lines.Scan(); n++ {
		columns := strings.Split(strings.TrimRight(strings.TrimPrefix(lines.Text(), "\ufeff"), "\r"), "\t")
		if header == nil {
			header = columns
			if !slices.Contains(header, "file") || !slices.Contains(header, "kind") {
				return nil, fmt.Errorf("%s has no columns named file and kind in its first line", path)
			}
			continue
		}
		column := func(name string) string {
			if i := slices.Index(header, name); i >= 0 && i < len(columns) {
				return strings.TrimSpace(columns[i])
			}
			return ""
		}
		if column("file") == "" {
			continue
		}
		boxes, err := parseBoxes(column("boxes_xywh"))
		if err != nil {
			return nil, fmt.Errorf("%s, line %d: %w", path, n, err)
		}
		rows = append(rows, row{filepath.Join(filepath.Dir(path), filepath.FromSlash(column("file"))), column("kind"), column("truth"),
			boxes, strings.Contains(column("note"), "unlabelled plates"), column("use"), column("note")})
	}
	return rows, lines.Err()
}

// parseBoxes reads "x,y,w,h;x,y,w,h".
func parseBoxes(s string) ([]link.Box, error) {
	if s == "" {
		return nil, nil
	}
	var boxes []link.Box
	for _, one := range strings.Split(s, ";") {
		var v [4]int
		parts := strings.Split(one, ",")
		if len(parts) != 4 {
			return nil, errors.New("a box in boxes_xywh has not the form x,y,width,height")
		}
		for i, p := range parts {
			f, err := strconv.ParseFloat(strings.TrimSpace(p), 64)
			if err != nil || !(f > -1e6 && f < 1e6) {
				return nil, errors.New("a box in boxes_xywh has not the form x,y,width,height")
			}
			v[i] = int(f)
		}
		boxes = append(boxes, link.Box{Left: v[0], Top: v[1], Width: v[2], Height: v[3]})
	}
	return boxes, nil
}

// plateKind is the kind that the i-th of the row's plates is to be told as: where
// they are of several kinds, these are named with a + between, in their order.
func (r row) plateKind(i, plates int) string {
	kind := strings.TrimSuffix(r.kind, "_crop")
	if kinds := strings.Split(kind, "+"); len(kinds) == plates {
		kind = kinds[i]
	}
	if strings.HasPrefix(kind, "plate_") {
		return "overseas"
	}
	return kind
}

// plateTruths are the accepted readings of each labelled plate.
func (r row) plateTruths() [][]string {
	if r.truth == "" {
		// Boxes without text: plates to be found, whatever they say.
		return make([][]string, len(r.boxes))
	}
	var all [][]string
	for _, t := range strings.Split(r.truth, ";") {
		all = append(all, strings.Split(strings.TrimSpace(t), "/"))
	}
	return all
}

// reads reports whether text is an accepted reading; ? stands for any character.
func reads(text string, truths []string) bool {
	return slices.ContainsFunc(truths, func(truth string) bool {
		want, got := []rune(truth), []rune(text)
		if len(want) != len(got) {
			return false
		}
		for i := range want {
			if want[i] != '?' && want[i] != got[i] {
				return false
			}
		}
		return true
	})
}

// alike makes the characters equal that overseas plates print alike.
var alike = strings.NewReplacer("O", "0", "I", "1")

func readsAlike(text string, truths []string) bool {
	folded := make([]string, len(truths))
	for i, t := range truths {
		folded[i] = alike.Replace(t)
	}
	return reads(alike.Replace(text), folded)
}

// minOverlap takes a result for the labelled plate; the labels of tilted
// plates are upright boxes of the same centre, so it is low.
const minOverlap = 0.3

// assign gives each labelled plate the result that shows it, -1 for none:
// right readings first, then the best overlap, then, for plates without a
// labelled box, what is left over.
func assign(r row, plates []link.Plate) []int {
	truths := r.plateTruths()
	to := make([]int, len(truths))
	used := make([]bool, len(plates))
	give := func(i, j int) { to[i], used[j] = j, true }
	for i, t := range truths {
		to[i] = -1
		for j, p := range plates {
			if to[i] < 0 && !used[j] && reads(p.Text, t) {
				give(i, j)
			}
		}
	}
	for i := range truths {
		if to[i] >= 0 || i >= len(r.boxes) {
			continue
		}
		best := minOverlap
		pick := -1
		for j, p := range plates {
			if o := r.boxes[i].Overlap(p.Box); !used[j] && o >= best {
				best, pick = o, j
			}
		}
		if pick >= 0 {
			give(i, pick)
		}
	}
	for i, t := range truths {
		if to[i] >= 0 || i < len(r.boxes) {
			continue
		}
		for j, p := range plates {
			if used[j] || r.unlabelled && !similar(p.Text, t) {
				continue
			}
			give(i, j)
			break
		}
	}
	return to
}

// similar reports whether a text shares at least half of its characters, in
// place from the end, with a truth: then it is a misreading and not another plate.
func similar(text string, truths []string) bool {
	got := []rune(text)
	return slices.ContainsFunc(truths, func(truth string) bool {
		want := []rune(truth)
		same := 0
		for k := 1; k <= min(len(want), len(got)); k++ {
			if want[len(want)-k] == got[len(got)-k] {
				same++
			}
		}
		return 2*same >= len(want)
	})
}
