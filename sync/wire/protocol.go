package wire

import _ "embed"

//go:generate go run ./gen

// Protocol is PROTOCOL.md, the documentation of all messages in Markdown. It is
// generated from the message types of this package (package gen).
//
//go:embed PROTOCOL.md
var Protocol string
