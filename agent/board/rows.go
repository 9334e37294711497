package board

import (
	"net/http"

	"gatehouse/sync/wire"
)

// serveRows answers GET /whitelist?plate=: the rows whose plate contains the
// text, as many as an answer of the vendor's select holds.
func (b *Board) serveRows(mux *http.ServeMux) {
	mux.HandleFunc("GET /whitelist", func(w http.ResponseWriter, r *http.Request) {
		found, err := b.state.Whitelist.Operate(wire.WhitelistOperator{OperatorType: wire.OperateSelect, Plates: []string{r.URL.Query().Get("plate")}})
		answer(w, found, err)
	})
}
