package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"gatehouse/sync/whitelist"
	"gatehouse/sync/wire"
)

var verb = regexp.MustCompile(`%[.\d]*[a-z%]`)

// Every sentence that the command line says has its Chinese, with the same
// values in the same order.
func TestEverySentenceHasItsChinese(t *testing.T) {
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	see := func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || len(call.Args) == 0 {
			return true
		}
		name, ok := call.Fun.(*ast.Ident)
		text, literal := call.Args[0].(*ast.BasicLit)
		if !ok || !literal || !slices.Contains([]string{"say", "fail", "warn", "skip", "word"}, name.Name) {
			return true
		}
		english, err := strconv.Unquote(text.Value)
		if err != nil {
			t.Fatal(err)
		}
		if strings.TrimSpace(verb.ReplaceAllString(english, "")) == "" {
			return true
		}
		found++
		if chinese[english] == "" {
			t.Errorf("%q has no Chinese", english)
		}
		return true
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, see)
	}
	if found < 80 {
		t.Errorf("only %d sentences were found", found)
	}
	for english, zh := range chinese {
		values := func(s string) []string {
			return slices.DeleteFunc(verb.FindAllString(s, -1), func(v string) bool { return v == "%%" })
		}
		if !slices.Equal(values(english), values(zh)) {
			t.Errorf("%q and %q have other values", english, zh)
		}
	}
}

func TestWords(t *testing.T) {
	codes := []string{wire.StateStaged, wire.StateApplying, wire.StateUsed, wire.StateCancelled, "config", "whitelist", "upgrade",
		"unsure", "no_plate", "face_known", "face_not_live", "face_unknown", "switched_off", "locked", "output_failed", "commanded", "open", "closed", "unknown"}
	for v := whitelist.NotListed; v <= whitelist.Blacklisted; v++ {
		codes = append(codes, v.String())
	}
	t.Setenv("LC_ALL", "zh_CN.UTF-8")
	for _, c := range codes {
		if word(c) == c {
			t.Errorf("%s has no Chinese", c)
		}
	}
	if got := word("no such word_1"); got != "no such word_1" {
		t.Error(got)
	}
	t.Setenv("LC_ALL", "C")
	if got := word("not_listed"); got != "not listed" {
		t.Error(got)
	}
}
