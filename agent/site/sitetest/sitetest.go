// Package sitetest is for tests that run the real agent and cloud as processes:
// it builds them and stands in for gatehouse-vision, which needs OpenCV and a
// camera. The stand-in is the test's own executable under that name; it speaks
// with the agent as gatehouse-vision does, about results that the test invents.
package sitetest

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"gatehouse/vision/link"

	// What the built programs consist of, so that go test's cache knows it.
	_ "gatehouse/agent/board"
	_ "gatehouse/sync/cloud/platform"
)

// Vision stands in for gatehouse-vision, if this process was started as that,
// and tells so. For TestMain. Every 100 ms, and when the agent asks for a
// recognition, it sends what results gives; trigger is the asker's id, or "".
func Vision(results func(trigger string) []link.Result) bool {
	if filepath.Base(os.Args[0]) != "gatehouse-vision" {
		return false
	}
	if len(os.Args) > 1 && os.Args[1] == "render-demo" {
		_ = os.MkdirAll(os.Args[2], 0o755)
		return true
	}
	c := link.NewConn(os.NewFile(3, "agent"))
	triggers := make(chan string, 1)
	var reader sync.WaitGroup // it ends with the process
	reader.Go(func() {
		for {
			m, err := c.Receive()
			if err != nil {
				os.Exit(0) // the agent is gone
			}
			if m.Trigger != nil {
				triggers <- m.Trigger.ID
			}
		}
	})
	_ = c.Send(link.Message{Hello: &link.Hello{Version: "stand-in", PID: os.Getpid()}})
	for seq := uint64(1); ; seq++ {
		var trigger string
		select {
		case trigger = <-triggers:
		case <-time.After(100 * time.Millisecond):
		}
		for _, r := range results(trigger) {
			r.Seq, r.TriggerID = seq, trigger
			_ = c.Send(link.Message{Result: &r})
		}
		_ = c.Send(link.Message{Alive: &link.Alive{Frames: seq, FPS: 10, CameraOK: true}})
	}
}

// Build builds gatehouse and gatehouse-cloud into a directory and puts the
// stand-in beside them.
func Build(t testing.TB, dir string) {
	t.Helper()
	for name, from := range map[string]string{"gatehouse": "gatehouse/agent", "gatehouse-cloud": "gatehouse/sync/cloud"} {
		cmd := exec.Command("go", "build", "-o", filepath.Join(dir, name), from)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// A copy, not a link: a test may replace the file, as an upgrade does.
	program, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "gatehouse-vision"), program, 0o755); err != nil {
		t.Fatal(err)
	}
}
