// Package settings keeps the config that is in force on a board, and changes
// it: the config kind of package change.
//
// The parties: the installer, whose file (--config) is read over the defaults
// when the agent starts; the cloud, whose pushed config is kept whole in the
// state database and is stronger than the file from then on; the board, which
// puts a config in force, restarts what must be, and tells whether the cloud is
// still reached. Promised: a config is committed only after it was in force
// and, where it changes the connection, the cloud was reached over it; until
// then a power cut finds the one before. The last committed one lies in a plain
// file too, signed with the board's own key, for the day on which the database
// is damaged.
//
// Not protected: a config that is valid and wrong (a camera that is not there).
package settings

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"

	"gatehouse/configs"
	"gatehouse/sync/fault"
	"gatehouse/sync/store"
)

// Options of Settings. All must be given.
type Options struct {
	Dir  string             // state directory; the last good config lies there
	SN   string             // the board's
	Sign ed25519.PrivateKey // the board's own key
	// Quarantined is where a damaged state database was set aside, or "".
	Quarantined string
	Log         *slog.Logger
}

// Settings is safe for concurrent use.
type Settings struct {
	db        *store.DB
	o         Options
	base      configs.Config // the file over the defaults
	candidate *Candidate     // that this agent was started with
	restored  string         // why the last good config was taken, or ""

	mu        sync.Mutex
	committed configs.Config
	pushed    *record // nil: the file's
}

// Candidate is a config with which the agent is started to try it, since some
// settings cannot be changed while it runs. It is on no disk: a power cut finds
// the committed one.
type Candidate struct {
	ChangeID string // "": nothing is tried
	Config   configs.Config
	Failure  error // the agent could not be opened with it, and was without
}

// record is a pushed config as it is kept.
type record struct {
	SN       string          `json:"sn"`
	ChangeID string          `json:"change_id"`
	Digest   string          `json:"digest"` // of the change's content
	At       int64           `json:"at"`     // Unix s
	Config   json.RawMessage `json:"config"` // whole
	Sig      string          `json:"sig,omitempty"`
}

var (
	bucket    = []byte("config")
	pushedKey = []byte("pushed")
	// knownKey is there once this database has what there is to know of a pushed
	// config. One that was made in the place of a damaged one lacks it until the
	// last good config was taken into it, however often the power fails before.
	knownKey = []byte("known")
)

// goodName is the file with the last good config.
const goodName = "config.good.json"

// Open reads what is committed. Base is what the board's own file says over
// the defaults. Candidate is nil but for an agent that is started to try one.
func Open(db *store.DB, base configs.Config, candidate *Candidate, o Options) (*Settings, error) {
	s := &Settings{db: db, o: o, base: base, candidate: candidate, committed: base}
	var r record
	found, known := false, false
	err := db.Update(func(tx *bolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(bucket)
		if err != nil {
			return err
		}
		found, err = store.GetJSON(b, pushedKey, &r)
		if errors.Is(err, store.ErrDamaged) {
			s.restored, found = "the record of the config was damaged", false
			return errors.Join(b.Delete(pushedKey), b.Delete(knownKey))
		}
		if err != nil {
			return err
		}
		if known = b.Get(knownKey) != nil; found && !known {
			return setKnown(tx)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("cannot open the config: %w", err)
	}
	switch {
	case found:
		s.take(r)
		s.keepGood()
	case known:
		s.dropGood()
	default:
		if o.Quarantined != "" {
			s.restored = "the state database was damaged and set aside"
		} else if s.restored == "" {
			s.restored = "the state database is new"
		}
		s.restore()
	}
	return s, nil
}

// take makes a record the committed config; one that this version cannot use
// leaves the file's in force.
func (s *Settings) take(r record) bool {
	c, err := configs.Restore(s.base, r.Config)
	if err != nil {
		s.o.Log.Error("the pushed config cannot be used; the board's own file is in force", "change", r.ChangeID, "err", err)
		s.restored = "the pushed config cannot be used by this version: " + err.Error()
		return false
	}
	r.Sig = ""
	s.committed, s.pushed = c.WithLocal(s.base), &r
	return true
}

// Committed is the config that a restart finds.
func (s *Settings) Committed() configs.Config {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.committed
}

// Start is the config to start the agent with: the candidate's, or the committed one.
func (s *Settings) Start() configs.Config {
	if s.candidate != nil && s.candidate.ChangeID != "" && s.candidate.Failure == nil {
		return s.candidate.Config
	}
	return s.Committed()
}

// Base is what the board's own file says over the defaults.
func (s *Settings) Base() configs.Config { return s.base }

// Pushed is the id of the change whose config is committed, "" for none.
func (s *Settings) Pushed() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pushed == nil {
		return ""
	}
	return s.pushed.ChangeID
}

// Restored says why the committed config was not the database's, or "".
func (s *Settings) Restored() string { return s.restored }

// Digest names the committed config, so that the cloud can see drift.
func (s *Settings) Digest() string { return digest(s.Committed()) }

func digest(c configs.Config) string {
	text, err := json.Marshal(c)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(text)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// good is the file's text: a record with its signature.
func (s *Settings) good(r record) ([]byte, error) {
	text, err := signable(r)
	if err != nil {
		return nil, err
	}
	r.Sig = hex.EncodeToString(ed25519.Sign(s.o.Sign, text))
	return json.Marshal(r)
}

// signable is what the board signs: nothing else that it signs begins so.
func signable(r record) ([]byte, error) {
	r.Sig = ""
	text, err := json.Marshal(r)
	return append([]byte("gatehouse/last-good-config/v1\n"), text...), err
}

func (s *Settings) goodPath() string { return filepath.Join(s.o.Dir, goodName) }

// keepGood writes the committed config to its file, where it is not there already.
func (s *Settings) keepGood() {
	s.mu.Lock()
	r := s.pushed
	s.mu.Unlock()
	if r == nil {
		return
	}
	text, err := s.good(*r)
	if err == nil {
		if have, readErr := os.ReadFile(s.goodPath()); readErr == nil && string(have) == string(text) {
			return
		}
		fault.Point("config.good.begin")
		err = store.WriteFileAtomic(s.goodPath(), text, 0o600)
	}
	if err != nil {
		s.o.Log.Error("the last good config could not be kept in its file", "err", err)
	}
}

// dropGood removes a file that the database, which knows of every config that
// was pushed, knows nothing of.
func (s *Settings) dropGood() {
	if err := os.Remove(s.goodPath()); err != nil && !errors.Is(err, os.ErrNotExist) {
		s.o.Log.Warn("an old config file could not be removed", "err", err)
	}
}

// restore takes the last good config from its file into the database.
func (s *Settings) restore() {
	text, err := os.ReadFile(s.goodPath())
	if errors.Is(err, os.ErrNotExist) {
		s.restored = "" // nothing was ever pushed: the board's own file is in force
		s.note(setKnown)
		return
	}
	var r record
	if err == nil {
		if r, err = parseGood(text, s.o.SN, s.o.Sign.Public().(ed25519.PublicKey)); err != nil {
			s.note(setKnown) // it will never be of use
		}
	}
	if err != nil {
		s.o.Log.Error("the last good config cannot be used; the board's own file is in force", "err", err)
		s.restored += "; the last good config cannot be used: " + err.Error()
		return
	}
	if !s.take(r) {
		return // another version may be able to
	}
	s.restored += "; the last good config is in force, that of " + r.ChangeID
	s.note(func(tx *bolt.Tx) error {
		return errors.Join(store.PutJSON(tx.Bucket(bucket), pushedKey, s.pushed), setKnown(tx))
	})
}

// note writes down how restore has ended; if it cannot, the next start does
// all of it again.
func (s *Settings) note(f func(*bolt.Tx) error) {
	if err := s.db.Update(f); err != nil {
		s.o.Log.Error("what became of the last good config could not be written down", "err", err)
	}
}

func setKnown(tx *bolt.Tx) error { return tx.Bucket(bucket).Put(knownKey, []byte{1}) }

// parseGood reads the file's text and checks that this board has signed it.
func parseGood(text []byte, sn string, key ed25519.PublicKey) (r record, err error) {
	if err := json.Unmarshal(text, &r); err != nil {
		return r, fmt.Errorf("cannot read it: %w", err)
	}
	signed, err := signable(r)
	if err != nil {
		return r, err
	}
	sig, err := hex.DecodeString(r.Sig)
	if err != nil || r.SN != sn || !ed25519.Verify(key, signed, sig) {
		return r, errors.New("its signature is not this board's")
	}
	return r, nil
}

// commit makes a config the committed one, within tx; committedAs follows.
func (s *Settings) commit(tx *bolt.Tx, c configs.Config, id, digest string, at time.Time) (record, error) {
	text, err := json.Marshal(c)
	if err != nil {
		return record{}, err
	}
	r := record{SN: s.o.SN, ChangeID: id, Digest: digest, At: at.Unix(), Config: text}
	return r, store.PutJSON(tx.Bucket(bucket), pushedKey, r)
}
