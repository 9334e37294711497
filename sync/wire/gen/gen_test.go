package main

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

func TestThePageIsUpToDate(t *testing.T) {
	want, err := document("..")
	if err != nil {
		t.Fatal(err)
	}
	have, err := os.ReadFile("../PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != want {
		t.Error("PROTOCOL.md differs from the message types; run `go generate ./sync/wire`")
	}
	if m := regexp.MustCompile(`(?m)^\|.*\n[^|\n].*`).FindString(want); m != "" {
		t.Errorf("no blank line ends the table before %q", m)
	}
	if m := regexp.MustCompile(`\b(errcode|wire|json)\.[A-Z]\w*|\w+\.go\b`).FindString(want); m != "" {
		t.Errorf("the page speaks of Go's %s", m)
	}
	for _, l := range regexp.MustCompile(`\]\(#([a-z0-9]+)\)`).FindAllStringSubmatch(want, -1) {
		if !strings.Contains(strings.ToLower(want), "\n### "+l[1]+"\n") {
			t.Errorf("a link to %s leads nowhere", l[1])
		}
	}
}

// A message that has a name is in the catalogue.
func TestEveryMessageIsDocumented(t *testing.T) {
	s, err := read("..")
	if err != nil {
		t.Fatal(err)
	}
	if len(s.names) < 30 {
		t.Fatalf("only %d names were found", len(s.names))
	}
	known := map[string]bool{}
	for _, m := range append(append([]message{}, vendorMessages...), ourMessages...) {
		known[m.name] = true
	}
	for constant, name := range s.names {
		if !known[name] {
			t.Errorf("%s (%s) is missing in catalogue.go", name, constant)
		}
	}
}

// Every field of the vendor's commands and reports says what it means.
func TestFieldsHaveAMeaning(t *testing.T) {
	s, err := read("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range append(append([]message{}, vendorMessages...), pushMessages...) {
		for _, of := range []string{m.of, m.replyOf} {
			if of == "" {
				continue
			}
			rows, err := s.fields(of)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range rows {
				if r.means == "" && !strings.Contains(r.kind, "](#") {
					t.Errorf("%s.%s has no comment", of, r.name)
				}
			}
		}
	}
}

// What the types of MQTT say is also true of HTTP push, where texts are plain,
// and every cause of a gap is named.
func TestWhatFieldsSayIsSo(t *testing.T) {
	s, err := read("..")
	if err != nil {
		t.Fatal(err)
	}
	todo := []string{"PushResult", "GPIOIn", "SerialUp"}
	for seen := map[string]bool{}; len(todo) > 0; todo = todo[1:] {
		rows, err := s.fields(todo[0])
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rows {
			if (r.name == "license" || r.name == "deviceName") && !strings.Contains(r.means, "plain over HTTP push") {
				t.Errorf("%s.%s is %q", todo[0], r.name, r.means)
			}
			if l := regexp.MustCompile(`\[(\w+)\]\(#`).FindStringSubmatch(r.kind); l != nil && !seen[l[1]] {
				seen[l[1]] = true
				todo = append(todo, l[1])
			}
		}
	}
	gap, err := s.fields("Gap")
	if err != nil || len(s.gaps) < 5 {
		t.Fatal(err, s.gaps)
	}
	for _, cause := range s.gaps {
		if !strings.Contains(gap[len(gap)-1].means, cause) {
			t.Errorf("the cause %s is missing: %q", cause, gap[len(gap)-1].means)
		}
	}
}
