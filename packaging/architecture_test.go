package packaging

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// module is what `go list` tells of one package.
type module struct {
	ImportPath, Dir, Doc, Name string
	Deps, GoFiles              []string
	TestGoFiles, XTestGoFiles  []string
}

// packages lists the project's packages as the boards' build (CGO off,
// linux/arm64) or, with GoCV's build tag, the vision build sees them.
func packages(t *testing.T) map[string]module {
	t.Helper()
	cmd := exec.Command("go", "list", "-tags=customenv", "-e", "-json=ImportPath,Dir,Doc,Name,Deps,GoFiles,TestGoFiles,XTestGoFiles", "gatehouse/...")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	found := map[string]module{}
	for dec := json.NewDecoder(out); ; {
		var m module
		if err := dec.Decode(&m); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		found[m.ImportPath] = m
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if len(found) < 10 {
		t.Fatalf("go list found only %d packages", len(found))
	}
	return found
}

func TestImportsPointOneWay(t *testing.T) {
	all := packages(t)
	for _, c := range []struct {
		who  string   // package path, or prefix with a trailing slash
		not  []string // what must not be among its dependencies, prefixes
		but  []string // exceptions
		why  string
		must bool // who must exist
	}{
		{"gatehouse/agent", []string{"gocv.io/"}, nil, "a leak or crash in OpenCV must not take the barrier along", true},
		{"gatehouse/sync/cloud", []string{"gocv.io/", "gatehouse/agent", "gatehouse/hal", "gatehouse/vision"}, nil, "the cloud is no board", true},
		{"gatehouse/firmware/rescue", []string{"gatehouse/"}, []string{"gatehouse/firmware/"}, "it must work when the agent's code does not", true},
		{"gatehouse/hal/", []string{"gatehouse/"}, []string{"gatehouse/hal/", "gatehouse/sync/errcode"}, "hal imports no other part", false},
		{"gatehouse/sync/", []string{"gatehouse/agent", "gatehouse/hal", "gatehouse/vision", "gocv.io/"}, nil, "lower layers never import higher ones", false},
		{"gatehouse/vision/", []string{"gatehouse/agent", "gatehouse/sync"}, []string{"gatehouse/sync/errcode"}, "vision knows nothing of agent and cloud", false},
	} {
		found := false
		for path, m := range all {
			if path != c.who && !(strings.HasSuffix(c.who, "/") && strings.HasPrefix(path, c.who)) {
				continue
			}
			found = true
			for _, dep := range m.Deps {
				if hasPrefix(dep, c.not) && !hasPrefix(dep, c.but) {
					t.Errorf("%s imports %s: %s", path, dep, c.why)
				}
			}
		}
		if c.must && !found {
			t.Errorf("there is no package %s", c.who)
		}
	}
}

func hasPrefix(s string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(s, p) })
}

func TestEveryPackageHasAComment(t *testing.T) {
	for path, m := range packages(t) {
		if len(m.GoFiles) > 0 && m.Doc == "" {
			t.Errorf("%s has no package comment", path)
		}
	}
}

// A package that starts goroutines verifies in its TestMain that none is left.
func TestGoroutineStartersAreLeakChecked(t *testing.T) {
	for path, m := range packages(t) {
		if starts(t, m) && !leakChecked(t, m) {
			t.Errorf("%s starts goroutines, but no test file of it calls goleak.VerifyTestMain", path)
		}
	}
}

func starts(t *testing.T, m module) bool {
	t.Helper()
	for _, name := range m.GoFiles {
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(m.Dir, name), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		found := false
		ast.Inspect(file, func(n ast.Node) bool {
			_, isGo := n.(*ast.GoStmt)
			found = found || isGo
			return !found
		})
		if found {
			return true
		}
	}
	return false
}

func leakChecked(t *testing.T, m module) bool {
	t.Helper()
	for _, name := range append(m.TestGoFiles, m.XTestGoFiles...) {
		text, err := os.ReadFile(filepath.Join(m.Dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "goleak.") {
			return true
		}
	}
	return false
}

// The top level is the user's: nothing may be added to it.
func TestTopLevel(t *testing.T) {
	out, err := exec.Command("git", "-C", "..", "ls-files").Output()
	if err != nil {
		t.Skipf("no git checkout: %v", err)
	}
	allowed := []string{"agent", "hal", "vision", "sync", "firmware", "configs", "packaging", "go.mod", "go.sum", "Makefile", "README.md", "LICENSE"}
	for _, path := range strings.Fields(string(out)) {
		top, _, _ := strings.Cut(path, "/")
		if !strings.HasPrefix(top, ".") && !slices.Contains(allowed, top) {
			t.Errorf("%s stands at the top level", path)
		}
	}
}
