package download

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"gatehouse/sync/errcode"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server serves one file and misbehaves as a test says.
type server struct {
	*httptest.Server
	mu       sync.Mutex
	file     []byte
	etag     string
	requests []string // the Range header of each
	fault    func(n int, w http.ResponseWriter, r *http.Request) (handled bool)
}

func newServer(t *testing.T, size int) *server {
	s := &server{file: make([]byte, size), etag: `"one"`}
	r := rand.New(rand.NewPCG(1, uint64(size)))
	for i := range s.file {
		s.file[i] = byte(r.Uint32())
	}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(func() { s.Server.CloseClientConnections(); s.Server.Close() })
	return s
}

func (s *server) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	n := len(s.requests)
	s.requests = append(s.requests, r.Header.Get("Range"))
	file, etag := s.file, s.etag
	s.mu.Unlock()
	if s.fault != nil && s.fault(n, w, r) {
		return
	}
	if etag != "" {
		w.Header().Set("ETag", etag)
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(file))
}

// cut sends the file's bytes from..to with the given status and ends the connection.
func (s *server) cut(w http.ResponseWriter, status, from, to int) {
	w.Header().Set("ETag", s.etag)
	w.Header().Set("Content-Length", fmt.Sprint(len(s.file)-from))
	if status == http.StatusPartialContent {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(s.file)-1, len(s.file)))
	}
	w.WriteHeader(status)
	_, _ = w.Write(s.file[from:to])
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

func digest(b []byte) string {
	h := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(h[:])
}

func (s *server) options(t *testing.T) Options {
	client := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(client.CloseIdleConnections)
	return Options{URL: s.URL + "/file?signature=secret", Length: int64(len(s.file)), Digest: digest(s.file), Path: filepath.Join(t.TempDir(), "file"),
		Client: client, First: time.Millisecond, Max: 5 * time.Millisecond, Stall: time.Minute}
}

// whole checks that the file is there and nothing lies beside it.
func (s *server) whole(t *testing.T, o Options) {
	t.Helper()
	b, err := os.ReadFile(o.Path)
	if err != nil || !bytes.Equal(b, s.file) {
		t.Fatalf("the file is wrong: %d bytes, %v", len(b), err)
	}
	if left, _ := filepath.Glob(o.Path + "*"); len(left) != 1 {
		t.Errorf("something is left: %v", left)
	}
}

// absent checks that no file appeared at the path.
func absent(t *testing.T, o Options) {
	t.Helper()
	if _, err := os.Stat(o.Path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file is there: %v", err)
	}
}

func TestFaultsOfTheServer(t *testing.T) {
	const size = 300_000
	for name, c := range map[string]struct {
		fault func(s *server) func(n int, w http.ResponseWriter, r *http.Request) bool
		want  []string // the Range headers
	}{
		"none": {func(*server) func(int, http.ResponseWriter, *http.Request) bool { return nil }, []string{""}},
		"cut twice": {func(s *server) func(int, http.ResponseWriter, *http.Request) bool {
			return func(n int, w http.ResponseWriter, r *http.Request) bool {
				switch n {
				case 0:
					s.cut(w, 200, 0, 100_000)
				case 1:
					s.cut(w, 206, 100_000, 250_000)
				}
				return false
			}
		}, []string{"", "bytes=100000-", "bytes=250000-"}},
		"no ranges": {func(s *server) func(int, http.ResponseWriter, *http.Request) bool {
			return func(n int, w http.ResponseWriter, r *http.Request) bool {
				if n == 0 {
					s.cut(w, 200, 0, 100_000)
				}
				_, _ = w.Write(s.file)
				return true
			}
		}, []string{"", "bytes=100000-"}},
		"a wrong range": {func(s *server) func(int, http.ResponseWriter, *http.Request) bool {
			return func(n int, w http.ResponseWriter, r *http.Request) bool {
				switch n {
				case 0:
					s.cut(w, 200, 0, 100_000)
				case 1:
					s.cut(w, 206, 99_999, 250_000)
				}
				return false
			}
		}, []string{"", "bytes=100000-", ""}},
		"range refused": {func(s *server) func(int, http.ResponseWriter, *http.Request) bool {
			return func(n int, w http.ResponseWriter, r *http.Request) bool {
				switch n {
				case 0:
					s.cut(w, 200, 0, 100_000)
				case 1:
					w.WriteHeader(416)
					return true
				}
				return false
			}
		}, []string{"", "bytes=100000-", ""}},
		"busy": {func(s *server) func(int, http.ResponseWriter, *http.Request) bool {
			return func(n int, w http.ResponseWriter, r *http.Request) bool {
				if n < 3 {
					w.WriteHeader([]int{500, 503, 429}[n])
				}
				return n < 3
			}
		}, []string{"", "", "", ""}},
		"another file came between, If-Range ignored": {func(s *server) func(int, http.ResponseWriter, *http.Request) bool {
			return func(n int, w http.ResponseWriter, r *http.Request) bool {
				if n == 0 { // the beginning of another file of the same length
					w.Header().Set("Content-Length", fmt.Sprint(size))
					_, _ = w.Write(make([]byte, 100_000))
					_ = http.NewResponseController(w).Flush()
					panic(http.ErrAbortHandler)
				}
				return false
			}
		}, []string{"", "bytes=100000-", ""}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, size)
			s.fault = c.fault(s)
			o := s.options(t)
			var last int64
			o.Progress = func(done, total int64) {
				if total != size || done > total {
					t.Errorf("progress %d of %d", done, total)
				}
				last = done
			}
			if err := Fetch(t.Context(), o); err != nil {
				t.Fatal(err)
			}
			s.whole(t, o)
			if fmt.Sprint(s.requests) != fmt.Sprint(c.want) || last != size {
				t.Errorf("ranges %q, want %q; progress %d", s.requests, c.want, last)
			}
			if err := Fetch(t.Context(), o); err != nil || len(s.requests) != len(c.want) {
				t.Errorf("a file that is there: %v, %d requests", err, len(s.requests))
			}
		})
	}
}

// The file changes while the board is away: If-Range brings the new one whole.
func TestAChangedFileComesWhole(t *testing.T) {
	s := newServer(t, 200_000)
	old := s.options(t)
	s.fault = func(n int, w http.ResponseWriter, r *http.Request) bool {
		if n == 0 {
			s.cut(w, 200, 0, 150_000)
		}
		if n == 1 {
			if got := r.Header.Get("If-Range"); got != `"one"` {
				t.Errorf("If-Range %q", got)
			}
			s.file, s.etag = append([]byte("new"), s.file[3:]...), `"two"`
			w.Header().Set("ETag", s.etag)
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(s.file))
			return true
		}
		return false
	}
	if err := Fetch(t.Context(), old); code(err) != errcode.ParamsError || !strings.Contains(err.Error(), "[digest]") {
		t.Errorf("another file than was asked for: %v", err)
	}
	absent(t, old)
}

func code(err error) errcode.Code {
	var e *errcode.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return 0
}

// The process ends in the middle, as after a power cut: the next one goes on
// from what was synced, and bytes behind that do not count.
func TestItGoesOnAfterARestart(t *testing.T) {
	s := newServer(t, 500_000)
	s.fault = func(n int, w http.ResponseWriter, r *http.Request) bool {
		if n == 0 {
			s.cut(w, 200, 0, 300_000)
		}
		return false
	}
	o := s.options(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	o.Progress = func(done, _ int64) {
		if done == 300_000 {
			cancel(errors.New("power cut"))
		}
	}
	if err := Fetch(ctx, o); err == nil || err.Error() != "power cut" {
		t.Fatal(err)
	}
	absent(t, o)
	f, err := os.OpenFile(partPath(o.Path), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(make([]byte, 1000)); err != nil { // what a power cut may leave
		t.Fatal(err)
	}
	f.Close()
	o.Progress = nil
	if err := Fetch(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	s.whole(t, o)
	if s.requests[1] != "bytes=300000-" {
		t.Errorf("%q", s.requests)
	}
}

// A part that was damaged on disk costs another download, not a wrong file.
func TestADamagedPartIsFetchedAnew(t *testing.T) {
	s := newServer(t, 400_000)
	o := s.options(t)
	for path, text := range map[string]string{
		partPath(o.Path):  strings.Repeat("x", 100_000),
		statePath(o.Path): `{"digest":"` + o.Digest + `","validator":"\"one\"","synced":100000}`,
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := Fetch(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	s.whole(t, o)
	if fmt.Sprint(s.requests) != "[bytes=100000- ]" {
		t.Errorf("%q", s.requests)
	}
}

func TestRefusals(t *testing.T) {
	s := newServer(t, 1000)
	s.fault = func(n int, w http.ResponseWriter, r *http.Request) bool {
		switch r.URL.Path {
		case "/gone":
			w.WriteHeader(410)
			return true
		case "/down":
			w.WriteHeader(503)
			return true
		case "/endless": // no Content-Length, more than was said
			_, _ = w.Write(make([]byte, 4000))
			_ = http.NewResponseController(w).Flush()
			return true
		case "/silent":
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write(s.file[:10])
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
			return true
		}
		return false
	}
	for name, c := range map[string]struct {
		change func(*Options)
		code   errcode.Code
		word   string
	}{
		"no scheme":        {func(o *Options) { o.URL = "file:///etc/passwd" }, errcode.ParamsError, "[url]"},
		"no length":        {func(o *Options) { o.Length = 0 }, errcode.ParamsError, "[length]"},
		"too long":         {func(o *Options) { o.MaxLength = 999 }, errcode.ParamsError, "[length]"},
		"a short digest":   {func(o *Options) { o.Digest = "sha256:00" }, errcode.ParamsError, "[digest]"},
		"another length":   {func(o *Options) { o.Length = 999 }, errcode.ParamsError, "[length]"},
		"another digest":   {func(o *Options) { o.Digest = digest(nil) }, errcode.ParamsError, "[digest]"},
		"longer than said": {func(o *Options) { o.URL = s.URL + "/endless" }, errcode.ParamsError, "[length]"},
		"gone":             {func(o *Options) { o.URL = s.URL + "/gone" }, errcode.RequestFailed, "410"},
		"down for ever":    {func(o *Options) { o.URL, o.Tries = s.URL+"/down", 3 }, errcode.RequestFailed, "503"},
		"silent":           {func(o *Options) { o.URL, o.Tries, o.Stall = s.URL+"/silent", 2, 20*time.Millisecond }, errcode.RequestFailed, "no byte"},
		"nobody there":     {func(o *Options) { o.URL, o.Tries = "http://127.0.0.1:1/file?signature=secret", 2 }, errcode.RequestFailed, "127.0.0.1:1"},
		"no room":          {func(o *Options) { o.Reserve = 1 << 60 }, errcode.RequestFailed, "No room"},
	} {
		o := s.options(t)
		c.change(&o)
		err := Fetch(t.Context(), o)
		if code(err) != c.code || !strings.Contains(err.Error(), c.word) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, want %d with %q and no secret", name, err, c.code, c.word)
		}
		if name == "no room" && !errors.Is(err, ErrNoSpace) {
			t.Error("no room is not ErrNoSpace")
		}
		absent(t, o)
	}
}

// Memory does not grow with the file.
func TestMemoryIsSmall(t *testing.T) {
	s := newServer(t, 24<<20)
	o := s.options(t)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if err := Fetch(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 2<<20 {
		t.Errorf("fetching 24 MiB allocated %d KiB", used>>10)
	}
	s.whole(t, o)
}

func FuzzContentRange(f *testing.F) {
	for _, s := range []string{"bytes 0-9/10", "bytes 5-9/*", "bytes 9-5/10", "bytes */10", "chunks 1-2/3", "bytes 0-9223372036854775808/1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		first, total, ok := contentRange(s)
		if ok && (first < 0 || total < -1 || total >= 0 && first >= total) {
			t.Errorf("%q gives %d of %d", s, first, total)
		}
	})
}
