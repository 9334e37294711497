package board

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"gatehouse/agent/settings"
	"gatehouse/configs"
)

// Options of a board.
type Options struct {
	Config  configs.Config // what the board's own file says over the defaults
	Dir     string         // state directory
	Program string         // path of gatehouse-vision
	Version string
	// Candidate is a config that is on trial and could not be put in force without a restart.
	Candidate *settings.Candidate
	Log       *slog.Logger

	troubled []string // components that did not work before the candidate either
}

// RestartRequest is how Run ends when the agent is to start again in the same process.
type RestartRequest struct{ Candidate settings.Candidate }

func (*RestartRequest) Error() string { return "the agent starts again with another config" }

// RunAgent runs a board with its command line's socket until ctx ends, and
// again when a config asks for a restart of the agent. A candidate with which
// it cannot be opened is not tried twice: the committed config is back, and the
// change fails with the reason. Ready is called each time the board is open.
func RunAgent(ctx context.Context, o Options, ready func(*Board)) error {
	for {
		b, err := OpenBoard(o)
		if err != nil && o.Candidate != nil && o.Candidate.Failure == nil {
			o.Log.Error("the agent cannot run with the new config", "err", err)
			o.Candidate = &settings.Candidate{ChangeID: o.Candidate.ChangeID, Failure: err}
			continue
		}
		if err != nil {
			return err
		}
		if ready != nil {
			ready(b)
		}
		err = b.RunAndServe(ctx, o.Dir)
		o.troubled = b.troubled()
		b.Close()
		var again *RestartRequest
		if !errors.As(err, &again) || ctx.Err() != nil {
			return err
		}
		o.Log.Info("the agent starts again with another config", "change", again.Candidate.ChangeID)
		o.Candidate = &again.Candidate
	}
}

// RunAndServe runs the board and answers the command line until ctx ends, one
// of the two fails, or a restart is asked for.
func (b *Board) RunAndServe(ctx context.Context, dir string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wait sync.WaitGroup
	wait.Go(func() {
		if err := b.Serve(ctx, dir); err != nil {
			cancel(err)
		}
	})
	err := b.Run(ctx)
	cancel(err)
	wait.Wait()
	if cause := context.Cause(ctx); err == nil && !errors.Is(cause, context.Canceled) {
		err = cause
	}
	return err
}

// Run runs the board until ctx ends, or a restart is asked for.
func (b *Board) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	storing, stored := context.WithCancel(context.WithoutCancel(ctx))
	defer stored()
	var sources, wait sync.WaitGroup
	sources.Go(func() { b.vision.Run(ctx) })
	sources.Go(func() { b.watchPeriphery(ctx) })
	wait.Go(func() { b.store(storing) })
	wait.Go(func() { b.obey(ctx) })
	wait.Go(func() { b.runEach(ctx, b.served) })
	wait.Go(func() { b.connect(ctx) })
	wait.Go(func() { b.upload(ctx) })
	wait.Go(func() { b.keepTime(ctx) })
	wait.Go(func() { b.watchCredentials(ctx) })
	var err error
	select {
	case <-ctx.Done():
	case c := <-b.restart:
		b.awaitRest(ctx)
		select {
		case c = <-b.restart: // meanwhile; the last request counts
		default:
		}
		err = &RestartRequest{c}
		b.awaitAnswers(ctx)
		cancel()
	}
	sources.Wait() // a result may still be with the barrier: only then everything is there to be stored
	stored()
	wait.Wait()
	return err
}

// restWait is how long a restart of the agent, which would end a pulse of the
// barrier early, waits for it to be at rest.
const restWait = 10 * time.Second

func (b *Board) awaitRest(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, restWait)
	defer cancel()
	for b.hold() != "" && ctx.Err() == nil {
		time.Sleep(20 * time.Millisecond)
	}
}
