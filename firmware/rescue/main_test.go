package main

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/firmware/slot"
)

// board makes a slots directory whose programs say which slot they are from.
func board(t *testing.T, rescue string) (dir string, run func() string) {
	t.Helper()
	dir = t.TempDir()
	for _, s := range []string{slot.A, slot.B} {
		if err := os.Mkdir(filepath.Join(dir, s), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, s, "gatehouse"), []byte("#!/bin/sh\necho slot "+s+" \"$@\"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := slot.Dir(dir).Switch(slot.A); err != nil {
		t.Fatal(err)
	}
	return dir, func() string {
		t.Helper()
		out, err := exec.Command(rescue, "run", "--dir", dir, "--", "run", "--state", "x").Output()
		if err != nil {
			return err.Error()
		}
		return strings.TrimSpace(string(out))
	}
}

// The real program, over real executables.
func TestRescue(t *testing.T) {
	rescue := filepath.Join(t.TempDir(), "gatehouse-rescue")
	if out, err := exec.Command("go", "build", "-o", rescue, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	const a, b = "slot a run --state x", "slot b run --state x"

	t.Run("a slot that proves itself stays", func(t *testing.T) {
		dir, run := board(t, rescue)
		if got := run(); got != a {
			t.Error(got)
		}
		d := slot.Dir(dir)
		if err := d.SetTrial(&slot.Trial{Slot: slot.B, Previous: slot.A, Max: 3}); err != nil {
			t.Fatal(err)
		}
		if err := d.Switch(slot.B); err != nil {
			t.Fatal(err)
		}
		if got := run(); got != b {
			t.Error(got)
		}
		if err := d.SetTrial(nil); err != nil { // the agent commits
			t.Fatal(err)
		}
		for range 5 {
			if got := run(); got != b {
				t.Error(got)
			}
		}
	})
	t.Run("a slot that does not goes back", func(t *testing.T) {
		dir, run := board(t, rescue)
		d := slot.Dir(dir)
		if err := d.SetTrial(&slot.Trial{Slot: slot.B, Previous: slot.A, Max: 2}); err != nil {
			t.Fatal(err)
		}
		if err := d.Switch(slot.B); err != nil {
			t.Fatal(err)
		}
		for i, want := range []string{b, b, a, a} {
			if got := run(); got != want {
				t.Errorf("start %d: %s, want %s", i, got, want)
			}
		}
		if failed, err := os.ReadFile(filepath.Join(dir, "failed")); err != nil || string(failed) != "b\n" {
			t.Errorf("%q %v", failed, err)
		}
	})
	for name, damage := range map[string]func(dir string) error{
		"a program that is gone":   func(dir string) error { return os.Remove(filepath.Join(dir, "a/gatehouse")) },
		"an empty program":         func(dir string) error { return os.Truncate(filepath.Join(dir, "a/gatehouse"), 0) },
		"a program without rights": func(dir string) error { return os.Chmod(filepath.Join(dir, "a/gatehouse"), 0o644) },
	} {
		t.Run(name, func(t *testing.T) {
			dir, run := board(t, rescue)
			if err := damage(dir); err != nil {
				t.Fatal(err)
			}
			if got := run(); got != b {
				t.Error(got)
			}
		})
	}
	t.Run("a lost link and a damaged trial", func(t *testing.T) {
		dir, run := board(t, rescue)
		if err := os.Remove(filepath.Join(dir, "current")); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "trial.json"), []byte("{\"slot\":"), 0o644); err != nil {
			t.Fatal(err)
		}
		if got := run(); got != a {
			t.Error(got)
		}
	})
	t.Run("nothing to start", func(t *testing.T) {
		out, err := exec.Command(rescue, "run", "--dir", t.TempDir()).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "neither slot has one") {
			t.Errorf("%s", out)
		}
	})
}

// A mistake in the command line ends with 2, as in the other programs.
func TestCommandLine(t *testing.T) {
	for _, c := range []struct {
		args  string
		usage bool
	}{
		{"", true}, {"fly", true}, {"status --fly", true}, {"status --dir /nowhere", false},
	} {
		err := command(strings.Fields(c.args), io.Discard, io.Discard)
		if errors.As(err, new(usageError)) != c.usage || err == nil {
			t.Errorf("gatehouse-rescue %s: %v", c.args, err)
		}
	}
	for _, args := range []string{"version", "--version"} {
		var out strings.Builder
		if err := command([]string{args}, &out, io.Discard); err != nil || out.String() != "gatehouse-rescue "+version+"\n" {
			t.Errorf("%s: %q %v", args, out.String(), err)
		}
	}
}
