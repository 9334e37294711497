package camera

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	_ "image/jpeg" // these read a picture's size
	_ "image/png"
	"os"

	_ "golang.org/x/image/bmp"
	_ "golang.org/x/image/tiff"
	_ "golang.org/x/image/webp"

	"gocv.io/x/gocv"
)

// MaxPixels and MaxSide bound a picture. OpenCV ends the process for one that
// is larger still (2³⁰ pixels; 2¹⁵-1 on a side that is warped, 65,500 on one that
// becomes a JPEG), so the size is read before.
const (
	MaxPixels = 100 << 20
	MaxSide   = 1<<15 - 2
)

// MaxFile is the largest picture file that is read, in bytes.
const MaxFile = 64 << 20

// ReadPicture reads a picture file for Decode.
func ReadPicture(path string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case info.IsDir():
		return nil, errors.New("this is a directory; name the picture files")
	case !info.Mode().IsRegular(): // reading might never end
		return nil, fmt.Errorf("%s is no file with a picture", path)
	case info.Size() > MaxFile:
		return nil, fmt.Errorf("the file has %d MiB, more than %d", info.Size()>>20, MaxFile>>20)
	}
	return os.ReadFile(path)
}

// Decode makes a picture file's bytes H×W×3 BGR, uint8: JPEG, PNG, BMP, WebP,
// TIFF or PNM.
func Decode(b []byte) (gocv.Mat, error) {
	if len(b) == 0 {
		return gocv.Mat{}, errors.New("the picture is empty")
	}
	w, h, ok := pnmSize(b)
	if !ok {
		c, _, err := image.DecodeConfig(bytes.NewReader(b))
		if err != nil {
			return gocv.Mat{}, errNoPicture
		}
		w, h = c.Width, c.Height
	}
	switch {
	case w < 1 || h < 1:
		return gocv.Mat{}, errNoPicture
	case w > MaxSide || h > MaxSide || w*h > MaxPixels:
		return gocv.Mat{}, fmt.Errorf("the picture has %d×%d pixels, more than %d or %d on a side", w, h, MaxPixels, MaxSide)
	}
	m, err := gocv.IMDecode(b, gocv.IMReadColor)
	if err != nil {
		return gocv.Mat{}, fmt.Errorf("cannot decode the picture: %w", err)
	}
	if m.Empty() {
		_ = m.Close()
		return gocv.Mat{}, errNoPicture
	}
	return m, nil
}

var errNoPicture = errors.New("this is no picture that can be read (JPEG, PNG, BMP, WebP, TIFF or PNM), or it is damaged")

// pnmSize reads the header of a PBM, PGM or PPM file; a size that is no
// sensible number is 0.
func pnmSize(b []byte) (w, h int, ok bool) {
	if len(b) < 3 || b[0] != 'P' || b[1] < '1' || b[1] > '6' {
		return 0, 0, false
	}
	b = b[2:]
	number := func() (n int) {
		for len(b) > 0 && (b[0] == ' ' || b[0] >= '\t' && b[0] <= '\r' || b[0] == '#') {
			if b[0] != '#' {
				b = b[1:]
				continue
			}
			end := bytes.IndexAny(b, "\r\n") // as OpenCV does
			if end < 0 {
				end = len(b) - 1
			}
			b = b[end+1:]
		}
		for len(b) > 0 && b[0] >= '0' && b[0] <= '9' {
			n = min(n*10+int(b[0]-'0'), MaxSide+1)
			b = b[1:]
		}
		return n
	}
	w = number()
	h = number()
	return w, h, true
}
