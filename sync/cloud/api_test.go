package main

import (
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"gatehouse/sync/signature"
)

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// The worked example of API.md is right: who follows it signs as the cloud checks.
func TestSigningIsDocumented(t *testing.T) {
	page := readFile(t, "API.md")
	secret := regexp.MustCompile("the secret `(\\w{32})`").FindStringSubmatch(page)
	text := regexp.MustCompile(`(?s)give the text\n\n((?:    [^\n]*\n)+)`).FindStringSubmatch(page)
	given := regexp.MustCompile("and the signature `([^`]+)`, in the query `signature=([^`]+)`").FindStringSubmatch(page)
	if secret == nil || text == nil || given == nil {
		t.Fatal("API.md has no worked example")
	}
	lines := strings.TrimSuffix(strings.ReplaceAll("\n"+text[1], "\n    ", "\n")[1:], "\n")
	if have := signature.Sign(secret[1], lines); have != given[1] || url.QueryEscape(have) != given[2] {
		t.Errorf("the text %q gives %s, API.md says %s", lines, have, given[1])
	}
}

// The pages link to files of this repository and headings that are there, and
// send nobody to a page that is not.
func TestPagesLinkToWhatIsThere(t *testing.T) {
	for _, page := range []string{"API.md", "../errcode/CODES.md", "../wire/PROTOCOL.md", "../../README.md"} {
		text := readFile(t, page)
		for _, l := range regexp.MustCompile(`\]\(([^)#]*)(?:#([^)]*))?\)`).FindAllStringSubmatch(text, -1) {
			to := page
			if strings.Contains(l[1], "://") {
				continue
			}
			if l[1] != "" {
				to = filepath.Join(filepath.Dir(page), l[1])
			}
			if _, err := os.Stat(to); err != nil {
				t.Errorf("%s links to %s: %v", page, l[1], err)
				continue
			}
			if l[2] != "" && !regexp.MustCompile(`(?mi)^#+ `+regexp.QuoteMeta(l[2])+`$`).MatchString(readFile(t, to)) {
				t.Errorf("%s links to %s#%s, which is not there", page, l[1], l[2])
			}
		}
		for _, foreign := range []string{"vendor-mqtt.md", "cloud-api.md", "management.md", "SIGNATURE.md"} {
			if strings.Contains(text, foreign) {
				t.Errorf("%s sends its reader to %s, which is not in this repository", page, foreign)
			}
		}
	}
}
