// Package download brings a file of known length and digest from an HTTP(S)
// server to a board's disk.
//
// The parties: a server that may be slow, cut the connection, ignore ranges or
// change the file in between; a disk that may fill; a power supply that may
// fail. Promised: the file appears at its path only whole, with the digest that
// was asked for, and synced; before that it is never there. What was fetched is
// kept in <path>.part and gone on with, after a restart of the process too.
// Memory does not grow with the file.
//
// Not protected: who may serve the file. The digest must come over a trusted
// way (a signed manifest, the cloud's command).
package download

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"gatehouse/sync/errcode"
)

// Options of a download. URL, Length, Digest and Path must be given.
type Options struct {
	URL    string // http or https; it may hold a secret in its query, which is not logged
	Length int64  // bytes of the file, exactly
	Digest string // "sha256:" and 64 lower-case hex digits
	Path   string // where the file is to be; its directory must exist
	// Client makes the requests; nil: one without a time-out for the whole,
	// since a slow line may take hours. Stalls end an attempt (Stall).
	Client *http.Client
	// Progress is told how far it is, from the goroutine that called Fetch, at
	// most every 64 KiB; nil: nobody is.
	Progress func(done, total int64)
	// MaxLength refuses longer files, 0: DefaultMaxLength.
	MaxLength int64
	// Reserve is what must stay free on the file system, in bytes; 0: DefaultReserve.
	Reserve int64
	// Stall is how long a server may give no byte; 0: 30 s.
	Stall time.Duration
	// Tries is how many attempts in a row may bring no new byte; 0: 10.
	Tries int
	// First and Max bound the pause between two attempts (full jitter); 0: 1 s and 1 min.
	First, Max time.Duration
	Log        *slog.Logger
}

// The limits that hold where Options has none.
const (
	DefaultMaxLength = 4 << 30
	DefaultReserve   = 16 << 20
)

// ErrNoSpace is a file system without room for the file.
var ErrNoSpace = errors.New("the file system has no room for the file")

// ValidDigest reports whether d is "sha256:" and 64 lower-case hex digits.
func ValidDigest(d string) bool {
	hex, ok := strings.CutPrefix(d, "sha256:")
	return ok && len(hex) == 64 && strings.Trim(hex, "0123456789abcdef") == ""
}

// Fetch brings the file to o.Path. It returns nil once the file is there, whole
// and synced; a file that is there already is checked and kept. Errors: 1103
// naming url, length or digest where these are wrong, also where the server's
// file has another length or digest; 1106 where the server refuses, the tries
// are used up or there is no room (errors.Is ErrNoSpace); ctx's cause when it ends.
func Fetch(ctx context.Context, o Options) error {
	if err := o.check(); err != nil {
		return err
	}
	if same, err := hasDigest(o.Path, o.Length, o.Digest); err != nil || same {
		if same {
			o.tell(o.Length)
			Discard(o.Path)
		}
		return err
	}
	p, err := openPart(o.Path, o.Digest)
	if err != nil {
		return err
	}
	defer p.close()
	if p.done > o.Length {
		if err := p.restart(""); err != nil {
			return err
		}
	}
	for mixed := 0; ; mixed++ {
		if err := o.room(p.done); err != nil {
			return err
		}
		if err := o.fill(ctx, p); err != nil {
			return err
		}
		if p.digest() == o.Digest {
			return p.finish(o.Path)
		}
		// A part that was gone on with may hold bytes of two files: fetched anew
		// it may be right.
		have, final := p.digest(), !p.resumed || mixed == maxMixed
		if err := p.restart(""); err != nil {
			return err
		}
		if final {
			return errcode.Param("digest", "is not that of the file behind url, which is "+have)
		}
	}
}

// maxMixed is how often a file is fetched anew because its parts did not fit together.
const maxMixed = 2

// check refuses what cannot be fetched and fills in the defaults.
func (o *Options) check() error {
	u, err := url.Parse(o.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return errcode.Param("url", "must begin with http:// or https:// and a host")
	}
	if o.MaxLength == 0 {
		o.MaxLength = DefaultMaxLength
	}
	if o.Length <= 0 || o.Length > o.MaxLength {
		return errcode.Param("length", fmt.Sprintf("must be 1 to %d bytes", o.MaxLength))
	}
	if !ValidDigest(o.Digest) {
		return errcode.Param("digest", "must be sha256: and 64 lower-case hex digits")
	}
	if o.Reserve == 0 {
		o.Reserve = DefaultReserve
	}
	if o.Stall == 0 {
		o.Stall = 30 * time.Second
	}
	if o.Tries == 0 {
		o.Tries = 10
	}
	if o.First == 0 {
		o.First = time.Second
	}
	if o.Max == 0 {
		o.Max = time.Minute
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

func (o *Options) tell(done int64) {
	if o.Progress != nil {
		o.Progress(done, o.Length)
	}
}

// room checks that what is missing fits on the file system and leaves Reserve.
func (o *Options) room(done int64) error {
	var s unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(o.Path), &s); err != nil {
		return fmt.Errorf("cannot ask for the free space: %w", err)
	}
	free := int64(s.Bavail) * int64(s.Bsize)
	if need := o.Length - done + o.Reserve; free < need {
		return &errcode.Error{Code: errcode.RequestFailed, Err: ErrNoSpace,
			Detail: fmt.Sprintf("No room: %d MiB are free, %d MiB are needed; remove pictures or raise the quota!", free>>20, (need>>20)+1)}
	}
	return nil
}

// fill makes attempts until the part has all bytes.
func (o *Options) fill(ctx context.Context, p *part) error {
	idle, pause := 0, o.First
	for p.done < o.Length {
		before := p.done
		wait, err := o.attempt(ctx, p)
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		if err == nil {
			continue
		}
		var fatal *errcode.Error
		if errors.As(err, &fatal) || errors.Is(err, unix.ENOSPC) {
			return noSpace(err)
		}
		if p.done > before {
			idle, pause = 0, o.First
		} else if idle++; idle >= o.Tries {
			return &errcode.Error{Code: errcode.RequestFailed, Err: err, Detail: fmt.Sprintf("The file cannot be fetched from %s: %v!", host(o.URL), err)}
		}
		if wait == 0 {
			wait = rand.N(pause) + time.Millisecond
			pause = min(2*pause, o.Max)
		}
		o.Log.Warn("a download was interrupted and goes on", "host", host(o.URL), "done", p.done, "of", o.Length, "wait", wait, "err", err)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(wait):
		}
	}
	return nil
}

func noSpace(err error) error {
	if errors.Is(err, unix.ENOSPC) {
		return &errcode.Error{Code: errcode.RequestFailed, Err: errors.Join(ErrNoSpace, err), Detail: "No room: the file system became full during the download!"}
	}
	return err
}

// host is what of a URL may be told.
func host(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "the server"
	}
	return u.Host
}

// Discard removes what an unfinished download to path has left beside it: a
// change that was cancelled is not gone on with.
func Discard(path string) {
	for _, p := range []string{partPath(path), statePath(path)} {
		if err := os.Remove(p); err != nil && !errors.Is(err, os.ErrNotExist) {
			return // it is overwritten the next time
		}
	}
}
