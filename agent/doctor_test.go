package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/agent/board"
	"gatehouse/configs"
)

// agent stands in for a running one, with a status and a config in force.
func agent(t *testing.T, status map[string]any, c board.ConfigStatus) (state string) {
	t.Helper()
	state = t.TempDir()
	if err := board.Offline(state, "265e1040-00000001", true, func(*board.State) error { return nil }); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", board.Socket(state))
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/status", func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(status) })
	mux.HandleFunc("/config", func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(c) })
	server := &http.Server{Handler: mux}
	go server.Serve(l) //nolint:errcheck // it ends with the test
	t.Cleanup(func() { server.Close() })
	return state
}

// examine runs doctor and gives its lines by name, without the name.
func examine(t *testing.T, o options) map[string]string {
	t.Helper()
	t.Setenv("LC_ALL", "C")
	var out strings.Builder
	_ = doctor(t.Context(), o, nil, &out)
	lines := map[string]string{}
	for line := range strings.Lines(out.String()) {
		mark, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		lines[strings.TrimSpace(rest[:15])] = mark + " " + rest[16:]
	}
	return lines
}

func expect(t *testing.T, lines map[string]string, name, want string) {
	t.Helper()
	if !strings.Contains(lines[name], want) {
		t.Errorf("%s: %q, want %q", name, lines[name], want)
	}
}

// vision is the status of a process that was started a minute ago.
func vision(alive map[string]any) map[string]any {
	return map[string]any{"sn": "265e1040-00000001", "vision": map[string]any{"running": true, "pid": 7, "since": time.Now().Add(-time.Minute).Unix(),
		"last_fault": "the camera has given no picture for 10s", "last_fault_at": 1795400000, "alive": alive}}
}

// camera answers RTSP's DESCRIBE: by digest it wants user:secret, and it has /live.
func rtspCamera(t *testing.T) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	serve := func(conn net.Conn) {
		defer conn.Close()
		r := textproto.NewReader(bufio.NewReader(conn))
		for {
			line, err := r.ReadLine()
			if err != nil {
				return
			}
			head, err := r.ReadMIMEHeader()
			if err != nil {
				return
			}
			uri := strings.Fields(line)[1]
			want := sum(sum("user:gate:secret") + ":n1:" + sum("DESCRIBE:"+uri))
			status := "200 OK"
			switch {
			case !strings.Contains(head.Get("Authorization"), `response="`+want+`"`):
				status = "401 Unauthorized\r\nWWW-Authenticate: Digest realm=\"gate\", nonce=\"n1\""
			case !strings.HasSuffix(uri, "/live"):
				status = "404 Not Found"
			}
			fmt.Fprintf(conn, "RTSP/1.0 %s\r\nCSeq: %s\r\nContent-Length: 4\r\n\r\nbody", status, head.Get("Cseq"))
		}
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go serve(conn)
		}
	}()
	return l.Addr().String()
}

// A camera that gives nothing is wrong, and its own answer says why; the
// password is never shown.
func TestDoctorOfASilentCamera(t *testing.T) {
	address := rtspCamera(t)
	for _, c := range []struct{ source, want string }{
		{"rtsp://user:wrong@%s/live", "✘ rtsp://***@" + address + "/live refuses the user name or password"},
		{"rtsp://%s/live", "asks for a user name and password (401)"},
		{"rtsp://user:secret@%s/other", "has no stream under this path (404)"},
		{"rtsp://user:secret@%s/live", "is there, but gives no pictures: the camera has given no picture for 10s (2026-"},
	} {
		in := configs.Default()
		in.Camera.Source = fmt.Sprintf(c.source, address)
		lines := examine(t, options{state: agent(t, vision(map[string]any{"camera_ok": false}), board.ConfigStatus{Config: in, Base: in})})
		expect(t, lines, "camera", c.want)
		if strings.Contains(fmt.Sprint(lines), "secret") || strings.Contains(fmt.Sprint(lines), "wrong@") {
			t.Error("a password is shown:", lines["camera"])
		}
	}
	in := configs.Default()
	in.Camera.Source = "rtsp://user:secret@" + address + "/live"
	lines := examine(t, options{state: agent(t, vision(map[string]any{"camera_ok": true, "fps": 12}), board.ConfigStatus{Config: in, Base: in})})
	expect(t, lines, "camera", "✔ rtsp://***@"+address+"/live gives pictures, 12.0 frames/s")
	u, err := url.Parse(in.Camera.Source)
	if err != nil {
		t.Fatal(err)
	}
	if status, err := describe(u); status != 200 || err != nil {
		t.Error(status, err)
	}
}

// The config in force is judged, not the file, and the agent's own word counts.
func TestDoctorJudgesWhatIsInForce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "board.json")
	if err := os.WriteFile(file, []byte(`{"camera":{"fps":5}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	base, err := configs.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	in := base
	in.Camera.Source = "/nowhere/pictures"
	status := vision(nil)
	status["troubles"], status["overrides"] = []string{"the port of HTTP push is taken"}, []string{"/camera/source"}
	o := options{config: file, state: agent(t, status, board.ConfigStatus{Config: in, Base: base, Pushed: "c1"})}
	lines := examine(t, o)
	expect(t, lines, "config file", "✔ "+file+" is valid")
	expect(t, lines, "config in force", "! /camera/source")
	expect(t, lines, "agent", "✘ runs, but: the port of HTTP push is taken")
	expect(t, lines, "camera", "✘ the camera is not there")
	if err := os.WriteFile(file, []byte(`{"camera":{"fps":6}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	expect(t, examine(t, o), "config file", "! the agent was started with another one, or before this was changed (/camera/fps")

	// Without an agent and with a file that cannot be used nothing else is judged.
	if err := os.WriteFile(file, []byte(`[]`), 0o600); err != nil {
		t.Fatal(err)
	}
	lines = examine(t, options{config: file, state: filepath.Join(t.TempDir(), "none")})
	expect(t, lines, "config file", "✘ cannot use config "+file+": the config must be an object")
	for _, name := range []string{"config in force", "camera", "barrier", "ports", "cloud"} {
		expect(t, lines, name, "- not ")
	}
}
