package platform

import "net/http"

// changeRoutes are the calls about changes: configs, upgrades and whitelists,
// their contents, board types and the account's signing policy (management.md).
func (p *Platform) changeRoutes(mux *http.ServeMux, route func(pattern string, signed bool, f func(*request) (any, error))) {
	for _, k := range kinds {
		path := "/v2/stp/user/" + k.path
		route("POST "+path, true, p.createChange(k))
		route("GET "+path, true, p.listChanges(k))
		route("GET "+path+"/{id}", true, p.getChange(k))
		route("PUT "+path+"/{id}/apply", true, p.applyChange(k))
		route("PUT "+path+"/{id}/cancel", true, p.cancelChange(k))
		route("GET "+path+"/{id}/devices", true, p.changeDevices(k))
	}
	route("POST /v2/stp/user/boards", true, p.createBoard)
	route("GET /v2/stp/user/boards", true, p.listBoards)
	route("GET /v2/stp/user/boards/{board_version}", true, p.getBoard)
	route("PUT /v2/stp/user/boards/{board_version}", true, p.updateBoard)
	route("DELETE /v2/stp/user/boards/{board_version}", true, p.deleteBoard)
	route("GET /v2/stp/user/policy", true, p.getPolicy)
	route("PUT /v2/stp/user/policy", true, p.setPolicy)
	route("POST /v2/stp/user/policy/keys", true, p.rotateKey)
	route("DELETE /v2/stp/user/policy/keys/{key_id}", true, p.deleteSigningKey)
	mux.HandleFunc("POST "+FilesPath, p.receiveFile)
	mux.HandleFunc("GET "+ContentsPath+"{name}", p.serveContent)
}
