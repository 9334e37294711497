package settings

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"

	"gatehouse/configs"
	"gatehouse/sync/change"
	"gatehouse/sync/errcode"
	"gatehouse/sync/fault"
)

// Board is what puts a config in force. Its methods are called from one
// goroutine at a time.
type Board interface {
	// InForce is the config in force.
	InForce() configs.Config
	// PutInForce makes c the config in force and starts anew what must be, but
	// for what only a restart of the agent changes.
	PutInForce(c configs.Config)
	// Restart has the agent stop and start again in the same process, with a
	// candidate. It returns at once.
	Restart(c Candidate)
	// Reached waits until the cloud, or where there is none the broker, has
	// answered over the present connection; nil where there is nobody to reach.
	Reached(ctx context.Context) error
}

// Kind is the config as a kind of change: put in force, tried, committed.
func (s *Settings) Kind(b Board) change.Kind { return &kind{settings: s, board: b} }

type kind struct {
	settings *Settings
	board    Board

	next   configs.Config // of the change that is being applied
	commit record
}

var (
	_ change.Kind        = (*kind)(nil)
	_ change.Limiter     = (*kind)(nil)
	_ change.Interrupted = (*kind)(nil)
)

func (*kind) Name() string { return "config" }

func (*kind) Codes() change.Codes {
	return change.Codes{NotExist: errcode.ConfigNotExist, Used: errcode.ConfigUsed, Cancelled: errcode.ConfigCancelled}
}

func (*kind) MaxLength() int64 { return configs.MaxText }

// Check looks whether the content gives a valid config on what is committed
// now. Errors are 1101, or 1103 with the JSON pointer.
func (k *kind) Check(c *change.Change) error {
	_, err := k.result(c)
	return err
}

// result is the whole config that a change gives.
func (k *kind) result(c *change.Change) (configs.Config, error) {
	text, err := c.Bytes()
	if err != nil {
		return configs.Config{}, err
	}
	content, err := configs.ParseContent(text)
	if err != nil {
		return configs.Config{}, coded(err, "")
	}
	next, err := content.Result(k.settings.Base(), k.settings.Committed())
	return next, coded(err, "/config")
}

// coded gives an error of package configs its code; at is where the config is
// in the content.
func coded(err error, at string) error {
	var p *configs.ParamError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &p):
		pointer := p.Pointer
		if !strings.HasPrefix(pointer, "/mode") && pointer != "/config" {
			pointer = at + pointer
		}
		return errcode.Param(pointer, p.What)
	}
	return &errcode.Error{Code: errcode.ParseJSONFailed, Detail: err.Error() + "!", Err: err}
}

func (k *kind) Steps() []change.Step {
	return []change.Step{
		{Name: "apply", Do: k.apply, Undo: k.unapply, Interlock: true},
		{Name: "trial", Do: k.trial},
		{Name: "commit", DoTx: k.record},
	}
}

// restartWait is how long the agent may take to stop for a restart.
const restartWait = time.Minute

// apply puts the config in force, not yet committed.
func (k *kind) apply(ctx context.Context, c *change.Change) error {
	next, err := k.result(c)
	if err != nil {
		return err
	}
	k.next = next
	if configs.Restarts(configs.Diff(k.board.InForce(), next))[configs.RestartAgent] {
		k.board.Restart(Candidate{ChangeID: c.ChangeID, Config: next})
		select {
		case <-ctx.Done(): // the engine is closed, and this step is gone on with by the next one
			return context.Cause(ctx)
		case <-time.After(restartWait):
			return fmt.Errorf("the agent did not restart within %s", restartWait)
		}
	}
	k.board.PutInForce(next)
	fault.Point("config.trial.begin")
	return nil
}

// unapply puts the committed config back in force.
func (k *kind) unapply(_ context.Context, _ *change.Change) error {
	back := k.settings.Committed()
	changes := configs.Diff(k.board.InForce(), back)
	switch {
	case len(changes) == 0:
	case configs.Restarts(changes)[configs.RestartAgent]:
		k.board.Restart(Candidate{})
	default:
		k.board.PutInForce(back)
	}
	return nil
}

// trial waits until the cloud is reached over a changed connection.
func (k *kind) trial(ctx context.Context, _ *change.Change) error {
	if !configs.Restarts(configs.Diff(k.settings.Committed(), k.next))[configs.RestartSession] {
		return nil
	}
	window := time.Duration(k.next.MQTT.Trial)
	within, cancel := context.WithTimeout(ctx, window)
	defer cancel()
	err := k.board.Reached(within)
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("the cloud was not reached over the new connection within %s: %w", window, err)
	}
	return err
}

func (k *kind) record(tx *bolt.Tx, c *change.Change) (err error) {
	c.SetDigest = digest(k.next)
	k.commit, err = k.settings.commit(tx, k.next, c.ChangeID, c.Digest, time.Now())
	return err
}

// Committed makes the recorded config the committed one and keeps it in its file.
func (k *kind) Committed() error {
	s := k.settings
	s.mu.Lock()
	s.committed, s.pushed = k.next, &k.commit
	s.mu.Unlock()
	s.keepGood()
	return nil
}

// Interrupted goes on with the change that this agent was started to try.
func (k *kind) Interrupted(c *change.Change) (resume bool, why error) {
	candidate := k.settings.candidate
	if candidate == nil || candidate.ChangeID != c.ChangeID {
		return false, nil
	}
	if candidate.Failure != nil {
		return false, fmt.Errorf("the agent cannot run with this config: %w", candidate.Failure)
	}
	return true, nil
}
