package main

import (
	"context"
	"errors"
	"flag"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/sync/binding"
	"gatehouse/sync/cloud/platform"
)

// admin runs a command line on a directory and gives what it prints.
func admin(data string, args ...string) (string, error) {
	var out strings.Builder
	err := command(context.Background(), append(args, "--data", data), &out)
	return out.String(), err
}

func publicKey(t *testing.T) string {
	t.Helper()
	keys, err := binding.NewKeys()
	if err != nil {
		t.Fatal(err)
	}
	key, _ := keys.Public()
	return key
}

// `gatehouse-cloud run &` and a command at once: the command waits for the
// cloud that is starting, whether it finds no directory yet or its lock, and
// is carried out by the running one.
func TestCommandBesideAStartingCloud(t *testing.T) {
	for range 3 {
		c := &cloud{t: t, s: settings{data: filepath.Join(t.TempDir(), "cloud"), http: free(t), mqtt: free(t)}}
		type answer struct {
			text string
			err  error
		}
		added, key := make(chan answer), publicKey(t)
		go func() {
			text, err := admin(c.s.data, "device", "add", sn, key)
			added <- answer{text, err}
		}()
		c.start()
		if a := <-added; a.err != nil || a.text != sn+" is in the factory list\n" {
			t.Errorf("device add: %q, %v", a.text, a.err)
		}
		c.stop()
		if list, err := admin(c.s.data, "device", "list"); err != nil || !strings.HasPrefix(list, sn) {
			t.Errorf("the list, with no cloud running: %q, %v", list, err)
		}
	}
}

// A command has the data open for a moment: a cloud that starts then waits.
// Where one runs already, it says so.
func TestOneCloudOnADirectory(t *testing.T) {
	dir := t.TempDir()
	unlock, err := lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lock(dir); !errors.Is(err, errHeld) {
		t.Errorf("a second lock: %v", err)
	}
	time.AfterFunc(200*time.Millisecond, unlock)
	c := startCloud(t, dir)
	second := c.s
	second.http, second.mqtt = free(t), free(t)
	if err := serve(t.Context(), second, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "runs in "+dir+" already") {
		t.Errorf("a second cloud: %v", err)
	}
}

func TestOnlyRunMakesACloud(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "typo")
	began := time.Now()
	if _, err := admin(dir, "device", "list"); err == nil || !strings.Contains(err.Error(), "there is no cloud in "+dir) {
		t.Errorf("device list: %v", err)
	}
	if waited := time.Since(began); waited > appearsWithin+5*time.Second {
		t.Errorf("it took %s", waited)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory was made: %v", err)
	}
}

// What the command line cannot make sense of is a usage error; what it can is said.
func TestCommandLine(t *testing.T) {
	dir := t.TempDir()
	p, err := platform.Open(dir, platform.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p.Close()
	key := publicKey(t)
	for _, args := range []string{"dance", "device", "device dance", "device list --data", "device list --data=", "device list x --data " + dir, "device add " + sn + " --data " + dir,
		"device add " + sn + " short --data " + dir, "device events --data " + dir, "account add --data " + dir, "device list --dta " + dir, "run x", "run --htp x", "fleet x"} {
		var wrong usageError
		if err := command(t.Context(), strings.Fields(args), io.Discard); !errors.As(err, &wrong) {
			t.Errorf("%s: %v", args, err)
		}
	}
	if _, err := admin(dir, "device", "events", sn); err == nil || !strings.Contains(err.Error(), "Device is not exist!") {
		t.Errorf("events of an unknown board: %v", err)
	}
	if text, err := admin(dir, "device", "add", sn, key); err != nil || !strings.Contains(text, sn) {
		t.Errorf("device add: %q, %v", text, err)
	}
	if text, err := admin(dir, "device", "events", sn); err != nil || text != "no event of "+sn+" has arrived\n" {
		t.Errorf("events of a silent board: %q, %v", text, err)
	}
	var out strings.Builder
	if err := command(t.Context(), []string{"--version"}, &out); err != nil || out.String() != version+"\n" {
		t.Errorf("--version: %q, %v", out.String(), err)
	}
	for _, v := range verbs() {
		out.Reset()
		if err := command(t.Context(), append(strings.Fields(v.name), "--help"), &out); !errors.Is(err, flag.ErrHelp) || !strings.Contains(out.String(), v.line()) || !strings.Contains(out.String(), "\n  -") {
			t.Errorf("%s --help: %v\n%s", v.name, err, out.String())
		}
		if !strings.Contains(usage(), v.line()) {
			t.Errorf("the help leaves out %s", v.name)
		}
	}
}
