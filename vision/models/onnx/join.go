package onnx

import "fmt"

// joined is the name of the output that Join makes.
const joined = "gatehouse_joined"

// Join makes one output of all, side by side along an axis: GoCV's way to read
// several (gocv.Net.ForwardLayers) leaks memory at each call. It changes the
// model in place.
func Join(m *Model, axis int64) error {
	outputs := m.Graph.Outputs
	if len(outputs) == 0 {
		return fmt.Errorf("%w: there is no output to join", ErrFormat)
	}
	if axis < 0 || int(axis) >= len(outputs[0].Dims) {
		return fmt.Errorf("%w: the outputs have no axis %d to be joined along", ErrFormat, axis)
	}
	all := Value{Name: joined, Type: outputs[0].Type, Dims: append([]int64{}, outputs[0].Dims...)}
	all.Dims[axis] = 0
	var names []string
	for _, out := range outputs {
		if len(out.Dims) != len(all.Dims) || out.Type != all.Type {
			return fmt.Errorf("%w: the outputs %s and %s cannot be joined", ErrFormat, outputs[0].Name, out.Name)
		}
		for i, d := range out.Dims {
			if int64(i) != axis && d != all.Dims[i] {
				return fmt.Errorf("%w: the outputs %s and %s cannot be joined: their axis %d is %d and %d long", ErrFormat, outputs[0].Name, out.Name, i, all.Dims[i], d)
			}
		}
		all.Dims[axis] += out.Dims[axis]
		names = append(names, out.Name)
	}
	m.Graph.Nodes = append(m.Graph.Nodes, &Node{Name: joined, Op: "Concat", Inputs: names, Outputs: []string{joined},
		Attributes: []Attribute{{Name: "axis", Type: TypeInt, I: axis}}})
	m.Graph.Outputs = []Value{all}
	return nil
}
