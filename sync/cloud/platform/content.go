package platform

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"

	"gatehouse/sync/download"
	"gatehouse/sync/errcode"
	"gatehouse/sync/store"
	"gatehouse/sync/wire"
)

// Contents lie in files named by their SHA-256 below <dir>/contents. Short ones
// travel in the stage command; boards fetch the others by an address that holds
// for one device and a limited time.

// ContentsPath is where boards fetch contents.
const ContentsPath = "/v2/stp/contents/"

// FilesPath is where accounts upload contents that are too long for a request.
const FilesPath = "/v2/stp/user/files"

// maxInline is the longest content in a stage command, as JSON text in bytes:
// with its envelope it stays below wire.MaxMessage.
const maxInline = wire.MaxMessage * 5 / 8

// maxFanOut is how many bytes of content all stage commands of a change may
// have together; above it boards fetch even a short one, each in its time.
const maxFanOut = 16 << 20

// addressLife is how long a board may take to fetch a content.
const addressLife = 30 * 24 * time.Hour

// maxFile bounds an upload.
const maxFile = 1 << 30

// orphanLife is how long an upload is kept that no change refers to.
const orphanLife = 24 * time.Hour

func (p *Platform) contentPath(digest string) string {
	return filepath.Join(p.dir, "contents", filepath.Base(strings.TrimPrefix(digest, "sha256:")))
}

// takeContent checks what a creation brings and keeps it in its file.
func (p *Platform) takeContent(k *kind, c *change, in creation) error {
	if (in.Content == nil) == (in.File == "") {
		return errcode.Param("content", "or file must be given, one of the two")
	}
	if in.Content != nil {
		sum := sha256.Sum256([]byte(*in.Content))
		c.Digest, c.Length = "sha256:"+hex.EncodeToString(sum[:]), int64(len(*in.Content))
		if c.Length == 0 || c.Length > k.maxLength {
			return errcode.Param("content", fmt.Sprintf("must be 1 to %d bytes", k.maxLength))
		}
		if _, err := os.Stat(p.contentPath(c.Digest)); err != nil {
			if err := store.WriteFileAtomic(p.contentPath(c.Digest), []byte(*in.Content), 0o600); err != nil {
				return err
			}
		}
	} else {
		f, err := p.upload(c.UserID, in.File)
		if err != nil {
			return err
		}
		c.Digest, c.Length = in.File, f.Length
		if c.Length > k.maxLength {
			return errcode.Param("file", fmt.Sprintf("must be at most %d bytes for a %s", k.maxLength, k.name))
		}
	}
	if c.Length <= maxInline {
		text, err := p.readContent(c)
		if err != nil {
			return err
		}
		escaped, err := json.Marshal(string(text))
		if err != nil {
			return err
		}
		c.Inline = len(escaped) <= maxInline
	}
	return k.describe(c, open(p.contentPath(c.Digest)))
}

func (p *Platform) readContent(c *change) ([]byte, error) {
	text, err := os.ReadFile(p.contentPath(c.Digest))
	if err != nil {
		return nil, fmt.Errorf("cannot read the content of %s: %w", c.ID, err)
	}
	return text, nil
}

// uploaded is a file that an account has brought.
type uploaded struct {
	Digest     string `json:"file"`
	Length     int64  `json:"length"`
	CreateTime int64  `json:"create_time"`
}

func (p *Platform) upload(accountID int64, digest string) (f uploaded, err error) {
	err = p.db.View(func(tx *bolt.Tx) error {
		ok, err := store.GetJSON(tx.Bucket(filesBucket), append(idKey(accountID), digest...), &f)
		if err == nil && !ok {
			return errcode.Param("file", "is not one that was uploaded; POST it to "+FilesPath+" first")
		}
		return err
	})
	return f, err
}

// receiveFile takes a content as the body of a request, whatever its length:
// it goes to disk as it comes, and is kept once the signature over it is good.
func (p *Platform) receiveFile(w http.ResponseWriter, r *http.Request) {
	f, err := p.storeFile(w, r)
	if err != nil {
		p.refuse(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_ = json.NewEncoder(w).Encode(f)
}

func (p *Platform) storeFile(w http.ResponseWriter, r *http.Request) (uploaded, error) {
	// Who has no valid key does not fill the disk: all but the signature is known now.
	if _, _, err := p.knownKey(r); err != nil {
		return uploaded{}, err
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(time.Hour))
	temporary, err := os.CreateTemp(filepath.Join(p.dir, "contents"), ".upload-*")
	if err != nil {
		return uploaded{}, err
	}
	defer os.Remove(temporary.Name())
	defer temporary.Close()
	sums := md5.New()
	digest := sha256.New()
	n, err := io.Copy(io.MultiWriter(temporary, sums, digest), http.MaxBytesReader(w, r.Body, maxFile))
	if err != nil {
		return uploaded{}, errcode.Param("body", "is larger than 1 GiB or was cut off")
	}
	if n == 0 {
		return uploaded{}, errcode.Param("body", "must not be empty")
	}
	a, _, err := p.authenticateSum(r, sums.Sum(nil))
	if err != nil {
		return uploaded{}, err
	}
	p.contents.RLock()
	defer p.contents.RUnlock()
	f := uploaded{Digest: "sha256:" + hex.EncodeToString(digest.Sum(nil)), Length: n, CreateTime: p.o.Now().Unix()}
	if err := temporary.Sync(); err != nil {
		return uploaded{}, err
	}
	if err := store.Rename(temporary.Name(), p.contentPath(f.Digest)); err != nil {
		return uploaded{}, err
	}
	return f, p.db.Update(func(tx *bolt.Tx) error {
		return store.PutJSON(tx.Bucket(filesBucket), append(idKey(a.ID), f.Digest...), f)
	})
}

// address is where a board fetches a change's content.
func (p *Platform) address(c *change, sn string) string {
	expires := strconv.FormatInt(p.o.Now().Add(addressLife).Unix(), 10)
	name := strings.TrimPrefix(c.Digest, "sha256:")
	return p.o.PublicURL + ContentsPath + name + "?sn=" + sn + "&expires=" + expires + "&signature=" + p.addressSignature(name, sn, expires)
}

func (p *Platform) addressSignature(name, sn, expires string) string {
	h := hmac.New(sha256.New, p.addressKey)
	fmt.Fprintf(h, "%s\n%s\n%s", name, sn, expires)
	return hex.EncodeToString(h.Sum(nil))
}

// serveContent serves a content to the board its address was made for, ranges included.
func (p *Platform) serveContent(w http.ResponseWriter, r *http.Request) {
	name, q := r.PathValue("name"), r.URL.Query()
	expires, err := strconv.ParseInt(q.Get("expires"), 10, 64)
	switch {
	case q.Get("signature") == "":
		err = errcode.New(errcode.AuthParamsMissing, "")
	case err != nil:
		err = errcode.New(errcode.AuthExpiresError, "")
	case !download.ValidDigest("sha256:"+name) || !hmac.Equal([]byte(q.Get("signature")), []byte(p.addressSignature(name, q.Get("sn"), q.Get("expires")))):
		err = errcode.New(errcode.AuthSignatureError, "")
	case p.o.Now().Unix() > expires:
		err = errcode.New(errcode.AuthExpired, "")
	}
	if err != nil {
		p.refuse(w, r, err)
		return
	}
	f, err := os.Open(p.contentPath(name))
	if err != nil {
		p.refuse(w, r, errcode.New(errcode.URLNotExist, ""))
		return
	}
	defer f.Close()
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(24 * time.Hour)) // slow lines
	w.Header().Set("ETag", `"`+name+`"`)
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(w, r, "", time.Time{}, f)
}

// sweepContents removes uploads and contents that no change refers to any more.
func (p *Platform) sweepContents() error {
	p.contents.Lock()
	defer p.contents.Unlock()
	used := map[string]bool{}
	err := p.db.Update(func(tx *bolt.Tx) error {
		err := each(p, tx, changesBucket, func(_ string, c change) error {
			used[filepath.Base(p.contentPath(c.Digest))] = true
			return nil
		})
		if err != nil {
			return err
		}
		var old [][]byte
		err = each(p, tx, filesBucket, func(key string, f uploaded) error {
			if p.o.Now().Unix()-f.CreateTime > int64(orphanLife.Seconds()) {
				old = append(old, []byte(key))
			} else {
				used[filepath.Base(p.contentPath(f.Digest))] = true
			}
			return nil
		})
		for _, k := range old {
			err = errors.Join(err, tx.Bucket(filesBucket).Delete(k))
		}
		return err
	})
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(filepath.Join(p.dir, "contents"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !used[e.Name()] {
			if err := os.Remove(filepath.Join(p.dir, "contents", e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}
