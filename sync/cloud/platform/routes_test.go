package platform

import (
	"encoding/json"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gatehouse/sync/binding"
	"gatehouse/sync/upload"
	"gatehouse/sync/wire"
)

// unsigned are the calls without an AccessKey: for those who have none yet, and
// for boards, which sign with their own key.
var unsigned = []string{"POST /v2/pms/users/login", "POST " + binding.HandshakePath, "GET " + upload.Pattern, "PUT " + upload.Pattern}

// API.md has every call, and none that there is not.
func TestRoutesAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../API.md")
	if err != nil {
		t.Fatal(err)
	}
	var documented []string
	for _, m := range regexp.MustCompile("(?m)^\\| `((?:GET|POST|PUT|DELETE) [^`]*)`").FindAllStringSubmatch(string(text), -1) {
		documented = append(documented, m[1])
	}
	routes := []string{"POST " + FilesPath, "GET " + ContentsPath + "{name}"}
	note := func(pattern string, signed bool, _ func(*request) (any, error)) {
		if signed == slices.Contains(unsigned, pattern) {
			t.Errorf("%s asks for a signature: %v", pattern, signed)
		}
		for _, k := range kinds {
			pattern = strings.Replace(pattern, "/user/"+k.path, "/user/{kinds}", 1)
		}
		routes = append(routes, pattern)
	}
	(&Platform{}).routes(note)
	(&Platform{}).changeRoutes(http.NewServeMux(), note)
	slices.Sort(documented)
	slices.Sort(routes)
	if routes = slices.Compact(routes); !slices.Equal(documented, routes) {
		t.Errorf("documented are\n%s\nthere are\n%s", strings.Join(documented, "\n"), strings.Join(routes, "\n"))
	}
}

// API.md has every field of the objects that calls answer.
func TestFieldsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../API.md")
	if err != nil {
		t.Fatal(err)
	}
	for what, of := range map[string]any{"account": account{}, "AccessKey": accessKey{}, "group": group{}, "device": device{}.shown(),
		"event": event{Gap: &wire.Gap{}, Listed: "x", Tolerated: true, Alarm: true, Passage: "x", Payload: []byte("1")}} {
		line := regexp.MustCompile(`(?m)^\| ` + what + " \\| `([^`]*)`").FindStringSubmatch(string(text))
		if line == nil {
			t.Errorf("API.md has no fields of %s", what)
			continue
		}
		b, err := json.Marshal(of)
		if err != nil {
			t.Fatal(err)
		}
		var fields map[string]any
		if err := json.Unmarshal(b, &fields); err != nil {
			t.Fatal(err)
		}
		have, documented := slices.Sorted(maps.Keys(fields)), strings.Split(line[1], ", ")
		if slices.Sort(documented); !slices.Equal(have, documented) {
			t.Errorf("%s has\n%v\nAPI.md says\n%v", what, have, documented)
		}
	}
}
