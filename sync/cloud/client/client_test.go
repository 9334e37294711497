package client

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/sync/errcode"
)

func TestCall(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "" && r.URL.RawQuery == "" {
			t.Error("the call is not signed")
		}
		switch r.URL.Path {
		case "/echo":
			_, _ = io.Copy(w, r.Body)
		case "/refused":
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"error_code":5001,"error_message":"`+errcode.Code(5001).Message()+` 0001"}`)
		default:
			w.WriteHeader(http.StatusBadGateway)
		}
	}))
	defer server.Close()
	c := Client{Base: server.URL, ID: "id", Secret: "secret"}
	var out map[string]int
	if err := c.Call(t.Context(), "POST", "/echo", map[string]int{"a": 1}, &out); err != nil || out["a"] != 1 {
		t.Errorf("%v %v", out, err)
	}
	var raw []byte
	if err := c.Call(t.Context(), "POST", "/echo", []byte(`{"b": 2}`), &raw); err != nil || string(raw) != `{"b": 2}` {
		t.Errorf("%s %v", raw, err)
	}
	var e *errcode.Error
	if err := c.Call(t.Context(), "GET", "/refused", nil, nil); !errors.As(err, &e) || e.Code != 5001 || e.Detail != " 0001" {
		t.Errorf("%v", err)
	}
	if err := c.Call(t.Context(), "GET", "/nothing", nil, nil); err == nil || !strings.Contains(err.Error(), "502") {
		t.Errorf("%v", err)
	}
	server.Close()
	if err := c.Call(t.Context(), "GET", "/echo", nil, nil); err == nil || strings.Contains(strings.ToLower(err.Error()), "sign") {
		t.Errorf("%v", err)
	}
}

func TestReadKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	if _, _, err := ReadKey(path); err == nil {
		t.Error("a missing file is a key")
	}
	for text, good := range map[string]bool{"id secret\n": true, "id\nsecret": true, "id": false, "a b c": false, "": false} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if id, secret, err := ReadKey(path); (err == nil) != good || good && (id != "id" || secret != "secret") {
			t.Errorf("%q: %s %s %v", text, id, secret, err)
		}
	}
}
