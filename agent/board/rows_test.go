package board

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
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

// Who looks at the rows is told what the gate would do about each now.
func TestTheVerdictsOfRows(t *testing.T) {
	b := open(t, t.TempDir())
	defer b.Close()
	const rows = `{"operator_type":"update_or_add","dldb_rec":[{"plate":"A1","enable":1},{"plate":"B1","enable":1,"overdue_time":"2020-01-01 00:00:00"},{"plate":"C1","enable":0},{"plate":"D1","enable":1,"need_alarm":1}]}`
	if _, code := order(t, b, "white_list_operator", "1", rows); code != 0 {
		t.Fatal(code)
	}
	mux := http.NewServeMux()
	b.serveRows(mux)
	look := func() (found Rows) {
		t.Helper()
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest("GET", "/whitelist?plate=1", nil))
		if err := json.Unmarshal(w.Body.Bytes(), &found); err != nil || found.Selection == nil || found.TotalCount != 4 || len(found.Verdicts) != 4 {
			t.Fatalf("%v %s", err, w.Body)
		}
		return found
	}
	verdicts := map[string]string{}
	for i, r := range look().Records {
		verdicts[r.Plate] = look().Verdicts[i]
	}
	for plate, want := range map[string]string{"A1": "listed", "B1": "out_of_time", "C1": "suspended", "D1": "blacklisted"} {
		if verdicts[plate] != want {
			t.Errorf("%s: %s, want %s", plate, verdicts[plate], want)
		}
	}
	c := b.InForce()
	c.Gate.OpenByWhitelist = false
	b.PutInForce(c)
	if v := look().Verdicts[0]; v != "switched_off" {
		t.Error(v)
	}
}
