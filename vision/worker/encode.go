package main

import (
	"fmt"
	"image"

	"gocv.io/x/gocv"

	"gatehouse/vision/link"
)

// cutOut is the picture of a plate with a little of what is around it.
func (w *worker) cutOut(picture gocv.Mat, b link.Box) ([]byte, error) {
	dx, dy := b.Width/6+2, b.Height/4+2
	area := image.Rect(b.Left-dx, b.Top-dy, b.Left+b.Width+dx, b.Top+b.Height+dy).Intersect(image.Rect(0, 0, picture.Cols(), picture.Rows()))
	if area.Empty() {
		return nil, nil
	}
	part := picture.Region(area)
	defer part.Close() //nolint:errcheck // a Mat's Close always returns nil
	return w.crop.encode(part)
}

// encoder makes JPEGs of at most so many bytes. It remembers the quality that
// fitted, since a camera's pictures are much alike.
type encoder struct {
	most    int // 0: no picture is wanted
	quality int
}

func (e *encoder) encode(picture gocv.Mat) ([]byte, error) {
	if e.most <= 0 {
		return nil, nil
	}
	const lowest, highest = 35, 90
	small := picture
	defer func() {
		if small.Ptr() != picture.Ptr() {
			_ = small.Close()
		}
	}()
	for {
		buffer, err := gocv.IMEncodeWithParams(gocv.JPEGFileExt, small, []int{gocv.IMWriteJpegQuality, e.quality})
		if err != nil {
			return nil, fmt.Errorf("cannot encode the picture: %w", err)
		}
		size := buffer.Len()
		if size <= e.most {
			out := append([]byte(nil), buffer.GetBytes()...)
			buffer.Close()
			if size < e.most*6/10 {
				e.quality = min(highest, e.quality+5)
			}
			return out, nil
		}
		buffer.Close()
		if e.quality > lowest {
			e.quality = max(lowest, e.quality-10)
			continue
		}
		if small.Cols() < 64 || small.Rows() < 64 {
			return nil, nil // no picture of use fits
		}
		half := gocv.NewMat()
		gocv.Resize(small, &half, image.Pt(small.Cols()*7/10, small.Rows()*7/10), 0, 0, gocv.InterpolationArea)
		if small.Ptr() != picture.Ptr() {
			_ = small.Close()
		}
		small = half
	}
}
