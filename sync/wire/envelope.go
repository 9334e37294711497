// Package wire has the messages that pass between board, cloud and parking
// systems over MQTT: the vendor's camera protocol, and our management messages
// in the same envelope (shared/protocol, vendor-mqtt.md and management.md).
//
// Writing is strict: integers stay integers, every key a client was seen to
// read is there. Reading is tolerant where clients were seen to differ
// (vendor-mqtt.md, section 9), and refuses the rest with a code. The package
// only shapes messages; who may send them is the broker's and the signatures'
// business.
package wire

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"math/big"

	"gatehouse/sync/errcode"
)

// Version is the envelope's version.
const Version = "1.0"

// MaxMessage is the largest MQTT payload that a board sends or reads, in bytes.
const MaxMessage = 128 << 10

// EventID names an event for ever and says when it was.
type EventID struct {
	Boot    string `json:"boot"`    // one per start of the agent: "%08x-%08x", counter and chance
	Seq     uint64 `json:"seq"`     // from 1, contiguous within a boot
	MonoMS  int64  `json:"mono_ms"` // ms since the agent's start
	WallMS  int64  `json:"wall_ms"` // Unix ms by the board's clock
	Trusted bool   `json:"trusted"` // whether that clock was synchronised
}

// Up is a message of the board.
type Up struct {
	ID        string   `json:"id"`        // 16 letters and digits
	BV        int      `json:"bv"`        // board version
	SN        string   `json:"sn"`        // serial number of the board
	Name      string   `json:"name"`      // of the message, as in its topic
	Version   string   `json:"version"`   // 1.0
	Timestamp int64    `json:"timestamp"` // Unix s
	Payload   any      `json:"payload"`   // see the messages
	Event     *EventID `json:"event,omitempty"`
}

// Command is a message to the board.
type Command struct {
	ID   string
	SN   string
	Name string          // last level of the topic
	Type string          // payload.type; equals Name but for tts_voice
	Body json.RawMessage // an object or array; {} where the sender gave none
}

// Reply answers a command.
type Reply struct {
	ID           string `json:"id"`                      // the command's, byte for byte
	SN           string `json:"sn"`                      // serial number of the board
	Name         string `json:"name"`                    // of the command
	Version      string `json:"version"`                 // 1.0
	Timestamp    int64  `json:"timestamp"`               // Unix s
	Code         int    `json:"code"`                    // 200, or of the table below
	Payload      any    `json:"payload"`                 // always there, null where there is nothing
	ErrorCode    int    `json:"error_code,omitempty"`    // of the error table
	ErrorMessage string `json:"error_message,omitempty"` // what is wrong, and where
}

// Typed is the payload of commands and of replies with data.
type Typed struct {
	Type string `json:"type"` // the name, but for tts_voice
	Body any    `json:"body"` // see the messages
}

// Body is the payload of up messages that have a body.
type Body struct {
	Body any `json:"body"`
}

// Down is a message to the board, as the cloud writes it.
type Down struct {
	ID        string `json:"id"`        // any text; the answer has the same
	SN        string `json:"sn"`        // serial number of the board
	Name      string `json:"name"`      // of the command, as in its topic
	Version   string `json:"version"`   // 1.0
	Timestamp int64  `json:"timestamp"` // Unix s; not checked
	Payload   Typed  `json:"payload"`   // type (the name) and body
}

var emptyBody = json.RawMessage("{}")

// ParseCommand reads a command that came on the topic of name. A body that is
// absent, null or an empty array counts as {}; timestamps and ids of any form
// are taken. Errors: 1101 for no JSON object, 1103 for a payload or body of
// another kind than object (or array, for the body).
func ParseCommand(name string, b []byte) (Command, error) {
	c := Command{Name: name, Type: name, Body: emptyBody}
	var envelope struct {
		ID      json.RawMessage `json:"id"`
		SN      json.RawMessage `json:"sn"`
		Payload json.RawMessage `json:"payload"`
	}
	if !isObject(b) || json.Unmarshal(b, &envelope) != nil {
		return c, errcode.New(errcode.ParseJSONFailed, "")
	}
	c.ID, c.SN = text(envelope.ID), text(envelope.SN)
	if isEmpty(envelope.Payload) {
		return c, nil
	}
	var payload struct {
		Type json.RawMessage `json:"type"`
		Body json.RawMessage `json:"body"`
	}
	if !isObject(envelope.Payload) || json.Unmarshal(envelope.Payload, &payload) != nil {
		return c, errcode.Param("payload", "must be an object")
	}
	if t := text(payload.Type); t != "" {
		c.Type = t
	}
	switch {
	case isEmpty(payload.Body):
	case isObject(payload.Body) || payload.Body[0] == '[':
		c.Body = payload.Body
	default:
		return c, errcode.Param("body", "must be an object")
	}
	return c, nil
}

// ParseReply reads a board's answer; its payload stays raw.
func ParseReply(b []byte) (Reply, json.RawMessage, error) {
	var payload json.RawMessage
	r := Reply{Payload: &payload}
	if err := json.Unmarshal(b, &r); err != nil {
		return Reply{}, nil, errcode.New(errcode.ParseJSONFailed, "")
	}
	return r, payload, nil
}

// text gives a JSON string's value, or the raw text of a number (some clients send ids so).
func text(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	if len(raw) > 0 && (raw[0] == '-' || raw[0] >= '0' && raw[0] <= '9') {
		return string(raw)
	}
	return ""
}

func isObject(b []byte) bool {
	b = bytes.TrimSpace(b)
	return len(b) > 0 && b[0] == '{'
}

// isEmpty reports whether raw is absent, null, or the empty array that PHP
// makes of an empty object.
func isEmpty(raw json.RawMessage) bool {
	var array []json.RawMessage
	return len(raw) == 0 || json.Unmarshal(raw, &array) == nil && len(array) == 0
}

const idLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

// NewID makes a message id: 16 letters and digits.
func NewID() string {
	id := make([]byte, 16)
	for i := range id {
		n, err := rand.Int(rand.Reader, big.NewInt(int64(len(idLetters))))
		if err != nil {
			panic(err) // crypto/rand does not fail on Linux
		}
		id[i] = idLetters[n.Int64()]
	}
	return string(id)
}

// B64 is the standard base64 of a text's UTF-8 bytes.
func B64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
