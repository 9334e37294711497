package onnx

import "slices"

// scales makes constants that all values of a convolution are multiplied with or
// that are added to them a part of its weights and bias: those that follow it,
// and those before one of 1×1, which has no edge where they would be missing.
// OpenCV 4.6 goes through the values once more for each.
func (a *adapter) scales() {
	makers, users := a.graph()
	out := a.m.Graph.Outputs[0].Name
	a.own = map[*Node]bool{}
	gone := map[*Node]bool{}
	for _, n := range a.m.Graph.Nodes {
		if n.Op == "Conv" {
			for {
				before := makers[n.Inputs[0]]
				if before == nil || n.Inputs[0] == out || len(users[n.Inputs[0]]) != 1 || !a.takesIn(n, before) {
					break
				}
				gone[before] = true
			}
			continue
		}
		x, _, ok := a.scalar(n)
		if conv := makers[x]; ok && conv != nil && len(users[x]) == 1 && x != out && a.takesUp(conv, n) {
			makers[n.Outputs[0]] = conv
			gone[n] = true
		}
	}
	a.m.Graph.Nodes = slices.DeleteFunc(a.m.Graph.Nodes, func(n *Node) bool { return gone[n] })
}

// scalar gives the two sides of a sum, product or quotient with one constant
// number.
func (a *adapter) scalar(n *Node) (x string, k float32, ok bool) {
	if len(n.Inputs) != 2 || len(n.Outputs) != 1 || n.Op != "Mul" && n.Op != "Add" && n.Op != "Div" {
		return "", 0, false
	}
	for i, in := range n.Inputs {
		c := a.constants[in]
		if c == nil || len(c.Floats) != 1 || len(c.Dims) > 1 {
			continue
		}
		if x, k = n.Inputs[1-i], c.Floats[0]; n.Op == "Div" && (i == 0 || k == 0) {
			return "", 0, false
		}
		return x, k, a.constants[x] == nil
	}
	return "", 0, false
}

// weights are a convolution's constants, which are its own from then on; there
// are none without a bias.
func (a *adapter) weights(conv *Node) (w, bias *Tensor) {
	if conv.Op != "Conv" || len(conv.Inputs) != 3 || len(conv.Outputs) != 1 {
		return nil, nil
	}
	w, bias = a.constants[conv.Inputs[1]], a.constants[conv.Inputs[2]]
	if w == nil || bias == nil || len(bias.Floats) == 0 || len(w.Floats)%len(bias.Floats) != 0 {
		return nil, nil
	}
	if !a.own[conv] {
		w = &Tensor{Dims: w.Dims, Type: w.Type, Floats: slices.Clone(w.Floats)}
		bias = &Tensor{Dims: bias.Dims, Type: bias.Type, Floats: slices.Clone(bias.Floats)}
		conv.Inputs = []string{conv.Inputs[0], a.constant(w), a.constant(bias)}
		a.own[conv] = true
	}
	return w, bias
}

func multiply(all []float32, k float32) {
	for i := range all {
		all[i] *= k
	}
}

// takesUp makes a node behind a convolution part of it.
func (a *adapter) takesUp(conv, n *Node) bool {
	w, bias := a.weights(conv)
	if w == nil {
		return false
	}
	switch _, k, _ := a.scalar(n); n.Op {
	case "Add":
		for i := range bias.Floats {
			bias.Floats[i] += k
		}
	case "Div":
		k = 1 / k
		fallthrough
	case "Mul":
		multiply(w.Floats, k)
		multiply(bias.Floats, k)
	}
	conv.Outputs = n.Outputs
	return true
}

// takesIn makes a node before a convolution of 1×1 part of it.
func (a *adapter) takesIn(conv, n *Node) bool {
	x, k, ok := a.scalar(n)
	if !ok || !slices.Equal(conv.IntList("kernel_shape"), []int64{1, 1}) ||
		slices.ContainsFunc(conv.IntList("pads"), func(p int64) bool { return p != 0 }) {
		return false
	}
	w, bias := a.weights(conv)
	if w == nil {
		return false
	}
	switch n.Op {
	case "Add":
		each := len(w.Floats) / len(bias.Floats)
		for i := range bias.Floats {
			var sum float64
			for _, f := range w.Floats[i*each : (i+1)*each] {
				sum += float64(f)
			}
			bias.Floats[i] += float32(sum * float64(k))
		}
	case "Div":
		multiply(w.Floats, 1/k)
	case "Mul":
		multiply(w.Floats, k)
	}
	conv.Inputs[0] = x
	return true
}
