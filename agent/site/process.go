package site

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"time"
)

// Process is one running program of the site. Its output goes to a log file.
type Process struct {
	Name string
	Log  string // path of its log file
	cmd  *exec.Cmd
	done chan struct{} // closed when the program has ended
	err  error         // valid once done is closed
}

// start runs program with args and env beside this process's own, output
// appended to <dir>/<name>.log. The program dies with this process, however
// that ends.
func start(dir, name string, env []string, program string, args ...string) (*Process, error) {
	p := &Process{Name: name, Log: filepath.Join(dir, name+".log"), done: make(chan struct{})}
	log, err := os.OpenFile(p.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot open the log of %s: %w", name, err)
	}
	defer log.Close()
	p.cmd = exec.Command(program, args...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// PID is the program's process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Kill ends the program with SIGKILL, as a power cut would, and waits for its end.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// Stop asks the program to end and kills it after ten seconds.
func (p *Process) Stop() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
		return nil
	case <-time.After(10 * time.Second):
		p.Kill()
		return fmt.Errorf("%s did not stop within 10 s and was killed", p.Name)
	}
}

// Ended is closed when the program has ended.
func (p *Process) Ended() <-chan struct{} { return p.done }

// Running reports whether the program has not ended yet.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// await calls ready until it gives nil, the program ends, or ctx ends.
func (p *Process) await(ctx context.Context, ready func(context.Context) error) error {
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s ended while starting (%v); its log is %s:\n%s", p.Name, p.err, p.Log, ending(p.Log))
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w (its log is %s)", p.Name, errors.Join(err, ctx.Err()), p.Log)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// ending gives the end of a log file, for error messages: from where the
// program crashed, or the last of it.
func ending(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	if at := crashed.FindIndex(text); at != nil {
		return string(text[at[0]:min(at[0]+4000, len(text))])
	}
	return string(text[max(0, len(text)-1500):])
}

// crashed is how a crash of a Go program begins.
var crashed = regexp.MustCompile(`(?m)^(panic|fatal error|unexpected fault address|SIG[A-Z]+):? `)
