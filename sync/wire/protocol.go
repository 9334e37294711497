package wire

import (
	_ "embed"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

//go:generate go run ./gen

// Protocol is PROTOCOL.md, the documentation of all messages in Markdown. It is
// generated from the message types of this package (package gen).
//
//go:embed PROTOCOL.md
var Protocol string

var (
	protocolHeading = regexp.MustCompile(`(?m)^###? `)
	protocolLink    = regexp.MustCompile(`\]\(#(\w+)\)`)
)

// ProtocolOf gives the parts of Protocol on messages (in either direction) and
// types, and on all types that these name, each once.
func ProtocolOf(names ...string) (string, error) {
	var titles, parts []string
	at := protocolHeading.FindAllStringIndex(Protocol, -1)
	for i, h := range at {
		end := len(Protocol)
		if i+1 < len(at) {
			end = at[i+1][0]
		}
		title, _, _ := strings.Cut(Protocol[h[1]:end], "\n")
		titles, parts = append(titles, title), append(parts, strings.TrimRight(Protocol[h[0]:end], "\n")+"\n")
	}
	var chosen []int
	choose := func(of func(title string) bool) (found bool) {
		for i, title := range titles {
			if of(title) {
				found = true
				if !slices.Contains(chosen, i) {
					chosen = append(chosen, i)
				}
			}
		}
		return found
	}
	for _, name := range names {
		named := func(title string) bool {
			message, _, _ := strings.Cut(title, ",")
			return strings.EqualFold(message, name)
		}
		if !choose(named) {
			return "", fmt.Errorf("there is no message or type %q; gatehouse protocol lists all", name)
		}
	}
	for i := 0; i < len(chosen); i++ {
		for _, l := range protocolLink.FindAllStringSubmatch(parts[chosen[i]], -1) {
			choose(func(title string) bool { return strings.EqualFold(title, l[1]) })
		}
	}
	var text []string
	for _, i := range chosen {
		text = append(text, parts[i])
	}
	return strings.Join(text, "\n"), nil
}
