package plate

import (
	"math"
	"strings"
	"testing"

	"gocv.io/x/gocv"
)

// The small recogniser loads in OpenCV, and each of its steps is a distribution
// over the blank, its keys and a space.
func TestSmallNet(t *testing.T) {
	net, err := newSmallNet()
	if err != nil {
		t.Fatal(err)
	}
	defer net.Close()
	keys := len(strings.Split(strings.TrimSpace(smallKeys), "\n")) + 2
	picture := gocv.NewMatWithSizeFromScalar(gocv.NewScalar(180, 70, 20, 0), lineHeight, lineWidth, gocv.MatTypeCV8UC3)
	defer picture.Close() //nolint:errcheck // a Mat's Close always returns nil
	steps, err := net.Run(picture)
	if err != nil {
		t.Fatal(err)
	}
	if len(steps) != smallSteps*keys {
		t.Fatalf("%d values for %d steps of %d", len(steps), smallSteps, keys)
	}
	for i := range smallSteps {
		sum, blank := 0.0, float64(steps[i*keys])
		for _, p := range steps[i*keys : (i+1)*keys] {
			sum += float64(p)
		}
		if math.Abs(sum-1) > 1e-4 || blank < .5 {
			t.Errorf("step %d of an empty plate: sum %v, blank %v", i, sum, blank)
		}
	}
}
