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
