package binding

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"gatehouse/sync/errcode"
	"gatehouse/sync/signature"
	"gatehouse/sync/wire"
)

// Paths of the cloud's HTTP API.
const (
	DevicesPath   = "/v2/stp/user/devices"
	HandshakePath = "/v2/stp/boards/handshake"
)

// DeviceItem is one device of a bind or unbind request and of its answer.
type DeviceItem struct {
	SN      string     `json:"sn"`
	GroupID int64      `json:"group_id"`
	Remark  string     `json:"remark"`
	Proof   *Proof     `json:"proof,omitempty"`
	Binding *Sealed    `json:"binding,omitempty"` // in the answer to a proof
	Error   *ItemError `json:"error,omitempty"`   // in failures
}

// ItemError is the error object of per-item results.
type ItemError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

// ItemResults is the answer to a bind, update or unbind.
type ItemResults struct {
	Successes []DeviceItem `json:"successes"`
	Failures  []DeviceItem `json:"failures"`
}

// Client talks to the cloud for a board or an installer. The zero HTTP client
// has a time-out of 20 seconds.
type Client struct {
	URL    string // http(s)://host[:port]
	HTTP   *http.Client
	KeyID  string // the installer's AccessKey; not needed for Handshake
	Secret string
}

// Address is the form in which URLs of the same HTTP API are the same text.
func Address(cloud string) string {
	u, err := url.Parse(cloud)
	if err != nil {
		return cloud
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return u.Scheme + "://" + strings.ToLower(net.JoinHostPort(u.Hostname(), port)) + strings.TrimSuffix(u.EscapedPath(), "/")
}

var httpClient = &http.Client{Timeout: 20 * time.Second}

// Bind binds board sn to the account of the AccessKey.
func (c Client) Bind(ctx context.Context, sn string, groupID int64, remark string, keys Keys, bindID string) (wire.BindBody, error) {
	proof := keys.Proof(sn, c.KeyID, bindID, time.Now())
	item, err := c.devices(ctx, http.MethodPost, DeviceItem{SN: sn, GroupID: groupID, Remark: remark, Proof: &proof})
	if err != nil {
		return wire.BindBody{}, err
	}
	if item.Binding == nil {
		return wire.BindBody{}, errors.New("cannot bind: the cloud gave no credentials; is it a Gatehouse cloud?")
	}
	return keys.Open(*item.Binding)
}

// Unbind takes board sn out of the account of the AccessKey.
func (c Client) Unbind(ctx context.Context, sn string) error {
	_, err := c.devices(ctx, http.MethodDelete, DeviceItem{SN: sn})
	return err
}

func (c Client) devices(ctx context.Context, method string, item DeviceItem) (DeviceItem, error) {
	var results ItemResults
	if err := c.call(ctx, method, DevicesPath, map[string]any{"devices": []DeviceItem{item}}, true, &results); err != nil {
		return DeviceItem{}, err
	}
	if len(results.Failures) > 0 && results.Failures[0].Error != nil {
		e := results.Failures[0].Error
		code := errcode.Code(e.Code)
		return DeviceItem{}, errcode.New(code, strings.TrimPrefix(e.Message, code.Message()))
	}
	if len(results.Successes) != 1 {
		return DeviceItem{}, errors.New("cannot read the cloud's answer: it tells nothing about this board")
	}
	return results.Successes[0], nil
}

// Handshake asks what board sn is bound to: 5003 if to nothing.
func (c Client) Handshake(ctx context.Context, sn string, keys Keys) (wire.BindBody, error) {
	var answer struct {
		Binding Sealed `json:"binding"`
	}
	if err := c.call(ctx, http.MethodPost, HandshakePath, keys.Hello(sn, time.Now()), false, &answer); err != nil {
		return wire.BindBody{}, err
	}
	return keys.Open(answer.Binding)
}

// Unsure reports whether the cloud may have done what failed with err: it was
// asked, and no answer came that refuses it.
func Unsure(err error) bool {
	var refused *errcode.Error
	var none withoutEffect
	return err != nil && !errors.As(err, &refused) && !errors.As(err, &none)
}

// withoutEffect is a failure of a request that no cloud has carried out.
type withoutEffect struct{ error }

func (e withoutEffect) Unwrap() error { return e.error }

func (c Client) call(ctx context.Context, method, path string, in any, sign bool, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	var connected atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { connected.Store(true) }})
	r, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(c.URL, "/")+path, bytes.NewReader(body))
	if err != nil {
		return withoutEffect{fmt.Errorf("cannot call the cloud: %w", err)}
	}
	r.Header.Set("Content-Type", "application/json")
	if sign {
		signature.SignRequest(r, body, c.KeyID, c.Secret, time.Now().Add(5*time.Minute))
	}
	client := c.HTTP
	if client == nil {
		client = httpClient
	}
	answer, err := client.Do(r)
	if err != nil {
		err = fmt.Errorf("cannot reach the cloud at %s: %w", c.URL, errors.Unwrap(err)) // the URL in err would show the signature
		if !connected.Load() {
			err = withoutEffect{err}
		}
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("cannot read the cloud's answer: %w", err)
	}
	if answer.StatusCode == http.StatusOK {
		return json.Unmarshal(text, out)
	}
	var e struct {
		Code    int    `json:"error_code"`
		Message string `json:"error_message"`
	}
	if json.Unmarshal(text, &e) != nil || e.Code == 0 {
		err := fmt.Errorf("cannot use the cloud at %s: it answered %s without an error code", c.URL, answer.Status)
		if answer.StatusCode < http.StatusInternalServerError {
			err = withoutEffect{err} // else a gateway may have lost the cloud's answer
		}
		return err
	}
	code := errcode.Code(e.Code)
	return errcode.New(code, strings.TrimPrefix(e.Message, code.Message()))
}
