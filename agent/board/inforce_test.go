package board

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"gatehouse/agent/settings"
	"gatehouse/configs"
)

// A config that only a restart of the agent changes, and that changes the
// connection too, is used on a healthy network.
func TestAConfigOfBothSortsIsUsed(t *testing.T) {
	address := broker(t)
	p := connectParking(t, address)
	const sn = "265e1040-85e01fb7"
	c := configs.Default()
	c.Device.SN, c.MQTT.Broker = sn, "tcp://"+address
	ctx, cancel := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	opened := make(chan *Board, 8)
	wait.Go(func() {
		o := Options{Config: c, Dir: filepath.Join(t.TempDir(), "state"), Program: "gatehouse-vision", Version: "test", Log: slog.New(slog.DiscardHandler)}
		if err := RunAgent(ctx, o, func(b *Board) { opened <- b }); err != nil {
			t.Error(err)
		}
	})
	defer wait.Wait()
	defer cancel()
	up, down := "device/"+sn+"/message/up/", "device/"+sn+"/message/down/config"
	p.wait(up+"birth", nil)
	const content = `{"mode":"merge","config":{"barrier":{"close_after":"6s"},"mqtt":{"keep_alive":"7s","trial":"10s"}}}`
	p.command(down, 1, `{"id":"stage","payload":{"body":`+stage(t, "c1", "config", content, "", nil, "", 0)+`}}`)
	p.wait(down+"/reply", byID("stage"))
	p.command(down, 1, `{"id":"apply","payload":{"body":{"operator_type":"apply","change_id":"c1"}}}`)
	if r := p.wait(down+"/reply", byID("apply")); r["code"] != 200.0 {
		t.Errorf("%v", r)
	}
	end := p.wait(up+"change", func(m map[string]any) bool { return at(m, "payload", "body", "result") != nil })
	if r := at(end, "payload", "body"); at(r, "state") != "used" {
		t.Errorf("%v", r)
	}
	<-opened
	b := <-opened
	if c := b.InForce(); c.Barrier.CloseAfter != configs.Duration(6*time.Second) || c.MQTT.KeepAlive != configs.Duration(7*time.Second) {
		t.Errorf("%+v %+v", c.Barrier, c.MQTT)
	}
}

// The command that has the agent restart is answered before its connection
// ends; a broker that does not take the answer holds the restart up no longer
// than answerWait.
func TestARestartWaitsForTheAnswers(t *testing.T) {
	for _, c := range []struct {
		name   string
		wait   time.Duration
		answer bool
	}{{"answered", time.Hour, true}, {"never", 300 * time.Millisecond, false}} {
		t.Run(c.name, func(t *testing.T) {
			b := open(t, t.TempDir())
			defer b.Close()
			b.uplink.answerWait = c.wait
			b.unanswered.Add(1)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			begin, ended := time.Now(), make(chan error)
			b.Restart(settings.Candidate{ChangeID: "c1"})
			go func() { ended <- b.Run(ctx) }()
			var err error
			if c.answer {
				for len(b.restart) > 0 {
					time.Sleep(time.Millisecond)
				}
				select {
				case err := <-ended:
					t.Fatalf("it restarted before the answer: %v", err)
				case <-time.After(300 * time.Millisecond):
				}
				b.unanswered.Add(-1)
			}
			select {
			case err = <-ended:
			case <-time.After(time.Minute): // far less than an hour
				t.Error("it waits on although all is answered")
				cancel()
				err = <-ended
			}
			var again *RestartRequest
			if !errors.As(err, &again) || again.Candidate.ChangeID != "c1" {
				t.Fatal(err)
			}
			if took := time.Since(begin); !c.answer && took < c.wait {
				t.Errorf("it restarted after %s", took)
			}
		})
	}
}

// The same for a command that has the board connect anew.
func TestAnotherConnectionWaitsForTheAnswers(t *testing.T) {
	s := openSite(t, "new")
	s.uplink.answerWait = time.Hour
	s.run(t)
	s.unanswered.Add(1)
	s.reconnect()
	for end := time.Now().Add(30 * time.Second); len(s.rebound) > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("nobody connects anew")
		}
	}
	s.command(s.down("get_device_timestamp"), 1, `{"id":"meanwhile","payload":{"body":{}}}`)
	s.wait(s.down("get_device_timestamp")+"/reply", byID("meanwhile"))
	if s.count(s.up("offline")) != 0 {
		t.Error("the connection ended before the answer")
	}
	s.unanswered.Add(-1)
	s.wait(s.up("offline"), nil)
}

// With its account a board loses what that has pushed, in force and for ever,
// though it takes a restart of the agent; who asked for it is answered. So it
// is with a reset.
func TestThePushedConfigEndsWithTheAccount(t *testing.T) {
	for _, way := range []string{"/unbind", "/config/reset"} {
		t.Run(way, func(t *testing.T) {
			_, cloud := newCloud(t, &fakeCloud{})
			dir := filepath.Join(t.TempDir(), "state")
			c := configs.Default()
			c.Device.Name = "file"
			ctx, cancel := context.WithCancel(t.Context())
			var wait sync.WaitGroup
			opened := make(chan *Board, 8)
			wait.Go(func() {
				o := Options{Config: c, Dir: dir, Program: "gatehouse-vision", Version: "test", Log: slog.New(slog.DiscardHandler)}
				if err := RunAgent(ctx, o, func(b *Board) { opened <- b }); err != nil {
					t.Error(err)
				}
			})
			defer wait.Wait()
			defer cancel()
			b := <-opened
			eventually(t, "no agent answers", func() bool { return Ask(t.Context(), dir, "GET", "/status", nil, nil) == nil })
			ask := func(path string) {
				t.Helper()
				if err := Ask(t.Context(), dir, "POST", path, BindRequest{Cloud: cloud.URL, KeyID: "key", Secret: "secret"}, nil); err != nil {
					t.Errorf("%s: %v", path, err)
				}
			}
			ask("/bind")
			const content = `{"mode":"merge","config":{"device":{"name":"pushed"},"push":{"servers":["http://127.0.0.1:1"]},"gate":{"min_plate_score":0.1}}}`
			order(t, b, "config", "s", stage(t, "c1", "config", content, "", nil, "", 0))
			order(t, b, "config", "a", `{"operator_type":"apply","change_id":"c1"}`)
			b = <-opened
			status := func() (s Status) {
				if err := Ask(t.Context(), dir, "GET", "/status", nil, &s); err != nil {
					return Status{}
				}
				return s
			}
			eventually(t, "it is not used", func() bool { return status().Config.Pushed == "c1" })
			if s := status(); !slices.Equal(s.Overrides, []string{"/device/name (change c1)"}) || b.push.Load() == nil {
				t.Errorf("%q", s.Overrides)
			}
			ask(way)
			b = <-opened
			if d := configs.Diff(c, b.InForce()); len(d) > 0 || b.push.Load() != nil || b.settings.Pushed() != "" {
				t.Errorf("%+v of %q", d, b.settings.Pushed())
			}
		})
	}
}
