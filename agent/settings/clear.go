package settings

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"gatehouse/configs"
	"gatehouse/sync/store"
)

// Clear takes the pushed config back within tx, since the board is taken out of
// the account whose it is; Cleared follows. Settings of the network stay: how a
// broker is talked to. Whose broker that is, and what its clients may do, was
// the account's.
func (s *Settings) Clear(tx *bolt.Tx) error {
	b := tx.Bucket(bucket)
	var r record
	found, err := store.GetJSON(b, pushedKey, &r)
	if errors.Is(err, store.ErrDamaged) || err == nil && !found {
		return s.Reset(tx)
	}
	if err != nil {
		return err
	}
	c, err := configs.Restore(s.base, r.Config)
	if err != nil { // of another version; it was not in force
		return s.Reset(tx)
	}
	network, err := networkOf(c, s.base)
	if err != nil || network == nil {
		return errors.Join(err, s.Reset(tx))
	}
	r.Config = network
	return errors.Join(store.PutJSON(b, pushedKey, r), setKnown(tx))
}

// networkOf is what c says of the network and base does not; nil: nothing.
func networkOf(c, base configs.Config) (json.RawMessage, error) {
	var said, own map[string]json.RawMessage
	for _, m := range []struct {
		from configs.MQTT
		to   *map[string]json.RawMessage
	}{{c.MQTT, &said}, {base.MQTT, &own}} {
		text, err := json.Marshal(m.from)
		if err == nil {
			err = json.Unmarshal(text, m.to)
		}
		if err != nil {
			return nil, err
		}
	}
	for name, value := range said {
		if name == "broker" || name == "allow" || bytes.Equal(value, own[name]) {
			delete(said, name)
		}
	}
	if len(said) == 0 {
		return nil, nil
	}
	return json.Marshal(map[string]any{"mqtt": said})
}

// Reset takes the whole pushed config back within tx; Cleared follows.
func (s *Settings) Reset(tx *bolt.Tx) error {
	return errors.Join(tx.Bucket(bucket).Delete(pushedKey), setKnown(tx))
}

// Cleared makes what Clear or Reset has left the committed config.
func (s *Settings) Cleared() error {
	var r record
	var found bool
	err := s.db.View(func(tx *bolt.Tx) (err error) {
		found, err = store.GetJSON(tx.Bucket(bucket), pushedKey, &r)
		return err
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.committed, s.pushed = s.base, nil
	found = found && s.take(r)
	s.mu.Unlock()
	if found {
		s.keepGood()
	} else {
		s.dropGood()
	}
	return nil
}

// Overrides are what the board's own file says, that is, has other than the
// defaults, and the pushed config says otherwise: "/camera/source (change c1)".
func (s *Settings) Overrides() []string {
	own := map[string]bool{}
	for _, d := range configs.Diff(configs.Default(), s.base) {
		own[d.Pointer] = true
	}
	list := []string{}
	for _, d := range configs.Diff(s.base, s.Committed()) {
		if own[d.Pointer] {
			list = append(list, fmt.Sprintf("%s (change %s)", d.Pointer, s.Pushed()))
		}
	}
	return list
}
