package onnx

import "slices"

// leastWide is the least width of what is split: OpenCV 4.6 has its fast
// depthwise convolution for 16 values a row and what the weights reach beyond.
// leastHigh is its least height: there it reads beyond its input where both the
// first and the last row of the weights have nothing.
const leastWide, leastHigh = 20, 3

// depthwise splits convolutions of 5×5 whose channels do not mix. OpenCV 4.6 has
// a fast one of 3×3 only, and on one thread takes three times as long for 5×5 as
// for the four of 3×3 that together hold the same 25 weights: those of the rows
// 0, 2, 4 and of the rows 1, 3, each with the columns 0, 2, 4 and with 1, 3.
//
// What is beyond the picture's edge is made first where it must be: the fast one
// adds one row or column of its own at most, and no column where it takes every
// other one (there it is wrong in 4.6).
func (a *adapter) depthwise() {
	replaced := map[*Node][]*Node{}
	for _, n := range a.m.Graph.Nodes {
		if w, bias := a.splittable(n); w != nil {
			replaced[n] = a.split(n, w, bias)
		}
	}
	a.replace(replaced)
}

// splittable gives the weights and bias of a convolution that depthwise splits.
func (a *adapter) splittable(n *Node) (w, bias *Tensor) {
	if n.Op != "Conv" || len(n.Inputs) != 3 || len(n.Outputs) != 1 {
		return nil, nil
	}
	w, bias = a.constants[n.Inputs[1]], a.constants[n.Inputs[2]]
	x, strides := a.shapes[n.Inputs[0]], n.IntList("strides")
	if w == nil || bias == nil || len(w.Floats) != 25*len(bias.Floats) || !slices.Equal(w.Dims, []int64{int64(len(bias.Floats)), 1, 5, 5}) ||
		n.Int("group", 1) != w.Dims[0] || len(x) != 4 || x[1] != w.Dims[0] || x[2] < leastHigh || x[3] < leastWide ||
		len(strides) != 2 || strides[1] != 1 || !slices.Equal(n.IntList("pads"), []int64{2, 2, 2, 2}) ||
		n.Attr("dilations") != nil && !slices.Equal(n.IntList("dilations"), []int64{1, 1}) {
		return nil, nil
	}
	return w, bias
}

func (a *adapter) split(n *Node, w, bias *Tensor) (nodes []*Node) {
	x, out := n.Inputs[0], n.Outputs[0]
	pad := func(name string, rows, columns int64) string {
		s := slices.Clone(a.shapes[x])
		s[2] += 2 * rows
		s[3] += 2 * columns
		nodes = append(nodes, a.node("Pad", out+name, s, []string{x}, Attribute{Name: "mode", Type: TypeString, S: []byte("constant")},
			Attribute{Name: "pads", Type: TypeInts, Ints: []int64{0, 0, rows, columns, 0, 0, rows, columns}}))
		return out + name
	}
	tall, wide := pad("_tall", 1, 0), pad("_wide", 1, 2)
	channels := int64(len(bias.Floats))
	strides := Attribute{Name: "strides", Type: TypeInts, Ints: n.IntList("strides")}
	group := Attribute{Name: "group", Type: TypeInt, I: channels}
	var parts []string
	for _, p := range []struct {
		name             string
		from             string
		rows, columns    [3]int // of the 5×5; -1: none
		stepY, stepX     int64
		beyondY, beyondX int64
	}{
		{"_even", wide, [3]int{0, 2, 4}, [3]int{0, 2, 4}, 2, 2, 1, 0},
		{"_rows", tall, [3]int{0, 2, 4}, [3]int{1, -1, 3}, 2, 1, 1, 1},
		{"_columns", wide, [3]int{1, -1, 3}, [3]int{0, 2, 4}, 1, 2, 0, 0},
		{"_odd", x, [3]int{1, -1, 3}, [3]int{1, -1, 3}, 1, 1, 1, 1},
	} {
		part, start := make([]float32, 9*channels), make([]float32, channels)
		if len(parts) == 0 {
			start = bias.Floats
		}
		for c := range int(channels) {
			for i, row := range p.rows {
				for j, column := range p.columns {
					if row >= 0 && column >= 0 {
						part[9*c+3*i+j] = w.Floats[25*c+5*row+column]
					}
				}
			}
		}
		nodes = append(nodes, a.node("Conv", out+p.name, a.shapes[out],
			[]string{p.from, a.constant(&Tensor{Dims: []int64{channels, 1, 3, 3}, Type: Float32, Floats: part}),
				a.constant(&Tensor{Dims: []int64{channels}, Type: Float32, Floats: start})},
			Attribute{Name: "kernel_shape", Type: TypeInts, Ints: []int64{3, 3}}, group, strides,
			Attribute{Name: "dilations", Type: TypeInts, Ints: []int64{p.stepY, p.stepX}},
			Attribute{Name: "pads", Type: TypeInts, Ints: []int64{p.beyondY, p.beyondX, p.beyondY, p.beyondX}}))
		parts = append(parts, out+p.name)
	}
	return append(nodes, a.node("Sum", out, a.shapes[out], parts))
}
