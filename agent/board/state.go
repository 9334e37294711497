// Package board is the agent: it wires whitelist, changes, outbox, gate,
// vision process and MQTT session into a board that decides at its gate and
// tells a cloud about it.
//
// Everything it keeps lies below one state directory, which one agent at a
// time may hold. Without a network it goes on deciding, and keeps what it has
// to tell; without a binding it keeps events for no one and tells no one.
package board

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"

	"gatehouse/agent/faces"
	"gatehouse/sync/audit"
	"gatehouse/sync/binding"
	"gatehouse/sync/change"
	"gatehouse/sync/errcode"
	"gatehouse/sync/signed"
	"gatehouse/sync/store"
	"gatehouse/sync/whitelist"
	"gatehouse/sync/wire"
)

// State is what a board knows of itself, its whitelist and its changes.
type State struct {
	db        *store.DB
	Whitelist *whitelist.List
	Faces     *faces.Library
	identity  identity
	dir       string
	log       *slog.Logger
	damages   []string
	http      *http.Client // asks the cloud; nil: the usual one
	// Quarantined is where a damaged database was set aside at the start, or "".
	Quarantined string
	// clearing clears what else is the account's, in the same transaction, and
	// cleared is called after it; nil: there is nothing else.
	clearing func(tx *bolt.Tx) error
	cleared  func() error
	// rebinding is held from the question to a cloud until its answer is written down.
	rebinding sync.Mutex
}

// Binding is what a board is bound to.
type Binding struct {
	Cloud string         `json:"cloud"` // URL of the HTTP API of the cloud that it is, or was last known to be, bound to
	Body  *wire.BindBody `json:"body"`  // nil: not bound
	// Account and CloudID are whom the board belonged to when its binding was lost
	// with the database; its cloud will say what is so now.
	Account int64  `json:"account,omitempty"`
	CloudID string `json:"cloud_id,omitempty"`
	// Mark is what the owner's events are marked with. 0: the account's number, as
	// versions before did; it stays so for as long as the owner does.
	Mark int64 `json:"mark,omitempty"`
	// Pending is a binding under way: the power, or the line, may fail between the
	// cloud's commit and ours. It says nothing about what the board is bound to.
	Pending *Pending `json:"attempt,omitempty"`
	// OldPending is Pending's ID as versions before wrote it, with Cloud as the
	// cloud that was being asked; Binding reads it as Pending.
	OldPending string `json:"pending,omitempty"`
}

// Pending is a binding that a cloud has been asked for.
type Pending struct {
	ID    string `json:"id"`    // by which the cloud knows a repeated one
	Cloud string `json:"cloud"` // URL of its HTTP API
}

// asks is the cloud that has to say what the board is bound to, "" for none.
// While the board is bound that is its own cloud and no other.
func (b Binding) asks() string {
	if b.Cloud == "" && b.Pending != nil {
		return b.Pending.Cloud
	}
	return b.Cloud
}

// account is whose the board is, 0 for nobody's. Each cloud has accounts of its
// own: who the owner is only cloud and account tell together.
func (b Binding) account() int64 {
	if b.Body != nil {
		return b.Body.AccountID
	}
	return b.Account
}

// ownedBy reports whether an account of the cloud at the address owns the board
// already. A cloud is known by its id, wherever it has moved to; one that tells
// none, by its address.
func (b Binding) ownedBy(cloud string, body wire.BindBody) bool {
	id := b.CloudID
	if b.Body != nil {
		id = b.Body.CloudID
	}
	if b.account() != body.AccountID {
		return false
	}
	if id != "" && body.CloudID != "" {
		return id == body.CloudID
	}
	return binding.Address(b.Cloud) == binding.Address(cloud)
}

// mark is what events are marked with, so that they reach their owner and no
// other; 0 for nobody's.
func (b Binding) mark() int64 {
	if b.Mark != 0 && b.account() != 0 {
		return b.Mark
	}
	return b.account()
}

// markOf is a new owner's mark, the same whenever the board is bound to it:
// above all accounts' numbers, and exact in JSON.
func markOf(cloud string, body wire.BindBody) int64 {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%d", cmp.Or(body.CloudID, binding.Address(cloud)), body.AccountID))
	return int64(1<<52 | binary.BigEndian.Uint64(sum[:])>>12)
}

var (
	boardBucket = []byte("board")
	identityKey = []byte("identity")
	bindingKey  = []byte("binding")
	epochKey    = []byte("epoch")
)

// OpenState opens the state database below dir. A damaged one is set aside,
// and what lies in plain files too (identity, the cloud's address) is taken from
// them: see Damages. The first time it makes the board's keys and, without a
// configured serial number, one by chance.
func OpenState(dir, sn string, log *slog.Logger) (*State, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	tidy(dir)
	path := filepath.Join(dir, "state.db")
	s, err := openState(dir, path, sn, log)
	if store.Unusable(err) {
		aside, asideErr := store.SetAside(path)
		if asideErr != nil {
			return nil, errors.Join(err, asideErr)
		}
		log.Error("the state database cannot be used and is set aside", "aside", aside, "err", err)
		if s, err = openState(dir, path, sn, log); err == nil {
			s.setAside(aside)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open the board's state: %w", err)
	}
	return s, nil
}

func openState(dir, path, sn string, log *slog.Logger) (s *State, err error) {
	db, err := store.Open(path, store.Options{Log: log})
	if err != nil {
		return nil, err
	}
	s = &State{db: db, dir: dir, log: log, Quarantined: db.Quarantined}
	if err := store.Guard(func() error { return s.load(sn) }); err != nil {
		db.Close()
		return nil, err
	}
	return s, nil
}

// setAside notes where a damaged database is.
func (s *State) setAside(path string) {
	s.Quarantined = path
	s.damage("the state database was damaged and set aside as " + filepath.Base(path))
}

// load reads what is in the database, and makes what is not there yet.
func (s *State) load(sn string) error {
	db := s.db
	if s.Quarantined != "" {
		s.setAside(s.Quarantined)
	}
	if db.Doubtful {
		s.damage("one of the state database's two heads was damaged, and the last change may be missing")
	}
	err := db.Update(func(tx *bolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(boardBucket)
		if err != nil {
			return err
		}
		if err := s.identify(tx, sn); err != nil {
			return err
		}
		var bound Binding
		if _, err := store.GetJSON(b, bindingKey, &bound); err != nil {
			return s.lostBinding(tx)
		}
		return nil
	})
	if err == nil {
		s.Whitelist, err = whitelist.Open(db, time.Local, s.log)
	}
	if err == nil {
		s.Faces, err = faces.Open(db, s.log)
	}
	if err == nil {
		err = s.keep()
	}
	return err
}

// lostBinding replaces a damaged record of the binding by what the file says.
func (s *State) lostBinding(tx *bolt.Tx) error {
	s.damage("the record of the binding was damaged")
	k, err := readKept(s.dir)
	if err := tx.Bucket(boardBucket).Delete(bindingKey); err != nil {
		return err
	}
	if err != nil {
		return nil // not bound, as far as the board can tell
	}
	return s.restoreBinding(tx, k)
}

// Close closes the database.
func (s *State) Close() error {
	s.Whitelist.Close()
	return s.db.Close()
}

// SN is the serial number, PublicKey the hex Ed25519 key for the factory list.
func (s *State) SN() string { return s.identity.SN }

// PublicKey is for the cloud's factory list.
func (s *State) PublicKey() string { k, _ := s.identity.Keys.Public(); return k }

// Binding reads what the board is bound to.
func (s *State) Binding() (b Binding, err error) {
	err = s.db.View(func(tx *bolt.Tx) error {
		_, err := store.GetJSON(tx.Bucket(boardBucket), bindingKey, &b)
		return err
	})
	if b.OldPending != "" && b.Body == nil && b.Account == 0 {
		b.Pending, b.Cloud = &Pending{b.OldPending, b.Cloud}, ""
	}
	b.OldPending = ""
	return b, err
}

func (s *State) setBinding(b Binding) error {
	return s.db.Update(func(tx *bolt.Tx) error { return store.PutJSON(tx.Bucket(boardBucket), bindingKey, b) })
}

// nextEpoch counts the board's connections.
func (s *State) nextEpoch() (n int64, err error) {
	err = s.db.Update(func(tx *bolt.Tx) error {
		b := tx.Bucket(boardBucket)
		if _, err := store.GetJSON(b, epochKey, &n); err != nil {
			n = time.Now().Unix() // a damaged count: go on above it
		}
		n++
		return store.PutJSON(b, epochKey, n)
	})
	return n, err
}

// Bind binds the board by an installer's AccessKey, whose secret is used and
// not kept. That a binding is under way is written down first; Agree finds out
// later how it ended, if the answer is lost. Until the cloud has agreed, what
// the board is bound to stays as it is.
func (s *State) Bind(ctx context.Context, c binding.Client, groupID int64, remark string) error {
	s.rebinding.Lock()
	defer s.rebinding.Unlock()
	b, err := s.Binding()
	if err != nil {
		return err
	}
	before := b.Pending
	if before == nil || binding.Address(before.Cloud) != binding.Address(c.URL) {
		b.Pending = &Pending{wire.NewID(), c.URL}
		if err := s.setBinding(b); err != nil {
			return err
		}
	}
	body, err := c.Bind(ctx, s.identity.SN, groupID, remark, s.identity.Keys, b.Pending.ID)
	if err != nil && !binding.Unsure(err) {
		b.Pending = before // what is not known of an earlier one, this answer does not tell either
		return errors.Join(err, s.setBinding(b))
	}
	if err != nil {
		return err
	}
	return s.adopt(c.URL, body)
}

// Unbind takes the board out of its account by an installer's AccessKey, at the
// cloud and then here. Where the board is bound, only that cloud's word counts;
// where it is not, nothing here is an account's, and nothing is cleared.
func (s *State) Unbind(ctx context.Context, c binding.Client) error {
	s.rebinding.Lock()
	defer s.rebinding.Unlock()
	b, err := s.Binding()
	if err != nil {
		return err
	}
	if b.Cloud != "" && binding.Address(b.Cloud) != binding.Address(c.URL) {
		return errcode.Param("cloud", "is not where it is bound: the board is bound to "+b.Cloud+"; if that cloud has moved to this address, bind the board here first")
	}
	err = c.Unbind(ctx, s.identity.SN)
	var e *errcode.Error
	if err != nil && !(errors.As(err, &e) && e.Code == errcode.DeviceNotBound) {
		return err
	}
	if b.account() != 0 {
		return s.Clear()
	}
	if binding.Address(b.asks()) != binding.Address(c.URL) {
		return nil // another cloud's binding is under way
	}
	return s.setBinding(Binding{})
}

// adopt makes body the binding. Another owner than before, be it another account
// or another cloud, takes nothing over.
func (s *State) adopt(cloud string, body wire.BindBody) error {
	if err := trustworthy(body); err != nil {
		return err
	}
	old, err := s.Binding()
	if err != nil {
		return err
	}
	next := Binding{Cloud: cloud, Body: &body, Mark: old.Mark}
	same := old.ownedBy(cloud, body)
	if !same {
		next.Mark = markOf(cloud, body)
	}
	another := !same && old.account() != 0
	err = s.db.Update(func(tx *bolt.Tx) error {
		if another {
			old = Binding{}
			if err := s.clear(tx); err != nil {
				return err
			}
		}
		if err := auditBinding(tx, old.Body, next); err != nil {
			return err
		}
		return store.PutJSON(tx.Bucket(boardBucket), bindingKey, next)
	})
	if err != nil {
		return err
	}
	if another {
		err = s.afterClear()
	}
	return errors.Join(err, s.keep())
}

// trustworthy refuses a binding with which nothing could be changed any more.
func trustworthy(body wire.BindBody) error {
	keys, err := signed.ParseKeys(body.Keys)
	if err != nil {
		return err
	}
	if (body.Policy.SignConfig || body.Policy.SignWhitelist) && len(keys) == 0 {
		return errcode.Param("policy", "asks for signatures, but keys holds none for them")
	}
	return nil
}

// auditBinding notes what a binding changes about who may do what.
func auditBinding(tx *bolt.Tx, old *wire.BindBody, next Binding) error {
	body := next.Body
	if old == nil {
		return audit.Put(tx, audit.Entry{What: "bound", Detail: fmt.Sprintf("account %d at %s, %d keys, policy %+v", body.AccountID, next.Cloud, len(body.Keys), body.Policy)})
	}
	var err error
	if !slices.Equal(old.Keys, body.Keys) {
		ids := []string{}
		for _, k := range body.Keys {
			ids = append(ids, k.KeyID)
		}
		err = audit.Put(tx, audit.Entry{What: "keys", Detail: "the account's keys are now " + strings.Join(ids, ", ")})
	}
	if old.Policy != body.Policy {
		err = errors.Join(err, audit.Put(tx, audit.Entry{What: "policy", Detail: fmt.Sprintf("%+v", body.Policy)}))
	}
	return err
}

// Agree asks the cloud what the board is bound to and does as it says: takes
// over the binding, or clears everything that belongs to an account. Where the
// board is not bound, the cloud of a binding under way is asked.
func (s *State) Agree(ctx context.Context) error {
	s.rebinding.Lock()
	defer s.rebinding.Unlock()
	b, err := s.Binding()
	cloud := b.asks()
	if err != nil || cloud == "" {
		return err
	}
	body, err := binding.Client{URL: cloud, HTTP: s.http}.Handshake(ctx, s.identity.SN, s.identity.Keys)
	var e *errcode.Error
	if errors.As(err, &e) && (e.Code == errcode.DeviceNotBound || e.Code == errcode.DeviceNotExist) {
		if b.account() == 0 {
			return s.setBinding(Binding{})
		}
		return s.Clear()
	}
	if err != nil {
		return err
	}
	return s.adopt(cloud, body)
}

// Clear takes the board out of its account: credentials, whitelist, faces, the
// pushed config but for the network's, changes and stored answers go, in one
// transaction; identity and events stay.
func (s *State) Clear() error {
	if err := s.db.Update(s.clear); err != nil {
		return fmt.Errorf("cannot unbind: %w", err)
	}
	return errors.Join(s.afterClear(), s.keep())
}

// clear is what Clear does to the database.
func (s *State) clear(tx *bolt.Tx) error {
	if err := tx.Bucket(boardBucket).Delete(bindingKey); err != nil {
		return err
	}
	if err := audit.Put(tx, audit.Entry{What: "unbound"}); err != nil {
		return err
	}
	if err := change.Clear(tx); err != nil {
		return err
	}
	if err := faces.Clear(tx); err != nil {
		return err
	}
	if s.clearing != nil {
		if err := s.clearing(tx); err != nil {
			return err
		}
	}
	return s.Whitelist.Clear(tx)
}

// afterClear has the board go on without what was cleared.
func (s *State) afterClear() error {
	err := errors.Join(s.Whitelist.Reload(), s.Faces.Reload())
	if s.cleared != nil {
		err = errors.Join(err, s.cleared())
	}
	return err
}
