// Package speaker speaks a text by a program that the board's config names,
// such as espeak-ng. The program gets the text as an argument or on standard
// input, never through a shell.
//
// One text is spoken at a time; a few wait, more are refused. A program that
// does not end is killed. Not promised: that anybody hears it.
package speaker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
)

// Speech is a text to speak.
type Speech struct {
	Text   string
	Volume int // 1–100
	Female bool
}

// Limits of a speaker.
const (
	waiting = 8
	longest = 30 * time.Second
)

// ErrBusy is more speech than waits.
var ErrBusy = errors.New("the speaker is busy")

// Speaker is safe for concurrent use.
type Speaker struct {
	command []string
	log     *slog.Logger
	queue   chan Speech
	cancel  context.CancelFunc
	done    sync.WaitGroup
}

// New makes a speaker of a program and its arguments, in which {text}, {volume}
// (1–100) and {voice} (male or female) are replaced. Without {text} the text
// is the program's standard input.
func New(command []string, log *slog.Logger) (*Speaker, error) {
	if len(command) == 0 || command[0] == "" {
		return nil, errors.New("cannot make a speaker without a program")
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Speaker{command: command, log: log, queue: make(chan Speech, waiting), cancel: cancel}
	s.done.Go(func() { s.speak(ctx) })
	return s, nil
}

// Say queues a text, or gives ErrBusy.
func (s *Speaker) Say(p Speech) error {
	select {
	case s.queue <- p:
		return nil
	default:
		return ErrBusy
	}
}

// Close ends what is being spoken.
func (s *Speaker) Close() {
	s.cancel()
	s.done.Wait()
}

func (s *Speaker) speak(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case p := <-s.queue:
			if err := s.one(ctx, p); err != nil && ctx.Err() == nil {
				s.log.Warn("a text was not spoken", "err", err)
			}
		}
	}
}

func (s *Speaker) one(ctx context.Context, p Speech) error {
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	args, input := arguments(s.command, p)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Stdin = strings.NewReader(input)
	cmd.WaitDelay = time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %.200s", args[0], err, out)
	}
	return nil
}

// arguments fills in the program's arguments. The text loses control
// characters, and one that begins with a dash gets a space before it: it is
// never taken for an option.
func arguments(command []string, p Speech) (args []string, input string) {
	text := strings.Map(func(c rune) rune {
		if unicode.IsControl(c) {
			return ' '
		}
		return c
	}, p.Text)
	voice := "male"
	if p.Female {
		voice = "female"
	}
	input = text
	if strings.HasPrefix(text, "-") {
		text = " " + text
	}
	fill := strings.NewReplacer("{text}", text, "{volume}", strconv.Itoa(p.Volume), "{voice}", voice)
	args = append(args, command[0]) // the program itself is never made of a text
	for _, a := range command[1:] {
		if strings.Contains(a, "{text}") {
			input = ""
		}
		args = append(args, fill.Replace(a))
	}
	return args, input
}
