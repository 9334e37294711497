package main

import (
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"gocv.io/x/gocv"

	"gatehouse/sync/errcode"
	"gatehouse/vision/link"
)

// seen is one line of detect --json.
type seen struct {
	File   string             `json:"file"`
	Width  int                `json:"width"`
	Height int                `json:"height"`
	Plates []link.Plate       `json:"plates"`
	Faces  []link.Face        `json:"faces"`
	MS     map[string]float64 `json:"ms"`
	Error  string             `json:"error,omitempty"`
	// ErrorCode is the error table's: 3006, 1110, 4001, 3001, with --draw 3005, and with --need 4002 and 3002; 0 where it has none.
	ErrorCode errcode.Code `json:"error_code,omitempty"`
}

func (s *seen) fail(err error) {
	s.Error, s.ErrorCode = err.Error(), codeOf(err)
}

// detect looks at picture files one by one; a file that cannot be read is
// reported and does not stop the others, but the program then exits with 1.
func detect(args []string, out io.Writer) error {
	f := newFlags("detect", "FILE…", "Finds plates and faces in picture files.")
	asJSON := f.Bool("json", false, "one JSON object per line and file")
	features := f.Bool("features", false, "with --json: add each face's feature (512 values)")
	need := f.String("need", "", "plate or face: a picture without one is an error (4002, 3002)")
	draw := f.String("draw", "", "write the pictures with the results drawn into this directory")
	dir := f.String("models", "", "model directory (default: found by itself)")
	reading := readingFlags(f)
	files, err := parse(f, args, 1, -1)
	if err != nil {
		return err
	}
	if *need != "" && *need != "plate" && *need != "face" {
		return usageError{fmt.Errorf("--need is plate or face, not %q", *need)}
	}
	e, err := openEyesWith(*dir, reading())
	if err != nil {
		return err
	}
	defer e.close()
	if *draw != "" {
		if err := os.MkdirAll(*draw, 0o755); err != nil {
			return fmt.Errorf("cannot make the directory of --draw: %w", err)
		}
	}
	bad := 0
	for _, file := range files {
		s := e.file(file, *features, *draw)
		switch {
		case s.Error != "":
		case *need == "plate" && len(s.Plates) == 0:
			s.fail(errcode.New(errcode.PlateNotDetected, ""))
		case *need == "face" && len(s.Faces) == 0:
			s.fail(errcode.New(errcode.FaceNotDetected, ""))
		}
		if s.Error != "" {
			bad++
		}
		if *asJSON {
			if err := json.NewEncoder(out).Encode(s); err != nil {
				return err
			}
		} else {
			printSeen(out, s)
		}
	}
	if bad > 0 {
		return fmt.Errorf("%d of %d files gave an error", bad, len(files))
	}
	return nil
}

func (e *eyes) file(path string, features bool, draw string) seen {
	s := seen{File: path, Plates: []link.Plate{}, Faces: []link.Face{}, MS: map[string]float64{}}
	begin := time.Now()
	picture, err := load(path)
	if err != nil {
		s.fail(err)
		return s
	}
	defer picture.Close() //nolint:errcheck // a Mat's Close always returns nil
	s.Width, s.Height = picture.Cols(), picture.Rows()
	s.MS["decode"] = ms(time.Since(begin))
	saw, err := e.look(picture, wanted{plates: true, faces: true, features: features, far: true})
	if err != nil {
		s.fail(err)
		return s
	}
	s.Plates, s.Faces = saw.Plates, saw.Faces
	for stage, t := range saw.MS {
		s.MS[stage] = t
	}
	s.MS["total"] = ms(time.Since(begin))
	if draw != "" {
		if err := drawn(picture, s, filepath.Join(draw, drawnName(path))); err != nil {
			s.fail(coded(errcode.SaveImageFailed, err))
		}
	}
	return s
}

// drawnName keeps pictures of the same name in different directories apart.
func drawnName(path string) string {
	name := strings.Trim(strings.ReplaceAll(filepath.ToSlash(filepath.Clean(path)), "/", "_"), "._")
	return strings.TrimSuffix(name, filepath.Ext(name)) + ".jpg"
}

func printSeen(out io.Writer, s seen) {
	if s.Error != "" {
		_, _ = fmt.Fprintf(out, "%s: %s\n", s.File, s.Error)
		return
	}
	_, _ = fmt.Fprintf(out, "%s: %d×%d, %.0f ms, %d plates, %d faces\n", s.File, s.Width, s.Height, s.MS["total"], len(s.Plates), len(s.Faces))
	for _, p := range s.Plates {
		_, _ = fmt.Fprintf(out, "  plate %-10s %.3f %s %s at %d,%d %d×%d\n", p.Text, p.Score, p.Kind, p.Color, p.Box.Left, p.Box.Top, p.Box.Width, p.Box.Height)
	}
	for _, f := range s.Faces {
		_, _ = fmt.Fprintf(out, "  face %.3f at %d,%d %d×%d\n", f.Score, f.Box.Left, f.Box.Top, f.Box.Width, f.Box.Height)
	}
}

// drawn writes the picture with outlines and texts; characters outside ASCII
// are drawn by this program's own plate renderer's font.
func drawn(picture gocv.Mat, s seen, path string) error {
	m := picture.Clone()
	defer m.Close() //nolint:errcheck // a Mat's Close always returns nil
	thick := max(1, m.Cols()/400)
	green, orange := color.RGBA{G: 220, A: 255}, color.RGBA{R: 255, G: 140, A: 255}
	for _, p := range s.Plates {
		corners := make([]image.Point, 4)
		for i, c := range p.Corners {
			corners[i] = image.Pt(int(math.Round(c.X)), int(math.Round(c.Y)))
		}
		points := gocv.NewPointsVectorFromPoints([][]image.Point{corners})
		gocv.Polylines(&m, points, true, green, thick)
		points.Close()
		label(&m, fmt.Sprintf("%s %.2f", p.Text, p.Score), image.Pt(p.Box.Left, p.Box.Top), green)
	}
	for _, f := range s.Faces {
		gocv.Rectangle(&m, image.Rect(f.Box.Left, f.Box.Top, f.Box.Left+f.Box.Width, f.Box.Top+f.Box.Height), orange, thick)
		label(&m, fmt.Sprintf("%.2f", f.Score), image.Pt(f.Box.Left, f.Box.Top), orange)
	}
	b, err := gocv.IMEncodeWithParams(gocv.JPEGFileExt, m, []int{gocv.IMWriteJpegQuality, 90})
	if err != nil {
		return fmt.Errorf("cannot encode the drawn picture: %w", err)
	}
	defer b.Close()
	if err := os.WriteFile(path, b.GetBytes(), 0o644); err != nil {
		return fmt.Errorf("cannot write the drawn picture: %w", err)
	}
	return nil
}
