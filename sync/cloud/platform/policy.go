package platform

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"

	"gatehouse/sync/binding"
	"gatehouse/sync/errcode"
	"gatehouse/sync/signed"
	"gatehouse/sync/store"
	"gatehouse/sync/wire"
)

// policy is whether an account's boards take signed configs and whitelists
// only, and the keys they trust. Boards are told it when they are bound, and
// again whenever it changes.
type policy struct {
	SignConfig    bool         `json:"sign_config"`
	SignWhitelist bool         `json:"sign_whitelist"`
	Keys          []signingKey `json:"keys"` // the last one signs
	Revision      int          `json:"revision"`
}

// signingKey is an account's key pair. The seed is not shown.
type signingKey struct {
	KeyID      string `json:"key_id"`
	PublicKey  string `json:"public_key"` // hex Ed25519
	Seed       []byte `json:"seed,omitempty"`
	CreateTime int64  `json:"create_time"`
}

// maxKeys bounds the keys that boards trust at a time: a rotation needs two.
const maxKeys = 8

func loadPolicy(tx *bolt.Tx, accountID int64) (pol policy, err error) {
	_, err = store.GetJSON(tx.Bucket(policiesBucket), idKey(accountID), &pol)
	return pol, err
}

// shown is a policy without its secrets.
func (pol policy) shown() map[string]any {
	keys := []map[string]any{}
	for i, k := range pol.Keys {
		keys = append(keys, map[string]any{"key_id": k.KeyID, "public_key": k.PublicKey, "create_time": k.CreateTime, "signs": i == len(pol.Keys)-1})
	}
	return map[string]any{"sign_config": pol.SignConfig, "sign_whitelist": pol.SignWhitelist, "keys": keys, "revision": pol.Revision}
}

func (pol policy) asks(kind string) bool {
	return kind == "config" && pol.SignConfig || kind == "whitelist" && pol.SignWhitelist
}

func (p *Platform) getPolicy(q *request) (any, error) {
	var pol policy
	err := p.db.View(func(tx *bolt.Tx) (err error) {
		pol, err = loadPolicy(tx, q.account.ID)
		return err
	})
	return pol.shown(), err
}

// changePolicy changes an account's policy and tells its boards.
func (p *Platform) changePolicy(q *request, f func(pol *policy) error) (any, error) {
	var pol policy
	var wake []string
	err := p.db.Update(func(tx *bolt.Tx) (err error) {
		if pol, err = loadPolicy(tx, q.account.ID); err != nil {
			return err
		}
		if err := f(&pol); err != nil {
			return err
		}
		pol.Revision++
		devices, err := p.devicesOf(tx, q.account.ID)
		for _, d := range devices {
			if d.Bound {
				wake = append(wake, d.SN)
			}
		}
		if err != nil {
			return err
		}
		return store.PutJSON(tx.Bucket(policiesBucket), idKey(q.account.ID), pol)
	})
	if err != nil {
		return nil, err
	}
	p.wake(wake)
	return pol.shown(), nil
}

// setPolicy switches signing. The first time a key is made.
func (p *Platform) setPolicy(q *request) (any, error) {
	var in struct {
		SignConfig    *bool `json:"sign_config"`
		SignWhitelist *bool `json:"sign_whitelist"`
	}
	if err := q.decode(&in); err != nil {
		return nil, err
	}
	return p.changePolicy(q, func(pol *policy) error {
		if in.SignConfig != nil {
			pol.SignConfig = *in.SignConfig
		}
		if in.SignWhitelist != nil {
			pol.SignWhitelist = *in.SignWhitelist
		}
		if (pol.SignConfig || pol.SignWhitelist) && len(pol.Keys) == 0 {
			return p.addSigningKey(pol)
		}
		return nil
	})
}

// addSigningKey makes a key that signs from now on; the earlier ones are still trusted.
func (p *Platform) addSigningKey(pol *policy) error {
	if len(pol.Keys) >= maxKeys {
		return errcode.Param("keys", fmt.Sprintf("are %d already; delete those that are out of use", maxKeys))
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return fmt.Errorf("cannot make a key: %w", err)
	}
	pol.Keys = append(pol.Keys, signingKey{KeyID: wire.NewID(), PublicKey: hex.EncodeToString(public), Seed: private.Seed(), CreateTime: p.o.Now().Unix()})
	return nil
}

// rotateKey makes a new signing key.
func (p *Platform) rotateKey(q *request) (any, error) { return p.changePolicy(q, p.addSigningKey) }

// deleteSigningKey takes a key away from all boards; the one that signs stays.
func (p *Platform) deleteSigningKey(q *request) (any, error) {
	id := q.PathValue("key_id")
	return p.changePolicy(q, func(pol *policy) error {
		for i, k := range pol.Keys {
			if k.KeyID != id {
				continue
			}
			if i == len(pol.Keys)-1 && (pol.SignConfig || pol.SignWhitelist) {
				return errcode.Param("key_id", "is the key that signs; make a new one first, or switch the policy off")
			}
			pol.Keys = append(pol.Keys[:i:i], pol.Keys[i+1:]...)
			return nil
		}
		return errcode.Param("key_id", "is unknown")
	})
}

// sign signs a change for a board, where the account's policy asks for it.
func (p *Platform) sign(tx *bolt.Tx, c *change, sn string) (*wire.Signature, error) {
	pol, err := loadPolicy(tx, c.UserID)
	if err != nil || !pol.asks(c.Kind) || len(pol.Keys) == 0 {
		return nil, err
	}
	k := pol.Keys[len(pol.Keys)-1]
	return signed.Sign(signed.Header{Kind: c.Kind, Scope: sn, Sequence: c.Sequence, Digest: c.Digest, Length: c.Length, Base: c.Base, KeyID: k.KeyID}, ed25519.NewKeyFromSeed(k.Seed))
}

// into puts the policy into what a board is told.
func (pol policy) into(body *wire.BindBody) {
	body.Keys = []wire.Key{}
	for _, k := range pol.Keys {
		body.Keys = append(body.Keys, wire.Key{KeyID: k.KeyID, PublicKey: k.PublicKey, Use: signed.UseChanges})
	}
	body.Policy.SignConfig, body.Policy.SignWhitelist = pol.SignConfig, pol.SignWhitelist
}

// rebind is the command that tells a board the policy, where it has not
// confirmed the one in force.
func (p *Platform) rebind(tx *bolt.Tx, d *device, pol policy) ([]order, error) {
	if !d.Bound || d.SealKey == "" || d.PolicyRevision == pol.Revision {
		return nil, nil
	}
	sealed, err := p.seal(tx, d, d.SealKey)
	if err != nil {
		return nil, err
	}
	return []order{{name: wire.NameBind, id: fmt.Sprintf("policy-%d-%s", pol.Revision, wire.NewID()), body: sealed}}, nil
}

// rebound takes over what a board has answered to a policy: its revision is in
// the command's id. It gives the board if it is to be sent what waited for it.
func (p *Platform) rebound(tx *bolt.Tx, d *device, r wire.Reply) (wake []string, err error) {
	rest, ok := strings.CutPrefix(r.ID, "policy-")
	var n int
	if _, err := fmt.Sscanf(rest, "%d-", &n); !ok || err != nil {
		return nil, nil
	}
	if r.Code != 200 {
		p.o.Log.Warn("a board does not take the account's policy", "sn", d.SN, "code", r.ErrorCode, "message", r.ErrorMessage)
		if r.ErrorCode == int(errcode.RateExceeded) {
			time.AfterFunc(rebindAgain, func() { p.wake([]string{d.SN}) })
		}
		return nil, nil
	}
	d.PolicyRevision = max(d.PolicyRevision, n)
	return []string{d.SN}, saveDevice(tx, d)
}

// rebindAgain is when a board that was told policies too quickly is told again.
const rebindAgain = 3 * time.Second

// seal makes what a bound board is told.
func (p *Platform) seal(tx *bolt.Tx, d *device, sealKey string) (binding.Sealed, error) {
	body := wire.BindBody{CloudID: p.cloudID(), AccountID: d.UserID, GroupID: d.GroupID}
	body.Broker.URL, body.Broker.Username, body.Broker.Password = p.o.BrokerURL, d.SN, d.Password
	if p.o.SharedUser != "" {
		body.Broker.Username, body.Broker.Password = p.o.SharedUser, p.o.SharedPassword
	}
	pol, err := loadPolicy(tx, d.UserID)
	if err != nil {
		return binding.Sealed{}, err
	}
	pol.into(&body)
	return binding.Seal(sealKey, body)
}

// cloudID is by what boards know this cloud when it has moved: it stays for as
// long as the database does, and tells nothing of the secret that it is made of.
func (p *Platform) cloudID() string {
	sum := sha256.Sum256(append([]byte("gatehouse/cloud-id/v1\n"), p.addressKey...))
	return hex.EncodeToString(sum[:16])
}
