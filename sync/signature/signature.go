// Package signature signs and checks requests to the HTTP API, version 2: the
// cloud's and the board's own. A caller proves with it that it holds an
// AccessKey's secret; method, path, query, body and an expiry are covered.
//
// Not protected: headers other than Content-Type, and a second use of the same
// request before it expires. Confidentiality is TLS's business.
package signature

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha1"
	"encoding/base64"
	"net/http"
	"net/url"
	"sort"
	"strconv"
	"strings"
	"time"

	"gatehouse/sync/errcode"
)

// The three query parameters of a signed request.
const (
	keyIDParam     = "accesskey_id"
	expiresParam   = "expires"
	signatureParam = "signature"
)

// StringToSign joins what is signed: verb in upper case, base64 MD5 of the body
// and content type (both empty without a body), expiry in Unix seconds, and
// the canonical resource.
func StringToSign(verb, contentMD5, contentType, expires, resource string) string {
	return strings.Join([]string{strings.ToUpper(verb), contentMD5, contentType, expires, resource}, "\n")
}

// Canonical is the path and, sorted by name and not url-encoded, the query
// parameters other than the three of the signature.
func Canonical(path string, query url.Values) string {
	var pairs []string
	for name, values := range query {
		if name == keyIDParam || name == expiresParam || name == signatureParam {
			continue
		}
		for _, v := range values {
			pairs = append(pairs, name+"="+v)
		}
	}
	if len(pairs) == 0 {
		return path
	}
	sort.Strings(pairs)
	return path + "?" + strings.Join(pairs, "&")
}

// Sign is base64 of HMAC-SHA1, not url-encoded.
func Sign(secret, text string) string {
	h := hmac.New(sha1.New, []byte(secret))
	h.Write([]byte(text))
	return base64.StdEncoding.EncodeToString(h.Sum(nil))
}

// SignRequest puts the three parameters into r's query. Body is what r sends.
func SignRequest(r *http.Request, body []byte, keyID, secret string, expires time.Time) {
	SignRequestSum(r, bodySum(body), keyID, secret, expires)
}

// SignRequestSum is SignRequest for a body that is too long for the memory; sum
// is its MD5, nil where there is none.
func SignRequestSum(r *http.Request, sum []byte, keyID, secret string, expires time.Time) {
	q := r.URL.Query()
	at := strconv.FormatInt(expires.Unix(), 10)
	q.Set(signatureParam, Sign(secret, stringToSign(r, q, sum, at)))
	q.Set(keyIDParam, keyID)
	q.Set(expiresParam, at)
	r.URL.RawQuery = q.Encode()
}

func stringToSign(r *http.Request, q url.Values, sum []byte, expires string) string {
	var text, contentType string
	if sum != nil {
		text, contentType = base64.StdEncoding.EncodeToString(sum), r.Header.Get("Content-Type")
	}
	return StringToSign(r.Method, text, contentType, expires, Canonical(r.URL.Path, q))
}

// bodySum is the MD5 of a body, nil of none.
func bodySum(body []byte) []byte {
	if len(body) == 0 {
		return nil
	}
	m := md5.Sum(body)
	return m[:]
}

// KeyLookup gives the secret of a key; its error is an *errcode.Error:
// unknown 1005, disabled 1006, expired 1002.
type KeyLookup func(keyID string) (secret string, err error)

// Verify checks a request in the vendor's order: parameters there (1001),
// expiry well-formed (1003) and not past (1002), key (lookup's error),
// signature (1004). It gives the id of the key that signed.
func Verify(r *http.Request, body []byte, now time.Time, lookup KeyLookup) (keyID string, err error) {
	return VerifySum(r, bodySum(body), now, lookup)
}

// VerifySum is Verify for a body that is too long for the memory; sum is its
// MD5, nil where there is none.
func VerifySum(r *http.Request, sum []byte, now time.Time, lookup KeyLookup) (keyID string, err error) {
	q := r.URL.Query()
	keyID, expires, given := q.Get(keyIDParam), q.Get(expiresParam), q.Get(signatureParam)
	if keyID == "" || expires == "" || given == "" {
		return "", errcode.New(errcode.AuthParamsMissing, "")
	}
	at, err := strconv.ParseInt(expires, 10, 64)
	if err != nil || at < 0 {
		return "", errcode.New(errcode.AuthExpiresError, "")
	}
	if now.Unix() > at {
		return "", errcode.New(errcode.AuthExpired, "")
	}
	secret, err := lookup(keyID)
	if err != nil {
		return "", err
	}
	if !hmac.Equal([]byte(given), []byte(Sign(secret, stringToSign(r, q, sum, expires)))) {
		return "", errcode.New(errcode.AuthSignatureError, "")
	}
	return keyID, nil
}
