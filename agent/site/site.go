// Package site runs a whole site on one machine as real processes: a reference
// cloud, and one or more boards beside it. The demonstration (package demo)
// and the tests of the real programs are built on it.
//
// Everything lies below one directory, ports included, so that a program that
// was killed can be started again in its place. It promises no isolation: the
// programs run as the user who calls.
package site

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"gatehouse/configs"
	"gatehouse/sync/cloud/client"
	"gatehouse/sync/errcode"
)

// Site is one cloud and its directory.
type Site struct {
	Dir string // holds cloud/, one directory a board, logs and site.json
	Bin string // where the four programs are

	addresses
	id, secret string // the ROOT account's AccessKey
}

// addresses are kept in site.json, so that a restart finds the same ports.
type addresses struct {
	HTTP string // host:port of the cloud's HTTP API
	MQTT string // host:port of the broker
}

// Open makes or finds the site below dir. Bin is the directory of the programs.
func Open(dir, bin string) (*Site, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the site's directory: %w", err)
	}
	for _, program := range []string{"gatehouse", "gatehouse-cloud", "gatehouse-vision"} {
		if _, err := os.Stat(filepath.Join(bin, program)); err != nil {
			return nil, fmt.Errorf("cannot find %s in %s: run `make build` first", program, bin)
		}
	}
	s := &Site{Dir: dir, Bin: bin}
	var found bool
	if s.addresses, found = read(dir); found {
		return s, nil
	}
	for _, a := range []*string{&s.HTTP, &s.MQTT} {
		if *a, err = freeAddress(); err != nil {
			return nil, err
		}
	}
	b, err := json.Marshal(s.addresses)
	if err != nil {
		return nil, err
	}
	return s, os.WriteFile(filepath.Join(dir, Mark), b, 0o600)
}

// Mark is the file by which a site's directory is known.
const Mark = "site.json"

// In reports whether dir is a site's directory.
func In(dir string) bool { _, found := read(dir); return found }

func read(dir string) (a addresses, found bool) {
	b, err := os.ReadFile(filepath.Join(dir, Mark))
	return a, err == nil && json.Unmarshal(b, &a) == nil && a.HTTP != "" && a.MQTT != ""
}

// freeAddress finds a loopback port that nobody listens on at this moment.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("cannot find a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// CloudURL is the address of the cloud's HTTP API.
func (s *Site) CloudURL() string { return "http://" + s.HTTP }

// program gives the path of one of the four programs.
func (s *Site) program(name string) string { return filepath.Join(s.Bin, name) }

// StartCloud starts gatehouse-cloud and waits until it answers. With broker
// (tcp://host:port) it uses that one, else its embedded one.
func (s *Site) StartCloud(ctx context.Context, broker string, extra ...string) (*Process, error) {
	args := []string{"run", "--data", filepath.Join(s.Dir, "cloud"), "--http", s.HTTP}
	if broker != "" {
		args = append(args, "--broker", broker)
	} else {
		args = append(args, "--mqtt", s.MQTT)
	}
	p, err := start(s.Dir, "cloud", nil, s.program("gatehouse-cloud"), append(args, extra...)...)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	return p, p.await(ctx, func(ctx context.Context) error {
		var e *errcode.Error
		err := s.API(ctx, http.MethodGet, "/v2/stp/user/devices", nil, nil)
		if err == nil || errors.As(err, &e) {
			return s.loadKey()
		}
		return err
	})
}

// loadKey reads the ROOT account's AccessKey, which the cloud wrote at its first start.
func (s *Site) loadKey() error {
	var err error
	s.id, s.secret, err = client.ReadKey(s.keyFile())
	return err
}

func (s *Site) keyFile() string { return filepath.Join(s.Dir, "cloud", "admin.accesskey") }

// CloudCommand runs a gatehouse-cloud command against the site's data.
func (s *Site) CloudCommand(ctx context.Context, args ...string) ([]byte, error) {
	return run(ctx, nil, s.program("gatehouse-cloud"), append(args, "--data", filepath.Join(s.Dir, "cloud"))...)
}

// API calls the cloud's HTTP API, signed with the ROOT account's AccessKey.
// A failure the cloud reports is an *errcode.Error.
func (s *Site) API(ctx context.Context, method, path string, in, out any) error {
	c := client.Client{Base: s.CloudURL(), ID: s.id, Secret: s.secret}
	return c.Call(ctx, method, path, in, out)
}

// Board is one agent with its vision process.
type Board struct {
	site  *Site
	Name  string
	State string // its state directory
	file  string // its config file
}

// Board makes or finds the board called name and writes its config.
func (s *Site) Board(name string, c configs.Config) (*Board, error) {
	b := &Board{site: s, Name: name, State: filepath.Join(s.Dir, name), file: filepath.Join(s.Dir, name+".json")}
	text, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(b.file, text, 0o600); err != nil {
		return nil, fmt.Errorf("cannot write the board's config: %w", err)
	}
	return b, nil
}

// Start starts the board's agent, with env beside the environment of this
// process, and waits until it answers.
func (b *Board) Start(ctx context.Context, env ...string) (*Process, error) {
	p, err := start(b.site.Dir, b.Name, env, b.site.program("gatehouse"), "run", "--config", b.file, "--state", b.State)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	return p, p.await(ctx, func(context.Context) error {
		c, err := net.Dial("unix", filepath.Join(b.State, "agent.sock"))
		if err == nil {
			c.Close()
		}
		return err
	})
}

// Command runs a gatehouse command for this board and gives what it prints.
func (b *Board) Command(ctx context.Context, args ...string) ([]byte, error) {
	return run(ctx, nil, b.site.program("gatehouse"), append(args, "--config", b.file, "--state", b.State)...)
}

// Bind makes the board known to the cloud and binds it to the ROOT account,
// the way an installer does: identity, factory list, gatehouse bind.
func (b *Board) Bind(ctx context.Context) (sn string, err error) {
	out, err := b.Command(ctx, "identity", "--json")
	if err != nil {
		return "", err
	}
	var id struct {
		SN        string `json:"sn"`
		PublicKey string `json:"public_key"`
	}
	if err := json.Unmarshal(out, &id); err != nil {
		return "", fmt.Errorf("cannot read the board's identity: %w", err)
	}
	if _, err := b.site.CloudCommand(ctx, "device", "add", id.SN, id.PublicKey); err != nil {
		return "", err
	}
	_, err = run(ctx, strings.NewReader(b.site.secret+"\n"), b.site.program("gatehouse"), "bind",
		"--cloud", b.site.CloudURL(), "--key", b.site.id, "--config", b.file, "--state", b.State)
	return id.SN, err
}

// Render has the vision program draw the demonstration's gate scenes into dir.
func (s *Site) Render(ctx context.Context, dir string) error {
	_, err := run(ctx, nil, s.program("gatehouse-vision"), "render-demo", dir)
	return err
}

// run gives a program's standard output; its standard error becomes the error.
func run(ctx context.Context, in io.Reader, program string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, &out, &errs
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%s %s: %s: %w", filepath.Base(program), args[0], strings.TrimSpace(errs.String()), err)
	}
	return out.Bytes(), nil
}
