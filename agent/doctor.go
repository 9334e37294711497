package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
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

// patience is how long doctor waits for somebody to answer.
const patience = 5 * time.Second

// warning is a finding that does not keep the board from working.
type warning struct{ error }

func warn(format string, a ...any) error { return warning{fail(format, a...)} }

// unknown is what could not be looked at, since something else is wrong.
type unknown struct{ error }

func skip(format string, a ...any) error { return unknown{fail(format, a...)} }

// patient is a board, and what is known of it before its parts are looked at.
type patient struct {
	o        options
	s        board.Status
	agentErr error // the agent does not run, or does not answer
	fileErr  error // of --config
	inForce  board.ConfigStatus
	// configErr is why the config in force is not known; what depends on it is
	// not looked at.
	configErr error
}

func (p *patient) running() bool { return p.agentErr == nil }

func (p *patient) config() configs.Config { return p.inForce.Config }

// doctor looks at everything the board depends on and says what is wrong, in
// words, with the way out. It judges the config in force, changes nothing and
// moves nothing.
func doctor(ctx context.Context, o options, _ io.Reader, out io.Writer) error {
	p := &patient{o: o}
	file, err := configs.Load(o.config)
	p.fileErr = err
	p.agentErr = ask(ctx, o, "GET", "/status", nil, &p.s)
	if p.inForce, p.configErr = settled(ctx, o); errors.Is(p.configErr, board.ErrNoBoard) { // its first start would take the file
		p.inForce, p.configErr = board.ConfigStatus{Config: file, Base: file}, p.fileErr
	}
	if p.agentErr != nil && p.configErr == nil { // it may just have started
		p.agentErr = ask(ctx, o, "GET", "/status", nil, &p.s)
	}
	bad := 0
	for _, check := range []struct {
		name    string
		depends bool // on the config in force
		look    func(context.Context) (string, error)
	}{
		{say("config file"), false, p.checkFile},
		{say("config in force"), false, p.checkInForce},
		{say("state"), false, p.checkState},
		{say("databases"), false, p.checkDatabases},
		{say("agent"), false, p.checkAgent},
		{say("models"), true, p.checkModels},
		{say("vision"), true, p.checkVision},
		{say("camera"), true, p.checkCamera},
		{say("faces"), true, p.checkFaces},
		{say("barrier"), true, p.checkBarrier},
		{say("ports"), true, p.checkPorts},
		{say("clock"), false, checkClock},
		{say("cloud"), true, p.checkCloud},
	} {
		text, err := "", skip("not looked at: the config in force is not known")
		if !check.depends || p.configErr == nil {
			text, err = check.look(ctx)
		}
		mark := "✔"
		switch {
		case errors.As(err, new(warning)):
			mark, text = "!", err.Error()
		case errors.As(err, new(unknown)):
			mark, text = "-", err.Error()
		case err != nil:
			mark, text = "✘", word(inWords(o, err).Error())
			bad++
		}
		if _, err := fmt.Fprintf(out, "%s %s %s\n", mark, pad(check.name, 15), text); err != nil {
			return err
		}
	}
	if bad > 0 {
		return fail("%d things are wrong", bad)
	}
	return nil
}

// checkFile looks at the board's own file, which may be another than the agent
// was started with.
func (p *patient) checkFile(context.Context) (string, error) {
	switch {
	case p.fileErr != nil:
		return "", p.fileErr
	case p.o.config == "":
		return say("none is named; the defaults"), nil
	}
	file, err := configs.Load(p.o.config)
	if err == nil && p.running() && p.configErr == nil {
		if list := configs.Diff(p.inForce.Base, file); len(list) > 0 {
			return "", warn("the agent was started with another one, or before this was changed (%s, …): start it anew", list[0].Pointer)
		}
	}
	return say("%s is valid", p.o.config), err
}

func (p *patient) checkInForce(context.Context) (string, error) {
	switch {
	case p.configErr != nil && p.fileErr != nil && !p.running():
		return "", skip("not known: the file cannot be used")
	case p.configErr != nil:
		return "", p.configErr
	case len(p.s.Overrides) > 0:
		return "", warn("%s", wordList(p.s.Overrides))
	case p.inForce.Trial != "":
		return say("on trial: %s", p.inForce.Trial), nil
	case p.inForce.Pushed != "":
		return say("pushed by the cloud as %s", p.inForce.Pushed), nil
	}
	return say("the board's own"), nil
}

func (p *patient) checkState(context.Context) (string, error) {
	dir := p.o.state
	if err := board.Exists(dir); err != nil {
		return "", err
	}
	f, err := os.CreateTemp(dir, ".doctor-*")
	if errors.Is(err, fs.ErrPermission) {
		return "", board.ErrDenied
	}
	if err != nil {
		return "", fail("nothing can be written to %s: %w", dir, err)
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
	return say("%s, %d MiB free", dir, free>>20), nil
}

func (p *patient) checkDatabases(context.Context) (string, error) {
	dir := p.o.state
	aside, err := filepath.Glob(filepath.Join(dir, "*.corrupt.*"))
	if err != nil {
		return "", err
	}
	if len(aside) > 0 {
		return "", warn("a damaged database was set aside: %s; send it to the maker, then remove it", strings.Join(aside, ", "))
	}
	if p.running() {
		return say("open, checked when the agent started"), nil
	}
	for _, name := range []string{"state.db", "events.db"} {
		path := filepath.Join(dir, name)
		f, err := os.Open(path)
		switch {
		case errors.Is(err, os.ErrNotExist):
			continue
		case errors.Is(err, fs.ErrPermission):
			return "", board.ErrDenied
		case err != nil:
			return "", err
		}
		f.Close()
		if err := store.Check(path); err != nil {
			return "", fail("%s is damaged; the agent sets it aside at its next start: %w", path, err)
		}
	}
	return say("sound"), nil
}

func (p *patient) checkAgent(context.Context) (string, error) {
	if p.agentErr == nil && len(p.s.Troubles) > 0 {
		return "", fail("runs, but: %s", wordList(p.s.Troubles))
	}
	return say("%s, up %s", p.s.SN, up(p.s)), p.agentErr
}

func (p *patient) checkModels(context.Context) (string, error) {
	dir, err := models.Dir(p.config().Vision.Models)
	if err != nil {
		return "", err
	}
	_, err = models.Verify(dir)
	return say("%s, all hashes right", dir), err
}

func (p *patient) checkVision(ctx context.Context) (string, error) {
	v := p.s.Vision
	if p.running() && v.Running {
		if v.Restarts > 0 {
			return "", warn("runs, but was restarted %d times; last reason: %s", v.Restarts, v.Reason)
		}
		return say("pid %d, %d MiB, %.1f frames/s", v.PID, v.RSSBytes>>20, v.Alive.FPS), nil
	}
	program, err := visionProgram(p.config())
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	text, err := exec.CommandContext(ctx, program, "version").CombinedOutput()
	if err != nil {
		return "", fail("%s does not run (are OpenCV 4.6's libraries installed?): %w: %.200s", program, err, text)
	}
	if p.running() && p.config().Camera.Source != "" {
		return "", fail("the agent cannot keep it running: %s", v.Reason)
	}
	return strings.TrimSpace(string(text)), nil
}

func (p *patient) checkFaces(context.Context) (string, error) {
	if !p.running() {
		return "", skip("not known while the agent does not run")
	}
	if text := crowded(p.config(), p.s.Faces); text != "" {
		return "", warn("%s", text)
	}
	return say("%d people", p.s.Faces), nil
}

// checkCamera asks the vision process, which has the camera open, whether
// pictures come, and the camera itself where they do not.
func (p *patient) checkCamera(context.Context) (string, error) {
	source := p.config().Camera.Source
	if source == "" {
		return "", warn("none is configured; set /camera/source to a directory, file, /dev/videoN or rtsp:// URL")
	}
	shown := configs.Redact(source)
	seen, silent := "", false
	if p.running() {
		seen, silent = seenFrom(p.s, p.config().Camera)
		if alive := p.s.Vision.Alive; p.s.Vision.Running && (alive.CameraOK || alive.Done) {
			return say("%s %s", shown, seen), nil
		}
	}
	if !strings.Contains(source, "://") {
		if _, err := os.Stat(source); err != nil {
			return "", fail("the camera is not there: %w", err)
		}
	} else if err := reachCamera(source, shown); err != nil {
		return "", err
	}
	switch {
	case silent:
		return "", fail("%s is there, but %s", shown, seen)
	case seen != "":
		return "", warn("%s %s", shown, seen)
	}
	return say("%s is there", shown), nil
}

// reachCamera says why a camera in the network gives no pictures, as far as
// that can be told from here. It never shows a password.
func reachCamera(source, shown string) error {
	u, err := url.Parse(source)
	if err != nil {
		return fail("the address cannot be read")
	}
	if u.Scheme != "rtsp" {
		err = reach(source)
	} else {
		var code int
		code, err = describe(u)
		switch {
		case err != nil:
		case code == 401 && u.User == nil:
			return fail("%s asks for a user name and password (401): rtsp://user:password@… in /camera/source", shown)
		case code == 401:
			return fail("%s refuses the user name or password in /camera/source (401)", shown)
		case code == 404:
			return fail("%s answers, but has no stream under this path (404)", shown)
		case code != 200:
			return fail("%s answers with status %d", shown, code)
		}
	}
	if err != nil {
		return fail("%s cannot be reached; check power, cable and address: %w", shown, err)
	}
	return nil
}

// reach connects to the host of an address. Its errors never show a password.
func reach(address string) error {
	u, err := url.Parse(address)
	if err != nil {
		return fail("the address cannot be read")
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"rtsps": "322", "http": "80", "https": "443", "tcp": "1883", "ssl": "8883"}[u.Scheme]
	}
	conn, err := net.DialTimeout("tcp", net.JoinHostPort(u.Hostname(), port), patience)
	if err != nil {
		return err
	}
	return conn.Close()
}

func (p *patient) checkBarrier(context.Context) (string, error) {
	switch b := p.config().Barrier; b.Driver {
	case "serial":
		if _, err := os.Stat(b.Serial.Port); err != nil {
			return "", fail("the relay board's port is not there (/barrier/serial/port): %w", err)
		}
		return say("relay board at %s, %d baud, %s", b.Serial.Port, b.Serial.Baud, b.Serial.Protocol), nil
	case "gpio":
		chips, err := filepath.Glob("/dev/gpiochip*")
		if err != nil || len(chips) == 0 {
			return "", fail("this board has no GPIO chip (/dev/gpiochip*)")
		}
		return say("GPIO lines %s", strings.Join(b.GPIO.Lines, ", ")), nil
	}
	return "", warn("software only: no relay is driven; set /barrier/driver to serial or gpio at a real gate")
}

// checkPorts looks at serial ports, inputs and locks: as the running agent sees
// them, else whether the devices are there.
func (p *patient) checkPorts(context.Context) (string, error) {
	if p.running() {
		if problems := portProblems(p.s.Ports); len(problems) > 0 {
			return "", warn("%s", strings.Join(problems, "; "))
		}
		return portsText(p.s.Ports), nil
	}
	c := p.config().Ports
	for i, port := range c.Serial {
		if _, err := os.Stat(port.Path); err != nil {
			return "", fail("serial channel %d has no device: %w; see /ports/serial/%d/path", i, err, i)
		}
	}
	for _, program := range [][]string{c.Speaker, c.Reboot} {
		if len(program) == 0 {
			continue
		}
		if _, err := exec.LookPath(program[0]); err != nil {
			return "", fail("a program that /ports names is not there: %w", err)
		}
	}
	return say("%d serial ports, %d inputs", len(c.Serial), len(c.Inputs)), nil
}

func checkClock(context.Context) (string, error) {
	if !board.ClockSynced() {
		return "", warn("the clock is not synchronised: switch NTP on (timedatectl set-ntp true); events are marked, binding needs it within a day")
	}
	return say("synchronised"), nil
}

func (p *patient) checkCloud(context.Context) (string, error) {
	broker := p.config().MQTT.Broker
	if broker == "" && !p.running() {
		return "", skip("not known while the agent does not run")
	}
	if broker == "" {
		broker = p.s.Broker.URL
	}
	if broker == "" {
		return "", warn("the board is not bound; run gatehouse bind --cloud URL --key ID")
	}
	shown := configs.Redact(broker)
	if p.running() && p.s.Broker.Online {
		return say("online at %s", shown), nil
	}
	if err := reach(broker); err != nil {
		return "", fail("the broker %s cannot be reached: %w", shown, err)
	}
	if !p.running() {
		return say("the broker %s answers", shown), nil
	}
	return "", fail("the broker %s answers, but does not let the board in: %s", shown, p.s.Broker.LastError)
}
