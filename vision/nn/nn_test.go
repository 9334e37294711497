package nn

import (
	"image"
	"math"
	"math/rand/v2"
	"testing"

	"gocv.io/x/gocv"

	"gatehouse/vision/models/onnx"
)

// blur is a model of one depthwise convolution of 5×5 over three channels, with
// every so many rows.
func blur(size image.Point, rows int64) *onnx.Model {
	random := rand.New(rand.NewPCG(1, 2))
	weights := make([]float32, 3*25)
	for i := range weights {
		weights[i] = random.Float32() - .5
	}
	list := func(name string, ints ...int64) onnx.Attribute {
		return onnx.Attribute{Name: name, Type: onnx.TypeInts, Ints: ints}
	}
	value := func(name string) onnx.Value {
		return onnx.Value{Name: name, Type: onnx.Float32, Dims: []int64{1, 3, int64(size.Y), int64(size.X)}}
	}
	return &onnx.Model{IR: 8, Opset: 9, Graph: onnx.Graph{
		Nodes: []*onnx.Node{{Name: "blur", Op: "Conv", Inputs: []string{"x", "w", "b"}, Outputs: []string{"y"}, Attributes: []onnx.Attribute{
			list("kernel_shape", 5, 5), list("strides", rows, 1), list("pads", 2, 2, 2, 2), {Name: "group", Type: onnx.TypeInt, I: 3}}}},
		Initializers: []*onnx.Tensor{{Name: "w", Dims: []int64{3, 1, 5, 5}, Type: onnx.Float32, Floats: weights},
			{Name: "b", Dims: []int64{3}, Type: onnx.Float32, Floats: []float32{.5, -1, 2}}},
		Inputs:  []onnx.Value{value("x")},
		Outputs: []onnx.Value{value("y")},
	}}
}

// The parts of a split convolution (onnx.Adapt) give in OpenCV what it gives
// whole, at the edges too.
func TestSplitIsTheSame(t *testing.T) {
	for _, size := range []image.Point{{X: 40, Y: 12}, {X: 20, Y: 3}, {X: 33, Y: 7}} {
		for _, rows := range []int64{1, 2} {
			picture := gocv.NewMatWithSize(size.Y, size.X, gocv.MatTypeCV8UC3)
			defer picture.Close() //nolint:errcheck // always nil
			gocv.RandU(&picture, gocv.Scalar{}, gocv.NewScalar(255, 255, 255, 0))
			whole, split := blur(size, rows), blur(size, rows)
			if err := onnx.Adapt(split, split.Graph.Inputs[0].Dims); err != nil || len(split.Graph.Nodes) < 2 {
				t.Fatalf("it was not split: %v", err)
			}
			var out [2][]float32
			for i, m := range []*onnx.Model{whole, split} {
				net, err := Parse(m.Bytes(), Input{Size: size, Mean: 127.5, Scale: 1 / 127.5})
				if err != nil {
					t.Fatal(err)
				}
				defer net.Close()
				values, err := net.Run(picture)
				if err != nil {
					t.Fatal(err)
				}
				out[i] = append(out[i], values...)
			}
			if len(out[0]) != len(out[1]) || len(out[0]) == 0 {
				t.Fatalf("%v: %d and %d values", size, len(out[0]), len(out[1]))
			}
			for i := range out[0] {
				if d := math.Abs(float64(out[0][i] - out[1][i])); !(d < 1e-4) {
					t.Fatalf("%v, every %d rows: value %d is %v and not %v", size, rows, i, out[1][i], out[0][i])
				}
			}
		}
	}
}
