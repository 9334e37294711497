package upload

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"gatehouse/sync/errcode"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const sn = "265e1040-85e01fb7"

func newKey(t testing.TB) (ed25519.PrivateKey, string) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return private, hex.EncodeToString(public)
}

// taker is a cloud that takes a picture, and breaks the line at every k-th request.
type taker struct {
	t      *testing.T
	key    string
	mu     sync.Mutex
	got    []byte
	every  int
	served int
	refuse errcode.Code
}

func (k *taker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := Verify(r, body, k.key, time.Now()); err != nil {
		k.t.Errorf("%s %s: %v", r.Method, r.URL, err)
	}
	if k.served++; k.every > 0 && k.served%k.every == 0 {
		if k.served%(2*k.every) == 0 { // taken, but the answer is lost
			k.got = append(k.got, body...)
		}
		panic(http.ErrAbortHandler)
	}
	if k.refuse != 0 {
		w.WriteHeader(k.refuse.HTTPStatus())
		_ = json.NewEncoder(w).Encode(map[string]any{"error_code": int(k.refuse), "error_message": k.refuse.Message()})
		return
	}
	s := State{Received: int64(len(k.got))}
	if r.Method == http.MethodPut {
		span, err := ParseRange(r.Header.Get("Content-Range"))
		if err != nil {
			k.t.Error(err)
		}
		if span.From == s.Received {
			k.got = append(k.got, body...)
			s.Received = span.To + 1
			s.Complete = s.Received == span.Size
		}
	}
	_ = json.NewEncoder(w).Encode(s)
}

// A line that breaks costs pieces, not the picture.
func TestResume(t *testing.T) {
	private, public := newKey(t)
	k := &taker{t: t, key: public, every: 3}
	server := httptest.NewServer(k)
	defer server.Close()
	jpeg := bytes.Repeat([]byte("0123456789abcdef"), 40_000) // 625 KiB, ten pieces
	c := Client{URL: server.URL, SN: sn, Key: private, HTTP: server.Client()}
	attempts := 0
	for err := errors.New("none yet"); err != nil; attempts++ {
		if attempts > 20 {
			t.Fatalf("not finished: %v", err)
		}
		var final *errcode.Error
		if err = c.Send(context.Background(), "00000001-0", 7, Full, jpeg); errors.As(err, &final) {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(k.got, jpeg) {
		t.Errorf("%d bytes arrived, %d were sent, or they differ", len(k.got), len(jpeg))
	}
	if attempts < 2 || k.served > 30 {
		t.Errorf("%d attempts, %d requests", attempts, k.served)
	}
}

func TestRefusalIsFinal(t *testing.T) {
	private, public := newKey(t)
	k := &taker{t: t, key: public, refuse: errcode.DeviceNotBound}
	server := httptest.NewServer(k)
	defer server.Close()
	c := Client{URL: server.URL, SN: sn, Key: private, HTTP: server.Client()}
	var final *errcode.Error
	if err := c.Send(context.Background(), "b", 7, Full, []byte("x")); !errors.As(err, &final) || final.Code != errcode.DeviceNotBound {
		t.Errorf("%v", err)
	}
	for _, k.refuse = range errcode.All() {
		trouble := k.refuse == errcode.RequestFailed || k.refuse == errcode.SaveImageFailed
		later := trouble || k.refuse > errcode.URLNotExist && k.refuse < errcode.ParseJSONFailed // the signature, the clock, the rate
		if err := c.Send(context.Background(), "b", 7, Full, []byte("x")); err == nil || errors.As(err, &final) == later {
			t.Errorf("%d: %v", k.refuse, err)
		}
	}
	if err := c.Send(context.Background(), "b", 7, Full, nil); !errors.As(err, &final) {
		t.Errorf("an empty picture: %v", err)
	}
}

func TestVerify(t *testing.T) {
	private, public := newKey(t)
	_, other := newKey(t)
	now := time.Unix(1_800_000_000, 0)
	request := func(change func(*http.Request)) *http.Request {
		r := httptest.NewRequest(http.MethodPut, Path(sn, "b", 1, Full)+"?size=3", nil)
		r.Header.Set("Content-Range", "bytes 0-2/3")
		Sign(r, []byte("abc"), private, now)
		change(r)
		return r
	}
	for name, c := range map[string]struct {
		change func(*http.Request)
		body   string
		key    string
		at     time.Time
		want   errcode.Code
	}{
		"good":             {func(*http.Request) {}, "abc", public, now, 0},
		"another body":     {func(*http.Request) {}, "abd", public, now, errcode.AuthSignatureError},
		"another board":    {func(*http.Request) {}, "abc", other, now, errcode.AuthSignatureError},
		"another range":    {func(r *http.Request) { r.Header.Set("Content-Range", "bytes 3-5/6") }, "abc", public, now, errcode.AuthSignatureError},
		"another query":    {func(r *http.Request) { r.URL.RawQuery = "size=4" }, "abc", public, now, errcode.AuthSignatureError},
		"another method":   {func(r *http.Request) { r.Method = http.MethodGet }, "abc", public, now, errcode.AuthSignatureError},
		"two days later":   {func(*http.Request) {}, "abc", public, now.Add(48 * time.Hour), errcode.AuthExpired},
		"without":          {func(r *http.Request) { r.Header.Del(header) }, "abc", public, now, errcode.AuthParamsMissing},
		"no key to check":  {func(*http.Request) {}, "abc", "", now, errcode.AuthSignatureError},
		"nonsense as time": {func(r *http.Request) { r.Header.Set(header, "x 00") }, "abc", public, now, errcode.AuthSignatureError},
	} {
		err := Verify(request(c.change), []byte(c.body), c.key, c.at)
		if e := errcode.From(err); (e == nil) != (c.want == 0) || e != nil && e.Code != c.want {
			t.Errorf("%s: %v, want %d", name, err, c.want)
		}
	}
}

func FuzzParseRange(f *testing.F) {
	f.Add("bytes 0-65535/131072")
	f.Add("bytes 5-4/9")
	f.Add("bytes -1-2/3")
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseRange(s)
		if err == nil && (r.From < 0 || r.To < r.From || r.Size <= r.To) {
			t.Errorf("%q is taken as %+v", s, r)
		}
	})
}

func FuzzVerify(f *testing.F) {
	_, public := newKey(f)
	f.Add("1800000000 00", "bytes 0-2/3", []byte("abc"))
	f.Fuzz(func(t *testing.T, signature, span string, body []byte) {
		r := httptest.NewRequest(http.MethodPut, Path(sn, "b", 1, Full), nil)
		r.Header.Set(header, signature)
		r.Header.Set("Content-Range", span)
		if Verify(r, body, public, time.Unix(1_800_000_000, 0)) == nil {
			t.Error("a request that nobody signed is taken")
		}
	})
}
