package platform

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"

	"gatehouse/sync/errcode"
	"gatehouse/sync/store"
	"gatehouse/sync/upload"
)

// upload is a picture that a board brings.
type uploading struct {
	sn, boot, kind string
	seq            uint64
	size           int64
	sha256         string
}

// part is the file of what has come so far. The digest is in its name: pieces of
// two pictures never mix.
func (p *Platform) part(u uploading) string {
	return filepath.Join(p.partDir(), fmt.Sprintf("%s-%s-%020d-%s-%s", u.sn, u.boot, u.seq, u.kind, u.sha256))
}

func (p *Platform) partDir() string { return filepath.Join(p.dir, "parts") }

// uploader finds out who uploads what, and refuses what nobody waits for: a
// board that is not bound 5003, a picture of an unknown event 3006.
func (p *Platform) uploader(q *request) (u uploading, err error) {
	u = uploading{sn: q.PathValue("sn"), boot: q.PathValue("boot"), kind: q.PathValue("kind"), sha256: q.query.Get("sha256")}
	var key []byte
	err = p.db.View(func(tx *bolt.Tx) error {
		k, err := store.Get(tx.Bucket(factoryBucket), []byte(u.sn))
		key = append(key, k...)
		return err
	})
	if err != nil {
		return u, err
	}
	if len(key) == 0 {
		return u, errcode.New(errcode.DeviceNotExist, "")
	}
	if err := upload.Verify(q.Request, q.body, string(key), p.o.Now()); err != nil {
		return u, err
	}
	if u.seq, err = strconv.ParseUint(q.PathValue("seq"), 10, 64); err != nil {
		return u, errcode.Param("seq", "must be a number")
	}
	if u.size, err = strconv.ParseInt(q.query.Get("size"), 10, 64); err != nil || u.size < 1 || u.size > upload.MaxSize {
		return u, errcode.Param("size", fmt.Sprintf("must be 1 to %d bytes", upload.MaxSize))
	}
	if len(u.sha256) != 64 || strings.Trim(u.sha256, "0123456789abcdef") != "" {
		return u, errcode.Param("sha256", "must be 64 lower-case hex digits")
	}
	if u.kind != fullPicture && u.kind != smallPicture {
		return u, errcode.Param("kind", "must be full or small")
	}
	return u, p.db.View(func(tx *bolt.Tx) error {
		d, err := loadDevice(tx, u.sn)
		if err != nil {
			return err
		}
		if d == nil || !d.Bound {
			return errcode.New(errcode.DeviceNotBound, "")
		}
		var e event
		ok, err := store.GetJSON(tx.Bucket(eventsBucket), eventKey(u.sn, u.boot, u.seq), &e)
		if err == nil && (!ok || e.AccountID != d.UserID) {
			return errcode.New(errcode.ViewImageFailed, "There is no such event!")
		}
		return err
	})
}

// state is how much of a picture is here.
func (p *Platform) uploadState(q *request) (any, error) {
	u, err := p.uploader(q)
	if err != nil {
		return nil, err
	}
	p.uploads.Lock()
	defer p.uploads.Unlock()
	return p.received(u)
}

func (p *Platform) received(u uploading) (upload.State, error) {
	if b, err := os.ReadFile(p.picturePath(u.sn, u.boot, u.seq, u.kind)); err == nil {
		if sum := sha256.Sum256(b); hex.EncodeToString(sum[:]) == u.sha256 {
			return upload.State{Received: u.size, Complete: true}, nil
		}
	}
	info, err := os.Stat(p.part(u))
	if errors.Is(err, fs.ErrNotExist) {
		return upload.State{}, nil
	}
	if err != nil {
		return upload.State{}, unsaved(err)
	}
	return upload.State{Received: info.Size()}, nil
}

// unsaved is 3005: the picture is good, and the cloud has no place for it now.
func unsaved(err error) error {
	return &errcode.Error{Code: errcode.SaveImageFailed, Detail: "The cloud cannot store it now!", Err: err}
}

// uploadPiece takes the next piece; one that is not the next is answered with
// the state, from which the board goes on.
func (p *Platform) uploadPiece(q *request) (any, error) {
	u, err := p.uploader(q)
	if err != nil {
		return nil, err
	}
	r, err := upload.ParseRange(q.Header.Get("Content-Range"))
	if err != nil {
		return nil, err
	}
	if r.Size != u.size || r.To-r.From+1 != int64(len(q.body)) {
		return nil, errcode.Param("Content-Range", "does not fit size and body")
	}
	p.uploads.Lock()
	defer p.uploads.Unlock()
	s, err := p.received(u)
	if err != nil || s.Complete || s.Received != r.From {
		return s, err
	}
	f, err := os.OpenFile(p.part(u), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, unsaved(err)
	}
	_, err = f.Write(q.body)
	if r.To+1 == r.Size {
		err = errors.Join(err, f.Sync())
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, unsaved(err)
	}
	if s.Received = r.To + 1; s.Received < u.size {
		return s, nil
	}
	s.Complete = true
	return s, p.finish(u)
}

// finish makes a picture that is whole the event's.
func (p *Platform) finish(u uploading) error {
	b, err := os.ReadFile(p.part(u))
	if err != nil {
		return err
	}
	if sum := sha256.Sum256(b); hex.EncodeToString(sum[:]) != u.sha256 {
		return errors.Join(os.Remove(p.part(u)), errcode.Param("sha256", "does not fit the picture; it is to be sent from the beginning"))
	}
	if err := store.Rename(p.part(u), p.picturePath(u.sn, u.boot, u.seq, u.kind)); err != nil {
		return unsaved(err)
	}
	if u.kind != fullPicture {
		return nil
	}
	return p.db.Update(func(tx *bolt.Tx) error {
		var e event
		k := eventKey(u.sn, u.boot, u.seq)
		if ok, err := store.GetJSON(tx.Bucket(eventsBucket), k, &e); err != nil || !ok || e.Image {
			return err
		}
		e.Image = true
		return store.PutJSON(tx.Bucket(eventsBucket), k, e)
	})
}

// keepParts is how long an upload may pause before it begins anew.
const keepParts = 48 * time.Hour

// dropParts removes uploads that nobody goes on with.
func (p *Platform) dropParts() error {
	p.uploads.Lock()
	defer p.uploads.Unlock()
	entries, err := os.ReadDir(p.partDir())
	if err != nil {
		return err
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && p.o.Now().Sub(info.ModTime()) > keepParts {
			if err := os.Remove(filepath.Join(p.partDir(), e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}
