package speaker

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestArguments(t *testing.T) {
	for _, c := range []struct {
		command []string
		p       Speech
		args    []string
		input   string
	}{
		{[]string{"espeak-ng", "-a", "{volume}", "-v", "{voice}", "{text}"}, Speech{"请通行", 80, false}, []string{"espeak-ng", "-a", "80", "-v", "male", "请通行"}, ""},
		{[]string{"say"}, Speech{"hello\x00\n", 1, true}, []string{"say"}, "hello  "},
		{[]string{"say", "{text}"}, Speech{"--output=/etc/passwd", 1, true}, []string{"say", " --output=/etc/passwd"}, ""},
		{[]string{"say", "{text}"}, Speech{"{volume}; reboot", 7, true}, []string{"say", "{volume}; reboot"}, ""},
		{[]string{"{text}"}, Speech{"reboot", 7, true}, []string{"{text}"}, "reboot"},
	} {
		if args, input := arguments(c.command, c.p); !reflect.DeepEqual(args, c.args) || input != c.input {
			t.Errorf("%v: %q %q", c.command, args, input)
		}
	}
}

func TestSay(t *testing.T) {
	file := filepath.Join(t.TempDir(), "said")
	s, err := New([]string{"tee", file}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Say(Speech{Text: "欢迎光临"}); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		if b, _ := os.ReadFile(file); string(b) == "欢迎光临" {
			break
		} else if time.Now().After(end) {
			t.Fatalf("%q was said", b)
		}
	}
}

// A program that hangs costs no memory, and closing does not wait for it.
func TestBusy(t *testing.T) {
	s, err := New([]string{"sleep", "60"}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i := range waiting + 2 {
		if err := s.Say(Speech{Text: "x"}); errors.Is(err, ErrBusy) && i >= waiting {
			return
		} else if err != nil {
			t.Fatalf("%d: %v", i, err)
		}
	}
	t.Error("any number of texts waits")
}

func TestNoProgram(t *testing.T) {
	for _, c := range [][]string{nil, {""}} {
		if _, err := New(c, nil); err == nil {
			t.Errorf("%q is taken", c)
		}
	}
}
