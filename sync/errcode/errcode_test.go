package errcode

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func TestMessagesEqualTheVendorsTable(t *testing.T) {
	text, err := os.ReadFile("../../../shared/protocol/error-codes.tsv")
	if err != nil {
		t.Skipf("the vendor's table is not beside this checkout: %v", err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")[1:]
	if len(lines) != 68 || len(All()) != 68 {
		t.Fatalf("the vendor has %d codes, we have %d; want 68", len(lines), len(All()))
	}
	for i, line := range lines {
		f := strings.Split(line, "\t")
		n, err := strconv.Atoi(f[0])
		if err != nil {
			t.Fatal(err)
		}
		if c := All()[i]; int(c) != n || c.Message() != f[1] || c.Analysis("zh") != f[2] {
			t.Errorf("code %d: have %d %q %q, the vendor has %q", n, c, c.Message(), c.Analysis("zh"), line)
		}
	}
}

func TestEveryCodeHasItsWordsAndStatuses(t *testing.T) {
	for _, c := range All() {
		if c.Analysis("en") == "" || c.HTTPStatus() < 400 || c.HTTPStatus() > 599 {
			t.Errorf("%d: analysis %q, HTTP %d", c, c.Analysis("en"), c.HTTPStatus())
		}
		switch c.MQTTCode() {
		case 400, 401, 404, 405, 409, 500:
		default:
			t.Errorf("%d: MQTT code %d", c, c.MQTTCode())
		}
	}
}

// The generated files are those the generator writes now.
func TestGeneratedFilesAreFresh(t *testing.T) {
	dir := t.TempDir()
	table, err := os.ReadFile("table.tsv")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "table.tsv"), table, 0o600); err != nil {
		t.Fatal(err)
	}
	gen := filepath.Join(dir, "gen")
	if out, err := exec.Command("go", "build", "-o", gen, "./gen").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd := exec.Command(gen)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, name := range []string{"codes_gen.go", "CODES.md"} {
		want, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if have, err := os.ReadFile(name); err != nil || !bytes.Equal(have, want) {
			t.Errorf("%s is stale; run go generate ./sync/errcode", name)
		}
	}
}

// What is only not possible at this moment is 409; what fails is 500.
func TestBusyIsNotAFailure(t *testing.T) {
	wrapped := fmt.Errorf("cannot apply: %w", Busy("The barrier is moving!"))
	if e := From(wrapped); e.Code != RequestFailed || e.MQTTCode() != 409 {
		t.Errorf("%+v", e)
	}
	for _, err := range []error{New(RequestFailed, ""), errors.New("the disk is full")} {
		if e := From(err); e.MQTTCode() != 500 {
			t.Errorf("%+v", e)
		}
	}
	for _, c := range []Code{RateExceeded, TotalExceeded, DailyExceeded} {
		if c.MQTTCode() != 409 {
			t.Errorf("%d is %d", c, c.MQTTCode())
		}
	}
}

func TestErrors(t *testing.T) {
	if got := Param("sn", "format error").Error(); got != "Request params error!Param [sn] format error!" {
		t.Error(got)
	}
	wrapped := fmt.Errorf("cannot bind: %w", New(DeviceBound, ""))
	if From(wrapped).Code != DeviceBound || From(errors.New("x")).Code != RequestFailed || From(nil) != nil {
		t.Error("From lost the code")
	}
}
