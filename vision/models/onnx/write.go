package onnx

import (
	"encoding/binary"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// Bytes writes the model. The same model gives the same bytes.
func (m *Model) Bytes() []byte {
	var w message
	w.integer(1, m.IR)
	w.text(2, "gatehouse")
	w.message(7, m.Graph.write)
	w.message(8, func(w *message) {
		w.text(1, "")
		w.integer(2, m.Opset)
	})
	return w
}

// message is a protocol buffer that grows.
type message []byte

func (w *message) integer(num protowire.Number, v int64) {
	*w = protowire.AppendVarint(protowire.AppendTag(*w, num, protowire.VarintType), uint64(v))
}

func (w *message) text(num protowire.Number, s string) {
	*w = protowire.AppendString(protowire.AppendTag(*w, num, protowire.BytesType), s)
}

func (w *message) bytes(num protowire.Number, b []byte) {
	*w = protowire.AppendBytes(protowire.AppendTag(*w, num, protowire.BytesType), b)
}

func (w *message) message(num protowire.Number, fill func(*message)) {
	var inner message
	fill(&inner)
	w.bytes(num, inner)
}

func (g *Graph) write(w *message) {
	for _, n := range g.Nodes {
		w.message(1, n.write)
	}
	w.text(2, g.Name)
	for _, t := range g.Initializers {
		w.message(5, t.write)
	}
	for _, v := range g.Inputs {
		w.message(11, v.write)
	}
	for _, v := range g.Outputs {
		w.message(12, v.write)
	}
}

func (n *Node) write(w *message) {
	for _, s := range n.Inputs {
		w.text(1, s)
	}
	for _, s := range n.Outputs {
		w.text(2, s)
	}
	w.text(3, n.Name)
	w.text(4, n.Op)
	for _, a := range n.Attributes {
		w.message(5, a.write)
	}
}

func (a *Attribute) write(w *message) {
	w.text(1, a.Name)
	switch a.Type {
	case TypeFloat:
		*w = protowire.AppendFixed32(protowire.AppendTag(*w, 2, protowire.Fixed32Type), math.Float32bits(a.F))
	case TypeInt:
		w.integer(3, a.I)
	case TypeString:
		w.bytes(4, a.S)
	case TypeTensor:
		w.message(5, a.T.write)
	case TypeFloats:
		for _, f := range a.Floats {
			*w = protowire.AppendFixed32(protowire.AppendTag(*w, 7, protowire.Fixed32Type), math.Float32bits(f))
		}
	case TypeInts:
		for _, i := range a.Ints {
			w.integer(8, i)
		}
	}
	w.integer(20, a.Type)
}

func (t *Tensor) write(w *message) {
	for _, d := range t.Dims {
		w.integer(1, d)
	}
	w.integer(2, int64(t.Type))
	w.text(8, t.Name)
	var raw []byte
	for _, f := range t.Floats {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(f))
	}
	for _, i := range t.Ints {
		switch t.Type {
		case Int32:
			raw = binary.LittleEndian.AppendUint32(raw, uint32(i))
		case Bool:
			raw = append(raw, byte(i))
		default:
			raw = binary.LittleEndian.AppendUint64(raw, uint64(i))
		}
	}
	w.bytes(9, raw)
}

func (v *Value) write(w *message) {
	w.text(1, v.Name)
	w.message(2, func(w *message) {
		w.message(1, func(w *message) {
			w.integer(1, int64(v.Type))
			w.message(2, func(w *message) {
				for _, d := range v.Dims {
					w.message(1, func(w *message) {
						if d > 0 {
							w.integer(1, d)
						}
					})
				}
			})
		})
	})
}
