package download

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"gatehouse/sync/errcode"
)

var errStalled = errors.New("the server gave no byte for too long")

// maxRetryAfter bounds what a server may ask us to wait.
const maxRetryAfter = 5 * time.Minute

// attempt makes one request and adds what comes to the part. An *errcode.Error
// is final, anything else may be tried again; wait is the server's wish.
func (o *Options) attempt(ctx context.Context, p *part) (wait time.Duration, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stall := time.AfterFunc(o.Stall, func() { cancel(errStalled) })
	defer stall.Stop()
	answer, err := o.ask(ctx, p)
	if err != nil {
		return 0, concealed(ctx, err)
	}
	defer answer.Body.Close()
	if wait, err = o.position(answer, p); err != nil {
		return wait, err
	}
	err = o.receive(answer.Body, p, func() { stall.Reset(o.Stall) })
	return 0, errors.Join(concealed(ctx, err), p.keep())
}

// concealed gives the cause without the URL, whose query may hold a signature.
func concealed(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// ask requests what is missing; with If-Range, so that a file that has changed
// comes whole.
func (o *Options) ask(ctx context.Context, p *part) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, o.URL, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept-Encoding", "identity") // the digest is over the bytes as they are
	if p.done > 0 {
		r.Header.Set("Range", fmt.Sprintf("bytes=%d-", p.done))
		if p.state.Validator != "" {
			r.Header.Set("If-Range", p.state.Validator)
		}
	}
	client := o.Client
	if client == nil {
		client = http.DefaultClient
	}
	return client.Do(r)
}

// position makes the part ready for the body of an answer, or says why there is none.
func (o *Options) position(answer *http.Response, p *part) (wait time.Duration, err error) {
	switch answer.StatusCode {
	case http.StatusPartialContent:
		first, total, ok := contentRange(answer.Header.Get("Content-Range"))
		if !ok || first != p.done || total >= 0 && total != o.Length {
			// Not what was asked for: begin anew, without a range.
			return 0, errors.Join(fmt.Errorf("the server answered with the range %q", answer.Header.Get("Content-Range")), p.restart(""))
		}
		p.resumed = true
		return 0, nil
	case http.StatusOK:
		if answer.ContentLength >= 0 && answer.ContentLength != o.Length {
			return 0, errcode.Param("length", fmt.Sprintf("is not that of the file behind url, which has %d bytes", answer.ContentLength))
		}
		return 0, p.restart(validator(answer.Header))
	case http.StatusRequestedRangeNotSatisfiable:
		return 0, errors.Join(errors.New("the server has no such range"), p.restart(""))
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
	default:
		if answer.StatusCode < 500 {
			return 0, errcode.New(errcode.RequestFailed, fmt.Sprintf("The file cannot be fetched: %s answered %s!", host(o.URL), answer.Status))
		}
	}
	if s, err := strconv.Atoi(answer.Header.Get("Retry-After")); err == nil && s > 0 {
		wait = min(time.Duration(min(s, 3600))*time.Second, maxRetryAfter)
	}
	return wait, fmt.Errorf("the server answered %s", answer.Status)
}

// validator is a strong ETag or, without one, the date; If-Range takes no weak ETag.
func validator(h http.Header) string {
	if tag := h.Get("ETag"); tag != "" {
		if strings.HasPrefix(tag, "W/") {
			return ""
		}
		return tag
	}
	return h.Get("Last-Modified")
}

// receive appends body to the part, at most up to the file's length.
func (o *Options) receive(body io.Reader, p *part, alive func()) error {
	buffer := make([]byte, 64<<10)
	for {
		n, err := body.Read(buffer)
		if n > 0 {
			alive()
			if p.done+int64(n) > o.Length {
				return errors.Join(errcode.Param("length", fmt.Sprintf("is not that of the file behind url, which has more than %d bytes", o.Length)), p.restart(""))
			}
			if err := p.write(buffer[:n]); err != nil {
				return err
			}
			o.tell(p.done)
		}
		switch {
		case err == io.EOF && p.done < o.Length:
			return io.ErrUnexpectedEOF
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
	}
}

// contentRange reads "bytes 5-9/10"; total is -1 for "*".
func contentRange(text string) (first, total int64, ok bool) {
	rest, ok := strings.CutPrefix(text, "bytes ")
	if !ok {
		return 0, 0, false
	}
	span, size, ok := strings.Cut(rest, "/")
	a, b, dash := strings.Cut(span, "-")
	if !ok || !dash {
		return 0, 0, false
	}
	first, err1 := strconv.ParseInt(strings.TrimSpace(a), 10, 64)
	last, err2 := strconv.ParseInt(strings.TrimSpace(b), 10, 64)
	total = -1
	var err3 error
	if size = strings.TrimSpace(size); size != "*" {
		total, err3 = strconv.ParseInt(size, 10, 64)
	}
	if err1 != nil || err2 != nil || err3 != nil || first < 0 || last < first || total >= 0 && last >= total || total < -1 {
		return 0, 0, false
	}
	return first, total, true
}
