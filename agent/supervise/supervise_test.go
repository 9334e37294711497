package supervise

import (
	"context"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"gatehouse/vision/link"
)

// TestMain is the fake child too: a real process that behaves as the
// environment says.
func TestMain(m *testing.M) {
	if how := os.Getenv("GATEHOUSE_FAKE_VISION"); how != "" {
		fakeVision(how)
		return
	}
	goleak.VerifyTestMain(m)
}

func fakeVision(how string) {
	c := link.NewConn(os.NewFile(3, "agent"))
	m, err := c.Receive()
	if err != nil || m.Settings == nil {
		os.Exit(9)
	}
	_ = c.Send(link.Message{Hello: &link.Hello{Version: m.Settings.Camera, PID: os.Getpid()}})
	_ = c.Send(link.Message{Result: &link.Result{Seq: 1, Full: []byte("jpeg")}})
	switch how {
	case "crash":
		panic("segmentation fault")
	case "fault":
		_ = c.Send(link.Message{Fault: &link.Fault{Message: "the models are not there"}})
		os.Exit(1)
	case "hang":
		time.Sleep(time.Hour)
	case "grow":
		memory := make([]byte, 256<<20)
		for i := range memory {
			memory[i] = 1
		}
		for {
			_ = c.Send(link.Message{Alive: &link.Alive{Frames: uint64(memory[7])}})
			time.Sleep(100 * time.Millisecond)
		}
	case "garbage":
		_, _ = os.NewFile(3, "agent").Write([]byte(strings.Repeat("\xff", 64)))
		time.Sleep(time.Hour)
	case "echo":
		for {
			m, err := c.Receive()
			if err != nil {
				return
			}
			_ = c.Send(link.Message{Result: &link.Result{TriggerID: m.Trigger.ID}})
		}
	}
}

// run supervises a child that behaves as how until done gives true.
func run(t *testing.T, how string, maxRSS int64, done func(s *Supervisor, results int32) bool) Status {
	t.Helper()
	t.Setenv("GATEHOUSE_FAKE_VISION", how)
	var results atomic.Int32
	silence := time.Minute // a busy machine is not a silent child
	if how == "hang" {
		silence = 1500 * time.Millisecond
	}
	s := New(Options{Program: os.Args[0], Task: Task{Settings: link.Settings{Camera: "cam"}, MaxRSS: maxRSS, Silence: silence},
		BackoffUp: 300 * time.Millisecond, OnResult: func(*link.Result) { results.Add(1) }})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { s.Run(ctx); close(ended) }()
	for deadline := time.Now().Add(time.Minute); !done(s, results.Load()); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Errorf("%s: not done: %+v, %d results", how, s.Status(), results.Load())
			break
		}
	}
	status := s.Status()
	cancel()
	<-ended
	return status
}

func TestRestarts(t *testing.T) {
	for how, reason := range map[string]string{"crash": "exit status 2", "hang": "said nothing", "grow": "it grew to", "garbage": "above the limits"} {
		t.Run(how, func(t *testing.T) {
			s := run(t, how, 200<<20, func(s *Supervisor, results int32) bool { return s.Status().Restarts >= 2 && results >= 2 })
			if !strings.Contains(s.Reason, reason) || s.Hello.Version != "cam" {
				t.Errorf("%+v, want the reason %q", s, reason)
			}
		})
	}
}

// What a child reports before it ends is the reason, not its exit status alone.
func TestItsLastWords(t *testing.T) {
	s := run(t, "fault", 0, func(s *Supervisor, _ int32) bool { return s.Status().Restarts >= 3 })
	if !strings.HasSuffix(s.Reason, "; it had said: the models are not there") || s.LastFault != "the models are not there" || s.LastFaultAt == 0 || s.Since == 0 {
		t.Errorf("%+v", s)
	}
}

func TestTrigger(t *testing.T) {
	s := run(t, "echo", 0, func(s *Supervisor, results int32) bool {
		_ = s.Trigger("t1")
		return results >= 3
	})
	if s.Restarts != 0 {
		t.Errorf("%+v", s)
	}
	if err := New(Options{}).Trigger("x"); err != ErrDown {
		t.Error(err)
	}
}

// Another task ends the child and starts one with it, which is no failure; an
// idle task leaves none.
func TestSet(t *testing.T) {
	task := Task{Settings: link.Settings{Camera: "cam"}, Silence: 5 * time.Second}
	step := 0
	s := run(t, "echo", 0, func(s *Supervisor, _ int32) bool {
		now := s.Status()
		switch {
		case step == 0 && now.Hello.Version == "cam":
			task.Settings.Camera = "other"
			s.Set(task)
			step++
		case step == 1 && now.Hello.Version == "other":
			task.Idle = true
			s.Set(task)
			step++
		case step == 2 && !now.Running:
			task.Idle = false
			s.Set(task)
			step++
		case step == 3 && now.Running:
			step++
		}
		return step == 4
	})
	if s.Restarts != 0 {
		t.Errorf("%+v", s)
	}
}

func TestRSS(t *testing.T) {
	if RSS(os.Getpid()) < 1<<20 || RSS(0) != 0 {
		t.Error(RSS(os.Getpid()), RSS(0))
	}
}
