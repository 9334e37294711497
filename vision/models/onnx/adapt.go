package onnx

import (
	"fmt"
	"math"
	"slices"
)

// Adapt turns a PaddleOCR v4 model, as paddle2onnx writes it, into one that
// OpenCV 4.6 loads and computes rightly. It changes the model in place:
//
//   - Constant nodes become initializers;
//   - the input gets the dimensions given, and every value that follows from
//     dimensions alone (Shape, Slice, Cast, Concat) becomes a constant;
//   - the bounds of Clip become attributes;
//   - a product with a constant matrix becomes a Gemm with that matrix
//     transposed and a bias of one dimension;
//   - a layer norm written out in nine nodes becomes an instance norm over one
//     row per position, followed by a Gemm with a diagonal matrix;
//   - single constants become part of the convolution beside them, and a
//     depthwise convolution of 5×5 becomes four of 3×3, which are fast.
//
// The result computes the same function but for rounding.
func Adapt(m *Model, input []int64) error {
	if len(m.Graph.Inputs) != 1 || len(m.Graph.Outputs) != 1 {
		return fmt.Errorf("%w: one input and one output are needed", ErrFormat)
	}
	a := &adapter{m: m, constants: map[string]*Tensor{}, shapes: map[string][]int64{}}
	for _, t := range m.Graph.Initializers {
		a.constants[t.Name], a.shapes[t.Name] = t, append([]int64{}, t.Dims...)
	}
	m.Graph.Inputs[0].Dims = input
	a.shapes[m.Graph.Inputs[0].Name] = input
	nodes := m.Graph.Nodes
	m.Graph.Nodes = nil
	for _, n := range nodes {
		if err := a.fold(n); err != nil {
			return fmt.Errorf("cannot adapt %s %v: %w", n.Op, n.Outputs, err)
		}
	}
	if err := a.layerNorms(); err != nil {
		return err
	}
	if err := a.products(); err != nil {
		return err
	}
	a.scales()
	a.depthwise()
	a.sweep()
	out := &m.Graph.Outputs[0]
	if shape := a.shapes[out.Name]; shape != nil {
		out.Dims = shape
	}
	return nil
}

type adapter struct {
	m         *Model
	constants map[string]*Tensor
	shapes    map[string][]int64 // of the values whose shape is known
	own       map[*Node]bool     // convolutions whose constants nobody else uses (scales)
	serial    int
}

func (a *adapter) constant(t *Tensor) string {
	if t.Name == "" {
		a.serial++
		t.Name = fmt.Sprintf("gatehouse_%d", a.serial)
	}
	a.constants[t.Name], a.shapes[t.Name] = t, append([]int64{}, t.Dims...)
	a.m.Graph.Initializers = append(a.m.Graph.Initializers, t)
	return t.Name
}

// fold keeps a node, or replaces it by the constant that it computes.
func (a *adapter) fold(n *Node) error {
	if len(n.Outputs) == 0 || len(n.Inputs) == 0 && n.Op != "Constant" {
		return ErrFormat
	}
	in := func(i int) *Tensor {
		if i < len(n.Inputs) {
			return a.constants[n.Inputs[i]]
		}
		return nil
	}
	var value *Tensor
	switch n.Op {
	case "Constant":
		attr := n.Attr("value")
		if attr == nil || attr.T == nil {
			return fmt.Errorf("%w: it has no value", ErrFormat)
		}
		value = attr.T
	case "Shape":
		shape := a.shapes[n.Inputs[0]]
		if shape == nil {
			return fmt.Errorf("%w: the shape is not known", ErrFormat)
		}
		value = &Tensor{Dims: []int64{int64(len(shape))}, Type: Int64, Ints: slices.Clone(shape)}
	case "Cast":
		if t := in(0); t != nil && t.Floats == nil {
			if to := DataType(n.Int("to", 0)); to == Int32 || to == Int64 {
				value = &Tensor{Dims: t.Dims, Type: to, Ints: t.Ints}
			}
		}
	case "Slice":
		starts, ends := n.IntList("starts"), n.IntList("ends")
		if t := in(0); t != nil && len(t.Dims) == 1 && t.Floats == nil && len(starts) == 1 && len(ends) == 1 {
			from, to := bound(starts[0], t.Dims[0]), bound(ends[0], t.Dims[0])
			if from > to {
				return ErrFormat
			}
			value = &Tensor{Dims: []int64{to - from}, Type: t.Type, Ints: t.Ints[from:to]}
		}
	case "Concat":
		joined := &Tensor{Type: Int64}
		for i := range n.Inputs {
			t := in(i)
			if t == nil || len(t.Dims) != 1 || t.Floats != nil {
				joined = nil
				break
			}
			joined.Ints = append(joined.Ints, t.Ints...)
		}
		if joined != nil {
			joined.Dims = []int64{int64(len(joined.Ints))}
			value = joined
		}
	case "Clip":
		a.clip(n)
	}
	if value != nil {
		copied := *value
		copied.Name = n.Outputs[0]
		a.constant(&copied)
		return nil
	}
	if shape, err := a.infer(n); err != nil {
		return err
	} else if shape != nil {
		for _, out := range n.Outputs {
			a.shapes[out] = shape
		}
	}
	a.m.Graph.Nodes = append(a.m.Graph.Nodes, n)
	return nil
}

// clip turns bounds that are inputs (operator set 11) into attributes (6).
func (a *adapter) clip(n *Node) {
	for i, name := range []string{"", "min", "max"} {
		if i > 0 && i < len(n.Inputs) {
			if t := a.constants[n.Inputs[i]]; t != nil && len(t.Floats) == 1 {
				n.Attributes = append(n.Attributes, Attribute{Name: name, Type: TypeFloat, F: t.Floats[0]})
			}
		}
	}
	n.Inputs = n.Inputs[:1]
}

func bound(at, size int64) int64 {
	if at < 0 {
		at += size
	}
	return min(max(at, 0), size)
}

// infer returns the shape of a node's output, nil where it is not known.
func (a *adapter) infer(n *Node) ([]int64, error) {
	x := a.shapes[n.Inputs[0]]
	second := func() []int64 {
		if len(n.Inputs) > 1 {
			return a.shapes[n.Inputs[1]]
		}
		return nil
	}
	if x == nil {
		return nil, nil
	}
	switch n.Op {
	case "BatchNormalization", "Clip", "Relu", "Sigmoid", "HardSigmoid", "Softmax", "Sqrt", "Pow", "Cast":
		return x, nil
	case "Add", "Sub", "Mul", "Div":
		if y := second(); y != nil {
			return broadcast(x, y)
		}
	case "GlobalAveragePool":
		if len(x) == 4 {
			return []int64{x[0], x[1], 1, 1}, nil
		}
	case "Conv", "AveragePool", "MaxPool":
		return a.window(n, x, second())
	case "Transpose":
		out := make([]int64, len(x))
		perm := n.IntList("perm")
		if len(perm) != len(x) {
			return nil, ErrFormat
		}
		for i, p := range perm {
			if p < 0 || int(p) >= len(x) {
				return nil, ErrFormat
			}
			out[i] = x[p]
		}
		return out, nil
	case "ReduceMean":
		out := slices.Clone(x)
		for _, axis := range n.IntList("axes") {
			if axis < 0 {
				axis += int64(len(x))
			}
			if axis < 0 || int(axis) >= len(x) {
				return nil, ErrFormat
			}
			out[axis] = 1
		}
		return out, nil
	case "Reshape":
		if len(n.Inputs) > 1 && a.constants[n.Inputs[1]] != nil {
			return reshape(x, a.constants[n.Inputs[1]].Ints)
		}
	case "Slice":
		axes, starts, ends := n.IntList("axes"), n.IntList("starts"), n.IntList("ends")
		out := slices.Clone(x)
		for i, axis := range axes {
			if axis < 0 || int(axis) >= len(x) || i >= len(starts) || i >= len(ends) {
				return nil, ErrFormat
			}
			out[axis] = max(0, bound(ends[i], x[axis])-bound(starts[i], x[axis]))
		}
		return out, nil
	case "Squeeze":
		var out []int64
		for i, d := range x {
			if !slices.Contains(n.IntList("axes"), int64(i)) {
				out = append(out, d)
			}
		}
		return out, nil
	case "MatMul":
		if y := second(); len(x) > 1 && len(y) > 1 {
			if x[len(x)-1] != y[len(y)-2] {
				return nil, fmt.Errorf("%w: %v times %v", ErrFormat, x, y)
			}
			return append(slices.Clone(x[:len(x)-1]), y[len(y)-1]), nil
		}
	case "Concat":
		axis := n.Int("axis", 0)
		out := slices.Clone(x)
		for _, name := range n.Inputs[1:] {
			y := a.shapes[name]
			if y == nil {
				return nil, nil
			}
			if axis < 0 || int(axis) >= len(out) || len(y) != len(out) {
				return nil, ErrFormat
			}
			out[axis] += y[axis]
		}
		return out, nil
	}
	return nil, nil
}

// window is the shape after a convolution or a pooling over two dimensions.
func (a *adapter) window(n *Node, x, weights []int64) ([]int64, error) {
	kernel, strides, pads, dilations := n.IntList("kernel_shape"), n.IntList("strides"), n.IntList("pads"), n.IntList("dilations")
	if len(x) != 4 || len(kernel) != 2 || len(strides) != 2 || strides[0] < 1 || strides[1] < 1 {
		return nil, ErrFormat
	}
	if len(pads) != 4 {
		pads = []int64{0, 0, 0, 0}
	}
	if len(dilations) != 2 {
		dilations = []int64{1, 1}
	}
	out := slices.Clone(x)
	if n.Op == "Conv" {
		if len(weights) != 4 {
			return nil, nil
		}
		out[1] = weights[0]
	}
	for i := range 2 {
		out[2+i] = (x[2+i]+pads[i]+pads[2+i]-dilations[i]*(kernel[i]-1)-1)/strides[i] + 1
	}
	return out, nil
}

func broadcast(x, y []int64) ([]int64, error) {
	if len(x) < len(y) {
		x, y = y, x
	}
	out := slices.Clone(x)
	for i, d := range y {
		at := len(x) - len(y) + i
		switch {
		case out[at] == 1:
			out[at] = d
		case d != 1 && d != out[at]:
			return nil, fmt.Errorf("%w: %v with %v", ErrFormat, x, y)
		}
	}
	return out, nil
}

func reshape(x, to []int64) ([]int64, error) {
	all, known, open := int64(1), int64(1), -1
	for _, d := range x {
		all *= d
	}
	out := slices.Clone(to)
	for i, d := range to {
		switch {
		case d == 0 && i < len(x):
			out[i] = x[i]
		case d == -1 && open < 0:
			open = i
			continue
		case d < 1:
			return nil, ErrFormat
		}
		known *= out[i]
	}
	if open >= 0 {
		if all%known != 0 {
			return nil, ErrFormat
		}
		out[open] = all / known
	} else if known != all {
		return nil, fmt.Errorf("%w: %v cannot become %v", ErrFormat, x, to)
	}
	return out, nil
}

// graph finds who makes and who uses a value.
func (a *adapter) graph() (makers map[string]*Node, users map[string][]*Node) {
	makers, users = map[string]*Node{}, map[string][]*Node{}
	for _, n := range a.m.Graph.Nodes {
		for _, out := range n.Outputs {
			makers[out] = n
		}
		for _, in := range n.Inputs {
			users[in] = append(users[in], n)
		}
	}
	return makers, users
}

// node makes a node of one output and notes that output's shape.
func (a *adapter) node(op, out string, shape []int64, inputs []string, attributes ...Attribute) *Node {
	a.shapes[out] = shape
	return &Node{Name: out, Op: op, Inputs: inputs, Outputs: []string{out}, Attributes: attributes}
}

func (a *adapter) reshapeNode(in, out string, dims ...int64) *Node {
	to := a.constant(&Tensor{Dims: []int64{int64(len(dims))}, Type: Int64, Ints: dims})
	return a.node("Reshape", out, dims, []string{in, to})
}

// gemm is in (rows × columns of the transposed weights) times the transposed
// weights plus bias.
func (a *adapter) gemm(in, out string, rows int64, weights, bias *Tensor) *Node {
	return a.node("Gemm", out, []int64{rows, weights.Dims[0]}, []string{in, a.constant(weights), a.constant(bias)},
		Attribute{Name: "alpha", Type: TypeFloat, F: 1}, Attribute{Name: "beta", Type: TypeFloat, F: 1},
		Attribute{Name: "transA", Type: TypeInt}, Attribute{Name: "transB", Type: TypeInt, I: 1})
}

// layerNorms finds x−mean over root(variance+eps), times gamma, plus beta.
func (a *adapter) layerNorms() error {
	makers, users := a.graph()
	replaced := map[*Node][]*Node{}
	for _, div := range a.m.Graph.Nodes {
		if div.Op != "Div" {
			continue
		}
		sub, root := makers[div.Inputs[0]], makers[div.Inputs[1]]
		if sub == nil || root == nil || sub.Op != "Sub" || root.Op != "Sqrt" {
			continue
		}
		sum, mul := makers[root.Inputs[0]], users[div.Outputs[0]]
		if sum == nil || sum.Op != "Add" || len(mul) != 1 || mul[0].Op != "Mul" {
			return fmt.Errorf("cannot adapt the layer norm %v: %w", div.Outputs, ErrFormat)
		}
		add := users[mul[0].Outputs[0]]
		if len(add) != 1 || add[0].Op != "Add" {
			return fmt.Errorf("cannot adapt the layer norm %v: %w", div.Outputs, ErrFormat)
		}
		eps, gamma, beta := a.constants[sum.Inputs[1]], a.constants[mul[0].Inputs[1]], a.constants[add[0].Inputs[1]]
		shape := a.shapes[sub.Inputs[0]]
		if eps == nil || gamma == nil || beta == nil || len(eps.Floats) != 1 || len(shape) != 3 || shape[0] != 1 ||
			int64(len(gamma.Floats)) != shape[2] || int64(len(beta.Floats)) != shape[2] {
			return fmt.Errorf("cannot adapt the layer norm %v of shape %v: %w", div.Outputs, shape, ErrFormat)
		}
		rows, columns := shape[1], shape[2]
		out := add[0].Outputs[0]
		diagonal := make([]float32, columns*columns)
		for i, g := range gamma.Floats {
			diagonal[int64(i)*columns+int64(i)] = g
		}
		ones, zeros := make([]float32, rows), make([]float32, rows)
		for i := range ones {
			ones[i] = 1
		}
		replaced[add[0]] = []*Node{
			a.reshapeNode(sub.Inputs[0], out+"_rows", 1, rows, columns, 1),
			a.node("InstanceNormalization", out+"_norm", []int64{1, rows, columns, 1}, []string{out + "_rows",
				a.constant(&Tensor{Dims: []int64{rows}, Type: Float32, Floats: ones}),
				a.constant(&Tensor{Dims: []int64{rows}, Type: Float32, Floats: zeros})},
				Attribute{Name: "epsilon", Type: TypeFloat, F: eps.Floats[0]}),
			a.reshapeNode(out+"_norm", out+"_flat", rows, columns),
			a.gemm(out+"_flat", out+"_scaled", rows,
				&Tensor{Dims: []int64{columns, columns}, Type: Float32, Floats: diagonal},
				&Tensor{Dims: []int64{columns}, Type: Float32, Floats: beta.Floats}),
			a.reshapeNode(out+"_scaled", out, 1, rows, columns),
		}
	}
	a.replace(replaced)
	return nil
}

// products finds x times a constant matrix, plus a constant bias.
func (a *adapter) products() error {
	_, users := a.graph()
	replaced := map[*Node][]*Node{}
	for _, n := range a.m.Graph.Nodes {
		if n.Op != "MatMul" || a.constants[n.Inputs[1]] == nil {
			continue
		}
		w, shape := a.constants[n.Inputs[1]], a.shapes[n.Inputs[0]]
		add := users[n.Outputs[0]]
		if len(add) != 1 || add[0].Op != "Add" || len(w.Dims) != 2 || len(shape) != 3 || shape[0] != 1 {
			return fmt.Errorf("cannot adapt the product %v: %w", n.Outputs, ErrFormat)
		}
		rows, from, to := shape[1], w.Dims[0], w.Dims[1]
		bias := a.constants[add[0].Inputs[1]]
		if bias == nil || int64(len(bias.Floats)) != to {
			return fmt.Errorf("cannot adapt the product %v: %w", n.Outputs, ErrFormat)
		}
		turned := make([]float32, len(w.Floats))
		for i := range from {
			for j := range to {
				turned[j*from+i] = w.Floats[i*to+j]
			}
		}
		out := add[0].Outputs[0]
		replaced[add[0]] = []*Node{
			a.reshapeNode(n.Inputs[0], out+"_flat", rows, from),
			a.gemm(out+"_flat", out+"_product", rows,
				&Tensor{Dims: []int64{to, from}, Type: Float32, Floats: turned},
				&Tensor{Dims: []int64{to}, Type: Float32, Floats: bias.Floats}),
			a.reshapeNode(out+"_product", out, 1, rows, to),
		}
	}
	a.replace(replaced)
	return nil
}

func (a *adapter) replace(by map[*Node][]*Node) {
	var nodes []*Node
	for _, n := range a.m.Graph.Nodes {
		if with := by[n]; with != nil {
			nodes = append(nodes, with...)
		} else {
			nodes = append(nodes, n)
		}
	}
	a.m.Graph.Nodes = nodes
}

// sweep removes nodes and constants that no output needs.
func (a *adapter) sweep() {
	needed := map[string]bool{a.m.Graph.Outputs[0].Name: true}
	var nodes []*Node
	for _, n := range slices.Backward(a.m.Graph.Nodes) {
		if !slices.ContainsFunc(n.Outputs, func(out string) bool { return needed[out] }) {
			continue
		}
		for _, in := range n.Inputs {
			needed[in] = true
		}
		nodes = append(nodes, n)
	}
	slices.Reverse(nodes)
	a.m.Graph.Nodes = nodes
	a.m.Graph.Initializers = slices.DeleteFunc(a.m.Graph.Initializers, func(t *Tensor) bool { return !needed[t.Name] })
}

// Finite tells whether every number of the model's constants is one.
func (m *Model) Finite() bool {
	for _, t := range m.Graph.Initializers {
		for _, f := range t.Floats {
			if math.IsNaN(float64(f)) || math.IsInf(float64(f), 0) {
				return false
			}
		}
	}
	return true
}
