package fault

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// The list and the calls in the source are the same.
func TestPointsAreThoseOfTheSource(t *testing.T) {
	call := regexp.MustCompile(`fault\.Point\("([^"]*)"\)`)
	found := map[string]bool{}
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), ".") && len(d.Name()) > 2 {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(path)
		for _, m := range call.FindAllStringSubmatch(string(text), -1) {
			found[m[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range Points {
		if !found[p] {
			t.Errorf("no code comes to %s", p)
		}
	}
	for p := range found {
		if !slices.Contains(Points, p) {
			t.Errorf("%s is not in Points", p)
		}
	}
}

func TestPointKills(t *testing.T) {
	if os.Getenv("FAULT_TEST") != "" {
		Point("another")
		for range 5 {
			Point("here")
			os.Stdout.WriteString("x")
		}
		os.Exit(0)
	}
	for setting, want := range map[string]string{"": "xxxxx", "here": "", "here:3": "xx", "here:x": "", "elsewhere": "xxxxx"} {
		cmd := exec.Command(os.Args[0], "-test.run=TestPointKills")
		cmd.Env = append(os.Environ(), "FAULT_TEST=1", Env+"="+setting)
		out, err := cmd.Output()
		var exit *exec.ExitError
		killed := errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL
		if string(out) != want || killed != (len(want) < 5) {
			t.Errorf("%s=%q: %q, %v", Env, setting, out, err)
		}
	}
}
