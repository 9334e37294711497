// Package onnx reads and writes as much of the ONNX file format as turning a
// model into one that OpenCV 4.6 and GoCV can use needs: the graph's nodes, their
// attributes, its tensors and its inputs and outputs.
//
// The field numbers are those of onnx.proto3 (ONNX 1.12). What is not listed
// here is dropped when a model is written; nothing of that changes a result.
package onnx

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// DataType is the type of a tensor's elements.
type DataType int32

// The types of elements that are read and written.
const (
	Float32 DataType = 1
	Int32   DataType = 6
	Int64   DataType = 7
	Bool    DataType = 9
)

// Model is an ONNX file.
type Model struct {
	IR    int64 // version of the file format
	Opset int64 // version of the default operator set
	Graph Graph
}

// Graph is a list of nodes in an order in which they can be computed.
type Graph struct {
	Name         string
	Nodes        []*Node
	Initializers []*Tensor
	Inputs       []Value
	Outputs      []Value
}

// Node is one operation.
type Node struct {
	Name, Op   string
	Inputs     []string // empty: an optional input that is not given
	Outputs    []string
	Attributes []Attribute
}

// Attribute is a named constant of a node; the field in use goes with its
// operator.
type Attribute struct {
	Name   string
	Type   int64 // AttributeProto.AttributeType
	F      float32
	I      int64
	S      []byte
	T      *Tensor
	Floats []float32
	Ints   []int64
}

// Kinds of attributes that are written.
const (
	TypeFloat  = 1
	TypeInt    = 2
	TypeString = 3
	TypeTensor = 4
	TypeFloats = 6
	TypeInts   = 7
)

// Tensor is a constant. Exactly one of Floats and Ints holds its elements,
// row by row; Int32, Int64 and Bool all use Ints.
type Tensor struct {
	Name   string
	Dims   []int64
	Type   DataType
	Floats []float32
	Ints   []int64
}

// Len is the number of elements that the dimensions tell.
func (t *Tensor) Len() int64 {
	n := int64(1)
	for _, d := range t.Dims {
		n *= d
	}
	return n
}

// Value is a graph's input or output. A dimension below one is not known.
type Value struct {
	Name string
	Type DataType
	Dims []int64
}

// Attr returns the attribute of that name, or nil.
func (n *Node) Attr(name string) *Attribute {
	for i := range n.Attributes {
		if n.Attributes[i].Name == name {
			return &n.Attributes[i]
		}
	}
	return nil
}

// Int returns an integer attribute or its default.
func (n *Node) Int(name string, otherwise int64) int64 {
	if a := n.Attr(name); a != nil {
		return a.I
	}
	return otherwise
}

// IntList returns a list attribute, nil where it is missing.
func (n *Node) IntList(name string) []int64 {
	if a := n.Attr(name); a != nil {
		return a.Ints
	}
	return nil
}

// ErrFormat is a file that is no ONNX model or uses what is not read here.
var ErrFormat = errors.New("not a readable ONNX model")

// fields calls each for every field of a message: number, a varint's or fixed
// number's value, or the bytes.
func fields(b []byte, each func(num protowire.Number, v uint64, data []byte) error) error {
	for len(b) > 0 {
		num, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return ErrFormat
		}
		b = b[n:]
		var v uint64
		var data []byte
		switch kind {
		case protowire.VarintType:
			v, n = protowire.ConsumeVarint(b)
		case protowire.Fixed32Type:
			var w uint32
			w, n = protowire.ConsumeFixed32(b)
			v = uint64(w)
		case protowire.Fixed64Type:
			v, n = protowire.ConsumeFixed64(b)
		case protowire.BytesType:
			data, n = protowire.ConsumeBytes(b)
		default:
			return ErrFormat
		}
		if n < 0 {
			return ErrFormat
		}
		b = b[n:]
		if err := each(num, v, data); err != nil {
			return err
		}
	}
	return nil
}

// ints appends a repeated integer, packed or not.
func ints(to []int64, v uint64, data []byte) ([]int64, error) {
	if data == nil {
		return append(to, int64(v)), nil
	}
	for len(data) > 0 {
		w, n := protowire.ConsumeVarint(data)
		if n < 0 {
			return nil, ErrFormat
		}
		to, data = append(to, int64(w)), data[n:]
	}
	return to, nil
}

func floats(to []float32, v uint64, data []byte) ([]float32, error) {
	if data == nil {
		return append(to, math.Float32frombits(uint32(v))), nil
	}
	if len(data)%4 != 0 {
		return nil, ErrFormat
	}
	for ; len(data) > 0; data = data[4:] {
		to = append(to, math.Float32frombits(binary.LittleEndian.Uint32(data)))
	}
	return to, nil
}

// Parse reads a model.
func Parse(b []byte) (*Model, error) {
	m := &Model{}
	seen := false
	err := fields(b, func(num protowire.Number, v uint64, data []byte) error {
		switch num {
		case 1:
			m.IR = int64(v)
		case 7:
			seen = true
			return m.Graph.parse(data)
		case 8:
			var domain string
			var version int64
			if err := fields(data, func(num protowire.Number, v uint64, data []byte) error {
				switch num {
				case 1:
					domain = string(data)
				case 2:
					version = int64(v)
				}
				return nil
			}); err != nil {
				return err
			}
			if domain == "" || domain == "ai.onnx" {
				m.Opset = version
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if !seen {
		return nil, fmt.Errorf("%w: there is no graph", ErrFormat)
	}
	return m, nil
}

func (g *Graph) parse(b []byte) error {
	return fields(b, func(num protowire.Number, _ uint64, data []byte) error {
		switch num {
		case 1:
			n := &Node{}
			g.Nodes = append(g.Nodes, n)
			return n.parse(data)
		case 2:
			g.Name = string(data)
		case 5:
			t := &Tensor{}
			g.Initializers = append(g.Initializers, t)
			return t.parse(data)
		case 11, 12:
			var v Value
			if err := v.parse(data); err != nil {
				return err
			}
			if num == 11 {
				g.Inputs = append(g.Inputs, v)
			} else {
				g.Outputs = append(g.Outputs, v)
			}
		}
		return nil
	})
}

func (n *Node) parse(b []byte) error {
	return fields(b, func(num protowire.Number, _ uint64, data []byte) error {
		switch num {
		case 1:
			n.Inputs = append(n.Inputs, string(data))
		case 2:
			n.Outputs = append(n.Outputs, string(data))
		case 3:
			n.Name = string(data)
		case 4:
			n.Op = string(data)
		case 5:
			var a Attribute
			if err := a.parse(data); err != nil {
				return err
			}
			n.Attributes = append(n.Attributes, a)
		}
		return nil
	})
}

func (a *Attribute) parse(b []byte) error {
	return fields(b, func(num protowire.Number, v uint64, data []byte) (err error) {
		switch num {
		case 1:
			a.Name = string(data)
		case 2:
			a.F = math.Float32frombits(uint32(v))
		case 3:
			a.I = int64(v)
		case 4:
			a.S = data
		case 5:
			a.T = &Tensor{}
			err = a.T.parse(data)
		case 7:
			a.Floats, err = floats(a.Floats, v, data)
		case 8:
			a.Ints, err = ints(a.Ints, v, data)
		case 20:
			a.Type = int64(v)
		}
		return err
	})
}

// parse reads a tensor whose data stand in the file itself.
func (t *Tensor) parse(b []byte) error {
	var raw []byte
	err := fields(b, func(num protowire.Number, v uint64, data []byte) (err error) {
		switch num {
		case 1:
			t.Dims, err = ints(t.Dims, v, data)
		case 2:
			t.Type = DataType(v)
		case 4:
			t.Floats, err = floats(t.Floats, v, data)
		case 5, 7:
			t.Ints, err = ints(t.Ints, v, data)
		case 8:
			t.Name = string(data)
		case 9:
			raw = data
		}
		return err
	})
	if err != nil {
		return err
	}
	count := int64(1)
	for _, d := range t.Dims {
		if d < 0 || d > 1<<28 || count*d > 1<<28 {
			return fmt.Errorf("%w: tensor %q has dimensions %v", ErrFormat, t.Name, t.Dims)
		}
		count *= d
	}
	size := map[DataType]int64{Float32: 4, Int32: 4, Int64: 8, Bool: 1}[t.Type]
	if size == 0 {
		return fmt.Errorf("%w: tensor %q has elements of type %d", ErrFormat, t.Name, t.Type)
	}
	if raw != nil {
		if int64(len(raw)) != count*size {
			return fmt.Errorf("%w: tensor %q has %d bytes for dimensions %v", ErrFormat, t.Name, len(raw), t.Dims)
		}
		t.Floats, t.Ints = nil, nil
		for ; len(raw) > 0; raw = raw[size:] {
			switch t.Type {
			case Float32:
				t.Floats = append(t.Floats, math.Float32frombits(binary.LittleEndian.Uint32(raw)))
			case Int32:
				t.Ints = append(t.Ints, int64(int32(binary.LittleEndian.Uint32(raw))))
			case Int64:
				t.Ints = append(t.Ints, int64(binary.LittleEndian.Uint64(raw)))
			case Bool:
				t.Ints = append(t.Ints, int64(raw[0]))
			}
		}
	}
	if have := int64(len(t.Floats) + len(t.Ints)); have != count {
		return fmt.Errorf("%w: tensor %q has %d elements for dimensions %v", ErrFormat, t.Name, have, t.Dims)
	}
	return nil
}

func (v *Value) parse(b []byte) error {
	return fields(b, func(num protowire.Number, _ uint64, data []byte) error {
		switch num {
		case 1:
			v.Name = string(data)
		case 2: // TypeProto
			return fields(data, func(num protowire.Number, _ uint64, data []byte) error {
				if num != 1 { // tensor_type
					return nil
				}
				return fields(data, func(num protowire.Number, n uint64, data []byte) error {
					switch num {
					case 1:
						v.Type = DataType(n)
					case 2: // TensorShapeProto
						return fields(data, func(num protowire.Number, _ uint64, data []byte) error {
							if num != 1 {
								return nil
							}
							dim := int64(0)
							err := fields(data, func(num protowire.Number, n uint64, _ []byte) error {
								if num == 1 {
									dim = int64(n)
								}
								return nil
							})
							v.Dims = append(v.Dims, dim)
							return err
						})
					}
					return nil
				})
			})
		}
		return nil
	})
}
