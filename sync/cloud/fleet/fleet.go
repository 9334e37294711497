// Package fleet tries a cloud with thousands of simulated boards: real MQTT
// sessions with the back-off of real boards and next to no state behind them.
//
// It starts a cloud of its own as a process, below a temporary directory, with
// the boards bound, has them all connect, rolls a whitelist out, and
// restarts the broker in the middle. What it prints is measured: connects a
// second, time until 95 % are there, the cloud's memory and processor time.
// The boards share this process and its loopback network, so the figures are of
// the cloud and the broker, not of lines between them.
package fleet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"gatehouse/sync/session"
)

// Options of a trial.
type Options struct {
	Program       string        // gatehouse-cloud, to be started as the cloud
	Boards        int           // 1 to 50,000
	Broker        string        // embedded, mosquitto (one is started), or tcp://host:port
	RestartBroker string        // shell command that restarts the broker at tcp://
	EventsEvery   time.Duration // of each board; 0: none
	BackoffMax    time.Duration // 0: 30 s
	Within        time.Duration // the boards are switched on within this time, evenly; 0: at once
	Rows          int           // of the whitelist
	Steady        time.Duration // how long the fleet is watched at rest; 0: 10 s
	Limit         time.Duration // the longest a phase may take; 0: 5 min
	Out           io.Writer     // the report
	Progress      io.Writer     // a line that is written over; nil: none
}

// trial is one run.
type trial struct {
	o      Options
	dir    string
	url    string // of the broker
	cloud  *cloud
	broker *mosquitto // nil unless one was started
	boards []*board
	quiet  chan struct{} // closed when no more events are made

	online    atomic.Int64
	connects  atomic.Int64
	put, took atomic.Int64 // events
}

// Check refuses what cannot work, with the way out.
func (o Options) Check() error {
	if o.Boards < 1 || o.Boards > 50_000 {
		return errors.New("cannot simulate the fleet: --boards must be 1 to 50000")
	}
	if o.Broker != "embedded" && o.Broker != "mosquitto" && !strings.HasPrefix(o.Broker, "tcp://") {
		return errors.New("cannot simulate the fleet: --broker must be embedded, mosquitto or tcp://host:port")
	}
	return raiseFiles(o.Boards)
}

// raiseFiles allows as many open files as the fleet needs, here and in what is started from here.
func raiseFiles(boards int) error {
	need := uint64(boards + 500)
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return fmt.Errorf("cannot read the limit of open files: %w", err)
	}
	if l.Max < need {
		return fmt.Errorf("cannot simulate %d boards: a process may have %d open files here and needs %d; run `ulimit -Hn %d` first (as root), or fewer boards", boards, l.Max, need, need)
	}
	l.Cur = l.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return fmt.Errorf("cannot raise the limit of open files: %w", err)
	}
	return nil
}

// Run runs a trial and writes its report.
func Run(ctx context.Context, o Options) error {
	if err := o.Check(); err != nil {
		return err
	}
	for _, d := range []struct {
		v       *time.Duration
		initial time.Duration
	}{{&o.BackoffMax, 30 * time.Second}, {&o.Steady, 10 * time.Second}, {&o.Limit, 5 * time.Minute}} {
		if *d.v == 0 {
			*d.v = d.initial
		}
	}
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	dir, err := os.MkdirTemp("", "gatehouse-fleet-")
	if err != nil {
		return fmt.Errorf("cannot make the fleet's directory: %w", err)
	}
	defer os.RemoveAll(dir)
	t := &trial{o: o, dir: dir, quiet: make(chan struct{})}
	defer t.stopServers()
	if err := t.prepare(ctx); err != nil {
		return err
	}
	return t.run(ctx)
}

// prepare makes the boards, and starts broker and cloud.
func (t *trial) prepare(ctx context.Context) error {
	begin := time.Now()
	if err := t.makeBoards(filepath.Join(t.dir, "cloud")); err != nil {
		return err
	}
	brokerURL := ""
	switch t.o.Broker {
	case "embedded":
	case "mosquitto":
		m, err := startMosquitto(t.dir)
		if err != nil {
			return err
		}
		t.broker, brokerURL = m, "tcp://"+m.address
	default:
		brokerURL = t.o.Broker
	}
	var err error
	if t.cloud, err = startCloud(ctx, t.o.Program, t.dir, brokerURL); err != nil {
		return err
	}
	if t.url = brokerURL; t.url == "" {
		t.url = "tcp://" + t.cloud.mqtt
	}
	t.say("%d boards made and bound in %s", t.o.Boards, round(time.Since(begin)))
	return nil
}

func (t *trial) stopServers() {
	if t.cloud != nil {
		t.cloud.stop()
	}
	if t.broker != nil {
		t.broker.stop()
	}
}

// run goes through the phases with the boards running.
func (t *trial) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var boards sync.WaitGroup
	defer boards.Wait()
	defer cancel()
	empty := t.cloud.usage()
	began := time.Now()
	for i, b := range t.boards {
		boards.Go(func() {
			if sleep(ctx, t.o.Within*time.Duration(i)/time.Duration(len(t.boards))) == nil {
				b.run(ctx)
			}
		})
	}
	if err := t.watch(ctx, fmt.Sprintf("switched on within %s", t.o.Within), began); err != nil {
		return err
	}
	full := t.cloud.usage()
	t.say("cloud: %d MiB, %d MiB before: %.1f KiB a board; %.2f ms of processor time a connect", full.rss>>20, empty.rss>>20,
		float64(full.rss-empty.rss)/1024/float64(t.o.Boards), (full.cpu-empty.cpu).Seconds()*1000/float64(t.o.Boards))
	if err := t.rest(ctx); err != nil {
		return err
	}
	if err := t.rollOut(ctx, "whitelist"); err != nil {
		return err
	}
	if err := t.restart(ctx); err != nil {
		return err
	}
	if err := t.rollOut(ctx, "whitelist after the restart"); err != nil {
		return err
	}
	return t.settle(ctx)
}

// rest watches the fleet while nothing happens but its events and beats.
func (t *trial) rest(ctx context.Context) error {
	before, took := t.cloud.usage(), t.took.Load()
	if err := sleep(ctx, t.o.Steady); err != nil {
		return err
	}
	after := t.cloud.usage()
	used := (after.cpu - before.cpu).Seconds() / t.o.Steady.Seconds()
	t.say("at rest: %.1f %% of one core, %.4f %% a board; %.0f events/s acknowledged; cloud %d MiB", used*100, used*100/float64(t.o.Boards),
		float64(t.took.Load()-took)/t.o.Steady.Seconds(), after.rss>>20)
	if t.broker != nil {
		u := t.broker.usage()
		t.say("mosquitto: %d MiB, %.1f KiB a board", u.rss>>20, float64(u.rss)/1024/float64(t.o.Boards))
	}
	return nil
}

// restart restarts the broker and watches the boards come back.
func (t *trial) restart(ctx context.Context) error {
	began := time.Now()
	switch {
	case t.broker != nil:
		t.broker.stop()
		if err := t.broker.start(); err != nil {
			return err
		}
	case t.o.Broker == "embedded":
		if err := t.cloud.restart(ctx); err != nil {
			return err
		}
	case t.o.RestartBroker != "":
		if err := shell(ctx, t.o.RestartBroker); err != nil {
			return err
		}
	default:
		t.say("the broker is not restarted: give --restart-command with a broker of your own")
		return nil
	}
	t.say("the broker was away for %s", round(time.Since(began)))
	return t.watch(ctx, "back after the broker's restart", began)
}

// settle waits until all events are acknowledged.
func (t *trial) settle(ctx context.Context) error {
	close(t.quiet)
	err := t.until(ctx, func() bool { return t.took.Load() == t.put.Load() }, func() string {
		return fmt.Sprintf("events: %d of %d acknowledged", t.took.Load(), t.put.Load())
	})
	t.say("events: %d put, %d acknowledged by the cloud", t.put.Load(), t.took.Load())
	return err
}

// say writes a line of the report.
func (t *trial) say(format string, args ...any) {
	fmt.Fprint(t.o.Progress, "\r\x1b[K")
	fmt.Fprintf(t.o.Out, format+"\n", args...)
}

// until waits for done, showing progress.
func (t *trial) until(ctx context.Context, done func() bool, progress func() string) error {
	deadline := time.Now().Add(t.o.Limit)
	for !done() {
		if time.Now().After(deadline) {
			return fmt.Errorf("not finished within %s: %s", t.o.Limit, progress())
		}
		fmt.Fprintf(t.o.Progress, "\r\x1b[K%s", progress())
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

func round(d time.Duration) time.Duration { return d.Round(10 * time.Millisecond) }

// backoff is a board's, with a ceiling for the fleet's size.
func (o Options) backoff() session.Backoff {
	b := session.DefaultBackoff()
	b.Max = o.BackoffMax
	return b
}
