// Package demo is `gatehouse demo`, what `make run` runs: a cloud, a board with
// its camera, binding, a whitelist that comes from the cloud, and a barrier
// that opens, all as real processes on this machine.
//
// It claims nothing that it has not seen: a step is done when the cloud or the
// board itself says so. The barrier is the software one; nothing here can move
// a real one.
package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"gatehouse/agent/site"
	"gatehouse/configs"
	"gatehouse/hal/camera/source"
)

// Options say what to show.
type Options struct {
	Dir    string // where everything lies; emptied of an earlier demonstration, refused where it holds anything else
	Bin    string // directory of the four programs
	Camera string // picture directory, file, device or URL; empty: scenes that are rendered here
	Once   bool   // end after one pass, with a table
	Lang   string // "en" or "zh"
	Out    io.Writer
	Wait   time.Duration // the longest wait for one step
}

// Run shows the loop. With Once it returns nil only if every step happened.
func Run(ctx context.Context, o Options) error {
	d := &demo{Options: o, reporter: &reporter{out: o.Out, lang: o.Lang}}
	defer d.stop()
	err := d.show(ctx)
	if o.Once {
		d.table()
	}
	if err != nil || o.Once {
		return err
	}
	return d.follow(ctx)
}

type demo struct {
	Options
	*reporter
	site    *site.Site
	board   *site.Board
	running []*site.Process // in the order they were started
	sn      string
	plate   string // the plate that is let in
	seen    eventID
	change  string // the whitelist that lets it in
}

// stop ends what was started, last first.
func (d *demo) stop() {
	for i := len(d.running) - 1; i >= 0; i-- {
		_ = d.running[i].Stop()
	}
}

// show runs all steps in order.
func (d *demo) show(ctx context.Context) error {
	for _, s := range []struct {
		what words
		run  func(context.Context) (string, error)
	}{
		{words{"Prepare pictures", "准备图片"}, d.pictures},
		{words{"Start the cloud (HTTP API, MQTT broker)", "启动云平台（HTTP 接口与 MQTT 服务）"}, d.startCloud},
		{words{"Start the board (agent, vision)", "启动设备（守护进程与识别进程）"}, d.startBoard},
		{words{"Bind the board to the account", "将设备绑定到账户"}, d.bind},
		{words{"See a plate that nobody has allowed; the barrier stays closed", "识别到未授权车牌，道闸保持关闭"}, d.refuse},
		{words{"Stage a whitelist with that plate from the cloud", "云平台下发包含该车牌的白名单"}, d.stage},
		{words{"Apply the whitelist", "应用白名单"}, d.apply},
		{words{"The car comes again: the barrier opens", "车辆再次到达：道闸打开"}, d.open},
		{words{"The cloud has the event and has acknowledged it", "云平台收到并确认该事件"}, d.acknowledged},
		{words{"Stage another whitelist and cancel it", "下发另一份白名单并取消"}, d.cancel},
	} {
		if err := d.do(s.what, func() (string, error) { return s.run(ctx) }); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) pictures(ctx context.Context) (string, error) {
	if d.Camera != "" {
		if err := d.checkCamera(); err != nil {
			return "", err
		}
	}
	if err := d.clear(); err != nil {
		return "", err
	}
	var err error
	if d.site, err = site.Open(d.Dir, d.Bin); err != nil {
		return "", err
	}
	if d.Camera != "" {
		return "CAMERA=" + configs.Redact(d.Camera), nil
	}
	d.Camera = filepath.Join(d.Dir, "scenes")
	if err := d.site.Render(ctx, d.Camera); err != nil {
		return "", err
	}
	return d.say(words{"gate scenes rendered into ", "已渲染道口场景到 "}) + d.Camera, nil
}

// checkCamera says early and clearly that a path does not exist, and which part
// of it does, or that it would be cleared away.
func (d *demo) checkCamera() error {
	if strings.Contains(d.Camera, "://") {
		return nil
	}
	if info, err := os.Stat(d.Camera); err == nil {
		if within(d.Dir, d.Camera) {
			return fmt.Errorf(d.say(words{"CAMERA=%s lies in %s, which is cleared first; take another --dir", "CAMERA=%s 位于将被清空的目录 %s 中，请用 --dir 另选目录"}), d.Camera, d.Dir)
		}
		if info.IsDir() {
			if _, err := source.Pictures(d.Camera); err != nil {
				return fmt.Errorf("CAMERA: %w", err)
			}
		}
		return nil
	}
	near := filepath.Dir(d.Camera)
	for {
		if _, e := os.Stat(near); e == nil || near == filepath.Dir(near) {
			break
		}
		near = filepath.Dir(near)
	}
	return fmt.Errorf(d.say(words{"CAMERA=%s does not exist (%s does)", "CAMERA=%s 不存在（%s 存在）"}), d.Camera, near)
}

// within reports whether path is dir or below it, links followed.
func within(dir, path string) bool {
	for _, p := range []*string{&dir, &path} {
		if real, err := filepath.EvalSymlinks(*p); err == nil {
			*p = real
		}
		if abs, err := filepath.Abs(*p); err == nil {
			*p = abs
		}
	}
	rest, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(rest)
}

// clear removes an earlier demonstration, and nothing else: what is not empty
// and was not made by one is somebody's.
func (d *demo) clear() error {
	entries, err := os.ReadDir(d.Dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil && len(entries) > 0 && !site.In(d.Dir) {
		return fmt.Errorf(d.say(words{"%s is not empty and holds no earlier demonstration, so it is left as it is; take another --dir", "%s 非空且不是以前的演示目录，未作改动；请用 --dir 另选目录"}), d.Dir)
	}
	for _, e := range entries {
		if e.Name() != site.Mark { // it goes last: where this is interrupted, the rest is still known as ours
			err = errors.Join(err, os.RemoveAll(filepath.Join(d.Dir, e.Name())))
		}
	}
	if err == nil && len(entries) > 0 {
		err = os.Remove(filepath.Join(d.Dir, site.Mark))
	}
	if err != nil {
		return fmt.Errorf("cannot clear %s: %w", d.Dir, err)
	}
	return nil
}

func (d *demo) say(w words) string { return w.in(d.lang) }

func (d *demo) startCloud(ctx context.Context) (string, error) {
	p, err := d.site.StartCloud(ctx, "")
	if p != nil {
		d.running = append(d.running, p)
	}
	return d.site.CloudURL() + ", mqtt://" + d.site.MQTT, err
}

func (d *demo) startBoard(ctx context.Context) (string, error) {
	c := configs.Default()
	c.Device.Name = "GATE01"
	c.Camera.Source = d.Camera
	if abs, err := filepath.Abs(d.Camera); err == nil && !strings.Contains(d.Camera, "://") {
		c.Camera.Source = abs
	}
	c.Camera.FPS = 5
	c.Gate.SamePlate = configs.Duration(2 * time.Second)
	c.Barrier.CloseAfter = configs.Duration(2 * time.Second)
	var err error
	if d.board, err = d.site.Board("board", c); err != nil {
		return "", err
	}
	p, err := d.board.Start(ctx)
	if p != nil {
		d.running = append(d.running, p)
	}
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("pid %d, `bin/gatehouse status --state %s`", p.PID(), d.board.State), nil
}

func (d *demo) bind(ctx context.Context) (string, error) {
	var err error
	d.sn, err = d.board.Bind(ctx)
	if err != nil {
		return "", err
	}
	return d.sn, d.until(ctx, func() (bool, error) {
		var device struct {
			State int `json:"state"`
		}
		err := d.site.API(ctx, http.MethodGet, "/v2/stp/user/devices/"+d.sn, nil, &device)
		return err == nil && device.State == 0, err
	})
}

// until calls done every 100 ms until it gives true, or d.Wait is over.
func (d *demo) until(parent context.Context, done func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(parent, d.Wait)
	defer cancel()
	for {
		ok, err := done()
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			if parent.Err() != nil {
				return errors.New(d.say(words{"interrupted", "已中断"}))
			}
			return errors.Join(fmt.Errorf(d.say(words{"this did not happen within %s; logs are in %s", "%s 内未发生；日志在 %s"}), d.Wait, d.Dir), err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// errNoPlate is what a camera without a readable plate ends with.
var errNoPlate = errors.New("no confident plate was seen; point CAMERA at pictures with plates")

func (d *demo) refuse(ctx context.Context) (string, error) {
	err := d.until(ctx, func() (bool, error) {
		events, err := d.events(ctx)
		if err != nil {
			return false, err
		}
		for _, e := range events {
			if e.Plate != "" && e.Confidence >= 90 {
				d.plate, d.seen = e.Plate, e.eventID
				return true, nil
			}
		}
		return false, errNoPlate
	})
	if err != nil {
		return "", err
	}
	s, err := d.status(ctx)
	if err != nil {
		return "", err
	}
	if s.Barrier.Opened != 0 {
		return "", fmt.Errorf("the barrier opened %d times though nobody is on the whitelist", s.Barrier.Opened)
	}
	return fmt.Sprintf("%s, %s", d.plate, d.say(words{"barrier ", "道闸："})+s.Barrier.State), nil
}

func (d *demo) open(ctx context.Context) (string, error) {
	var s status
	err := d.until(ctx, func() (bool, error) {
		var err error
		s, err = d.status(ctx)
		return err == nil && s.Barrier.Opened > 0, err
	})
	return fmt.Sprintf("%s: %s", d.plate, s.Barrier.LastReason), err
}

func (d *demo) acknowledged(ctx context.Context) (string, error) {
	var id eventID
	err := d.until(ctx, func() (bool, error) {
		events, err := d.events(ctx)
		for _, e := range events {
			if e.Plate == d.plate && e.Opened {
				id = e.eventID
				held, err := d.held(ctx, id)
				return err == nil && !held, err
			}
		}
		return false, err
	})
	return fmt.Sprintf("boot %s, seq %d", id.Boot, id.Seq), err
}

// held reports whether the board still keeps an event for delivery.
func (d *demo) held(ctx context.Context, id eventID) (bool, error) {
	out, err := d.board.Command(ctx, "events", "--json")
	if err != nil {
		return true, err
	}
	for _, line := range strings.Split(string(out), "\n") {
		var e struct {
			eventID
			State string `json:"state"`
		}
		if json.Unmarshal([]byte(line), &e) == nil && e.eventID == id && e.State != "acknowledged" {
			return true, nil
		}
	}
	return false, nil
}

// follow prints what the cloud receives until ctx ends.
func (d *demo) follow(ctx context.Context) error {
	fmt.Fprintf(d.out, "\n%s\n  %s/\n  bin/gatehouse status --state %s\n", d.say(words{
		"Everything runs. Look at (Ctrl-C ends it):", "全部运行中，可查看（Ctrl-C 结束）："}), d.site.CloudURL(), d.board.State)
	last := d.seen
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Second):
		}
		events, err := d.events(ctx)
		if err != nil {
			continue // the next look may succeed; the cloud's log has the cause
		}
		for _, e := range events {
			if e.Boot == last.Boot && e.Seq > last.Seq && e.Name == "ivs_result" {
				fmt.Fprintf(d.out, "  %s  %-10s %3d %%  %s\n", time.Now().Format(time.TimeOnly), e.Plate, e.Confidence, d.outcome(e))
			}
		}
		for _, e := range events {
			if e.Boot == last.Boot && e.Seq > last.Seq {
				last = e.eventID
			}
		}
	}
}

func (d *demo) outcome(e event) string {
	if e.Opened {
		return d.say(words{"barrier opened", "道闸打开"})
	}
	return d.say(words{"not on the whitelist", "不在白名单"})
}
