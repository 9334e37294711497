package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"gatehouse/agent/board"
	"gatehouse/configs"
	"gatehouse/sync/store"
	"gatehouse/vision/models"
)

// leastFree is the free space in bytes below which doctor warns.
const leastFree = 200 << 20

// warning is a finding that does not keep the board from working.
type warning struct{ error }

func warn(format string, a ...any) error { return warning{fmt.Errorf(format, a...)} }

// doctor looks at everything the board depends on and says what is wrong, in
// words, with the way out. It changes nothing and moves nothing.
func doctor(ctx context.Context, o options, _ io.Reader, out io.Writer) error {
	c, configErr := configs.Load(o.config)
	var s board.Status
	agentErr := ask(ctx, o, "GET", "/status", nil, &s)
	bad := 0
	for _, check := range []struct {
		name string
		look func() (string, error)
	}{
		{"config / 配置", func() (string, error) { return "valid", configErr }},
		{"state / 状态目录", func() (string, error) { return checkState(o) }},
		{"databases / 数据库", func() (string, error) { return checkDatabases(o.state, agentErr == nil) }},
		{"agent / 守护进程", func() (string, error) {
			return fmt.Sprintf("%s, up %s", s.SN, time.Duration(s.UptimeS)*time.Second), agentErr
		}},
		{"models / 模型", func() (string, error) { return checkModels(c) }},
		{"vision / 识别进程", func() (string, error) { return checkVision(ctx, c, s, agentErr == nil) }},
		{"camera / 相机", func() (string, error) { return checkCamera(c.Camera.Source) }},
		{"faces / 人脸", func() (string, error) { return checkFaces(ctx, o, s, agentErr == nil) }},
		{"barrier / 道闸", func() (string, error) { return checkBarrier(c.Barrier) }},
		{"ports / 端口", func() (string, error) { return checkPorts(c.Ports, s, agentErr == nil) }},
		{"clock / 时钟", func() (string, error) {
			if !board.ClockSynced() {
				return "", warn("the clock is not synchronised: switch NTP on (timedatectl set-ntp true); events are marked, binding needs it within a day")
			}
			return "synchronised", nil
		}},
		{"cloud / 云平台", func() (string, error) { return checkCloud(ctx, c, s, agentErr) }},
	} {
		text, err := check.look()
		mark := "✔"
		var w warning
		switch {
		case errors.As(err, &w):
			mark, text = "!", err.Error()
		case err != nil:
			mark, text = "✘", err.Error()
			bad++
		}
		if _, err := fmt.Fprintf(out, "%s %-12s %s\n", mark, check.name, text); err != nil {
			return err
		}
	}
	if bad > 0 {
		return fmt.Errorf("%d things are wrong / 发现 %d 个问题", bad, bad)
	}
	return nil
}

// checkPorts looks at serial ports, inputs and locks: as the running agent sees
// them, else whether the devices are there.
func checkPorts(c configs.Ports, s board.Status, running bool) (string, error) {
	if running {
		if problems := s.Ports.Problems(); len(problems) > 0 {
			return "", warn("%s", strings.Join(problems, "; "))
		}
		return s.Ports.String(), nil
	}
	for i, p := range c.Serial {
		if _, err := os.Stat(p.Path); err != nil {
			return "", fmt.Errorf("serial channel %d has no device: %w; see /ports/serial/%d/path", i, err, i)
		}
	}
	for _, program := range [][]string{c.Speaker, c.Reboot} {
		if len(program) == 0 {
			continue
		}
		if _, err := exec.LookPath(program[0]); err != nil {
			return "", fmt.Errorf("a program that /ports names is not there: %w", err)
		}
	}
	return fmt.Sprintf("%d serial ports, %d inputs", len(c.Serial), len(c.Inputs)), nil
}

func checkState(o options) (string, error) {
	dir := o.state
	if err := board.Exists(dir); err != nil {
		return "", inWords(o, err)
	}
	f, err := os.CreateTemp(dir, ".doctor-*")
	if err != nil {
		return "", fmt.Errorf("nothing can be written to %s: %w", dir, err)
	}
	if err := errors.Join(f.Close(), os.Remove(f.Name())); err != nil {
		return "", err
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return "", err
	}
	free := int64(fs.Bavail) * int64(fs.Bsize)
	if free < leastFree {
		return "", warn("%d MiB are free at %s, %d should be; old pictures go first when it is full", free>>20, dir, leastFree>>20)
	}
	return fmt.Sprintf("%s, %d MiB free", dir, free>>20), nil
}

func checkDatabases(dir string, running bool) (string, error) {
	aside, err := filepath.Glob(filepath.Join(dir, "*.corrupt.*"))
	if err != nil {
		return "", err
	}
	if len(aside) > 0 {
		return "", warn("a damaged database was set aside: %s; send it to the maker, then remove it", strings.Join(aside, ", "))
	}
	if running {
		return "open, checked when the agent started", nil
	}
	for _, name := range []string{"state.db", "events.db"} {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err := store.Check(path); err != nil {
			return "", fmt.Errorf("%s is damaged; the agent sets it aside at its next start: %w", path, err)
		}
	}
	return "sound", nil
}

func checkModels(c configs.Config) (string, error) {
	dir, err := models.Dir(c.Vision.Models)
	if err != nil {
		return "", err
	}
	_, err = models.Verify(dir)
	return dir + ", all hashes right", err
}

func checkVision(ctx context.Context, c configs.Config, s board.Status, running bool) (string, error) {
	if running && s.Vision.Running {
		if s.Vision.Restarts > 0 {
			return "", warn("runs, but was restarted %d times; last reason: %s", s.Vision.Restarts, s.Vision.Reason)
		}
		return fmt.Sprintf("pid %d, %d MiB, %.1f frames/s", s.Vision.PID, s.Vision.RSSBytes>>20, s.Vision.Alive.FPS), nil
	}
	program, err := visionProgram(c)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	text, err := exec.CommandContext(ctx, program, "version").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s does not run (are OpenCV 4.6's libraries installed?): %w: %.200s", program, err, text)
	}
	if running && c.Camera.Source != "" {
		return "", fmt.Errorf("the agent cannot keep it running: %s", s.Vision.Reason)
	}
	return strings.TrimSpace(string(text)), nil
}

func checkFaces(ctx context.Context, o options, s board.Status, running bool) (string, error) {
	if !running {
		return "not known while the agent does not run", nil
	}
	text, err := crowded(ctx, o, s.Faces)
	if text != "" {
		err = warn("%s", text)
	}
	return fmt.Sprintf("%d people", s.Faces), err
}

func checkCamera(source string) (string, error) {
	if source == "" {
		return "", warn("none is configured; set /camera/source to a directory, file, /dev/videoN or rtsp:// URL")
	}
	shown := configs.Redact(source)
	if !strings.Contains(source, "://") {
		if _, err := os.Stat(source); err != nil {
			return "", fmt.Errorf("the camera is not there: %w", err)
		}
		return shown, nil
	}
	if err := reach(source); err != nil {
		return "", fmt.Errorf("%s cannot be reached; check power, cable and address: %w", shown, err)
	}
	return shown + " answers", nil
}

// reach connects to the host of an address. Its errors never show a password.
func reach(address string) error {
	u, err := url.Parse(address)
	if err != nil {
		return errors.New("the address cannot be read")
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"rtsp": "554", "rtsps": "322", "http": "80", "https": "443", "tcp": "1883", "ssl": "8883"}[u.Scheme]
	}
	conn, err := net.DialTimeout("tcp", net.JoinHostPort(u.Hostname(), port), 5*time.Second)
	if err != nil {
		return err
	}
	return conn.Close()
}

func checkBarrier(b configs.Barrier) (string, error) {
	switch b.Driver {
	case "serial":
		if _, err := os.Stat(b.Serial.Port); err != nil {
			return "", fmt.Errorf("the relay board's port is not there (/barrier/serial/port): %w", err)
		}
		return fmt.Sprintf("relay board at %s, %d baud, %s", b.Serial.Port, b.Serial.Baud, b.Serial.Protocol), nil
	case "gpio":
		chips, err := filepath.Glob("/dev/gpiochip*")
		if err != nil || len(chips) == 0 {
			return "", errors.New("this board has no GPIO chip (/dev/gpiochip*)")
		}
		return "GPIO lines " + strings.Join(b.GPIO.Lines, ", "), nil
	}
	return "", warn("software only: no relay is driven; set /barrier/driver to serial or gpio at a real gate")
}

func checkCloud(_ context.Context, c configs.Config, s board.Status, agentErr error) (string, error) {
	if agentErr != nil && c.MQTT.Broker == "" {
		return "", warn("not known while the agent does not run")
	}
	broker := c.MQTT.Broker
	if broker == "" {
		broker = s.Broker.URL
	}
	if broker == "" {
		return "", warn("the board is not bound; run gatehouse bind --cloud URL --key ID")
	}
	if agentErr == nil && s.Broker.Online {
		return "online at " + configs.Redact(broker), nil
	}
	if err := reach(broker); err != nil {
		return "", fmt.Errorf("the broker %s cannot be reached: %w", configs.Redact(broker), err)
	}
	return "", fmt.Errorf("the broker %s answers, but does not let the board in: %s", configs.Redact(broker), s.Broker.LastError)
}
