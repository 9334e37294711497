package plate

import (
	_ "embed" // the net and its characters
	"fmt"
	"image"

	"gatehouse/vision/nn"
)

// The small recogniser of our own: plain convolutions, 441 thousand parameters,
// trained for number plates alone (train/reader.md). It takes the same cut of a
// plate as PP-OCR's and answers in the same form, a row of probabilities per
// step from left to right: the blank, one per line of its key file, a space.
var (
	//go:embed weights/plate_small.onnx
	smallNet []byte
	//go:embed weights/plate_small_keys.txt
	smallKeys string
)

// smallSteps is how many steps it answers with: one for four pixels of the cut.
const smallSteps = 40

// newSmallNet loads it; smallKeys are its characters (text.NewDecoder).
func newSmallNet() (*nn.Net, error) {
	net, err := nn.Parse(smallNet, nn.Input{Size: image.Pt(lineWidth, lineHeight), Mean: 127.5, Scale: 1 / 127.5})
	if err != nil {
		return nil, fmt.Errorf("cannot load the small recogniser: %w", err)
	}
	return net, nil
}
