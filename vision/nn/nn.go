// Package nn runs neural networks in OpenCV's DNN module.
//
// GoCV does not catch C++ exceptions: a damaged model, an empty picture or a
// box outside the picture ends the process. Who calls this package has checked
// the model's hash (vision/models) and the picture's bounds before.
package nn

import (
	"errors"
	"fmt"
	"image"
	"os"
	"path/filepath"

	"gocv.io/x/gocv"
)

// Input says how a picture (H×W×3 BGR or H×W×1 grey, uint8) becomes the
// network's input: resized to Size, (pixel - Mean)·Scale, channels swapped to
// RGB where SwapRB.
type Input struct {
	Size   image.Point
	Mean   float64
	Scale  float64
	SwapRB bool
}

// ErrPicture is a picture that is empty or not H×W×3 BGR, uint8.
var ErrPicture = errors.New("the picture is empty or has not three channels of 8 bits")

// CheckPicture gives ErrPicture for what the recognisers cannot take.
func CheckPicture(picture gocv.Mat) error {
	if picture.Empty() || picture.Type() != gocv.MatTypeCV8UC3 {
		return ErrPicture
	}
	return nil
}

// Net is one network with one input shape. It is not safe for concurrent use.
type Net struct {
	net   gocv.Net
	input Input
	blob  gocv.Mat // the input; OpenCV fills it anew in place
	out   []float32
}

// Load reads the ONNX file of the given name in dir.
func Load(dir, name string, input Input) (*Net, error) {
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return nil, fmt.Errorf("cannot read the model: %w", err)
	}
	return Parse(b, input)
}

// Parse makes a network from the bytes of an ONNX file that OpenCV can read.
func Parse(model []byte, input Input) (*Net, error) {
	if len(model) == 0 {
		return nil, errors.New("cannot read the model: it is empty")
	}
	net, err := gocv.ReadNetFromONNXBytes(model)
	if err != nil {
		return nil, fmt.Errorf("cannot read the model: %w", err)
	}
	if net.Empty() {
		return nil, errors.New("cannot read the model: it has no layers")
	}
	return &Net{net: net, input: input, blob: gocv.NewMat()}, nil
}

// Close frees the network's memory.
func (n *Net) Close() {
	_ = n.net.Close()
	_ = n.blob.Close()
}

// Run returns the only output's values, valid until the next call. There is no
// way to read several: GoCV's leaks (onnx.Join makes one of them).
func (n *Net) Run(picture gocv.Mat) ([]float32, error) {
	n.feed(picture)
	out := n.net.Forward("")
	defer out.Close() //nolint:errcheck // a Mat's Close always returns nil
	if err := n.keep(&out); err != nil {
		return nil, err
	}
	return n.out, nil
}

func (n *Net) feed(picture gocv.Mat) {
	m := n.input.Mean
	gocv.BlobFromImages([]gocv.Mat{picture}, &n.blob, n.input.Scale, n.input.Size, gocv.NewScalar(m, m, m, 0), n.input.SwapRB, false, gocv.MatTypeCV32F)
	n.net.SetInput(n.blob, "")
}

func (n *Net) keep(m *gocv.Mat) error {
	values, err := m.DataPtrFloat32()
	if err != nil {
		return fmt.Errorf("cannot read the network's output: %w", err)
	}
	n.out = append(n.out[:0], values...)
	return nil
}
