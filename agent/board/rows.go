package board

import (
	"crypto/sha256"
	"net/http"
	"slices"
	"time"

	"gatehouse/sync/change"
	"gatehouse/sync/whitelist"
	"gatehouse/sync/wire"
	"gatehouse/vision/link"
)

// rowMemory remembers the row commands over MQTT of the last deliveryMemory, so
// that one which the broker delivers again behind another has no second effect:
// an add that comes again behind the delete would list the row anew. It is not in
// the journal, which would cost a write to flash for each row of a long list.
type rowMemory struct {
	last string // id of the last one
	done []rowCommand
}

type rowCommand struct {
	id   string
	body [sha256.Size]byte
	at   time.Time
}

// mostRowCommands is how many are remembered at most.
const mostRowCommands = 1024

// again reports whether c was carried out before, with commands of other ids
// since. A client that sends all of its row commands with one id, as some do, is
// taken at its word each time.
func (m *rowMemory) again(c rowCommand) bool {
	m.done = slices.DeleteFunc(m.done, func(o rowCommand) bool { return c.at.Sub(o.at).Abs() >= deliveryMemory })
	return c.id != m.last && slices.ContainsFunc(m.done, func(o rowCommand) bool { return o.id == c.id && o.body == c.body })
}

func (m *rowMemory) note(c rowCommand) {
	m.last, m.done = c.id, append(m.done, c)
	m.done = m.done[max(0, len(m.done)-mostRowCommands):]
}

// rowsOnce carries out a row command that came over MQTT.
func (a actions) rowsOnce(d change.Delivery, w wire.WhitelistOperator) (*whitelist.Selection, error) {
	if w.OperatorType == wire.OperateSelect {
		return a.Rows(w)
	}
	c := rowCommand{d.ID, sha256.Sum256(d.Body), time.Now()}
	if a.rows.again(c) {
		return nil, nil
	}
	selection, err := a.Rows(w)
	if err == nil { // what failed may be tried again
		a.rows.note(c)
	}
	return selection, err
}

// Rows is the answer to GET /whitelist.
type Rows struct {
	*whitelist.Selection
	Verdicts []string `json:"verdicts"` // of each record: what the gate would decide now about its plate, surely read
}

// serveRows answers GET /whitelist?plate=: the rows whose plate contains the
// text, as many as an answer of the vendor's select holds.
func (b *Board) serveRows(mux *http.ServeMux) {
	mux.HandleFunc("GET /whitelist", func(w http.ResponseWriter, r *http.Request) {
		found, err := b.state.Whitelist.Operate(wire.WhitelistOperator{OperatorType: wire.OperateSelect, Plates: []string{r.URL.Query().Get("plate")}})
		rows := Rows{Selection: found, Verdicts: []string{}}
		if err == nil {
			for _, row := range found.Records {
				passage := &link.Result{Plates: []link.Plate{{Text: row.Plate, Score: 1}}}
				rows.Verdicts = append(rows.Verdicts, b.gate.Judge(passage, b.clock.Now()).Reason)
			}
		}
		answer(w, rows, err)
	})
}
