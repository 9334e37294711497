package push

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// post is one request that a fake server was sent.
type post struct {
	path string
	form map[string][]string // of a heartbeat
	body map[string]any
}

// parking is a parking system's server.
type parking struct {
	*httptest.Server
	mu    sync.Mutex
	posts []post
	reply func(post) (status int, text string) // nil: 200 {"status":"ok"}
	down  bool                                 // answers 503
}

func newParking(t *testing.T) *parking {
	k := &parking{}
	k.Server = httptest.NewServer(k)
	t.Cleanup(k.Close)
	return k
}

func (k *parking) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p := post{path: r.URL.Path}
	if r.ParseMultipartForm(1<<20) == nil {
		p.form = r.MultipartForm.Value
	} else {
		b, _ := io.ReadAll(r.Body)
		_ = json.Unmarshal(b, &p.body)
	}
	k.mu.Lock()
	if k.down {
		k.mu.Unlock()
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	k.posts = append(k.posts, p)
	reply := k.reply
	k.mu.Unlock()
	status, text := 200, `{"status":"ok"}`
	if reply != nil {
		status, text = reply(p)
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text)
}

func (k *parking) set(down bool, reply func(post) (int, string)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.down, k.reply = down, reply
}

// got gives the posts to path.
func (k *parking) got(path string) (list []post) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, p := range k.posts {
		if p.path == path {
			list = append(list, p)
		}
	}
	return list
}

// plate takes a post's PlateResult apart.
func (p post) plate() map[string]any {
	a, _ := p.body["AlarmInfoPlate"].(map[string]any)
	r, _ := a["result"].(map[string]any)
	m, _ := r["PlateResult"].(map[string]any)
	return m
}

// eventually waits until ok, for a long time on a slow machine.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}
