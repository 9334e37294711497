package fleet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"gatehouse/sync/cloud/client"
)

// program is a process that can be started again with the same arguments.
type program struct {
	path string
	args []string
	log  string
	cmd  *exec.Cmd
}

func (p *program) start() error {
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	p.cmd = exec.Command(p.path, p.args...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		return fmt.Errorf("cannot start %s: %w", filepath.Base(p.path), err)
	}
	return nil
}

// stop asks the process to end, and kills it after ten seconds.
func (p *program) stop() {
	if p.cmd == nil || p.cmd.Process == nil || p.cmd.ProcessState != nil {
		return
	}
	kill := time.AfterFunc(10*time.Second, func() { _ = p.cmd.Process.Kill() })
	defer kill.Stop()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	_ = p.cmd.Wait()
}

// ended reports whether the process is no more (a zombie until it is waited for).
func (p *program) ended() bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	return err != nil || bytes.HasPrefix(bytes.TrimSpace(b[bytes.LastIndexByte(b, ')')+1:]), []byte("Z"))
}

func (p *program) tail() string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-1500):])
}

// usage is what a process takes.
type usage struct {
	rss int64 // bytes
	cpu time.Duration
}

// tick is the unit of processor times in /proc on Linux, USER_HZ.
const tick = 10 * time.Millisecond

func (p *program) usage() (u usage) {
	dir := fmt.Sprintf("/proc/%d/", p.cmd.Process.Pid)
	if b, err := os.ReadFile(dir + "statm"); err == nil {
		if f := strings.Fields(string(b)); len(f) > 1 {
			pages, _ := strconv.ParseInt(f[1], 10, 64)
			u.rss = pages * int64(os.Getpagesize())
		}
	}
	if b, err := os.ReadFile(dir + "stat"); err == nil {
		// Behind the name, which may have blanks: state is the first field, utime the 12th, stime the 13th.
		if f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:])); len(f) > 12 {
			user, _ := strconv.ParseInt(f[11], 10, 64)
			system, _ := strconv.ParseInt(f[12], 10, 64)
			u.cpu = time.Duration(user+system) * tick
		}
	}
	return u
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("cannot find a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// listening waits until somebody listens at address.
func (p *program) listening(address string) error {
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("tcp", address)
		if err == nil {
			return c.Close()
		}
		if p.ended() || time.Now().After(deadline) {
			return fmt.Errorf("%s is not ready: %w; its last words:\n%s", filepath.Base(p.path), err, p.tail())
		}
	}
}

func shell(ctx context.Context, command string) error {
	if out, err := exec.CommandContext(ctx, "/bin/sh", "-c", command).CombinedOutput(); err != nil {
		return fmt.Errorf("cannot restart the broker: %w: %.300s", err, out)
	}
	return nil
}

// mosquitto is a broker started for the trial.
type mosquitto struct {
	program
	address string
}

func startMosquitto(dir string) (*mosquitto, error) {
	path, err := exec.LookPath("mosquitto")
	if err != nil {
		if path, err = exec.LookPath("/usr/sbin/mosquitto"); err != nil {
			return nil, errors.New("cannot start mosquitto: it is not installed (Debian: apt install mosquitto)")
		}
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(address)
	config := filepath.Join(dir, "mosquitto.conf")
	text := "persistence false\nmax_queued_messages 0\nset_tcp_nodelay true\nlistener " + port + " 127.0.0.1\nallow_anonymous true\nlog_type error\n"
	if os.Geteuid() == 0 {
		text = "user root\n" + text
	}
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	m := &mosquitto{program{path: path, args: []string{"-c", config}, log: filepath.Join(dir, "mosquitto.log")}, address}
	return m, m.start()
}

func (m *mosquitto) start() error {
	if err := m.program.start(); err != nil {
		return err
	}
	return m.listening(m.address)
}

// cloud is the cloud under trial.
type cloud struct {
	program
	client.Client
	http string
	mqtt string
}

func startCloud(ctx context.Context, path, dir, broker string) (c *cloud, err error) {
	c = &cloud{}
	for _, a := range []*string{&c.http, &c.mqtt} {
		if *a, err = freeAddress(); err != nil {
			return nil, err
		}
	}
	data := filepath.Join(dir, "cloud")
	c.program = program{path: path, log: filepath.Join(dir, "cloud.log"), args: []string{"run", "--data", data, "--http", c.http, "--mqtt", c.mqtt}}
	if broker != "" {
		c.args = append(c.args, "--broker", broker)
	}
	c.Base = "http://" + c.http
	if c.ID, c.Secret, err = client.ReadKey(filepath.Join(data, "admin.accesskey")); err != nil {
		return nil, err
	}
	if err := c.start(); err != nil {
		return nil, err
	}
	return c, c.listening(c.http)
}

func (c *cloud) restart(context.Context) error {
	c.stop()
	if err := c.start(); err != nil {
		return err
	}
	return c.listening(c.http)
}
