package board

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	bolt "go.etcd.io/bbolt"

	"gatehouse/sync/binding"
	"gatehouse/sync/store"
)

// identity is who the board is. It holds its private keys: never log it.
type identity struct {
	SN   string       `json:"sn"`
	Keys binding.Keys `json:"keys"`
}

// kept is what of the state lies in a plain file too: with a new serial number
// or without its cloud's address, a board whose database was damaged would be
// a stranger to its account, and somebody would have to drive there.
type kept struct {
	identity
	Cloud   string `json:"cloud,omitempty"`    // where it is bound
	CloudID string `json:"cloud_id,omitempty"` // to whom there, see Binding
	Account int64  `json:"account,omitempty"`
	Mark    int64  `json:"mark,omitempty"`
}

const identityName = "identity.json"

// keptFile is the file's form; Sum is the SHA-256 of Kept in hex.
type keptFile struct {
	Kept json.RawMessage `json:"kept"`
	Sum  string          `json:"sum"`
}

func sumOf(text []byte) string {
	h := sha256.Sum256(text)
	return hex.EncodeToString(h[:])
}

// readKept reads the file; os.ErrNotExist where there is none.
func readKept(dir string) (k kept, err error) {
	text, err := os.ReadFile(filepath.Join(dir, identityName))
	if err != nil {
		return k, err
	}
	var f keptFile
	if err := json.Unmarshal(text, &f); err != nil || sumOf(f.Kept) != f.Sum {
		return k, errors.New("the file identity.json is damaged")
	}
	if err := json.Unmarshal(f.Kept, &k); err != nil || k.SN == "" || len(k.Keys.Sign) == 0 {
		return kept{}, errors.New("the file identity.json is damaged")
	}
	return k, nil
}

// keep writes the file where it is not as it should be.
func (s *State) keep() error {
	b, err := s.Binding()
	if err != nil {
		return err
	}
	k := kept{identity: s.identity, Cloud: b.Cloud, CloudID: b.CloudID, Account: b.account(), Mark: b.Mark}
	if b.Body != nil {
		k.CloudID = b.Body.CloudID
	}
	text, err := json.Marshal(k)
	if err != nil {
		return err
	}
	if text, err = json.Marshal(keptFile{text, sumOf(text)}); err != nil {
		return err
	}
	path := filepath.Join(s.dir, identityName)
	if have, err := os.ReadFile(path); err == nil && string(have) == string(text) {
		return nil
	}
	return store.WriteFileAtomic(path, text, 0o600)
}

// identify finds out who the board is: what the database says, else the file,
// else somebody new.
func (s *State) identify(tx *bolt.Tx, sn string) error {
	b := tx.Bucket(boardBucket)
	found, err := store.GetJSON(b, identityKey, &s.identity)
	if err != nil || s.identity.SN == "" || len(s.identity.Keys.Sign) == 0 {
		found = false
	}
	if err != nil {
		s.damage("the record of the board's identity was damaged")
	}
	k, fileErr := readKept(s.dir)
	switch {
	case found:
	case fileErr == nil:
		s.identity, found = k.identity, true
		s.damage("the board's identity was taken from its file")
		if err := s.restoreBinding(tx, k); err != nil {
			return err
		}
	case !errors.Is(fileErr, os.ErrNotExist):
		s.damage(fileErr.Error() + ", and the database does not know the board either: it has a new identity")
	}
	if found && sn != "" && sn != s.identity.SN {
		return fmt.Errorf("%w: /device/sn is %s in the config, but this state belongs to %s; use another --state", store.ErrForeign, sn, s.identity.SN)
	}
	if !found {
		if s.identity, err = newIdentity(sn); err != nil {
			return err
		}
	}
	return store.PutJSON(b, identityKey, s.identity)
}

// restoreBinding notes where the board was bound, so that its cloud is asked.
func (s *State) restoreBinding(tx *bolt.Tx, k kept) error {
	var have Binding
	b := tx.Bucket(boardBucket)
	found, err := store.GetJSON(b, bindingKey, &have)
	if err == nil && found || k.Cloud == "" {
		return nil
	}
	return store.PutJSON(b, bindingKey, Binding{Cloud: k.Cloud, CloudID: k.CloudID, Account: k.Account, Mark: k.Mark})
}

// newIdentity makes a board's keys and, without a configured serial number, one by chance.
func newIdentity(sn string) (id identity, err error) {
	if id.SN = sn; sn == "" {
		var chance [8]byte
		if _, err := rand.Read(chance[:]); err != nil {
			return id, err
		}
		h := hex.EncodeToString(chance[:])
		id.SN = h[:8] + "-" + h[8:]
	}
	id.Keys, err = binding.NewKeys()
	return id, err
}

// damage notes what was found damaged, for the log and the cloud.
func (s *State) damage(what string) { s.damages = append(s.damages, what) }

// Damages says what was found damaged when the state was opened.
func (s *State) Damages() []string { return s.damages }

// tidy removes temporary files that a power cut has left.
func tidy(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".new-") {
			_ = os.Remove(filepath.Join(dir, e.Name()))
		}
	}
}
