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

// rowMemory remembers the row commands over MQTT of the last minutes, so that one
// which the broker delivers again behind another has no second effect: an add that
// comes again behind the delete would list the row anew. It is not in the journal,
// which would cost a write to flash for each row of a long list.
type rowMemory []rowCommand

type rowCommand struct {
	id   string
	body [sha256.Size]byte
	at   time.Time
}

// How long row commands are remembered, and how many: brokers deliver again after
// half a minute and less.
const (
	rowsRemembered  = 2 * time.Minute
	mostRowCommands = 1024
)

// again reports whether c was carried out before, and another one since. A client
// that sends all of its row commands with one id, as some do, is taken at its word
// each time it says something else than the time before.
func (m *rowMemory) again(c rowCommand) bool {
	*m = slices.DeleteFunc(*m, func(o rowCommand) bool { return c.at.Sub(o.at).Abs() >= rowsRemembered })
	for i, o := range slices.Backward(*m) {
		if o.id == c.id {
			return o.body == c.body && i < len(*m)-1
		}
	}
	return false
}

func (m *rowMemory) note(c rowCommand) {
	*m = append(*m, c)
	*m = (*m)[max(0, len(*m)-mostRowCommands):]
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
