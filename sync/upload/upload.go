// Package upload brings pictures of events from a board to its cloud over HTTP,
// in pieces, so that a line that breaks costs a piece and not the picture.
//
// The board signs each request with its own key (Ed25519), which the cloud
// knows from the factory list; the cloud takes pictures only for events that it
// has, of a board that is bound. Not protected: what is on the picture, which
// is TLS's business, and a repetition of the same request, which has no effect.
package upload

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"gatehouse/sync/errcode"
)

// Kinds of pictures.
const (
	Full  = "full"
	Small = "small" // the plate or face alone
)

const (
	// MaxSize is the largest picture in bytes.
	MaxSize = 2 << 20
	// Piece is how much one request carries, in bytes.
	Piece = 64 << 10
	// MaxSkew is how far the board's clock may be off.
	MaxSkew = 24 * time.Hour
)

// Pattern is the route of a picture, for http.ServeMux.
const Pattern = "/v2/stp/boards/{sn}/events/{boot}/{seq}/pictures/{kind}"

// Path is where a picture is uploaded to.
func Path(sn, boot string, seq uint64, kind string) string {
	return fmt.Sprintf("/v2/stp/boards/%s/events/%s/%d/pictures/%s", sn, url.PathEscape(boot), seq, kind)
}

// State is the cloud's answer: how much of the picture it has.
type State struct {
	Received int64 `json:"received"` // bytes, from the beginning
	Complete bool  `json:"complete"`
}

const header = "Gatehouse-Board"

func text(r *http.Request, body []byte, at string) []byte {
	sum := sha256.Sum256(body)
	return []byte(strings.Join([]string{"gatehouse/upload/v1", r.Method, r.URL.EscapedPath() + "?" + r.URL.RawQuery, r.Header.Get("Content-Range"), hex.EncodeToString(sum[:]), at}, "\n"))
}

// Sign signs a request of a board; body is what it sends.
func Sign(r *http.Request, body []byte, key ed25519.PrivateKey, now time.Time) {
	at := strconv.FormatInt(now.Unix(), 10)
	r.Header.Set(header, at+" "+hex.EncodeToString(ed25519.Sign(key, text(r, body, at))))
}

// Verify checks a request against the board's public key (hex). Errors: 1001
// without a signature, 1002 for one that is too old or from the future, 1004.
func Verify(r *http.Request, body []byte, publicKey string, now time.Time) error {
	at, sigText, ok := strings.Cut(r.Header.Get(header), " ")
	if !ok {
		return errcode.New(errcode.AuthParamsMissing, "")
	}
	seconds, err1 := strconv.ParseInt(at, 10, 64)
	sig, err2 := hex.DecodeString(sigText)
	key, err3 := hex.DecodeString(publicKey)
	if errors.Join(err1, err2, err3) != nil || len(key) != ed25519.PublicKeySize || !ed25519.Verify(key, text(r, body, at), sig) {
		return errcode.New(errcode.AuthSignatureError, "")
	}
	if now.Sub(time.Unix(seconds, 0)).Abs() > MaxSkew {
		return errcode.New(errcode.AuthExpired, "")
	}
	return nil
}

// Range is the Content-Range of a piece.
type Range struct{ From, To, Size int64 } // both ends included

func (r Range) String() string { return fmt.Sprintf("bytes %d-%d/%d", r.From, r.To, r.Size) }

// ParseRange reads a Content-Range. Errors: 1103.
func ParseRange(s string) (Range, error) {
	bad := errcode.Param("Content-Range", "must look like bytes 0-65535/131072")
	span, sizeText, ok := strings.Cut(strings.TrimPrefix(s, "bytes "), "/")
	fromText, toText, ok2 := strings.Cut(span, "-")
	if !ok || !ok2 || !strings.HasPrefix(s, "bytes ") {
		return Range{}, bad
	}
	var r Range
	for _, n := range []struct {
		text string
		to   *int64
	}{{fromText, &r.From}, {toText, &r.To}, {sizeText, &r.Size}} {
		v, err := strconv.ParseUint(n.text, 10, 62)
		if err != nil {
			return Range{}, bad
		}
		*n.to = int64(v)
	}
	if r.From > r.To || r.To >= r.Size {
		return Range{}, bad
	}
	return r, nil
}

// Client uploads for a board. The zero HTTP client has a time-out of 20 seconds.
type Client struct {
	URL   string // of the cloud: http(s)://host[:port]
	SN    string
	Key   ed25519.PrivateKey
	HTTP  *http.Client
	Limit *rate.Limiter // bytes a second, with a burst of Piece at least; nil: none
	Now   func() time.Time
}

var httpClient = &http.Client{Timeout: 20 * time.Second}

// Send uploads a picture from where an earlier attempt ended. An *errcode.Error
// is the cloud's word on the picture and final; with any other error it is to be
// tried again later.
func (c Client) Send(ctx context.Context, boot string, seq uint64, kind string, jpeg []byte) error {
	if len(jpeg) == 0 || len(jpeg) > MaxSize {
		return errcode.Param("size", fmt.Sprintf("must be 1 to %d bytes", MaxSize))
	}
	sum := sha256.Sum256(jpeg)
	at := Path(c.SN, boot, seq, kind) + fmt.Sprintf("?size=%d&sha256=%s", len(jpeg), hex.EncodeToString(sum[:]))
	s, err := c.call(ctx, http.MethodGet, at, "", nil)
	for err == nil && !s.Complete {
		if s.Received < 0 || s.Received >= int64(len(jpeg)) {
			return errors.New("cannot upload: the cloud has more of the picture than there is")
		}
		piece := jpeg[s.Received:min(s.Received+Piece, int64(len(jpeg)))]
		if c.Limit != nil {
			if err := c.Limit.WaitN(ctx, min(len(piece), c.Limit.Burst())); err != nil {
				return err
			}
		}
		before := s.Received
		s, err = c.call(ctx, http.MethodPut, at, Range{before, before + int64(len(piece)) - 1, int64(len(jpeg))}.String(), piece)
		if err == nil && !s.Complete && s.Received <= before {
			return errors.New("cannot upload: the cloud keeps nothing of what it is sent")
		}
	}
	return err
}

func (c Client) call(ctx context.Context, method, at, span string, body []byte) (s State, err error) {
	r, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(c.URL, "/")+at, bytes.NewReader(body))
	if err != nil {
		return s, fmt.Errorf("cannot upload: %w", err)
	}
	if span != "" {
		r.Header.Set("Content-Range", span)
		r.Header.Set("Content-Type", "image/jpeg")
	}
	now := time.Now
	if c.Now != nil {
		now = c.Now
	}
	Sign(r, body, c.Key, now())
	client := c.HTTP
	if client == nil {
		client = httpClient
	}
	a, err := client.Do(r)
	if err != nil {
		return s, fmt.Errorf("cannot upload: %w", err)
	}
	defer a.Body.Close()
	text, err := io.ReadAll(io.LimitReader(a.Body, 64<<10))
	if err != nil {
		return s, fmt.Errorf("cannot upload: %w", err)
	}
	if a.StatusCode == http.StatusOK {
		if err := json.Unmarshal(text, &s); err != nil {
			return s, fmt.Errorf("cannot upload: the cloud's answer cannot be read: %w", err)
		}
		return s, nil
	}
	var e struct {
		Code    int    `json:"error_code"`
		Message string `json:"error_message"`
	}
	if json.Unmarshal(text, &e) != nil {
		e.Code = 0
	}
	code := errcode.Code(e.Code)
	if later(code) {
		return s, fmt.Errorf("cannot upload: the cloud answered %s %s", a.Status, e.Message)
	}
	return s, errcode.New(code, strings.TrimPrefix(e.Message, code.Message()))
}

// later reports whether what the cloud says is no word on the picture: what a
// proxy on the way says (0), a cloud that is in trouble itself, a signature that
// does not hold, as with a wrong clock (1001 to 1015), too many requests (1016
// to 1018).
func later(c errcode.Code) bool {
	return c == 0 || c == errcode.RequestFailed || c == errcode.SaveImageFailed || c >= errcode.AuthParamsMissing && c <= errcode.DailyExceeded
}
