package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"gatehouse/sync/errcode"
)

func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "content.json")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

var pushedID = regexp.MustCompile(`(?:config|whitelist) (\w{16}) for`)

// The command line pushes whitelists and configs, follows them, and tells later
// how far they are and why they failed.
func TestPush(t *testing.T) {
	c := startCloud(t, t.TempDir())
	good, bad := c.robot(t, 1, 0), c.robot(t, 2, 0)
	defer good.online()()
	defer bad.online()()
	list := file(t, `{"mode":"replace","rows":[{"plate":"川A12345","enable":1}]}`)

	// Staged, then applied by a command of its own.
	text, err := admin(c.s.data, "whitelist", "push", list, "--to", "0", "--remark", "winter")
	if err != nil || !strings.Contains(text, "for 2 devices\n") || !strings.HasSuffix(text, "not applied; devices: 2 staged\n") {
		t.Fatalf("staging: %v\n%s", err, text)
	}
	id := pushedID.FindStringSubmatch(text)[1]
	if text, err = admin(c.s.data, "change", "apply", id); err != nil || !strings.HasSuffix(text, "roll-out done, 2 of 2 released; devices: 2 applied\n") {
		t.Errorf("applying: %v\n%s", err, text)
	}
	if text, err = admin(c.s.data, "change", "cancel", id); err == nil || !strings.Contains(text, good.sn+" takes no part: 5502") {
		t.Errorf("cancelling what is applied: %v\n%s", err, text)
	}

	// A config that one board refuses: the reason and the board are told at once and later.
	bad.set("stage", errcode.ParamsError)
	reason := "1103 Request params error!"
	text, err = admin(c.s.data, "config", "push", file(t, `{"mode":"merge","config":{}}`), "--to", good.sn+","+bad.sn, "--apply", "--max-failures", "50%")
	if err == nil || !strings.Contains(err.Error(), "1 of 2 devices failed; the first: "+bad.sn+": "+reason) {
		t.Errorf("a refused config: %v\n%s", err, text)
	}
	second := pushedID.FindStringSubmatch(text)[1]
	if text, err = admin(c.s.data, "change", second); err != nil || !strings.Contains(text, good.sn+"  applied\n") || !strings.Contains(text, bad.sn+"  failed, "+reason) {
		t.Errorf("change: %v\n%s", err, text)
	}
	if text, err = admin(c.s.data, "changes"); err != nil || !regexp.MustCompile(`(?s)whitelist `+id+`  winter\n.*2 applied\n.*config `+second+`.*1 applied, 1 failed\n$`).MatchString(text) {
		t.Errorf("changes: %v\n%s", err, text)
	}

	// A long one goes as a file; a board that is away ends the looking on, not the change.
	away := c.robot(t, 3, 0)
	var rows []string
	for i := range maxContent / 25 {
		rows = append(rows, fmt.Sprintf(`{"plate":"川A%05d","enable":1}`, i))
	}
	long := file(t, `{"mode":"replace","rows":[`+strings.Join(rows, ",")+`]}`)
	if text, err = admin(c.s.data, "whitelist", "push", long, "--to", away.sn, "--patience", "100ms"); err == nil || !strings.HasSuffix(text, "1 not heard from\n") || !strings.Contains(err.Error(), "1 of 1 devices have not answered yet") {
		t.Errorf("a board that is away: %v\n%s", err, text)
	}

	if text, err = admin(c.s.data, "whitelist", "push", list, "--to", away.sn, "--patience", "0"); err != nil || strings.Count(text, "\n") != 1 {
		t.Errorf("without looking on: %v\n%s", err, text)
	}

	// Another account's key sees nothing of it.
	key, err := admin(c.s.data, "account", "add", "other")
	if err != nil {
		t.Fatal(err)
	}
	if text, err = admin(c.s.data, "changes", "--key", file(t, key)); err != nil || text != "no change was pushed yet\n" {
		t.Errorf("another account: %v\n%s", err, text)
	}

	for _, args := range [][]string{{"whitelist", "push", list}, {"whitelist", "push", "--to", "0"}, {"config", "push", list, "--to", "gate"}, {"change"}} {
		var wrong usageError
		if _, err := admin(c.s.data, args...); !errors.As(err, &wrong) {
			t.Errorf("%v: %v", args, err)
		}
	}
	for want, args := range map[string][]string{"there is no change nonesuch": {"change", "nonesuch"}, "1103": {"config", "push", list, "--to", "0"}, "5101": {"whitelist", "push", list, "--to", "9"}} {
		if _, err := admin(c.s.data, args...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v", args, err)
		}
	}
	c.stop()
	if _, err := admin(c.s.data, "changes"); err == nil || !strings.Contains(err.Error(), "does not run") {
		t.Errorf("no cloud runs: %v", err)
	}
}
