package platform

import (
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// API.md has every call about changes, and none that there is not.
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
	(&Platform{}).changeRoutes(http.NewServeMux(), func(pattern string, signed bool, _ func(*request) (any, error)) {
		if !signed {
			t.Errorf("%s asks for no signature", pattern)
		}
		for _, k := range kinds {
			pattern = strings.Replace(pattern, "/user/"+k.path, "/user/{kinds}", 1)
		}
		routes = append(routes, pattern)
	})
	slices.Sort(documented)
	slices.Sort(routes)
	if routes = slices.Compact(routes); !slices.Equal(documented, routes) {
		t.Errorf("documented are\n%s\nthere are\n%s", strings.Join(documented, "\n"), strings.Join(routes, "\n"))
	}
}
