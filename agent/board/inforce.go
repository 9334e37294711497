package board

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"

	"gatehouse/agent/gate"
	"gatehouse/agent/settings"
	"gatehouse/agent/supervise"
	"gatehouse/configs"
	"gatehouse/sync/audit"
	"gatehouse/sync/change"
	"gatehouse/sync/errcode"
	"gatehouse/sync/signed"
	"gatehouse/sync/wire"
)

var _ settings.Board = (*Board)(nil)

// config is what is in force at this moment. It is not changed once stored: a
// caller that needs several settings that belong together keeps the pointer.
func (b *Board) config() *configs.Config { return b.current.Load() }

// InForce is the config in force.
func (b *Board) InForce() configs.Config { return *b.config() }

// ConfigStatus is the config for the command line.
type ConfigStatus struct {
	Config configs.Config `json:"config"` // in force
	Base   configs.Config `json:"base"`   // the board's own file over the defaults
	Pushed string         `json:"pushed"` // id of the change it comes from, "" for none
	Trial  string         `json:"trial"`  // what differs from the committed one, "" for nothing
}

// ConfigStatus tells the config in force and where it comes from.
func (b *Board) ConfigStatus() ConfigStatus {
	s := ConfigStatus{Config: b.InForce(), Base: b.settings.Base(), Pushed: b.settings.Pushed()}
	var pointers []string
	for _, c := range configs.Diff(b.settings.Committed(), s.Config) {
		pointers = append(pointers, c.Pointer)
	}
	s.Trial = strings.Join(pointers, " ")
	return s
}

// ReadConfig tells the same of a board whose agent does not run.
func ReadConfig(s *State, base configs.Config) (ConfigStatus, error) {
	of, err := settings.Open(s.db, base, nil, settings.Options{Dir: s.dir, SN: s.SN(), Sign: s.identity.Keys.Sign, Quarantined: s.Quarantined, Log: s.log})
	if err != nil {
		return ConfigStatus{}, err
	}
	return ConfigStatus{Config: of.Committed(), Base: base, Pushed: of.Pushed()}, nil
}

// PutInForce makes c the config in force: the gate decides by it from the next
// result on, the vision process is started anew where its task is another, the
// connection where it is made otherwise. One that is in force already, since the
// agent was started with it, stays the same: so does the connection made with it.
func (b *Board) PutInForce(c configs.Config) {
	changes := configs.Diff(*b.config(), c)
	if len(changes) == 0 {
		return
	}
	parts := configs.Restarts(changes)
	b.current.Store(&c)
	b.gate.Set(gateOptions(c))
	b.vision.Set(visionTask(c))
	if parts[configs.RestartSession] {
		b.reconnect()
	}
}

// putCommitted makes the committed config the one in force.
func (b *Board) putCommitted() {
	c := b.settings.Committed()
	if configs.Restarts(configs.Diff(b.InForce(), c))[configs.RestartAgent] {
		b.Restart(settings.Candidate{})
		return
	}
	b.PutInForce(c)
}

// cleared goes on without the account's pushed config and changes.
func (b *Board) cleared() error {
	err := b.settings.Cleared()
	b.engine.Cleared()
	b.putCommitted()
	return err
}

// ResetConfig takes the pushed config back: the board's own file is in force
// again, until the next one is pushed.
func (b *Board) ResetConfig() error {
	changes, err := b.engine.States()
	if err != nil {
		return err
	}
	for _, c := range changes {
		if c.Kind == "config" && c.State == wire.StateApplying {
			return errcode.Busy("The config " + c.ChangeID + " is being applied; cancel it, or wait!")
		}
	}
	err = b.state.db.Update(func(tx *bolt.Tx) error {
		if err := audit.Put(tx, audit.Entry{What: "config reset", Kind: "config", Detail: "the board's own file is in force, no longer " + cmp.Or(b.settings.Pushed(), "any change")}); err != nil {
			return err
		}
		return b.settings.Reset(tx)
	})
	if err != nil {
		return fmt.Errorf("cannot reset the config: %w", err)
	}
	err = b.settings.Cleared()
	b.putCommitted()
	return err
}

// Restart has Run end with a *Restart; the last request counts.
func (b *Board) Restart(c settings.Candidate) {
	for {
		select {
		case b.restart <- c:
			return
		default:
		}
		select {
		case <-b.restart:
		default:
		}
	}
}

// Reached waits until something that was sent over a connection made since
// PutInForce was acknowledged: by the cloud, where the board is bound to one,
// else by the broker. Where there is neither there is nobody to reach.
func (b *Board) Reached(ctx context.Context) error {
	bound, err := b.state.Binding()
	if err == nil && bound.Body == nil && b.config().MQTT.Broker == "" {
		return nil
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		acknowledged := b.outbox.Stats().Acknowledged
		b.mu.Lock()
		online := b.online && b.upWith == b.config() // a connection of another config does not count
		reached, last := online && acknowledged > b.ackedAtUp, b.lastErr
		b.mu.Unlock()
		if reached {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			switch {
			case online:
				return errors.New("the broker is, but nothing was acknowledged over it")
			case last != "":
				return errors.New(last)
			}
			return ctx.Err()
		}
	}
}

// gateOptions is what the config says to the gate.
func gateOptions(c configs.Config) gate.Options {
	return gate.Options{MinPlateScore: c.Gate.MinPlateScore,
		OpenByWhitelist: c.Gate.OpenByWhitelist, Tolerance: c.Gate.PlateTolerance, OpenByFace: c.Gate.OpenByFace, MinFaceSimilarity: c.Gate.MinFaceSimilarity,
		FaceFalseAccept: c.Faces.FalseAccept, MinLive: c.Faces.MinLive,
		Pulse: time.Duration(c.Barrier.Pulse)}
}

// visionTask is what the config says to the vision process and its supervisor.
func visionTask(c configs.Config) supervise.Task {
	return supervise.Task{Settings: visionSettings(c), MaxRSS: int64(c.Vision.MaxRSSMiB) << 20,
		Silence: time.Duration(c.Vision.SilenceTimeout), Idle: c.Camera.Source == ""}
}

// hold is the interlock: no change is applied while the barrier moves.
func (b *Board) hold() string {
	if b.barrier.Moving() {
		return "the barrier is moving"
	}
	return ""
}

// window keeps changes to the maintenance windows of the config.
func (b *Board) window(kind string, at time.Time) string {
	if b.config().Maintenance.Open(kind, at.In(time.Local)) {
		return ""
	}
	return "no maintenance window is open"
}

// trust is what the account's policy and keys are for a kind of change.
func (b *Board) trust(kind string) change.Trust {
	t := change.Trust{Scopes: []string{b.state.SN()}}
	bound, err := b.state.Binding()
	if err != nil {
		t.Required = true // when in doubt nothing is taken
		return t
	}
	if bound.Body == nil {
		return t
	}
	t.Scopes = append(t.Scopes, signed.GroupScope(bound.Body.GroupID))
	t.Required = kind == "config" && bound.Body.Policy.SignConfig || kind == "whitelist" && bound.Body.Policy.SignWhitelist
	if t.Keys, err = signed.ParseKeys(bound.Body.Keys); err != nil { // adopt has refused such ones
		t.Required = true
	}
	return t
}
