package camera

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// MaxJPEG bounds one frame of an HTTP stream in bytes.
const MaxJPEG = 8 << 20

// mjpeg is a stream of JPEGs over HTTP (multipart/x-mixed-replace). It is read
// here and not by OpenCV because here a read ends in time and a frame that
// nobody takes is not decoded.
type mjpeg struct {
	body   io.ReadCloser
	parts  *multipart.Reader
	alarm  *time.Timer
	stall  time.Duration
	cancel context.CancelFunc
}

// overHTTP opens an address: a stream of JPEGs itself, anything else with
// FFmpeg.
func overHTTP(source string, o Options) opener {
	other := stream(source, o)
	stall := o.Stall
	if stall <= 0 {
		stall = stallUsual
	}
	client := &http.Client{Transport: &http.Transport{
		DialContext:           (&net.Dialer{Timeout: stall}).DialContext,
		TLSHandshakeTimeout:   stall,
		ResponseHeaderTimeout: stall,
		DisableKeepAlives:     true,
		TLSNextProto:          map[string]func(string, *tls.Conn) http.RoundTripper{}, // HTTP/1.1: one stream, one connection
	}}
	return func(ctx context.Context) (feed, error) {
		u, err := url.Parse(source)
		if err != nil {
			return nil, errors.New("the camera's address cannot be read") // the error has the password
		}
		ctx, cancel := context.WithCancel(ctx)
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
		if err != nil {
			cancel()
			return nil, errors.New("the camera's address cannot be read")
		}
		if u.User != nil {
			password, _ := u.User.Password()
			request.URL.User = nil
			request.SetBasicAuth(u.User.Username(), password)
		}
		answer, err := client.Do(request)
		if err != nil {
			cancel()
			return nil, fmt.Errorf("the camera cannot be reached: %w", reason(err))
		}
		if answer.StatusCode != http.StatusOK {
			_ = answer.Body.Close()
			cancel()
			return nil, fmt.Errorf("the camera answers %d %s", answer.StatusCode, http.StatusText(answer.StatusCode))
		}
		kind, params, err := mime.ParseMediaType(answer.Header.Get("Content-Type"))
		if err != nil || !strings.HasPrefix(kind, "multipart/") || params["boundary"] == "" {
			_ = answer.Body.Close()
			cancel()
			return other(context.Background()) // it heeds no context
		}
		m := &mjpeg{body: answer.Body, stall: stall, cancel: cancel,
			parts: multipart.NewReader(answer.Body, strings.TrimPrefix(params["boundary"], "--"))} // some name it with its dashes
		m.alarm = time.AfterFunc(stall, cancel)
		return m, nil
	}
}

// reason leaves the address out of an HTTP client's error.
func reason(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

func (m *mjpeg) next(b *buffer, needed bool) error {
	m.alarm.Reset(m.stall)
	part, err := m.parts.NextPart()
	if err != nil {
		return m.ended(err)
	}
	picture, err := body(part)
	if err != nil {
		return m.ended(err)
	}
	if len(picture) > MaxJPEG || !bytes.HasPrefix(picture, []byte{0xff, 0xd8}) {
		return errGarbage
	}
	if needed {
		b.jpeg, b.full = picture, true
	}
	return nil
}

// body reads one part. Where its length is told, the part is not waited for to
// end: the end comes with the next frame only.
func body(part *multipart.Part) ([]byte, error) {
	n, err := strconv.Atoi(part.Header.Get("Content-Length"))
	if err != nil || n <= 0 || n > MaxJPEG {
		return io.ReadAll(io.LimitReader(part, MaxJPEG+1))
	}
	b := make([]byte, n)
	n, err = io.ReadFull(part, b)
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		err = nil // shorter than told: garbage, most likely
	}
	return b[:n], err
}

func (m *mjpeg) ended(err error) error {
	if errors.Is(err, io.EOF) {
		return errors.New("the camera gives no more frames")
	}
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("the camera has given no frame for %s", m.stall)
	}
	return fmt.Errorf("the stream broke off: %w", reason(err))
}

func (m *mjpeg) clock() float64 { return -1 }
func (m *mjpeg) fps() float64   { return 0 }

func (m *mjpeg) close() {
	m.alarm.Stop()
	m.cancel()
	_ = m.body.Close()
}
