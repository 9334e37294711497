package platform

import (
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"

	"gatehouse/sync/binding"
	"gatehouse/sync/errcode"
	"gatehouse/sync/upload"
)

const maxBody = 32 << 20

// request is one call of the API, authenticated where the route asks for it.
type request struct {
	*http.Request
	body    []byte
	query   url.Values
	account account
	key     accessKey
}

func (q *request) decode(v any) error {
	if err := json.Unmarshal(q.body, v); err != nil {
		var t *json.UnmarshalTypeError
		if errors.As(err, &t) {
			return errcode.Param(t.Field, "must be of type "+t.Type.String())
		}
		var coded *errcode.Error // a field's own
		if errors.As(err, &coded) {
			return coded
		}
		return errcode.New(errcode.ParseJSONFailed, "")
	}
	return nil
}

// picture is an answer that is no JSON.
type picture []byte

// Handler is the HTTP API and, at /, the overview page.
func (p *Platform) Handler() http.Handler {
	mux := http.NewServeMux()
	route := func(pattern string, signed bool, f func(*request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { p.serve(w, r, signed, f) })
	}
	p.routes(route)
	p.changeRoutes(mux, route)
	route("/", false, func(*request) (any, error) { return nil, errcode.New(errcode.URLNotExist, "") })
	mux.HandleFunc("GET /{$}", p.overview)
	return mux
}

// routes are the calls about accounts, devices, groups and events.
func (p *Platform) routes(route func(pattern string, signed bool, f func(*request) (any, error))) {
	route("POST /v2/pms/users/login", false, p.login)
	route("GET /v2/pms/users/refresh_accesskey", true, p.refreshKey)
	route("POST /v2/pms/users/accesskeys", true, p.createKey)
	route("GET /v2/pms/users/accesskeys", true, p.listKeys)
	route("POST "+binding.HandshakePath, false, p.handshake)
	route("POST "+binding.DevicesPath, true, p.bindDevices)
	route("PUT "+binding.DevicesPath, true, p.updateDevices)
	route("DELETE "+binding.DevicesPath, true, p.unbindDevices)
	route("GET "+binding.DevicesPath, true, p.listDevices)
	route("GET "+binding.DevicesPath+"/{sn}", true, p.getDevice)
	route("GET "+binding.DevicesPath+"/{sn}/events", true, p.listEvents)
	route("GET "+upload.Pattern, false, p.uploadState)
	route("PUT "+upload.Pattern, false, p.uploadPiece)
	route("GET "+binding.DevicesPath+"/{sn}/series", true, p.listSeries)
	route("GET "+binding.DevicesPath+"/{sn}/events/{boot}/{seq}/image", true, p.eventImage)
	route("POST /v2/stp/user/groups", true, p.createGroup)
	route("GET /v2/stp/user/groups", true, p.listGroups)
	route("GET /v2/stp/user/groups/{id}", true, p.getGroup)
	route("PUT /v2/stp/user/groups/{id}", true, p.updateGroup)
	route("DELETE /v2/stp/user/groups/{id}", true, p.deleteGroup)
}

func (p *Platform) serve(w http.ResponseWriter, r *http.Request, signed bool, f func(*request) (any, error)) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	q := &request{Request: r, body: body, query: r.URL.Query()}
	if err != nil {
		err = errcode.Param("body", "is larger than 32 MiB or was cut off")
	}
	if err == nil && signed {
		q.account, q.key, err = p.authenticate(r, body)
	}
	var result any
	if err == nil {
		result, err = f(q)
	}
	if err != nil {
		p.refuse(w, r, err)
		return
	}
	switch v := result.(type) {
	case nil:
	case picture:
		w.Header().Set("Content-Type", "image/jpeg")
		_, _ = w.Write(v)
	default:
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		_ = json.NewEncoder(w).Encode(v)
	}
}

// refuse answers with the error's envelope.
func (p *Platform) refuse(w http.ResponseWriter, r *http.Request, err error) {
	var e *errcode.Error
	if !errors.As(err, &e) { // ours, not the caller's: its text stays here
		p.o.Log.Error("a request failed", "method", r.Method, "path", r.URL.Path, "err", err)
		e = errcode.New(errcode.RequestFailed, "")
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(e.Code.HTTPStatus())
	_ = json.NewEncoder(w).Encode(map[string]any{"error_code": int(e.Code), "error_message": e.Error()})
}

func md5Hex(b []byte) string {
	h := md5.Sum(b)
	return hex.EncodeToString(h[:])
}
