// Package slot knows the two places from which a board's programs run, and
// which of them to trust: slot a and slot b below one directory, a link
// `current` to one of them, and, while a new one is on trial, a file that
// counts its starts.
//
// The rescue uses it before the agent runs, so it imports nothing of the agent
// and keeps its state in plain files, each replaced atomically and synced: a
// power cut at any moment leaves the old state or the new one.
package slot

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// Names of the slots.
const (
	A = "a"
	B = "b"
)

// Trial is the state of a slot that has not proved itself yet.
type Trial struct {
	Slot     string `json:"slot"`
	Previous string `json:"previous"` // where to go back to
	Starts   int    `json:"starts"`   // so far
	Max      int    `json:"max"`      // 1–20
}

// Dir is the directory of the slots.
type Dir string

func (d Dir) trialFile() string { return filepath.Join(string(d), "trial.json") }
func (d Dir) link() string      { return filepath.Join(string(d), "current") }

// Program is the path of a program in a slot.
func (d Dir) Program(slot, name string) string { return filepath.Join(string(d), slot, name) }

// Current is the slot that the link names.
func (d Dir) Current() (string, error) {
	target, err := os.Readlink(d.link())
	if err != nil {
		return "", fmt.Errorf("cannot read the current slot: %w", err)
	}
	if target != A && target != B {
		return "", fmt.Errorf("cannot use the current slot: %q is neither a nor b", target)
	}
	return target, nil
}

// Switch lets the link name slot, in one atomic step.
func (d Dir) Switch(slot string) error {
	if slot != A && slot != B {
		return fmt.Errorf("cannot switch to slot %q: it is neither a nor b", slot)
	}
	temporary := d.link() + ".new"
	if err := os.Remove(temporary); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("cannot switch slots: %w", err)
	}
	if err := os.Symlink(slot, temporary); err != nil {
		return fmt.Errorf("cannot switch slots: %w", err)
	}
	if err := os.Rename(temporary, d.link()); err != nil {
		return fmt.Errorf("cannot switch slots: %w", err)
	}
	return d.sync()
}

func (d Dir) sync() error {
	f, err := os.Open(string(d))
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// ErrBadTrial is a trial file that cannot be read.
var ErrBadTrial = errors.New("the trial file is damaged")

// Trial reads the trial; nil where none is on.
func (d Dir) Trial() (*Trial, error) {
	b, err := os.ReadFile(d.trialFile())
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the trial: %w", err)
	}
	return parseTrial(b)
}

func parseTrial(b []byte) (*Trial, error) {
	var t Trial
	if err := json.Unmarshal(b, &t); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadTrial, err)
	}
	two := []string{A, B}
	if !slices.Contains(two, t.Slot) || !slices.Contains(two, t.Previous) || t.Slot == t.Previous || t.Starts < 0 || t.Max < 1 || t.Max > 20 {
		return nil, ErrBadTrial
	}
	return &t, nil
}

// SetTrial writes the trial; nil ends it.
func (d Dir) SetTrial(t *Trial) error {
	if t == nil {
		if err := os.Remove(d.trialFile()); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("cannot end the trial: %w", err)
		}
		return d.sync()
	}
	b, err := json.Marshal(t)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(string(d), ".trial-*")
	if err != nil {
		return fmt.Errorf("cannot write the trial: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("cannot write the trial: %w", err)
	}
	if err := os.Rename(f.Name(), d.trialFile()); err != nil {
		return fmt.Errorf("cannot write the trial: %w", err)
	}
	return d.sync()
}

// Choice is what the rescue decided.
type Choice struct {
	Slot   string
	Reason string // in words, for the log
}

// Choose picks the slot to start now, and writes down what follows from it
// before it is started: a trial's start is counted first, so that a program
// that kills the board at once is counted too. A slot whose program cannot be
// run is left for the other one.
func (d Dir) Choose(program string) (Choice, error) {
	current, err := d.Current()
	if err != nil { // a lost link: take what can run
		current = A
		if !d.runnable(A, program) {
			current = B
		}
		if err := d.Switch(current); err != nil {
			return Choice{}, err
		}
	}
	trial, err := d.Trial()
	if errors.Is(err, ErrBadTrial) {
		// Which slot was on trial is not known any more: trust what the link says.
		if err := d.SetTrial(nil); err != nil {
			return Choice{}, err
		}
		trial = nil
	} else if err != nil {
		return Choice{}, err
	}
	if trial != nil && trial.Slot == current {
		switch {
		case trial.Starts >= trial.Max:
			return d.back(trial, fmt.Sprintf("slot %s was started %d times and did not prove itself", trial.Slot, trial.Starts))
		case !d.runnable(current, program):
			return d.back(trial, fmt.Sprintf("slot %s has no %s that can be run", trial.Slot, program))
		}
		trial.Starts++
		return Choice{current, fmt.Sprintf("slot %s on trial, start %d of %d", current, trial.Starts, trial.Max)}, d.SetTrial(trial)
	}
	if d.runnable(current, program) {
		return Choice{current, "slot " + current}, nil
	}
	other := map[string]string{A: B, B: A}[current]
	if !d.runnable(other, program) {
		return Choice{}, fmt.Errorf("cannot start %s: neither slot has one that can be run", program)
	}
	return Choice{other, fmt.Sprintf("slot %s has no %s that can be run", current, program)}, d.Switch(other)
}

// back ends a trial without success: first the link, then the trial file, so
// that a power cut in between is finished at the next start.
func (d Dir) back(t *Trial, reason string) (Choice, error) {
	if err := d.Switch(t.Previous); err != nil {
		return Choice{}, err
	}
	failed := filepath.Join(string(d), "failed")
	if err := os.WriteFile(failed, []byte(t.Slot+"\n"), 0o644); err != nil {
		return Choice{}, fmt.Errorf("cannot note the failed slot: %w", err)
	}
	return Choice{t.Previous, "back to slot " + t.Previous + ": " + reason}, d.SetTrial(nil)
}

func (d Dir) runnable(slot, program string) bool {
	info, err := os.Stat(d.Program(slot, program))
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 && info.Size() > 0
}
