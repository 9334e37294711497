package onnx

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"testing"
)

// example has one of everything that is read and written.
func example() *Model {
	return &Model{IR: 8, Opset: 11, Graph: Graph{
		Name: "g",
		Nodes: []*Node{
			{Name: "n", Op: "Conv", Inputs: []string{"x", "w", ""}, Outputs: []string{"y"}, Attributes: []Attribute{
				{Name: "alpha", Type: TypeFloat, F: .5}, {Name: "group", Type: TypeInt, I: -2}, {Name: "mode", Type: TypeString, S: []byte("m")},
				{Name: "pads", Type: TypeInts, Ints: []int64{1, 0, -1}}, {Name: "scales", Type: TypeFloats, Floats: []float32{1, 2}},
				{Name: "value", Type: TypeTensor, T: &Tensor{Name: "t", Dims: []int64{1}, Type: Int64, Ints: []int64{7}}},
			}},
		},
		Initializers: []*Tensor{
			{Name: "w", Dims: []int64{2, 2}, Type: Float32, Floats: []float32{1, 2, 3, float32(math.Pi)}},
			{Name: "s", Dims: []int64{2}, Type: Int64, Ints: []int64{-1, 1 << 40}},
		},
		Inputs:  []Value{{Name: "x", Type: Float32, Dims: []int64{1, 3, 48, 160}}},
		Outputs: []Value{{Name: "y", Type: Float32, Dims: []int64{1, 20}}},
	}}
}

func TestRoundTrip(t *testing.T) {
	m := example()
	got, err := Parse(m.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, m) {
		t.Errorf("got\n%+v\nwant\n%+v", got, m)
	}
	if !bytes.Equal(got.Bytes(), m.Bytes()) {
		t.Error("written again it is different")
	}
}

func TestNotFinite(t *testing.T) {
	m := example()
	if !m.Finite() {
		t.Error("the example is finite")
	}
	m.Graph.Initializers[0].Floats[1] = float32(math.NaN())
	if m.Finite() {
		t.Error("a NaN is finite")
	}
}

// Constants, the bounds of Clip and the shape of the input become what OpenCV
// 4.6 can read.
func TestAdaptFolds(t *testing.T) {
	m := &Model{IR: 8, Opset: 11, Graph: Graph{
		Nodes: []*Node{
			{Op: "Constant", Outputs: []string{"low"}, Attributes: []Attribute{{Name: "value", Type: TypeTensor, T: &Tensor{Type: Float32, Floats: []float32{0}}}}},
			{Op: "Constant", Outputs: []string{"high"}, Attributes: []Attribute{{Name: "value", Type: TypeTensor, T: &Tensor{Type: Float32, Floats: []float32{6}}}}},
			{Op: "Clip", Inputs: []string{"x", "low", "high"}, Outputs: []string{"y"}},
		},
		Inputs:  []Value{{Name: "x", Type: Float32, Dims: []int64{-1, 3, -1, -1}}},
		Outputs: []Value{{Name: "y", Type: Float32}},
	}}
	if err := Adapt(m, []int64{1, 3, 8, 8}); err != nil {
		t.Fatal(err)
	}
	if len(m.Graph.Nodes) != 1 || len(m.Graph.Initializers) != 0 {
		t.Fatalf("%d nodes, %d initializers are left", len(m.Graph.Nodes), len(m.Graph.Initializers))
	}
	n := m.Graph.Nodes[0]
	if n.Op != "Clip" || len(n.Inputs) != 1 || n.Attr("min") == nil || n.Attr("max") == nil || n.Attr("max").F != 6 {
		t.Errorf("%+v", n)
	}
	if !reflect.DeepEqual(m.Graph.Inputs[0].Dims, []int64{1, 3, 8, 8}) {
		t.Error(m.Graph.Inputs[0].Dims)
	}
}

// filter is a model of one depthwise convolution of 5×5 over three channels.
func filter(width, stride int64) *Model {
	w, bias := make([]float32, 3*25), []float32{.5, -1, 2}
	for i := range w {
		w[i] = float32(i%11) - 4
	}
	list := func(name string, ints ...int64) Attribute { return Attribute{Name: name, Type: TypeInts, Ints: ints} }
	return &Model{IR: 8, Opset: 9, Graph: Graph{
		Nodes: []*Node{{Op: "Conv", Inputs: []string{"x", "w", "b"}, Outputs: []string{"y"}, Attributes: []Attribute{
			list("kernel_shape", 5, 5), list("strides", 2, stride), list("pads", 2, 2, 2, 2), {Name: "group", Type: TypeInt, I: 3}}}},
		Initializers: []*Tensor{{Name: "w", Dims: []int64{3, 1, 5, 5}, Type: Float32, Floats: w}, {Name: "b", Dims: []int64{3}, Type: Float32, Floats: bias}},
		Inputs:       []Value{{Name: "x", Type: Float32, Dims: []int64{1, 3, 12, width}}},
		Outputs:      []Value{{Name: "y", Type: Float32}},
	}}
}

// A depthwise convolution of 5×5 is split where OpenCV has a fast one of 3×3, and
// the parts hold its weights, each once; that they compute the same is shown in
// vision/nn.
func TestAdaptSplits(t *testing.T) {
	m := filter(40, 1)
	if err := Adapt(m, m.Graph.Inputs[0].Dims); err != nil {
		t.Fatal(err)
	}
	var ops []string
	for _, n := range m.Graph.Nodes {
		ops = append(ops, n.Op)
	}
	if want := []string{"Pad", "Pad", "Conv", "Conv", "Conv", "Conv", "Sum"}; !reflect.DeepEqual(ops, want) {
		t.Errorf("the nodes are %v, not %v", ops, want)
	}
	if got := m.Graph.Outputs[0].Dims; !reflect.DeepEqual(got, []int64{1, 3, 6, 40}) {
		t.Error("the output is", got)
	}
	total := func(m *Model) (sum float32) {
		for _, c := range m.Graph.Initializers {
			for _, f := range c.Floats {
				sum += f
			}
		}
		return sum
	}
	if whole := total(filter(40, 1)); total(m) != whole {
		t.Errorf("the parts' weights add up to %v, not %v", total(m), whole)
	}
	flat := filter(40, 1)
	flat.Graph.Inputs[0].Dims[2] = 2
	for name, m := range map[string]*Model{"narrow": filter(19, 1), "flat": flat, "every other column": filter(40, 2)} {
		if err := Adapt(m, m.Graph.Inputs[0].Dims); err != nil || len(m.Graph.Nodes) != 1 {
			t.Errorf("%s: %d nodes, %v", name, len(m.Graph.Nodes), err)
		}
	}
}

// Single constants beside a convolution become part of it, but not before one
// that reaches beyond the edge, and not where the value between is used twice.
func TestAdaptScales(t *testing.T) {
	tensor := func(name string, dims []int64, floats ...float32) *Tensor {
		return &Tensor{Name: name, Dims: dims, Type: Float32, Floats: floats}
	}
	conv := func(in, w, b, out string, reach int64) *Node {
		return &Node{Op: "Conv", Inputs: []string{in, w, b}, Outputs: []string{out}, Attributes: []Attribute{
			{Name: "kernel_shape", Type: TypeInts, Ints: []int64{1, 1}}, {Name: "strides", Type: TypeInts, Ints: []int64{1, 1}},
			{Name: "pads", Type: TypeInts, Ints: []int64{reach, reach, reach, reach}}}}
	}
	with := func(op, in, k, out string) *Node {
		return &Node{Op: op, Inputs: []string{in, k}, Outputs: []string{out}}
	}
	adapted := func(nodes ...*Node) *Model {
		t.Helper()
		m := &Model{IR: 8, Opset: 9, Graph: Graph{
			Nodes: nodes,
			Initializers: []*Tensor{tensor("w", []int64{2, 2, 1, 1}, 1, 2, 3, 4), tensor("b", []int64{2}, 5, 6), tensor("two", nil, 2), tensor("ten", []int64{1}, 10),
				tensor("each", []int64{2, 1, 1}, 1, 2)},
			Inputs:  []Value{{Name: "x", Type: Float32, Dims: []int64{1, 2, 4, 4}}},
			Outputs: []Value{{Name: "y", Type: Float32}},
		}}
		if err := Adapt(m, m.Graph.Inputs[0].Dims); err != nil {
			t.Fatal(err)
		}
		return m
	}
	// ((x/2)·10 + 2) through the convolution, then (10 + it)·2.
	m := adapted(with("Div", "x", "two", "half"), with("Mul", "half", "ten", "more"), with("Add", "more", "two", "in"),
		conv("in", "w", "b", "out", 0), with("Add", "ten", "out", "sum"), with("Mul", "sum", "two", "y"))
	if len(m.Graph.Nodes) != 1 {
		t.Fatalf("%d nodes are left", len(m.Graph.Nodes))
	}
	n := m.Graph.Nodes[0]
	if n.Inputs[0] != "x" || n.Outputs[0] != "y" {
		t.Errorf("it goes from %s to %s", n.Inputs[0], n.Outputs[0])
	}
	for _, c := range m.Graph.Initializers {
		want := []float32{10, 20, 30, 40} // w · 10/2 · 2
		if len(c.Dims) == 1 {
			want = []float32{(5 + 2*(1+2) + 10) * 2, (6 + 2*(3+4) + 10) * 2}
		}
		if !reflect.DeepEqual(c.Floats, want) {
			t.Errorf("%s is %v, not %v", c.Name, c.Floats, want)
		}
	}
	// Two convolutions with the same weights, one of which takes a constant up.
	m = adapted(conv("x", "w", "b", "once", 0), with("Mul", "once", "two", "twice"), conv("twice", "w", "b", "y", 1))
	if len(m.Graph.Nodes) != 2 || m.Graph.Nodes[1].Inputs[1] != "w" || m.Graph.Nodes[0].Inputs[1] == "w" {
		t.Errorf("the second one's weights are %v, the first one's %v", m.Graph.Nodes[1].Inputs, m.Graph.Nodes[0].Inputs)
	}
	// A value that is the output stays, even if a convolution takes it too.
	m = adapted(with("Add", "x", "two", "y"), conv("y", "w", "b", "z", 0))
	if len(m.Graph.Nodes) != 1 || m.Graph.Nodes[0].Op != "Add" {
		t.Errorf("of the output are left %d nodes", len(m.Graph.Nodes))
	}
	for name, m := range map[string]*Model{
		"before one with edges":   adapted(with("Add", "x", "two", "in"), conv("in", "w", "b", "y", 1)),
		"used before, too":        adapted(with("Add", "x", "two", "in"), conv("in", "w", "b", "out", 0), with("Add", "out", "in", "y")),
		"used twice":              adapted(conv("x", "w", "b", "out", 0), with("Mul", "out", "out", "y")),
		"used with and without":   adapted(conv("x", "w", "b", "out", 0), with("Mul", "out", "two", "twice"), with("Add", "twice", "out", "y")),
		"a constant a channel":    adapted(conv("x", "w", "b", "out", 0), with("Mul", "out", "each", "y")),
		"a constant over a value": adapted(conv("x", "w", "b", "out", 0), with("Div", "two", "out", "y")),
	} {
		if len(m.Graph.Nodes) < 2 {
			t.Errorf("%s: it became part of the convolution", name)
		}
	}
}

func TestJoin(t *testing.T) {
	m := example()
	m.Graph.Outputs = append(m.Graph.Outputs, Value{Name: "z", Type: Float32, Dims: []int64{1, 5}})
	if err := Join(m, 1); err != nil {
		t.Fatal(err)
	}
	if out := m.Graph.Outputs; len(out) != 1 || !reflect.DeepEqual(out[0].Dims, []int64{1, 25}) {
		t.Errorf("the outputs are %+v", out)
	}
	last := m.Graph.Nodes[len(m.Graph.Nodes)-1]
	if last.Op != "Concat" || !reflect.DeepEqual(last.Inputs, []string{"y", "z"}) || last.Int("axis", 0) != 1 || last.Outputs[0] != m.Graph.Outputs[0].Name {
		t.Errorf("%+v", last)
	}
	for name, bad := range map[string]struct {
		axis int64
		dims []int64
	}{
		"no such axis":      {2, []int64{1, 5}},
		"another long axis": {1, []int64{2, 5}},
		"another shape":     {1, []int64{1, 5, 1}},
	} {
		m := example()
		m.Graph.Outputs = append(m.Graph.Outputs, Value{Name: "z", Type: Float32, Dims: bad.dims})
		if err := Join(m, bad.axis); !errors.Is(err, ErrFormat) || len(m.Graph.Outputs) != 2 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(example().Bytes())
	f.Add(filter(40, 1).Bytes())
	scaled := filter(40, 1)
	scaled.Graph.Nodes[0].Outputs[0] = "z"
	scaled.Graph.Nodes = append(scaled.Graph.Nodes, &Node{Op: "Mul", Inputs: []string{"z", "k"}, Outputs: []string{"y"}})
	scaled.Graph.Initializers = append(scaled.Graph.Initializers, &Tensor{Name: "k", Type: Float32, Floats: []float32{2}})
	f.Add(scaled.Bytes())
	f.Add([]byte{0x3a, 0x05, 0x0a, 0x03, 0x22, 0x01, 'R'})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Parse(b)
		if err != nil {
			return
		}
		if other, err := Parse(b); err == nil && Join(other, 1) == nil {
			_ = other.Bytes()
		}
		if err := Adapt(m, []int64{1, 3, 48, 160}); err != nil {
			return
		}
		_ = m.Bytes()
	})
}
