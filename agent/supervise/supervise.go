// Package supervise runs the vision process beside the agent: starts it, hands
// its messages on, and starts it again when it ends, hangs or grows.
//
// OpenCV and RTSP decoding leak, hang and crash; here that costs one restart.
// The child gets one end of a socket pair as file 3 and dies with the agent.
package supervise

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"gatehouse/vision/link"
)

// Options of a Supervisor.
type Options struct {
	Program string   // path of gatehouse-vision
	Args    []string // e.g. run
	Task
	BackoffUp time.Duration // the longest wait before a restart; 0: 30 s
	// OnResult is called for each result, from one goroutine.
	OnResult func(*link.Result)
	// OnFault is called for each fault the child reports.
	OnFault func(link.Fault)
	Log     *slog.Logger
}

// Status is the child's state for people.
type Status struct {
	Running  bool       `json:"running"`
	PID      int        `json:"pid"`
	Restarts int        `json:"restarts"`
	Reason   string     `json:"reason"` // of the last restart
	RSSBytes int64      `json:"rss_bytes"`
	Hello    link.Hello `json:"hello"`
	Alive    link.Alive `json:"alive"` // of the child that runs; zero until it has said so
	Since    int64      `json:"since"` // Unix s when the child was started
	// LastFault is what a child last reported, and when (Unix s).
	LastFault   string `json:"last_fault,omitempty"`
	LastFaultAt int64  `json:"last_fault_at,omitempty"`
}

// Supervisor is safe for concurrent use.
type Supervisor struct {
	o Options

	mu     sync.Mutex
	task   Task
	status Status
	conn   *link.Conn    // nil while no child runs
	retask chan struct{} // closed and replaced by Set
}

// Task is what a child is to do, and its limits.
type Task struct {
	Settings link.Settings
	MaxRSS   int64         // bytes of resident memory, 0: no limit
	Silence  time.Duration // no message for this long: it hangs
	Idle     bool          // no child is needed
}

// New makes a supervisor; Run starts the child.
func New(o Options) *Supervisor {
	if o.BackoffUp == 0 {
		o.BackoffUp = 30 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Supervisor{o: o, task: o.Task, retask: make(chan struct{})}
}

// Set gives the child another task: it is ended and started again with it, at
// once. The same task changes nothing.
func (s *Supervisor) Set(t Task) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if reflect.DeepEqual(t, s.task) {
		return
	}
	s.task = t
	close(s.retask)
	s.retask = make(chan struct{})
}

// assigned gives the present task, and a channel that is closed when there is another.
func (s *Supervisor) assigned() (Task, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.task, s.retask
}

var errRetasked = errors.New("it has another task")

// Status tells how the child does.
func (s *Supervisor) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}

// ErrDown is a trigger while no child runs.
var ErrDown = errors.New("the vision process is not running")

// Trigger asks for a recognition now for a client; its result carries id.
func (s *Supervisor) Trigger(id string) error { return s.TriggerBy(id, link.TriggerSoftware) }

// TriggerBy asks for a recognition now; its result carries id and by, a
// link.Trigger… constant.
func (s *Supervisor) TriggerBy(id string, by int) error {
	return s.send(link.Message{Trigger: &link.Trigger{ID: id, By: by}})
}

// Opened says that the barrier was opened for a passage on its early notice.
func (s *Supervisor) Opened(passage uint64) error {
	return s.send(link.Message{Opened: &link.Opened{Passage: passage}})
}

func (s *Supervisor) send(m link.Message) error {
	s.mu.Lock()
	c := s.conn
	s.mu.Unlock()
	if c == nil {
		return ErrDown
	}
	return c.Send(m)
}

// Run keeps a child running until ctx ends.
func (s *Supervisor) Run(ctx context.Context) {
	wait := 250 * time.Millisecond
	for ctx.Err() == nil {
		task, changed := s.assigned()
		if task.Idle {
			select {
			case <-ctx.Done():
			case <-changed:
			}
			continue
		}
		begin := time.Now()
		err := s.child(ctx, task, changed)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, errRetasked) {
			s.mu.Lock()
			s.status.Running = false
			s.mu.Unlock()
			wait = 250 * time.Millisecond
			continue
		}
		if time.Since(begin) > time.Minute {
			wait = 250 * time.Millisecond
		}
		s.mu.Lock()
		s.status.Running, s.status.Reason = false, err.Error()
		s.status.Restarts++
		s.mu.Unlock()
		s.o.Log.Warn("the vision process ended and is started again", "err", err, "wait", wait)
		select {
		case <-ctx.Done():
		case <-time.After(wait/2 + rand.N(wait/2)):
		}
		wait = min(2*wait, s.o.BackoffUp)
	}
}

// child runs one child to its end and gives the reason.
func (s *Supervisor) child(ctx context.Context, task Task, changed <-chan struct{}) error {
	ours, theirs, err := socketPair()
	if err != nil {
		return fmt.Errorf("cannot make the socket pair: %w", err)
	}
	defer ours.Close()
	cmd := exec.Command(s.o.Program, s.o.Args...)
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err = cmd.Start()
	theirs.Close()
	if err != nil {
		return fmt.Errorf("cannot start %s: %w", s.o.Program, err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	var wait sync.WaitGroup
	wait.Go(func() { // whatever ends first ends the others
		select {
		case <-changed:
			cancel(errRetasked)
		case <-ctx.Done():
		}
		_ = cmd.Process.Kill()
		ours.Close()
	})
	heard, listened := make(chan struct{}, 1), make(chan struct{})
	conn := link.NewConn(ours)
	var fault string
	wait.Go(func() {
		var err error
		fault, err = s.listen(conn, heard)
		close(listened)
		cancel(err)
	})
	wait.Go(func() { cancel(s.watch(ctx, task, cmd.Process.Pid, heard)) })
	s.mu.Lock()
	s.status.Running, s.status.PID = true, cmd.Process.Pid
	s.status.Since, s.status.Alive = time.Now().Unix(), link.Alive{}
	s.mu.Unlock()
	if err := conn.Send(link.Message{Settings: &task.Settings}); err != nil {
		cancel(err)
	}
	s.mu.Lock()
	s.conn = conn // not before: no trigger may overtake the settings
	s.mu.Unlock()
	err = cmd.Wait()
	if err == nil {
		err = errors.New("it ended by itself")
	}
	select { // its last words are still to be read
	case <-listened:
	case <-time.After(time.Second):
	}
	cancel(err)
	wait.Wait()
	s.mu.Lock()
	s.conn = nil
	s.mu.Unlock()
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, io.EOF) {
		err = cause
	}
	if fault != "" && !errors.Is(err, errRetasked) {
		err = fmt.Errorf("%w; it had said: %s", err, fault)
	}
	return err
}

// listen hands on what the child says, and gives the last fault it reported.
func (s *Supervisor) listen(conn *link.Conn, heard chan struct{}) (fault string, err error) {
	for {
		m, err := conn.Receive()
		if err != nil {
			return fault, err
		}
		select {
		case heard <- struct{}{}:
		default:
		}
		switch {
		case m.Hello != nil:
			s.mu.Lock()
			s.status.Hello = *m.Hello
			s.mu.Unlock()
		case m.Alive != nil:
			s.mu.Lock()
			s.status.Alive = *m.Alive
			s.mu.Unlock()
		case m.Result != nil:
			s.o.OnResult(m.Result)
		case m.Fault != nil:
			fault = m.Fault.Message
			s.mu.Lock()
			s.status.LastFault, s.status.LastFaultAt = fault, time.Now().Unix()
			s.mu.Unlock()
			if s.o.OnFault != nil {
				s.o.OnFault(*m.Fault)
			}
		}
	}
}

// loading is how long a child may be silent at first, while it reads its models
// from a slow flash.
const loading = time.Minute

// watch ends a child that is silent or has grown too large.
func (s *Supervisor) watch(ctx context.Context, task Task, pid int, heard chan struct{}) error {
	silent := time.NewTimer(max(task.Silence, loading))
	defer silent.Stop()
	look := time.NewTicker(time.Second)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-heard:
			silent.Reset(task.Silence)
		case <-silent.C:
			return fmt.Errorf("it said nothing for %s", task.Silence)
		case <-look.C:
			rss := RSS(pid)
			s.mu.Lock()
			s.status.RSSBytes = rss
			s.mu.Unlock()
			if task.MaxRSS > 0 && rss > task.MaxRSS {
				return fmt.Errorf("it grew to %d MiB, the limit is %d", rss>>20, task.MaxRSS>>20)
			}
		}
	}
}

// RSS is a process's resident memory in bytes, 0 where it is not known.
func RSS(pid int) int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	f := strings.Fields(string(b))
	if len(f) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(f[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}

func socketPair() (ours net.Conn, theirs *os.File, err error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	file := os.NewFile(uintptr(fds[0]), "vision")
	defer file.Close()
	theirs = os.NewFile(uintptr(fds[1]), "agent")
	if ours, err = net.FileConn(file); err != nil {
		theirs.Close()
	}
	return ours, theirs, err
}
