package board

import (
	"testing"
	"time"
)

// A row command that is delivered again behind another has no second effect;
// clients that send all row commands with one id are heard each time.
func TestRowCommandsActOnce(t *testing.T) {
	const add, remove = `{"operator_type":"update_or_add","dldb_rec":{"plate":"A1","enable":1}}`, `{"operator_type":"delete","plate":"A1"}`
	for _, c := range []struct {
		name string
		ids  [3]string
		rows int
	}{
		{"delivered again", [3]string{"1", "2", "1"}, 0},
		{"three commands", [3]string{"1", "2", "3"}, 1},
		{"one id for all", [3]string{"x", "x", "x"}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := open(t, t.TempDir())
			defer b.Close()
			for i, body := range []string{add, remove, add} {
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
	if len(m.done) != mostRowCommands || m.again(rowCommand{id: "1", at: begin}) {
		t.Errorf("%d are remembered", len(m.done))
	}
	last := rowCommand{id: "1", body: [32]byte{0, 4}, at: begin.Add(deliveryMemory - 1)}
	if !m.again(last) {
		t.Error("a command is forgotten early")
	}
	if last.at = begin.Add(deliveryMemory); m.again(last) || len(m.done) != 0 {
		t.Error("a command is remembered too long")
	}
}
