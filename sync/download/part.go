package download

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"

	"gatehouse/sync/store"
)

// part is a file that is being fetched: its bytes in <path>.part and, beside
// it, how many of them are synced and which server's file they are of.
type part struct {
	path  string // the file's own
	file  *os.File
	hash  hash.Hash
	done  int64
	state partState
	// resumed says that its bytes came in more than one answer.
	resumed bool
}

// partState survives a restart. Bytes behind Synced may be lost or wrong after
// a power cut and are fetched again.
type partState struct {
	Digest    string `json:"digest"`
	Validator string `json:"validator"` // strong ETag or date, for If-Range
	Synced    int64  `json:"synced"`
}

// syncEvery is how many bytes are at most fetched again after a power cut.
const syncEvery = 4 << 20

func partPath(path string) string  { return path + ".part" }
func statePath(path string) string { return path + ".part.json" }

// openPart opens what an earlier download of the same digest has left, or a
// new part. The bytes that are there are read once, for the hash.
func openPart(path, digest string) (*part, error) {
	p := &part{path: path, hash: sha256.New()}
	if b, err := os.ReadFile(statePath(path)); err == nil && json.Unmarshal(b, &p.state) != nil {
		p.state = partState{}
	}
	f, err := os.OpenFile(partPath(path), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot open the part: %w", err)
	}
	p.file = f
	info, err := f.Stat()
	if err == nil && (p.state.Digest != digest || p.state.Synced < 0 || p.state.Synced > info.Size()) {
		p.state = partState{Digest: digest}
	}
	if err == nil {
		err = f.Truncate(p.state.Synced)
	}
	if err == nil {
		p.done, err = io.CopyN(p.hash, f, p.state.Synced)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("cannot read the part: %w", err)
	}
	return p, nil
}

func (p *part) write(b []byte) error {
	n, err := p.file.Write(b)
	p.hash.Write(b[:n])
	p.done += int64(n)
	if err == nil && p.done-p.state.Synced >= syncEvery {
		err = p.keep()
	}
	if err != nil {
		return fmt.Errorf("cannot write the part: %w", err)
	}
	return nil
}

// keep syncs the bytes and notes it.
func (p *part) keep() error {
	if p.done == p.state.Synced {
		return nil
	}
	if err := p.file.Sync(); err != nil {
		return fmt.Errorf("cannot sync the part: %w", err)
	}
	p.state.Synced = p.done
	return p.note()
}

func (p *part) note() error {
	text, err := json.Marshal(p.state)
	if err != nil {
		return err
	}
	return store.WriteFileAtomic(statePath(p.path), text, 0o600)
}

// restart begins anew with the file that has the validator.
func (p *part) restart(validator string) error {
	p.done, p.resumed, p.state.Synced, p.state.Validator = 0, false, 0, validator
	p.hash.Reset()
	if err := p.note(); err != nil { // first: a shorter file with the old note would not be trusted anyway
		return err
	}
	if err := p.file.Truncate(0); err != nil {
		return fmt.Errorf("cannot begin the part anew: %w", err)
	}
	_, err := p.file.Seek(0, io.SeekStart)
	return err
}

func (p *part) digest() string { return "sha256:" + hex.EncodeToString(p.hash.Sum(nil)) }

// finish makes the part the file.
func (p *part) finish(path string) error {
	if err := p.file.Sync(); err != nil {
		return fmt.Errorf("cannot sync the file: %w", err)
	}
	if err := store.Rename(partPath(path), path); err != nil {
		return fmt.Errorf("cannot put the file in its place: %w", err)
	}
	if err := os.Remove(statePath(path)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("cannot clean up behind the download: %w", err)
	}
	return nil
}

func (p *part) close() { p.file.Close() }

// hasDigest reports whether the file at path is there as it should be.
func hasDigest(path string, length int64, digest string) (bool, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		_, err = os.Stat(filepath.Dir(path))
		return false, err
	}
	if err != nil {
		return false, fmt.Errorf("cannot look at the file: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() != length {
		return false, err
	}
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return false, fmt.Errorf("cannot read the file: %w", err)
	}
	return "sha256:"+hex.EncodeToString(h.Sum(nil)) == digest, nil
}
