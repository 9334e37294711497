// Command gatehouse-rescue runs before the agent: it picks the slot to start
// from, counts the starts of one that is on trial, goes back to the old one
// when the new one does not prove itself, and then becomes the agent.
//
// It imports nothing of the agent: it has to work when the agent's code does not.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"syscall"

	"gatehouse/firmware/slot"
)

var version = "unknown" // set by the linker

const usage = `gatehouse-rescue: starts the agent from the right slot / 从正确的分区启动守护进程

  gatehouse-rescue run    [--dir DIR] [--program NAME] [-- ARGS…]
                          pick a slot and become its program
  gatehouse-rescue status [--dir DIR]
                          say which slot is current and whether one is on trial
  gatehouse-rescue version

DIR (default /opt/gatehouse) holds the slots a and b and the link "current".
`

func main() {
	if err := command(os.Args[1:], os.Stdout, os.Stderr); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "gatehouse-rescue:", err)
		if errors.As(err, new(usageError)) {
			os.Exit(2)
		}
		os.Exit(1)
	}
}

// usageError is a mistake in the command line; the program exits with 2.
type usageError struct{ error }

func command(args []string, out, log io.Writer) error {
	if len(args) == 0 {
		fmt.Fprint(log, usage)
		return usageError{errors.New("name a command")}
	}
	if args[0] == "--help" || args[0] == "-h" || args[0] == "help" {
		fmt.Fprint(out, usage)
		return nil
	}
	if args[0] == "--version" {
		args[0] = "version"
	}
	f := flag.NewFlagSet("gatehouse-rescue "+args[0], flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.Usage = func() { fmt.Fprint(out, usage) }
	dir := f.String("dir", "/opt/gatehouse", "directory of the slots")
	program := f.String("program", "gatehouse", "name of the program in a slot")
	if err := f.Parse(args[1:]); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return usageError{fmt.Errorf("%w; see gatehouse-rescue --help", err)}
	}
	switch args[0] {
	case "run":
		choice, err := slot.Dir(*dir).Choose(*program)
		if err != nil {
			return err
		}
		fmt.Fprintf(log, "gatehouse-rescue: %s\n", choice.Reason)
		path := slot.Dir(*dir).Program(choice.Slot, *program)
		err = syscall.Exec(path, append([]string{path}, f.Args()...), os.Environ())
		return fmt.Errorf("cannot start %s: %w", path, err)
	case "status":
		return status(slot.Dir(*dir), out)
	case "version":
		fmt.Fprintln(out, "gatehouse-rescue", version)
		return nil
	}
	return usageError{fmt.Errorf("unknown command %q; see gatehouse-rescue --help", args[0])}
}

func status(d slot.Dir, out io.Writer) error {
	current, err := d.Current()
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "current: slot %s\n", current)
	t, err := d.Trial()
	if err != nil {
		return err
	}
	if t != nil {
		fmt.Fprintf(out, "trial: slot %s, started %d of %d times, previous slot %s\n", t.Slot, t.Starts, t.Max, t.Previous)
	}
	return nil
}
