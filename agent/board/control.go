package board

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"gatehouse/agent/gate"
	"gatehouse/agent/supervise"
	"gatehouse/sync/audit"
	"gatehouse/sync/binding"
	"gatehouse/sync/errcode"
	"gatehouse/sync/outbox"
	"gatehouse/sync/wire"
)

// Status is the board's state for people and scripts.
type Status struct {
	SN        string `json:"sn"`
	PublicKey string `json:"public_key"`
	Version   string `json:"version"`
	UptimeS   int64  `json:"uptime_s"`
	RSSBytes  int64  `json:"rss_bytes"`
	Bound     struct {
		AccountID int64  `json:"account_id"` // 0: not bound
		GroupID   int64  `json:"group_id"`
		Cloud     string `json:"cloud"`
	} `json:"bound"`
	Broker struct {
		Online    bool   `json:"online"`
		URL       string `json:"url"`
		LastError string `json:"last_error"`
	} `json:"broker"`
	Barrier struct {
		State string `json:"state"` // open, closed or unknown
		gate.Status
	} `json:"barrier"`
	Whitelist struct {
		Rows    int    `json:"rows"`
		Digest  string `json:"digest"`
		Damaged int    `json:"damaged"`
	} `json:"whitelist"`
	Config struct {
		Pushed string `json:"pushed"` // id of the change, empty: the board's own file
		Digest string `json:"digest"`
	} `json:"config"`
	Faces  int              `json:"faces"` // enrolled people
	Outbox outbox.Stats     `json:"outbox"`
	Vision supervise.Status `json:"vision"`
	Ports  Periphery        `json:"ports"`
	// Troubles are parts of the board that do not work and are tried again, each
	// "component: reason".
	Troubles []string `json:"troubles"`
	// Overrides are what the board's own file says and the pushed config says
	// otherwise, each "JSON pointer (change id)".
	Overrides []string `json:"overrides"`
}

// Status tells how the board does.
func (b *Board) Status() Status {
	var s Status
	s.SN, s.PublicKey, s.Version = b.state.SN(), b.state.PublicKey(), b.version
	s.UptimeS, s.RSSBytes = int64(time.Since(b.begin).Seconds()), supervise.RSS(os.Getpid())
	if bound, err := b.state.Binding(); err == nil && bound.Body != nil {
		s.Bound.AccountID, s.Bound.GroupID, s.Bound.Cloud = bound.Body.AccountID, bound.Body.GroupID, bound.Cloud
		s.Broker.URL = bound.Body.Broker.URL
	}
	if b.config().MQTT.Broker != "" {
		s.Broker.URL = b.config().MQTT.Broker
	}
	b.mu.Lock()
	s.Broker.Online, s.Broker.LastError = b.online, b.lastErr
	b.mu.Unlock()
	s.Barrier.State = string(b.barrier.Position())
	s.Barrier.Status = b.gate.Status()
	s.Whitelist.Rows, s.Whitelist.Digest, s.Whitelist.Damaged = b.state.Whitelist.Len(), b.state.Whitelist.Digest(), b.state.Whitelist.Damaged()
	s.Config.Pushed, s.Config.Digest = b.settings.Pushed(), b.settings.Digest()
	s.Faces = len(b.state.Faces.List())
	s.Outbox, s.Vision = b.outbox.Stats(), b.vision.Status()
	s.Ports, s.Troubles, s.Overrides = b.peripheryStatus(), b.Troubles(), b.settings.Overrides()
	return s
}

// BindRequest asks a running agent to bind. It holds a secret: never log it.
type BindRequest struct {
	Cloud   string `json:"cloud"`
	KeyID   string `json:"key_id"`
	Secret  string `json:"secret"`
	GroupID int64  `json:"group_id"`
	Remark  string `json:"remark"`
}

// Socket is the path of the command line's socket below a state directory.
func Socket(dir string) string { return filepath.Join(dir, "agent.sock") }

// Serve answers the command line on the socket, until ctx ends. Only the user
// the agent runs as can reach it.
func (b *Board) Serve(ctx context.Context, dir string) error {
	path := Socket(dir)
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return fmt.Errorf("cannot serve the command line: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) { answer(w, b.Status(), nil) })
	mux.HandleFunc("GET /events", func(w http.ResponseWriter, _ *http.Request) {
		list, err := b.outbox.List(1000)
		answer(w, list, err)
	})
	mux.HandleFunc("GET /config", func(w http.ResponseWriter, _ *http.Request) { answer(w, b.ConfigStatus(), nil) })
	mux.HandleFunc("POST /config/reset", func(w http.ResponseWriter, _ *http.Request) { answer(w, nil, b.ResetConfig()) })
	mux.HandleFunc("GET /changes", func(w http.ResponseWriter, _ *http.Request) {
		list, err := b.engine.States()
		answer(w, append([]wire.ChangeReport{}, list...), err)
	})
	mux.HandleFunc("GET /audit", func(w http.ResponseWriter, _ *http.Request) {
		list, err := audit.List(b.state.db, audit.Keep)
		answer(w, append([]audit.Entry{}, list...), err)
	})
	mux.HandleFunc("POST /bind", func(w http.ResponseWriter, r *http.Request) {
		var in BindRequest
		if err := json.NewDecoder(io.LimitReader(r.Body, 64<<10)).Decode(&in); err != nil {
			answer(w, nil, errcode.New(errcode.ParseJSONFailed, ""))
			return
		}
		answer(w, nil, b.Bind(r.Context(), binding.Client{URL: in.Cloud, KeyID: in.KeyID, Secret: in.Secret}, in.GroupID, in.Remark))
	})
	mux.HandleFunc("POST /unbind", func(w http.ResponseWriter, r *http.Request) {
		var in BindRequest
		if err := json.NewDecoder(io.LimitReader(r.Body, 64<<10)).Decode(&in); err != nil {
			answer(w, nil, errcode.New(errcode.ParseJSONFailed, ""))
			return
		}
		answer(w, nil, b.Unbind(r.Context(), binding.Client{URL: in.Cloud, KeyID: in.KeyID, Secret: in.Secret}))
	})
	b.serveFaces(mux)
	b.serveRows(mux)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(closed)
		last, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = server.Shutdown(last) // what asks for a restart is answered
		server.Close()
	})
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		stop()
		return err
	}
	<-closed
	return nil
}

type failure struct {
	Code    int    `json:"error_code"`
	Message string `json:"error_message"`
}

func answer(w http.ResponseWriter, v any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if e := errcode.From(err); e != nil {
		w.WriteHeader(e.Code.HTTPStatus())
		v = failure{int(e.Code), e.Error()}
	}
	_ = json.NewEncoder(w).Encode(v)
}

// ErrNoAgent is a command for an agent that does not run.
var ErrNoAgent = errors.New("no agent runs with this --state; start it with `gatehouse run`")

// Ask sends a command to the agent that runs with the state directory dir.
func Ask(ctx context.Context, dir, method, path string, in, out any) error {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", Socket(dir))
	}}
	defer transport.CloseIdleConnections()
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://agent"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	a, err := (&http.Client{Transport: transport}).Do(r)
	if denied := denied(err); errors.Is(denied, ErrDenied) {
		return denied
	}
	if err != nil {
		return ErrNoAgent
	}
	defer a.Body.Close()
	text, err := io.ReadAll(io.LimitReader(a.Body, 64<<20))
	if err != nil {
		return err
	}
	if a.StatusCode != http.StatusOK {
		var f failure
		if json.Unmarshal(text, &f) != nil {
			return fmt.Errorf("the agent answered %s", a.Status)
		}
		code := errcode.Code(f.Code)
		return fmt.Errorf("%d %w", f.Code, errcode.New(code, strings.TrimPrefix(f.Message, code.Message())))
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(text, out)
}
