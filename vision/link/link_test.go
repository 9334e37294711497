package link

import (
	"bytes"
	"encoding/binary"
	"errors"
	"reflect"
	"testing"
)

func TestRoundTrip(t *testing.T) {
	var wire bytes.Buffer
	c := NewConn(&wire)
	sent := []Message{
		{Hello: &Hello{Version: "v", PID: 7, Models: map[string]string{"a": "b"}}},
		{Result: &Result{Seq: 3, Plates: []Plate{{Text: "川A12345", Score: 0.98, Corners: [4]Point{{1, 2}}}}, Full: []byte("full"), Crop: []byte("crop")}},
		{Result: &Result{Seq: 4, Crop: []byte{}}},
		{Trigger: &Trigger{ID: "x"}},
	}
	for _, m := range sent {
		if err := c.Send(m); err != nil {
			t.Fatal(err)
		}
	}
	sent[2].Result.Full = []byte{}
	for i, want := range sent {
		got, err := c.Receive()
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("message %d: %+v %v", i, got, err)
		}
	}
}

func TestLimits(t *testing.T) {
	c := NewConn(&bytes.Buffer{})
	if err := c.Send(Message{Result: &Result{Full: make([]byte, MaxBlob+1)}}); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
	start := binary.BigEndian.AppendUint32(nil, 2)
	start = binary.BigEndian.AppendUint32(start, MaxBlob+1)
	if _, err := NewConn(bytes.NewBuffer(append(start, "{}"...))).Receive(); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
}

func FuzzReceive(f *testing.F) {
	var wire bytes.Buffer
	if err := NewConn(&wire).Send(Message{Result: &Result{Full: []byte("full"), Crop: []byte("crop")}}); err != nil {
		f.Fatal(err)
	}
	f.Add(wire.Bytes())
	f.Add([]byte("\x00\x00\x00\x16\x00\x00\x00\x00{\"result\":{\"full_size\":9}}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := NewConn(bytes.NewBuffer(b)).Receive()
		if err == nil && m.Result != nil && len(m.Result.Full)+len(m.Result.Crop) > len(b) {
			t.Error("more picture than was sent")
		}
	})
}
