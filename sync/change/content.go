package change

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"gatehouse/sync/errcode"
	"gatehouse/sync/fault"
	"gatehouse/sync/store"
	"gatehouse/sync/wire"
)

// Lengths of contents in bytes.
const (
	InlineMax        = 64 << 10 // longer ones lie in a file, not in the database
	DefaultMaxLength = 64 << 20 // of a Kind that is no Limiter
)

// Open gives a reader of the content; the caller closes it. Every call begins
// at the start.
func (c *Change) Open() (io.ReadCloser, error) {
	if c.File == "" {
		return io.NopCloser(strings.NewReader(c.Content)), nil
	}
	f, err := os.Open(filepath.Join(c.dir, filepath.Base(c.File)))
	if err != nil {
		return nil, fmt.Errorf("cannot open the content: %w", err)
	}
	return f, nil
}

// Bytes is the whole content, for kinds whose contents are short.
func (c *Change) Bytes() ([]byte, error) {
	r, err := c.Open()
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		return nil, fmt.Errorf("cannot read the content: %w", err)
	}
	return text, nil
}

// Digest is "sha256:" and the hash of content in hex.
func Digest(content []byte) string {
	h := sha256.Sum256(content)
	return "sha256:" + hex.EncodeToString(h[:])
}

// fileName names a content's file: an id is of characters that a path may
// have, and with a part of the digest no other content has the name.
func fileName(kind, id, digest string) string {
	digest = strings.TrimPrefix(digest, "sha256:")
	return kind + "-" + id + "-" + digest[:min(16, len(digest))]
}

func maxLength(k Kind) int64 {
	if l, ok := k.(Limiter); ok {
		return l.MaxLength()
	}
	return DefaultMaxLength
}

// keepContent writes a long content of a stage command to its file before the
// change is recorded; a file without a change is swept away.
func (e *Engine) keepContent(k Kind, cmd wire.ChangeCommand) (file string, err error) {
	if cmd.OperatorType != wire.VerbStage || len(cmd.Content) <= InlineMax || !wire.ValidChangeID(cmd.ChangeID) {
		return "", nil
	}
	if Digest([]byte(cmd.Content)) != cmd.Digest {
		return "", nil // refused below
	}
	file = fileName(k.Name(), cmd.ChangeID, cmd.Digest)
	path := filepath.Join(e.o.Dir, file)
	if _, err := os.Stat(path); err == nil {
		return file, nil
	}
	if err := store.WriteFileAtomic(path, []byte(cmd.Content), 0o600); err != nil {
		return "", fmt.Errorf("cannot keep the content: %w", err)
	}
	fault.Point("change.content.written")
	return file, nil
}

// sweep removes files that no change refers to. The caller holds mu, or no
// command runs yet.
func (e *Engine) sweep() {
	used := map[string]bool{}
	err := e.each(func(c *Change) {
		if c.File != "" {
			used[c.File] = true
		}
	})
	if err != nil {
		e.o.Log.Error("contents cannot be swept", "err", err)
		return
	}
	entries, err := os.ReadDir(e.o.Dir)
	if err != nil {
		e.o.Log.Error("contents cannot be swept", "err", err)
		return
	}
	for _, f := range entries {
		name := f.Name()
		if strings.HasPrefix(name, ".new-") && len(e.running) > 0 {
			continue // a file that is being written
		}
		if used[name] || used[strings.TrimSuffix(strings.TrimSuffix(name, ".json"), ".part")] || e.fetching(name) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(e.o.Dir, name)); err != nil {
			e.o.Log.Warn("an old content could not be removed", "file", name, "err", err)
		}
	}
}

// fetching reports whether a fetch that is being stopped may still write to a file.
func (e *Engine) fetching(name string) bool {
	for _, r := range e.running {
		if r.file != "" && strings.HasPrefix(name, r.file) {
			return true
		}
	}
	return false
}

// intact checks that a content in a file is still the one that was staged.
func (c *Change) intact() error {
	if c.File == "" {
		return nil // it has a CRC
	}
	r, err := c.Open()
	if err != nil {
		return err
	}
	h := sha256.New()
	_, err = io.Copy(h, r)
	if err := errors.Join(err, r.Close()); err != nil {
		return fmt.Errorf("cannot read the content: %w", err)
	}
	if "sha256:"+hex.EncodeToString(h.Sum(nil)) != c.Digest {
		return errcode.New(errcode.RequestFailed, "The content was damaged on the board's disk; stage it again under another id!")
	}
	return nil
}

// errDigest is the refusal of a content that is not what it is said to be.
func errDigest(have string) error {
	return errcode.Param("digest", "is not that of the content, which is "+have)
}
