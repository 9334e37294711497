package signature

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"gatehouse/sync/errcode"
)

const (
	exampleSecret = "m4b4gQc0hur8okz7rsR7pLJkoH4OMLYj"
	exampleBody   = `{"name":"测试应用","remark":"无"}`
)

// The worked example of the vendor's documentation (cloud-api.md).
func TestWorkedExample(t *testing.T) {
	text := StringToSign("post", "J2bREIXRh58BwcSkG9YNQQ==", "application/json", "1561463558", "/v2/prs/user/apps")
	if got := Sign(exampleSecret, text); got != "8CXL+bRJ+WaDQrwg7wWxkdEok0Y=" {
		t.Error(got)
	}
	r := httptest.NewRequest(http.MethodPost, "http://cloud/v2/prs/user/apps", bytes.NewReader([]byte(exampleBody)))
	r.Header.Set("Content-Type", "application/json")
	SignRequest(r, []byte(exampleBody), "id", exampleSecret, time.Unix(1561463558, 0))
	if got := r.URL.Query().Get("signature"); got != "8CXL+bRJ+WaDQrwg7wWxkdEok0Y=" {
		t.Error(got)
	}
}

func TestVerify(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	lookup := func(id string) (string, error) {
		switch id {
		case "good":
			return exampleSecret, nil
		case "off":
			return "", errcode.New(errcode.AccessKeyDisabled, "")
		}
		return "", errcode.New(errcode.AuthKeyError, "")
	}
	for _, c := range []struct {
		name, key string
		expires   time.Time
		change    func(*http.Request, *[]byte)
		want      errcode.Code
	}{
		{"good", "good", now.Add(time.Minute), nil, 0},
		{"expired before the key is looked at", "nobody", now.Add(-time.Second), nil, errcode.AuthExpired},
		{"unknown key", "nobody", now.Add(time.Minute), nil, errcode.AuthKeyError},
		{"disabled key", "off", now.Add(time.Minute), nil, errcode.AccessKeyDisabled},
		{"body changed", "good", now.Add(time.Minute), func(_ *http.Request, b *[]byte) { *b = []byte("{}") }, errcode.AuthSignatureError},
		{"query changed", "good", now.Add(time.Minute), func(r *http.Request, _ *[]byte) { r.URL.RawQuery += "&limit=9" }, errcode.AuthSignatureError},
		{"method changed", "good", now.Add(time.Minute), func(r *http.Request, _ *[]byte) { r.Method = "DELETE" }, errcode.AuthSignatureError},
		{"no parameters", "good", now, func(r *http.Request, _ *[]byte) { r.URL.RawQuery = "" }, errcode.AuthParamsMissing},
		{"malformed expiry", "good", now, func(r *http.Request, _ *[]byte) {
			q := r.URL.Query()
			q.Set("expires", "soon")
			r.URL.RawQuery = q.Encode()
		}, errcode.AuthExpiresError},
	} {
		body := []byte(exampleBody)
		r := httptest.NewRequest(http.MethodPost, "http://cloud/v2/x?where=W10%3D&offset=0", nil)
		SignRequest(r, body, c.key, exampleSecret, c.expires)
		if c.change != nil {
			c.change(r, &body)
		}
		id, err := Verify(r, body, now, lookup)
		var e *errcode.Error
		if c.want == 0 && (err != nil || id != c.key) || c.want != 0 && (!errors.As(err, &e) || e.Code != c.want) {
			t.Errorf("%s: Verify = %q, %v; want code %d", c.name, id, err, c.want)
		}
	}
}

func FuzzVerify(f *testing.F) {
	f.Add("accesskey_id=a&expires=99999999999&signature=x", []byte("{}"))
	f.Add("accesskey_id=a&expires=-1&signature=x;y", []byte(nil))
	f.Fuzz(func(t *testing.T, query string, body []byte) {
		r := httptest.NewRequest(http.MethodGet, "http://cloud/v2/x", nil)
		r.URL.RawQuery = query
		if _, err := Verify(r, body, time.Unix(1, 0), func(string) (string, error) { return exampleSecret, nil }); err != nil {
			var e *errcode.Error
			if !errors.As(err, &e) {
				t.Errorf("%v has no code", err)
			}
		}
	})
}
