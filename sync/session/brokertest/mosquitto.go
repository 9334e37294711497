package brokertest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// Mosquitto is a real broker in a process of its own. It keeps nothing over a
// restart, which is the worst that a broker may do.
type Mosquitto struct {
	Address string // host:port
	t       testing.TB
	config  string
	log     string
	cmd     *exec.Cmd
}

// NewMosquitto starts a mosquitto on a free port; lines are added to its
// configuration behind the listener. The test is skipped where there is none.
func NewMosquitto(t testing.TB, lines string) *Mosquitto {
	t.Helper()
	program, err := exec.LookPath("mosquitto")
	if err != nil {
		if program, err = exec.LookPath("/usr/sbin/mosquitto"); err != nil {
			t.Skip("mosquitto is not installed")
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	_, port, _ := net.SplitHostPort(address)
	dir := t.TempDir()
	m := &Mosquitto{Address: address, t: t, config: filepath.Join(dir, "mosquitto.conf"), log: filepath.Join(dir, "log")}
	if lines == "" {
		lines = "allow_anonymous true\n"
	}
	// Without a user to change to, and with queues that do not drop.
	text := fmt.Sprintf("user root\npersistence false\nmax_queued_messages 0\nset_tcp_nodelay true\nlistener %s 127.0.0.1\n%s", port, lines)
	if err := os.WriteFile(m.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	m.cmd = exec.Command(program) // the path; Start makes it anew
	m.Start()
	t.Cleanup(m.Stop)
	return m
}

// Start starts it again and waits until it listens.
func (m *Mosquitto) Start() {
	m.t.Helper()
	m.cmd = exec.Command(m.cmd.Path, "-c", m.config)
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log, err := os.OpenFile(m.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		m.t.Fatal(err)
	}
	defer log.Close()
	m.cmd.Stdout, m.cmd.Stderr = log, log
	if err := m.cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if c, err := net.Dial("tcp", m.Address); err == nil {
			c.Close()
			return
		}
		if time.Now().After(deadline) {
			text, _ := os.ReadFile(m.log)
			m.t.Fatalf("mosquitto does not listen:\n%s", text)
		}
	}
}

// Stop kills it and waits for its end.
func (m *Mosquitto) Stop() {
	if m.cmd.Process != nil && m.cmd.ProcessState == nil {
		_ = m.cmd.Process.Kill()
		_ = m.cmd.Wait()
	}
}
