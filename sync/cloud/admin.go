package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"gatehouse/sync/binding"
	"gatehouse/sync/cloud/platform"
)

// Who has a cloud's data open holds the lock of its directory: a running cloud
// all the time, the command line for a moment where none runs. It asks a
// running one over a socket in that directory.

// How long the command line waits for a cloud that is starting: until there is
// one, and until one that is there answers (it may be checking its database).
const (
	appearsWithin = 5 * time.Second
	answersWithin = time.Minute
)

func socketPath(data string) string { return filepath.Join(data, "cloud.sock") }

// errHeld is that another process has the cloud's data open.
var errHeld = errors.New("another process holds the cloud's data")

// lock takes the directory's lock, or gives errHeld.
func lock(data string) (unlock func(), err error) {
	dir, err := os.Open(data)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(dir.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		dir.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errHeld
		}
		return nil, fmt.Errorf("cannot lock %s: %w", data, err)
	}
	return func() { dir.Close() }, nil
}

// answers reports whether a cloud that runs on the directory takes commands.
func answers(data string) bool {
	c, err := net.Dial("unix", socketPath(data))
	if err == nil {
		c.Close()
	}
	return err == nil
}

// lockToRun takes the lock for a cloud that is to run, once a command that has
// the data open is done.
func lockToRun(ctx context.Context, data string) (unlock func(), err error) {
	if err := os.MkdirAll(data, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the cloud's directory: %w", err)
	}
	for deadline := time.Now().Add(answersWithin); ; {
		if answers(data) {
			return nil, fmt.Errorf("a cloud runs in %s already", data)
		}
		if unlock, err = lock(data); !errors.Is(err, errHeld) {
			return unlock, err
		}
		if err := pause(ctx, deadline, fmt.Errorf("cannot start: %w", errHeld)); err != nil {
			return nil, err
		}
	}
}

// reach finds the cloud of a directory: a running one, which may be starting
// still, or, where none runs, its data, locked. It never makes a new one.
func reach(ctx context.Context, data string) (running bool, unlock func(), err error) {
	began := time.Now()
	for {
		if answers(data) {
			return true, nil, nil
		}
		unlock, err := lock(data)
		if err == nil {
			if _, err := os.Stat(filepath.Join(data, "cloud.db")); err == nil {
				return false, unlock, nil
			}
			unlock()
		}
		switch {
		case errors.Is(err, errHeld):
			err = pause(ctx, began.Add(answersWithin), fmt.Errorf("the cloud in %s does not answer: %w", data, err))
		case err == nil || errors.Is(err, os.ErrNotExist):
			err = pause(ctx, began.Add(appearsWithin), fmt.Errorf("there is no cloud in %s; `gatehouse-cloud run --data %s` makes one", data, data))
		}
		if err != nil {
			return false, nil, err
		}
	}
}

// pause waits a moment; after the deadline it gives late.
func pause(ctx context.Context, deadline time.Time, late error) error {
	if time.Now().After(deadline) {
		return late
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(50 * time.Millisecond):
		return nil
	}
}

// administration answers the command line of this machine's owner.
func administration(p *platform.Platform) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if err := order(p, r.PostForm["arg"], w); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
	})
}

// administer has the running cloud carry out a command, or does it itself
// where none runs.
func administer(ctx context.Context, c *call) error {
	if err := c.parse(newFlags(c), true); err != nil {
		return err
	}
	if c.verb.name == "device add" && !binding.ValidPublicKey(c.words[1]) {
		return c.usage("the public key must be 64 lower-case hex digits; `gatehouse identity` on the board prints it")
	}
	running, unlock, err := reach(ctx, c.data)
	if err != nil {
		return err
	}
	words := append(strings.Fields(c.verb.name), c.words...)
	if running {
		return askRunning(ctx, c.data, words, c.out)
	}
	defer unlock()
	p, err := platform.Open(c.data, platform.Options{})
	if err != nil {
		return err
	}
	defer p.Close()
	return order(p, words, c.out)
}

// localClient speaks to the cloud that runs on the directory.
func localClient(data string) *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socketPath(data))
	}}}
}

func askRunning(ctx context.Context, data string, words []string, out io.Writer) error {
	client := localClient(data)
	defer client.CloseIdleConnections()
	form := strings.NewReader(url.Values{"arg": words}.Encode())
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://cloud/", form)
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	answer, err := client.Do(r)
	if err != nil {
		return fmt.Errorf("cannot ask the running cloud: %w", err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(io.LimitReader(answer.Body, 16<<20))
	if err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return errors.New(strings.TrimSpace(string(b)))
	}
	_, err = out.Write(b)
	return err
}

// order carries out an administrative command: the verb's two words and its
// arguments, which were counted where they were given.
func order(p *platform.Platform, words []string, out io.Writer) error {
	if len(words) < 2 {
		return errors.New("no command")
	}
	name, args := words[0]+" "+words[1], append(slices.Clone(words[2:]), "", "")
	switch name {
	case "device add":
		if err := p.AddBoard(args[0], args[1]); err != nil {
			return err
		}
		fmt.Fprintf(out, "%s is in the factory list\n", args[0])
		return nil
	case "device list":
		lines, err := p.Boards()
		for _, l := range lines {
			fmt.Fprintln(out, l)
		}
		return err
	case "device events":
		if err := p.Known(args[0]); err != nil {
			return err
		}
		reports, err := p.Series(args[0], 0)
		for _, r := range reports {
			fmt.Fprintln(out, r)
		}
		if err == nil && len(reports) == 0 {
			fmt.Fprintf(out, "no event of %s has arrived\n", args[0])
		}
		return err
	case "account add":
		id, secret, err := p.AddAccount(args[0], "")
		if err == nil {
			fmt.Fprintln(out, id, secret)
		}
		return err
	}
	return fmt.Errorf("the running cloud does not know %q; is it of another version?", name)
}
