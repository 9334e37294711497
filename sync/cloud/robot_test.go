package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"gatehouse/sync/binding"
	"gatehouse/sync/change"
	"gatehouse/sync/errcode"
	"gatehouse/sync/session"
	"gatehouse/sync/wire"
)

// robot is a board that does what it is told, as the engine of a real one
// would, but for what fail says. The real one is tested in agent/site.
type robot struct {
	t    *testing.T
	sn   string
	keys binding.Keys
	body wire.BindBody

	mu       sync.Mutex
	fail     map[string]errcode.Code // verb → code
	states   map[string]string       // change id → state
	commands []wire.ChangeCommand
	sealed   []binding.Sealed // of bind commands
	content  func(c wire.ChangeCommand) error
}

func (c *cloud) robot(t *testing.T, n int, groupID int64) *robot {
	t.Helper()
	r := &robot{t: t, sn: fmt.Sprintf("265e1040-%08x", n), fail: map[string]errcode.Code{}, states: map[string]string{}}
	b := newBoard(t, c, r.sn)
	r.keys = b.keys
	var err error
	if r.body, err = c.client().Bind(context.Background(), r.sn, groupID, "", r.keys, "bind"); err != nil {
		t.Fatal(err)
	}
	return r
}

// online connects the robot until the returned function is called.
func (r *robot) online() (stop func()) {
	r.t.Helper()
	topics, err := wire.NewTopics(wire.LayoutNew, r.sn, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done, up := make(chan struct{}), make(chan struct{}, 10)
	inbox := make(chan wire.Command, 1000)
	go func() {
		defer close(done)
		_ = session.Run(ctx, session.Backoff{First: 20 * time.Millisecond, Max: 100 * time.Millisecond, Auth: 100 * time.Millisecond, StableFor: time.Minute},
			func() (session.Options, error) {
				return session.Options{URL: r.body.Broker.URL, ClientID: r.sn, Username: r.body.Broker.Username, Password: r.body.Broker.Password, Subscriptions: topics.DownFilter(),
					OnMessage: func(topic string, payload []byte) {
						if name, ok := topics.ParseDown(topic); ok {
							if cmd, err := wire.ParseCommand(name, payload); err == nil {
								inbox <- cmd
							}
						}
					},
					OnUp: func(ctx context.Context, c *session.Conn) {
						birth := wire.Up{ID: wire.NewID(), SN: r.sn, Name: wire.NameBirth, Version: wire.Version, Payload: wire.Body{Body: wire.Birth{Boot: "00000001-0", Epoch: 1, BoardVersion: 12378,
							StateDigest: map[string]string{"whitelist": "sha256:drifted"}}}}
						text, _ := json.Marshal(birth)
						_ = c.Publish(ctx, topics.Up(wire.NameBirth), 1, text)
						up <- struct{}{}
						for {
							select {
							case <-ctx.Done():
								return
							case cmd := <-inbox:
								if answer, ok := r.obey(cmd); ok {
									text, _ := json.Marshal(answer)
									_ = c.Publish(ctx, topics.Reply(cmd.Name), 1, text)
								}
							}
						}
					}}, nil
			}, func(error) {})
	}()
	select {
	case <-up:
	case <-time.After(20 * time.Second):
		r.t.Fatal("the robot does not come online")
	}
	return func() { cancel(); <-done }
}

func (r *robot) obey(cmd wire.Command) (answer wire.Reply, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	answer = wire.Reply{ID: cmd.ID, SN: r.sn, Name: cmd.Name, Version: wire.Version, Code: 200}
	switch cmd.Name {
	case wire.NameBind:
		var s binding.Sealed
		_ = json.Unmarshal(cmd.Body, &s)
		r.sealed = append(r.sealed, s)
		return answer, true
	case "config", "upgrade", "whitelist":
	default:
		return answer, false
	}
	c, err := wire.ParseChangeCommand(cmd.Body)
	if err != nil {
		r.t.Errorf("a malformed command: %v", err)
		return answer, false
	}
	r.commands = append(r.commands, c)
	report := wire.ChangeReport{ChangeID: c.ChangeID, Kind: cmd.Name, State: r.states[c.ChangeID]}
	code := r.fail[c.OperatorType]
	switch {
	case code != 0:
		if report.State != "" {
			report.Result = &wire.ChangeResult{ErrorCode: int(code), ErrorMessage: code.Message()}
		}
	case c.OperatorType == wire.VerbStage && report.State == "":
		report.State = wire.StateStaged
		if r.content != nil {
			if err := r.content(c); err != nil {
				r.t.Error(err)
			}
		}
	case report.State == "":
		code = map[string]errcode.Code{"config": errcode.ConfigNotExist, "upgrade": errcode.UpgradeNotExist, "whitelist": errcode.WhitelistNotExist}[cmd.Name]
	case c.OperatorType == wire.VerbApply:
		report.State = wire.StateUsed
	case c.OperatorType == wire.VerbCancel:
		report.State = wire.StateCancelled
	}
	r.states[c.ChangeID] = report.State
	answer.Payload = wire.Typed{Type: cmd.Name, Body: report}
	if code != 0 {
		answer.Code, answer.ErrorCode, answer.ErrorMessage = code.MQTTCode(), int(code), code.Message()
	}
	return answer, true
}

// verbs are the commands the robot got for a change, in order.
func (r *robot) verbs(id string) (list []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.commands {
		if c.ChangeID == id {
			list = append(list, c.OperatorType)
		}
	}
	return list
}

func (r *robot) set(verb string, code errcode.Code) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail[verb] = code
}

// checkContent fetches or takes a staged content and checks its digest.
func checkContent(c wire.ChangeCommand) error {
	text := []byte(c.Content)
	if c.URL != "" {
		r, err := http.NewRequest(http.MethodGet, c.URL, nil)
		if err != nil {
			return err
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		if text, err = io.ReadAll(answer.Body); err != nil {
			return err
		}
		if int64(len(text)) != c.Length {
			return fmt.Errorf("%d bytes, announced %d", len(text), c.Length)
		}
	}
	if have := change.Digest(text); have != c.Digest {
		return fmt.Errorf("the content's digest is %s, announced %s", have, c.Digest)
	}
	return nil
}
