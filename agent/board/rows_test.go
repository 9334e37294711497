package board

import (
	"strings"
	"testing"
	"time"
)

// A row command that is delivered again behind another has no second effect;
// clients that send all row commands with one id are heard each time.
func TestRowCommandsActOnce(t *testing.T) {
	const add, remove = `{"operator_type":"update_or_add","dldb_rec":{"plate":"A1","enable":1}}`, `{"operator_type":"delete","plate":"A1"}`
	for _, c := range []struct {
		name string
		ids  []string // of add, delete, add and, last but one, of another client's
		rows int
	}{
		{"delivered again", []string{"1", "2", "1"}, 0},
		{"three commands", []string{"1", "2", "3"}, 1},
		{"one id for all", []string{"x", "x", "x"}, 1},
		{"one id for all, and another client", []string{"x", "x", "y", "x"}, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := open(t, t.TempDir())
			defer b.Close()
			commands := []string{add, remove, add}
			if len(c.ids) == 4 {
				commands = []string{add, remove, strings.Replace(add, "A1", "B2", 1), add}
			}
			for i, body := range commands {
				if _, code := order(t, b, "white_list_operator", c.ids[i], body); code != 0 {
					t.Fatal(code)
				}
			}
			if n := b.state.Whitelist.Len(); n != c.rows {
				t.Errorf("%d rows, want %d", n, c.rows)
			}
		})
	}
}

func TestRowCommandsAreForgotten(t *testing.T) {
	var m rowMemory
	begin := time.Now()
	for i := range mostRowCommands + 1 {
		m.note(rowCommand{id: "1", at: begin, body: [32]byte{byte(i), byte(i >> 8)}})
	}
	m.note(rowCommand{id: "2", at: begin})
	if len(m) != mostRowCommands || m.again(rowCommand{id: "1", at: begin}) {
		t.Errorf("%d are remembered", len(m))
	}
	last := rowCommand{id: "1", body: [32]byte{0, 4}, at: begin.Add(rowsRemembered - 1)}
	if !m.again(last) {
		t.Error("a command is forgotten early")
	}
	if last.at = begin.Add(rowsRemembered); m.again(last) || len(m) != 0 {
		t.Error("a command is remembered too long")
	}
}
