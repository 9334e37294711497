// Package board is the agent: it wires whitelist, changes, outbox, gate,
// vision process and MQTT session into a board that decides at its gate and
// tells a cloud about it.
//
// Everything it keeps lies below one state directory, which one agent at a
// time may hold. Without a network it goes on deciding, and keeps what it has
// to tell; without a binding it keeps events for no one and tells no one.
package board

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"

	"gatehouse/agent/faces"
	"gatehouse/sync/binding"
	"gatehouse/sync/change"
	"gatehouse/sync/errcode"
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
}

type identity struct {
	SN   string       `json:"sn"`
	Keys binding.Keys `json:"keys"`
}

// Binding is what a board is bound to. Pending is set while a binding is under
// way: the power may fail between the cloud's commit and ours.
type Binding struct {
	Cloud   string         `json:"cloud"` // URL of its HTTP API
	Body    *wire.BindBody `json:"body"`  // nil: not bound
	Pending string         `json:"pending,omitempty"`
}

var (
	boardBucket = []byte("board")
	identityKey = []byte("identity")
	bindingKey  = []byte("binding")
	epochKey    = []byte("epoch")
)

// OpenState opens the state database below dir; the first time it makes the
// board's keys and, without a configured serial number, one by chance.
func OpenState(dir, sn string, log *slog.Logger) (*State, error) {
	db, err := store.Open(filepath.Join(dir, "state.db"), store.Options{Log: log})
	if err != nil {
		return nil, err
	}
	s := &State{db: db}
	err = db.Update(func(tx *bolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(boardBucket)
		if err != nil {
			return err
		}
		found, err := store.GetJSON(b, identityKey, &s.identity)
		if err != nil || found && (sn == "" || sn == s.identity.SN) {
			return err
		}
		if found {
			return fmt.Errorf("/device/sn is %s in the config, but this state belongs to %s; use another --state", sn, s.identity.SN)
		}
		if s.identity.SN = sn; sn == "" {
			var chance [8]byte
			if _, err := rand.Read(chance[:]); err != nil {
				return err
			}
			h := hex.EncodeToString(chance[:])
			s.identity.SN = h[:8] + "-" + h[8:]
		}
		if s.identity.Keys, err = binding.NewKeys(); err != nil {
			return err
		}
		return store.PutJSON(b, identityKey, s.identity)
	})
	if err == nil {
		s.Whitelist, err = whitelist.Open(db, time.Local, log)
	}
	if err == nil {
		s.Faces, err = faces.Open(db, log)
	}
	if err != nil {
		db.Close()
		return nil, fmt.Errorf("cannot open the board's state: %w", err)
	}
	return s, nil
}

// Close closes the database.
func (s *State) Close() error { return s.db.Close() }

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
// later how it ended, if the power fails.
func (s *State) Bind(ctx context.Context, c binding.Client, groupID int64, remark string) error {
	b, err := s.Binding()
	if err != nil {
		return err
	}
	if b.Pending == "" {
		b.Pending = wire.NewID()
	}
	b.Cloud = c.URL
	if err := s.setBinding(b); err != nil {
		return err
	}
	body, err := c.Bind(ctx, s.identity.SN, groupID, remark, s.identity.Keys, b.Pending)
	if err != nil {
		return err
	}
	return s.adopt(c.URL, body)
}

// adopt makes body the binding. Another account than before takes nothing over.
func (s *State) adopt(cloud string, body wire.BindBody) error {
	old, err := s.Binding()
	if err != nil {
		return err
	}
	if old.Body != nil && old.Body.AccountID != body.AccountID {
		if err := s.Clear(); err != nil {
			return err
		}
	}
	return s.setBinding(Binding{Cloud: cloud, Body: &body})
}

// Agree asks the cloud what the board is bound to and does as it says: takes
// over the binding, or clears everything that belongs to an account.
func (s *State) Agree(ctx context.Context) error {
	b, err := s.Binding()
	if err != nil || b.Cloud == "" {
		return err
	}
	body, err := binding.Client{URL: b.Cloud}.Handshake(ctx, s.identity.SN, s.identity.Keys)
	var e *errcode.Error
	if errors.As(err, &e) && (e.Code == errcode.DeviceNotBound || e.Code == errcode.DeviceNotExist) {
		if b.Body == nil {
			b.Pending = ""
			return s.setBinding(b)
		}
		return s.Clear()
	}
	if err != nil {
		return err
	}
	return s.adopt(b.Cloud, body)
}

// Clear takes the board out of its account: credentials, whitelist, faces,
// changes and stored answers go, in one transaction; identity and events stay.
func (s *State) Clear() error {
	err := s.db.Update(func(tx *bolt.Tx) error {
		if err := tx.Bucket(boardBucket).Delete(bindingKey); err != nil {
			return err
		}
		if err := change.Clear(tx); err != nil {
			return err
		}
		if err := faces.Clear(tx); err != nil {
			return err
		}
		return s.Whitelist.Clear(tx)
	})
	if err != nil {
		return fmt.Errorf("cannot unbind: %w", err)
	}
	return errors.Join(s.Whitelist.Reload(), s.Faces.Reload())
}
