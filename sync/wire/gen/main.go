// Command gen writes the documentation of all messages, sync/wire/PROTOCOL.md,
// from the types of package wire: their fields with JSON names and kinds, the
// meaning from the comments beside them. What a message is for stands in
// catalogue.go.
//
// Run it by `go generate ./sync/wire`; a test holds the file equal to it.
package main

import (
	"fmt"
	"os"
)

func main() {
	page, err := document("../wire")
	if err == nil {
		err = os.WriteFile("PROTOCOL.md", []byte(page), 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}
