package main

import (
	"context"
	"errors"
	"time"

	"gatehouse/agent/board"
	"gatehouse/configs"
)

// How long a command waits for an agent that was just started (`gatehouse run &`).
const (
	answerPatience = 10 * time.Second // to answer, once it holds the state
	boardPatience  = 3 * time.Second  // to make a board that is not there yet
)

// told is an error in words for whoever typed the command.
type told struct {
	text string
	error
}

func (t told) Error() string { return t.text }
func (t told) Unwrap() error { return t.error }

// inWords says what keeps a command from the board in o.state, and the way out.
func inWords(o options, err error) error {
	if errors.Is(err, board.ErrNoAgent) && board.Exists(o.state) != nil {
		err = board.Exists(o.state)
	}
	text := ""
	switch {
	case errors.Is(err, board.ErrDenied):
		text = say("no permission for %s: run this as the agent's user (sudo)", o.state)
	case errors.Is(err, board.ErrNoBoard):
		text = say("there is no board in %s; `gatehouse run` makes one, or name another with --state", o.state)
	case errors.Is(err, board.ErrNoAgent):
		text = say("no agent runs with --state %s; start it with `gatehouse run`", o.state)
	case errors.Is(err, board.ErrHeld):
		text = say("an agent holds %s but does not answer; see its log", o.state)
	default:
		return err
	}
	return told{text, err}
}

// ask sends a command to the running agent.
func ask(ctx context.Context, o options, method, path string, in, out any) error {
	return inWords(o, board.Ask(ctx, o.state, method, path, in, out))
}

// look asks the agent, or, where none runs, has read look into the state. It
// waits for an agent that is about to answer, and so long for a board to appear.
func look(ctx context.Context, o options, path string, out any, appears time.Duration, read func(*board.State) error) error {
	for begin := time.Now(); ; {
		err := board.Ask(ctx, o.state, "GET", path, nil, out)
		if errors.Is(err, board.ErrNoAgent) {
			err = withState(o, read)
		}
		waited := time.Since(begin)
		if !(errors.Is(err, board.ErrHeld) && waited < answerPatience || errors.Is(err, board.ErrNoBoard) && waited < appears) {
			return inWords(o, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// withState opens the state of a board whose agent does not run.
func withState(o options, f func(*board.State) error) error {
	c, err := configs.Load(o.config)
	if err != nil {
		return err
	}
	return board.Offline(o.state, c.Device.SN, o.fresh, f)
}
