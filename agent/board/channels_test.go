package board

import (
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/configs"
	"gatehouse/vision/link"
)

// A server's reply opens, by HTTP push, where that is allowed; a client of the
// TCP port opens, too, after its login.
func TestChannelsOpen(t *testing.T) {
	var mu sync.Mutex
	var plates []map[string]any
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var m map[string]any
		if json.NewDecoder(r.Body).Decode(&m) == nil && strings.HasSuffix(r.URL.Path, "/plateresult.php") {
			mu.Lock()
			plates = append(plates, m)
			mu.Unlock()
			_, _ = io.WriteString(w, `{"Response_AlarmInfoPlate":{"info":"ok","channelNum":0}}`)
		}
	}))
	defer server.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	dir := t.TempDir()
	c := configs.Default()
	c.Push.Servers, c.Push.Allow = []string{server.URL}, []string{"open"}
	c.Port8131.Listen, c.Port8131.Allow, c.Port8131.PasswordFile = l.Addr().String(), []string{"output"}, filepath.Join(dir, "password")
	if err := os.WriteFile(c.Port8131.PasswordFile, []byte("geheim\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := Open(c, filepath.Join(dir, "state"), "gatehouse-vision", "test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	ctx, cancel := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	wait.Go(func() { _ = b.Run(ctx) })
	defer wait.Wait()
	defer cancel()
	openings := func(n int) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); b.gate.Status().Opened != n; time.Sleep(2 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("opened %d times, want %d", b.gate.Status().Opened, n)
			}
		}
	}
	b.onResult(&link.Result{Trigger: link.TriggerVideo, Plates: []link.Plate{{Text: "川A12345", Score: 1}}, CaptureMonoNS: monotonic(), Full: []byte("f")})
	openings(1)
	mu.Lock()
	if len(plates) != 1 || at(plates[0], "AlarmInfoPlate", "result", "PlateResult", "license") != "川A12345" {
		t.Errorf("%v", plates)
	}
	mu.Unlock()

	conn, err := net.Dial("tcp", c.Port8131.Listen)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	request := func(text string) map[string]any {
		t.Helper()
		if _, err := conn.Write(append(binary.BigEndian.AppendUint32([]byte{'V', 'Z', 0, 1}, uint32(len(text))), text...)); err != nil {
			t.Fatal(err)
		}
		head := make([]byte, 8)
		for {
			if _, err := io.ReadFull(conn, head); err != nil {
				t.Fatal(err)
			}
			data := make([]byte, binary.BigEndian.Uint32(head[4:]))
			if _, err := io.ReadFull(conn, data); err != nil {
				t.Fatal(err)
			}
			if head[2] == 0 {
				var m map[string]any
				if err := json.Unmarshal(data, &m); err != nil {
					t.Fatal(err)
				}
				return m
			}
		}
	}
	if m := request(`{"cmd":"ioctl","io":0,"value":2}`); m["state_code"] != 401.0 || b.gate.Status().Opened != 1 {
		t.Errorf("without a login: %v", m)
	}
	challenge, _ := request(`{"cmd":"start_login"}`)["signature"].(string)
	proof := hmac.New(sha1.New, []byte(challenge))
	proof.Write([]byte("geheim"))
	if m := request(`{"cmd":"login_authentication","authentication":"` + base64.StdEncoding.EncodeToString(proof.Sum(nil)) + `"}`); m["state_code"] != 200.0 {
		t.Errorf("%v", m)
	}
	if m := request(`{"cmd":"ioctl","io":0,"value":2}`); m["state_code"] != 200.0 {
		t.Errorf("%v", m)
	}
	openings(2)
	if m := request(`{"cmd":"set_io_lock_status","body":[{"ioout":0,"status":1}]}`); m["state_code"] != 405.0 {
		t.Errorf("a lock that is not allowed: %v", m)
	}
}

// A password file that cannot be read is no open port.
func TestNoPasswordNoPort(t *testing.T) {
	dir := t.TempDir()
	for _, content := range []string{"", " \n"} {
		c := configs.Default()
		c.Port8131.Listen, c.Port8131.PasswordFile = "127.0.0.1:0", filepath.Join(dir, "password"+content)
		if content != "" {
			if err := os.WriteFile(c.Port8131.PasswordFile, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		b, err := Open(c, filepath.Join(dir, "state"), "gatehouse-vision", "test", slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		if b.tcp.Load() != nil || b.listener != nil {
			t.Errorf("%q: the port is open without a password", content)
		}
		b.Close()
	}
}
