// Package client makes signed calls of the cloud's HTTP API (sync/cloud/API.md).
//
// No error shows a signature or a secret.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"gatehouse/sync/errcode"
	"gatehouse/sync/signature"
)

// Client is one account's way to the cloud.
type Client struct {
	Base       string       // the address that paths are added to, as http://127.0.0.1:8080
	ID, Secret string       // the AccessKey
	HTTP       *http.Client // nil: http.DefaultClient
}

const (
	signed = 5 * time.Minute // how long a call's signature is good
	most   = 64 << 20        // bytes of an answer
)

// ReadKey reads an AccessKey's id and secret from a file, as the cloud writes
// and `gatehouse-cloud account add` prints them.
func ReadKey(path string) (id, secret string, err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", "", fmt.Errorf("cannot read the AccessKey: %w", err)
	}
	f := strings.Fields(string(b))
	if len(f) != 2 {
		return "", "", fmt.Errorf("%s does not hold an AccessKey: its id and its secret", path)
	}
	return f[0], f[1], nil
}

// Call sends in and reads the answer into out. In is JSON as it is ([]byte), a
// value that is made JSON, or nil; out is a pointer to such a value, a *[]byte for
// the answer as it is, or nil. A failure that the cloud reports is an *errcode.Error.
func (c *Client) Call(ctx context.Context, method, path string, in, out any) error {
	body, ok := in.([]byte)
	if !ok && in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return err
		}
	}
	r, err := http.NewRequestWithContext(ctx, method, c.Base+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if in != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	signature.SignRequest(r, body, c.ID, c.Secret, time.Now().Add(signed))
	h := c.HTTP
	if h == nil {
		h = http.DefaultClient
	}
	answer, err := h.Do(r)
	if err != nil {
		return fmt.Errorf("cannot reach the cloud: %w", errors.Unwrap(err)) // the address in err shows the signature
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(io.LimitReader(answer.Body, most+1))
	if err != nil {
		return fmt.Errorf("cannot read the cloud's answer: %w", err)
	}
	if len(b) > most {
		return fmt.Errorf("the cloud's answer has more than %d MiB", most>>20)
	}
	if answer.StatusCode != http.StatusOK {
		var e struct {
			Code    errcode.Code `json:"error_code"`
			Message string       `json:"error_message"`
		}
		if json.Unmarshal(b, &e) != nil || e.Code == 0 {
			return fmt.Errorf("the cloud answers %s without an error code", answer.Status)
		}
		return &errcode.Error{Code: e.Code, Detail: strings.TrimPrefix(e.Message, e.Code.Message())}
	}
	if raw, ok := out.(*[]byte); ok {
		*raw = b
		return nil
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(b, out)
}
