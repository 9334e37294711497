package fleet

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestReached(t *testing.T) {
	curve := []sample{{time.Second, 5, 5}, {2 * time.Second, 9, 9}, {3 * time.Second, 4, 9}, {4 * time.Second, 10, 15}}
	for n, want := range map[int64]string{4: "1s", 5: "4s", 10: "4s", 11: "never"} {
		if got := reached(curve, n); got != want {
			t.Errorf("%d online: %s, want %s", n, got, want)
		}
	}
}

func TestChart(t *testing.T) {
	var curve []sample
	for i := range int64(101) {
		curve = append(curve, sample{time.Duration(i) * 100 * time.Millisecond, i, i})
	}
	lines := chart(curve, 100)
	if len(lines) > 20 || !strings.Contains(lines[len(lines)-1], "100 online     10 connects/s "+strings.Repeat("#", 40)) {
		t.Errorf("%d lines, the last is %q", len(lines), lines[len(lines)-1])
	}
}

func TestTooManyForTheLimit(t *testing.T) {
	if err := raiseFiles(1 << 40); err == nil || !strings.Contains(err.Error(), "ulimit -Hn") {
		t.Errorf("%v", err)
	}
}

// A cloud that does not start is told with its last words.
func TestCloudThatFails(t *testing.T) {
	var out bytes.Buffer
	program := t.TempDir() + "/cloud"
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho no luck\nexit 1\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	err := Run(context.Background(), Options{Program: program, Boards: 1, Broker: "embedded", Out: &out})
	if err == nil || !strings.Contains(err.Error(), "no luck") {
		t.Errorf("%v", err)
	}
}
