// Package platform is the reference cloud behind its two doors: the HTTP API,
// version 2, for accounts and installers, and MQTT for boards. It keeps
// accounts, AccessKeys, groups, devices, whitelists and their roll-out, and the
// events with pictures that boards send, in one bbolt database.
//
// An account sees its own devices only. A board is known by its serial number
// and public key from the factory list; an event counts once however often it
// comes, and is acknowledged only after it is on disk.
package platform

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"

	"gatehouse/sync/errcode"
	"gatehouse/sync/session"
	"gatehouse/sync/store"
	"gatehouse/sync/wire"
)

// Platform is safe for concurrent use.
type Platform struct {
	db  *store.DB
	dir string
	o   Options

	sender     *sender
	addressKey []byte // signs the addresses of contents
	// contents is held for reading while a content has no change yet that
	// refers to it, and for writing while unused ones are removed.
	contents sync.RWMutex

	uploads sync.Mutex // the parts of pictures

	mu   sync.Mutex
	conn publisher // nil while the broker is not reached
	in   chan message
}

// publisher sends to boards; a *session.Conn.
type publisher interface {
	Send(topic string, qos byte, payload []byte) *session.Sent
}

// Keys of the meta bucket.
var (
	sequenceKey   = []byte("sequence")    // the last change's
	addressSecret = []byte("address_key") // signs the addresses of contents
	eventsKey     = []byte("events")      // how many events there are
)

// Options of a Platform.
type Options struct {
	// PublicURL is where boards reach the HTTP API, without a slash at the end.
	PublicURL string
	// BrokerURL is what boards are told to connect to.
	BrokerURL string
	// SharedUser and SharedPassword are what boards are told to use at a foreign
	// broker; empty with the embedded one, where each board has its own.
	SharedUser, SharedPassword string
	// Kick ends a board's connections after its unbinding; may be nil.
	Kick func(sn string)
	// KeepEvents and MostEvents bound what is kept of events, with their
	// pictures; 0: 90 days and ten million.
	KeepEvents time.Duration
	MostEvents int64
	Now        func() time.Time
	Log        *slog.Logger
}

// The buckets, each with JSON records.
var (
	accountsBucket = []byte("accounts") // id → account
	keysBucket     = []byte("keys")     // AccessKey id → accessKey
	factoryBucket  = []byte("factory")  // sn → public key, hex
	devicesBucket  = []byte("devices")  // sn → device
	groupsBucket   = []byte("groups")   // id → group
	changesBucket  = []byte("changes")  // id → change
	targetsBucket  = []byte("targets")  // change id NUL sn → target
	pendingBucket  = []byte("pending")  // sn NUL sequence NUL change id: targets that are not settled
	plansBucket    = []byte("plans")    // change id → serial numbers in the order of the roll-out
	filesBucket    = []byte("files")    // account NUL digest → uploaded
	boardsBucket   = []byte("boards")   // account, board version → board
	policiesBucket = []byte("policies") // account → policy
	metaBucket     = []byte("meta")
	eventsBucket   = []byte("events")   // sn NUL boot NUL seq → event
	seriesBucket   = []byte("series")   // sn NUL boot → series
	gapsBucket     = []byte("gaps")     // sn NUL boot NUL first seq → storedGap
	receivedBucket = []byte("received") // time of arrival, event's key → nothing
	allBuckets     = [][]byte{accountsBucket, keysBucket, factoryBucket, devicesBucket, groupsBucket, changesBucket, targetsBucket, pendingBucket, plansBucket, filesBucket, boardsBucket, policiesBucket, metaBucket, eventsBucket, seriesBucket, gapsBucket, receivedBucket}
)

// Open opens the cloud's data below dir. At the first start it makes the ROOT
// account and writes its AccessKey into <dir>/admin.accesskey.
func Open(dir string, o Options) (*Platform, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.KeepEvents == 0 {
		o.KeepEvents = 90 * 24 * time.Hour
	}
	if o.MostEvents == 0 {
		o.MostEvents = 10_000_000
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	for _, sub := range []string{"pictures", "parts", "contents"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, fmt.Errorf("cannot make the cloud's directory: %w", err)
		}
	}
	db, err := store.Open(filepath.Join(dir, "cloud.db"), store.Options{Bulk: true, Log: o.Log})
	if err != nil {
		return nil, err
	}
	p := &Platform{db: db, dir: dir, o: o, sender: newSender(), in: make(chan message, 4096)}
	err = db.Update(func(tx *bolt.Tx) error {
		for _, name := range allBuckets {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		b := tx.Bucket(metaBucket)
		found, err := store.Get(b, addressSecret)
		if p.addressKey = append(p.addressKey, found...); err != nil || found != nil {
			return err
		}
		p.addressKey = randomBytes(32)
		return store.Put(b, addressSecret, p.addressKey)
	})
	if err == nil {
		err = p.sweepContents()
	}
	if err == nil {
		err = p.firstAccount()
	}
	if err != nil {
		db.Close()
		return nil, fmt.Errorf("cannot open the cloud's data: %w", err)
	}
	return p, nil
}

// Close closes the database.
func (p *Platform) Close() error { return p.db.Close() }

// account is an account of the vendor's tree; here each is a ROOT.
type account struct {
	ID         int64  `json:"id"`
	ParentID   int64  `json:"parent_id"`
	Username   string `json:"username"`
	Nickname   string `json:"nickname"`
	Email      string `json:"email"`
	Phone      string `json:"phone"`
	Company    string `json:"company"`
	Type       int    `json:"type"`
	State      int    `json:"state"` // 1: disabled
	Logable    int    `json:"logable"`
	Remark     string `json:"remark"`
	CreateTime int64  `json:"create_time"`
	Salt       []byte `json:"salt,omitempty"`
	Password   []byte `json:"password,omitempty"` // PBKDF2 of the hex MD5 that clients send
}

// accessKey is a pair for signing.
type accessKey struct {
	ID        string `json:"accesskey_id"`
	Secret    string `json:"accesskey_secret"`
	AccountID int64  `json:"user_id"`
	Expires   int64  `json:"expire_time"` // Unix s; 0: never
	Disabled  bool   `json:"disabled"`
	Temporary bool   `json:"temporary"`
	CreatedAt int64  `json:"create_time"`
}

// random32 is 32 letters and digits.
func random32() string { return wire.NewID() + wire.NewID() }

// firstAccount makes the ROOT account if there is none, and its key's file.
func (p *Platform) firstAccount() error {
	file := filepath.Join(p.dir, "admin.accesskey")
	return p.db.Update(func(tx *bolt.Tx) error {
		if k, _ := tx.Bucket(accountsBucket).Cursor().First(); k != nil {
			return nil
		}
		a, err := p.addAccount(tx, "admin", "")
		if err != nil {
			return err
		}
		k, err := p.addKey(tx, a.ID, 0, false)
		if err != nil {
			return err
		}
		// Before the commit: an account whose key nobody has would be of no use.
		return store.WriteFileAtomic(file, []byte(k.ID+" "+k.Secret+"\n"), 0o600)
	})
}

func (p *Platform) addKey(tx *bolt.Tx, accountID, expires int64, temporary bool) (accessKey, error) {
	k := accessKey{ID: random32(), Secret: random32(), AccountID: accountID, Expires: expires, Temporary: temporary, CreatedAt: p.o.Now().Unix()}
	return k, store.PutJSON(tx.Bucket(keysBucket), []byte(k.ID), k)
}

// AddAccount makes an account and gives its AccessKey. Password may be empty:
// then it cannot log in.
func (p *Platform) AddAccount(username, password string) (keyID, secret string, err error) {
	err = p.db.Update(func(tx *bolt.Tx) error {
		a, err := p.addAccount(tx, username, password)
		if err != nil {
			return err
		}
		k, err := p.addKey(tx, a.ID, 0, false)
		keyID, secret = k.ID, k.Secret
		return err
	})
	return keyID, secret, err
}

// AddBoard enters a board into the factory list. The same key again is no error.
func (p *Platform) AddBoard(sn, publicKey string) error {
	if !wire.ValidSN(sn) {
		return errcode.Param("sn", "format error")
	}
	return p.db.Update(func(tx *bolt.Tx) error {
		b := tx.Bucket(factoryBucket)
		known, err := store.Get(b, []byte(sn))
		if err != nil {
			return err
		}
		if known != nil && string(known) != publicKey {
			return errors.New("cannot add the board: the factory list has another key for this serial number")
		}
		return store.Put(b, []byte(sn), []byte(publicKey))
	})
}

// Known gives 5002 for a board that is not in the factory list.
func (p *Platform) Known(sn string) error {
	return p.db.View(func(tx *bolt.Tx) error {
		key, err := store.Get(tx.Bucket(factoryBucket), []byte(sn))
		if err == nil && key == nil {
			err = errcode.New(errcode.DeviceNotExist, "")
		}
		return err
	})
}

// each decodes all records of a bucket; a damaged one is logged and left out.
func each[T any](p *Platform, tx *bolt.Tx, bucket []byte, f func(key string, v T) error) error {
	return store.ForEach(tx.Bucket(bucket), func(k, text []byte, err error) error {
		var v T
		if err == nil {
			err = json.Unmarshal(text, &v)
		}
		if err != nil {
			p.o.Log.Error("a record is damaged and left out", "bucket", string(bucket), "err", err)
			return nil
		}
		return f(string(k), v)
	})
}

// eachWithPrefix is each for the keys that begin with prefix.
func eachWithPrefix[T any](p *Platform, tx *bolt.Tx, bucket []byte, prefix string, f func(key string, v T) error) error {
	b := tx.Bucket(bucket)
	c := b.Cursor()
	for k, _ := c.Seek([]byte(prefix)); k != nil && strings.HasPrefix(string(k), prefix); k, _ = c.Next() {
		var v T
		if _, err := store.GetJSON(b, k, &v); err != nil {
			p.o.Log.Error("a record is damaged and left out", "bucket", string(bucket), "err", err)
			continue
		}
		if err := f(string(k), v); err != nil {
			return err
		}
	}
	return nil
}

func idKey(id int64) []byte { return fmt.Appendf(nil, "%016d", id) }

// next gives the next id of a bucket.
func next(b *bolt.Bucket) (int64, error) {
	n, err := b.NextSequence()
	return int64(n), err
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		panic(err) // crypto/rand does not fail on Linux
	}
	return b
}
