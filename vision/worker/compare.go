package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"gatehouse/sync/errcode"
	"gatehouse/vision/face"
	"gatehouse/vision/link"
)

// compared is one line of compare --json.
type compared struct {
	A          string   `json:"a"`
	B          string   `json:"b"`
	Similarity *float64 `json:"similarity"`     // null where there is an error
	Poor       []string `json:"poor,omitempty"` // faces that the agent would not compare, and why
	Error      string   `json:"error,omitempty"`
	// ErrorCode is the error table's: 1110, 3001, 3002, 3003, 3006.
	ErrorCode errcode.Code `json:"error_code,omitempty"`
}

// compare tells how alike the main faces of two pictures are.
func compare(args []string, out io.Writer) error {
	f := newFlags("compare", "A B | --pairs FILE", fmt.Sprintf("Cosine similarity of the main faces of two pictures; the same person from %.2f on.", face.Threshold))
	asJSON := f.Bool("json", false, "one JSON object per line and pair")
	list := f.String("pairs", "", "tab-separated file with the pairs in its first two columns; names are relative to it")
	strict := f.Bool("strict", false, "a face that the agent would not compare (small, turned, blurred, …) is an error (3003)")
	dir := f.String("models", "", "model directory (default: found by itself)")
	files, err := parse(f, args, 0, 2)
	if err != nil {
		return err
	}
	var pairs [][2]string
	switch {
	case *list != "" && len(files) == 0:
		if pairs, err = readPairs(*list); err != nil {
			return err
		}
	case *list == "" && len(files) == 2:
		pairs = [][2]string{{files[0], files[1]}}
	default:
		return usageError{errors.New("compare takes two pictures, or --pairs FILE")}
	}
	e, err := openEyes(*dir)
	if err != nil {
		return err
	}
	defer e.close()
	known := map[string]answer{}
	var first error
	for _, p := range pairs {
		c := compared{A: p[0], B: p[1]}
		a, b := e.mainFeature(p[0], *list, known), e.mainFeature(p[1], *list, known)
		err := errors.Join(a.err, b.err)
		for _, x := range []answer{a, b} {
			switch {
			case x.poor == "":
			case *strict:
				err = errors.Join(err, errcode.New(errcode.FaceFeatureFailed, x.poor))
			default:
				c.Poor = append(c.Poor, x.poor)
			}
		}
		if err != nil {
			c.Error, c.ErrorCode = strings.ReplaceAll(err.Error(), "\n", "; "), codeOf(err)
			if first == nil {
				first = errors.New(c.Error)
			}
		} else {
			s := face.Similarity(a.feature, b.feature)
			c.Similarity = &s
		}
		if *asJSON {
			if err := json.NewEncoder(out).Encode(c); err != nil {
				return err
			}
			continue
		}
		text := "no value: " + c.Error
		if c.Similarity != nil {
			text = strings.Join(append([]string{fmt.Sprintf("%.4f", *c.Similarity)}, c.Poor...), "\t")
		}
		_, _ = fmt.Fprintf(out, "%s\t%s\t%s\n", c.A, c.B, text)
	}
	if len(pairs) == 1 {
		return first
	}
	return nil
}

// answer is a picture's main face, or why there is none.
type answer struct {
	feature []float32
	poor    string // why the agent would not compare it; empty: it would
	err     error
}

func (e *eyes) mainFeature(name, list string, known map[string]answer) answer {
	path := name
	if list != "" && !filepath.IsAbs(name) {
		path = filepath.Join(filepath.Dir(list), name)
		if _, err := os.Stat(path); err != nil {
			path = name // relative to here, as a second try
		}
	}
	if a, ok := known[path]; ok {
		return a
	}
	var quality link.FaceQuality
	a := answer{}
	quality, a.feature, a.err = e.featureOf(path)
	switch {
	case a.err != nil:
		a.err = fmt.Errorf("%s: %w", name, a.err)
	case !quality.Usable():
		a.poor = name + ": the face is " + quality.Why
	}
	known[path] = a
	return a
}

// featureOf is the feature of the main face of a picture file, of any quality.
func (e *eyes) featureOf(path string) (quality link.FaceQuality, feature []float32, err error) {
	picture, err := load(path)
	if err != nil {
		return quality, nil, err
	}
	defer picture.Close() //nolint:errcheck // a Mat's Close always returns nil
	faces, err := e.faces.Find(picture)
	if err != nil {
		return quality, nil, coded(errcode.FaceDetectFailed, err)
	}
	if len(faces) == 0 {
		return quality, nil, errcode.New(errcode.FaceNotDetected, "")
	}
	quality, feature, err = e.faces.Describe(picture, faces[0].Box, true)
	if err != nil {
		return quality, nil, coded(errcode.FaceFeatureFailed, err)
	}
	return quality, feature, nil
}

// readPairs reads the first two columns; a header line is left out.
func readPairs(path string) ([][2]string, error) {
	all, err := readColumns(path, 2)
	pairs := make([][2]string, len(all))
	for i, c := range all {
		pairs[i] = [2]string{c[0], c[1]}
	}
	return pairs, err
}

// readColumns reads a tab-separated file of at least so many columns; a header
// line (without file names) and empty lines are left out.
func readColumns(path string, least int) ([][]string, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the pairs: %w", err)
	}
	defer file.Close() //nolint:errcheck // it was only read
	var all [][]string
	lines := bufio.NewScanner(file)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimRight(strings.TrimPrefix(lines.Text(), "\ufeff"), "\r")
		if strings.TrimSpace(line) == "" {
			continue
		}
		columns := strings.Split(line, "\t")
		if len(columns) < least {
			return nil, fmt.Errorf("cannot read the pairs: line %d of %s has fewer than %d columns (they are separated by tabs)", n, path, least)
		}
		if n == 1 && filepath.Ext(columns[0]) == "" && filepath.Ext(columns[1]) == "" {
			continue
		}
		all = append(all, columns)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("cannot read the pairs: %w", err)
	}
	return all, nil
}
