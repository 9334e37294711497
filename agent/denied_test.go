package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"gatehouse/agent/board"
)

// asAnother runs a command line as a user who may not look into the state.
func asAnother(t *testing.T, state string, args ...string) string {
	t.Helper()
	if os.Getuid() != 0 {
		if err := os.Chmod(state, 0); err != nil {
			t.Fatal(err)
		}
		defer os.Chmod(state, 0o700) //nolint:errcheck // the directory is removed
	}
	dir := t.TempDir()
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	program, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "gatehouse")
	if err := os.WriteFile(path, program, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, append(args, "--state", state)...)
	if os.Getuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	cmd.Dir, cmd.Env = "/", append(os.Environ(), "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Errorf("%v: no error", args)
	}
	return string(out)
}

// Another user than the agent's is told so, whatever he asks; nothing is taken
// for damaged, stopped or the defaults.
func TestAnotherUserIsToldSo(t *testing.T) {
	state := filepath.Join(t.TempDir(), "board")
	if err := board.Offline(state, "", true, func(*board.State) error { return nil }); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"status"}, {"identity"}, {"config", "show"}, {"events"}, {"doctor"}} {
		out := asAnother(t, state, args...)
		if !strings.Contains(out, "run this as the agent's user (sudo)") {
			t.Errorf("%v: %s", args, out)
		}
		for _, wrong := range []string{"damaged", "no agent runs", "# the defaults", "there is no board"} {
			if strings.Contains(out, wrong) {
				t.Errorf("%v says %q: %s", args, wrong, out)
			}
		}
	}
}
