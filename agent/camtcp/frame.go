package camtcp

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/simplifiedchinese"

	"gatehouse/sync/errcode"
	"gatehouse/sync/wire"
)

// Kinds of frames (vendor-mqtt.md, section 8).
const (
	kindData      = 0
	kindHeartbeat = 1
	kindBinary    = 2
)

// maxFrame is the most that follows a frame's header, in bytes.
const maxFrame = 1 << 20

// maxRequest is the most of a client's frame; the rest of what the protocol
// allows is pictures, which only the board sends.
const maxRequest = 128 << 10

// frame is one message of either side.
type frame struct {
	kind, seq byte
	data      []byte
}

var errFrame = errors.New("it does not speak this protocol")

// readFrame reads a client's frame: 'V' 'Z' kind sequence, a length of 32 bits,
// big endian, and as many bytes. After an error the stream is of no use.
func readFrame(r io.Reader) (frame, error) {
	var head [8]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return frame{}, err
	}
	size := binary.BigEndian.Uint32(head[4:])
	if head[0] != 'V' || head[1] != 'Z' || head[2] > kindBinary {
		return frame{}, errFrame
	}
	if size > maxRequest {
		return frame{}, fmt.Errorf("a frame of %d bytes is larger than %d", size, maxRequest)
	}
	f := frame{kind: head[2], seq: head[3], data: make([]byte, size)}
	_, err := io.ReadFull(r, f.data)
	return f, err
}

// bytes is a frame as it is sent.
func (f frame) bytes() []byte {
	b := append(make([]byte, 0, 8+len(f.data)), 'V', 'Z', f.kind, f.seq)
	return append(binary.BigEndian.AppendUint32(b, uint32(len(f.data))), f.data...)
}

// text is m as JSON in GBK, what GBK lacks replaced. With pictures they follow
// a NUL.
func text(m any, pictures ...[]byte) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(m); err != nil {
		return nil, err
	}
	out, err := encoding.ReplaceUnsupported(simplifiedchinese.GBK.NewEncoder()).Bytes(bytes.TrimSpace(b.Bytes()))
	if err != nil {
		return nil, err
	}
	if len(pictures) > 0 {
		out = append(out, 0)
	}
	for _, p := range pictures {
		out = append(out, p...)
	}
	if len(out) > maxFrame {
		return nil, errcode.New(errcode.RequestFailed, fmt.Sprintf("The answer would be %d bytes, more than %d; ask for less!", len(out), maxFrame))
	}
	return out, nil
}

// request is a client's command. Some commands have their fields beside cmd,
// some in a body.
type request struct {
	Cmd  string
	ID   json.RawMessage // echoed as it came; nil: none
	Body []byte          // the whole object in UTF-8
	In   json.RawMessage // its body; {} where there is none
}

// parseRequest reads a command, in GBK, or UTF-8 where it can be told.
func parseRequest(data []byte) (request, error) {
	body := []byte(wire.GBKText(data))
	var raw struct {
		Cmd  string          `json:"cmd"`
		ID   json.RawMessage `json:"id"`
		Body json.RawMessage `json:"body"`
	}
	if err := json.Unmarshal(body, &raw); err != nil {
		return request{}, errcode.New(errcode.ParseJSONFailed, "")
	}
	r := request{Cmd: raw.Cmd, ID: raw.ID, Body: body, In: raw.Body}
	if len(r.In) == 0 || string(r.In) == "null" {
		r.In = json.RawMessage("{}")
	}
	if len(r.ID) > 256 {
		r.ID = nil
		return r, errcode.Param("id", "must be shorter than 30 characters")
	}
	if r.Cmd == "" {
		return r, errcode.Param("cmd", "is missing")
	}
	return r, nil
}
