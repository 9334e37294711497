// Package errcode is the vendor's error table: 68 codes, the words that go
// with them in two languages, and what they become over HTTP and MQTT.
//
// table.tsv is the single source; codes_gen.go and CODES.md are generated from
// it (`go generate ./sync/errcode`). A code is chosen where an error arises and
// travels as *Error; it is never derived from an error's text.
package errcode

//go:generate go run ./gen

import (
	"errors"
	"fmt"
)

// Code is one code of the vendor's table.
type Code int

type entry struct {
	message    string
	analysisEN string
	analysisZH string
	httpStatus int
	mqttCode   int
}

// Message is the table's message, letter for letter.
func (c Code) Message() string {
	if e, ok := table[c]; ok {
		return e.message
	}
	return fmt.Sprintf("Unknown error %d!", int(c))
}

// Analysis says what to look at, in "zh" or else in English.
func (c Code) Analysis(lang string) string {
	if lang == "zh" {
		return table[c].analysisZH
	}
	return table[c].analysisEN
}

// HTTPStatus is the status an answer with this code has, 400–599; never 200.
func (c Code) HTTPStatus() int {
	if e, ok := table[c]; ok {
		return e.httpStatus
	}
	return 500
}

// MQTTCode is the `code` of an MQTT reply: 400, 401, 404, 405, 409 or 500
// (management.md, "Over MQTT").
func (c Code) MQTTCode() int {
	if e, ok := table[c]; ok {
		return e.mqttCode
	}
	return 500
}

// All lists the codes in ascending order.
func All() []Code { return append([]Code(nil), order...) }

// Error is a failure with its code. Detail is appended directly behind the
// table's message, as the vendor does for 1103.
type Error struct {
	Code   Code
	Detail string
	Err    error // cause, or nil; not told to the other side
	Busy   bool  // not at this moment, or no longer: 409 over MQTT, whatever the code
}

func (e *Error) Error() string { return e.Code.Message() + e.Detail }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// MQTTCode is the code's, or 409 where it is only not possible at this moment.
func (e *Error) MQTTCode() int {
	if e.Busy {
		return 409
	}
	return e.Code.MQTTCode()
}

// Busy makes a 1106 for what is not possible at this moment, or too late.
func Busy(detail string) *Error { return &Error{Code: RequestFailed, Detail: detail, Busy: true} }

// New makes an error of code c; detail may be empty.
func New(c Code, detail string) *Error { return &Error{Code: c, Detail: detail} }

// Param makes a 1103 that names the parameter: `Param [name] what!`.
func Param(name, what string) *Error {
	return New(ParamsError, "Param ["+name+"] "+what+"!")
}

// From gives err as an *Error: itself where it is one, else 1106 with its text. From(nil) is nil.
func From(err error) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Code: RequestFailed, Detail: err.Error(), Err: err}
}
