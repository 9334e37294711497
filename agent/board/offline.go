package board

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"gatehouse/sync/store"
)

// What a command line finds where it asks for a board.
var (
	ErrNoBoard = errors.New("there is no board in this state directory")
	ErrHeld    = errors.New("another agent runs with this --state")
	ErrDenied  = errors.New("no permission for the state directory")
)

// Exists gives nil where dir is the state of a board, ErrNoBoard where it is
// not, and ErrDenied where that may not be known.
func Exists(dir string) error {
	for _, name := range []string{"state.db", identityName} {
		_, err := os.Stat(filepath.Join(dir, name))
		if err == nil {
			return nil
		}
		if denied := denied(err); errors.Is(denied, ErrDenied) {
			return denied
		}
	}
	return ErrNoBoard
}

// denied marks an error that another user would not have.
func denied(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w: %w", ErrDenied, err)
	}
	return err
}

// Offline calls f with the state of a board whose agent does not run, and keeps
// agents from starting meanwhile: ErrHeld where one runs or starts. With fresh
// it makes a board where there is none. What is damaged is left for the agent,
// which sets it aside and tells the cloud.
func Offline(dir, sn string, fresh bool, f func(*State) error) error {
	err := Exists(dir)
	if fresh && errors.Is(err, ErrNoBoard) {
		err = os.MkdirAll(dir, 0o700)
	} else {
		fresh = false
	}
	if err != nil {
		return denied(err)
	}
	held, err := lock(dir, 0)
	if err != nil {
		return denied(err)
	}
	defer held.Close()
	if !fresh {
		path := filepath.Join(dir, "state.db")
		file, err := os.Open(path)
		if err != nil {
			return denied(fmt.Errorf("cannot read the board's state: %w", err))
		}
		file.Close()
		if err := store.Check(path); err != nil {
			return fmt.Errorf("%s is damaged; the agent sets it aside at its next start: %w", path, err)
		}
	}
	s, err := OpenState(dir, sn, slog.New(slog.DiscardHandler))
	if err != nil {
		return denied(err)
	}
	return errors.Join(f(s), s.Close())
}
