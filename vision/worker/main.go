// Command gatehouse-vision sees plates and faces: as the agent's child process
// (run), and for people on picture files and films (detect, compare, eval, passages). It is the
// only program of Gatehouse that links OpenCV, because OpenCV and the drivers
// under it leak, hang and crash.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
)

var version = "unknown" // set by the Makefile

const usage = `gatehouse-vision finds and reads licence plates and faces.

usage: gatehouse-vision COMMAND [flags]

  detect FILE…        plates and faces in picture files (--json, --draw DIR)
  compare A B         how alike two faces are (--json, --pairs FILE)
  passages VIDEO|DIR… the vehicles that pass in films and directories (--json, --out DIR)
  eval DIR            figures on labelled pictures (--json)
  faces DIR           how far the face nets may be relied upon (--rates, --live)
  calibrate DIR…      fit the confidence of plate readings on labelled pictures
  render-demo DIR     draw the demonstration's gate scenes
  run                 the agent's child process; speaks over file 3
  version             print the version

gatehouse-vision COMMAND --help tells more.
`

// usageError is a mistake in the command line; the program exits with 2.
type usageError struct{ error }

func main() {
	os.Exit(code(command(os.Args[1:], os.Stdout)))
}

func code(err error) int {
	var wrong usageError
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
		return 0
	case errors.As(err, &wrong):
		fmt.Fprintln(os.Stderr, "gatehouse-vision:", err)
		return 2
	}
	fmt.Fprintln(os.Stderr, "gatehouse-vision:", err)
	return 1
}

func command(args []string, out io.Writer) error {
	if len(args) == 0 {
		_, _ = io.WriteString(os.Stderr, usage)
		return usageError{errors.New("name a command")}
	}
	rest := args[1:]
	switch args[0] {
	case "detect":
		return detect(rest, out)
	case "compare":
		return compare(rest, out)
	case "eval":
		return evaluate(rest, out)
	case "faces":
		return measureFaces(rest, out)
	case "passages":
		return passages(rest, out)
	case "calibrate":
		return calibrate(rest, out)
	case "render-demo":
		return renderDemo(rest, out)
	case "run":
		return run(rest)
	case "version", "--version":
		_, err := fmt.Fprintln(out, "gatehouse-vision", version)
		return err
	case "help", "--help", "-h":
		_, err := io.WriteString(out, usage)
		return err
	}
	return usageError{fmt.Errorf("there is no command %q; gatehouse-vision help lists them", args[0])}
}

// newFlags makes a flag set whose help says what the command takes and does.
func newFlags(name, takes, does string) *flag.FlagSet {
	f := flag.NewFlagSet(name, flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.Usage = func() {
		_, _ = fmt.Fprintf(os.Stdout, "usage: gatehouse-vision %s [flags] %s\n\n%s\n\nflags:\n", name, takes, does)
		f.SetOutput(os.Stdout)
		f.PrintDefaults()
		f.SetOutput(io.Discard)
	}
	return f
}

// parse reads flags, which may also stand after the files, and checks the
// number of arguments; most is -1 for any.
func parse(f *flag.FlagSet, args []string, least, most int) ([]string, error) {
	var rest []string
	for {
		if err := f.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return nil, err
			}
			return nil, usageError{fmt.Errorf("%s: %w (see gatehouse-vision %s --help)", f.Name(), err, f.Name())}
		}
		if f.NArg() == 0 {
			break
		}
		rest, args = append(rest, f.Arg(0)), f.Args()[1:]
	}
	if len(rest) < least || most >= 0 && len(rest) > most {
		return nil, usageError{fmt.Errorf("%s: got %d arguments (see gatehouse-vision %s --help)", f.Name(), len(rest), f.Name())}
	}
	return rest, nil
}
