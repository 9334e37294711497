package camtcp

import (
	"context"
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"encoding/json"
	"sync/atomic"
	"time"

	"gatehouse/sync/errcode"
	"gatehouse/sync/wire"
)

// login is the vendor's challenge and response. SHA-1 is the protocol's choice;
// as an HMAC over a challenge that is used once it holds.
type login struct {
	done      atomic.Bool
	challenge string // "": none was asked for, or it was used
	failures  int
}

// After mostFailures a client is disconnected; each costs it failureWait.
const (
	mostFailures = 3
	failureWait  = time.Second
)

// startLogin gives the challenge, 16 characters.
func startLogin(c *client, _ context.Context, _ request) (map[string]any, [][]byte, error) {
	c.login.challenge = wire.NewID()
	return map[string]any{"active_id": 0, "device_sn": c.s.o.SN, "ems": []any{}, "signature": c.login.challenge}, nil, nil
}

// authenticate checks base64(HMAC-SHA1(challenge, password)).
func authenticate(c *client, ctx context.Context, r request) (map[string]any, [][]byte, error) {
	var in struct {
		Authentication string `json:"authentication"`
	}
	if err := json.Unmarshal(r.Body, &in); err != nil {
		return nil, nil, errcode.Param("authentication", "must be a text")
	}
	challenge := c.login.challenge
	c.login.challenge = ""
	sent, err := base64.StdEncoding.DecodeString(in.Authentication)
	if err != nil || challenge == "" || !hmac.Equal(sent, response(challenge, c.s.o.Password)) {
		c.login.failures++
		select {
		case <-ctx.Done():
		case <-time.After(failureWait):
		}
		return nil, nil, errcode.New(errcode.LoginFailed, "")
	}
	c.login.done.Store(true)
	c.login.failures = 0
	return nil, nil, nil
}

func response(challenge, password string) []byte {
	h := hmac.New(sha1.New, []byte(challenge))
	h.Write([]byte(password))
	return h.Sum(nil)
}
