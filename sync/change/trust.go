package change

import (
	"time"

	bolt "go.etcd.io/bbolt"

	"gatehouse/sync/audit"
	"gatehouse/sync/errcode"
	"gatehouse/sync/signed"
	"gatehouse/sync/store"
	"gatehouse/sync/wire"
)

// Trust is what a kind's contents are verified with.
type Trust struct {
	Required bool        // the account's policy: a content without a signature is refused
	Keys     signed.Keys // the account's; none: signatures are ignored unless Required
	Scopes   []string    // the board's own: serial number and group
}

// sequences are the highest ones that were taken for a kind and scope.
type sequences struct {
	Staged  uint64 `json:"staged"`
	Applied uint64 `json:"applied"`
	// Again is the digest under Staged where its content could not be fetched
	// and the change is forgotten: this one alone may come again.
	Again string `json:"again,omitempty"`
}

func loadSequences(tx *bolt.Tx, kind, scope string) (s sequences, err error) {
	_, err = store.GetJSON(tx.Bucket(sequencesBucket), key(kind, scope), &s)
	return s, err
}

// changeSequences changes those of a signed change's kind and scope, within tx.
func changeSequences(tx *bolt.Tx, c *Change, f func(*sequences)) error {
	if c.Sequence == 0 {
		return nil
	}
	last, err := loadSequences(tx, c.Kind, c.Scope)
	if err != nil {
		return err
	}
	f(&last)
	return store.PutJSON(tx.Bucket(sequencesBucket), key(c.Kind, c.Scope), last)
}

// verify checks a staged content's signature, within tx.
func (e *Engine) verify(tx *bolt.Tx, c *Change, s *wire.Signature) error {
	trust := e.o.Trust(c.Kind)
	if !trust.Required && (s == nil || len(trust.Keys) == 0) {
		return nil
	}
	v := signed.Verifier{Keys: trust.Keys, Scopes: trust.Scopes, Now: e.o.Now, Last: func(kind, scope string) (uint64, error) {
		last, err := loadSequences(tx, kind, scope)
		if s.Sequence == last.Staged && c.Digest == last.Again {
			return last.Staged - 1, err
		}
		return last.Staged, err
	}}
	h, err := v.Verify(signed.Header{Kind: c.Kind, Digest: c.Digest, Length: c.Length, Base: c.Base}, s)
	if err != nil {
		return err
	}
	c.Scope, c.Sequence = h.Scope, h.Sequence
	return nil
}

// markKept takes the sequence of a change that is kept, within tx: one that is
// refused may come again.
func markKept(tx *bolt.Tx, c *Change) error {
	return changeSequences(tx, c, func(s *sequences) { s.Staged, s.Again = c.Sequence, "" })
}

// markMissed lets a change come again whose content could not be fetched,
// unless a newer one was taken meanwhile.
func markMissed(tx *bolt.Tx, c *Change) error {
	return changeSequences(tx, c, func(s *sequences) {
		if s.Staged == c.Sequence {
			s.Again = c.Digest
		}
	})
}

// stillTrusted checks again when a change is to be applied: the policy may have
// come on since it was staged, and a newer one may have been applied.
func (e *Engine) stillTrusted(tx *bolt.Tx, c *Change) error {
	if c.Sequence == 0 {
		if e.o.Trust(c.Kind).Required {
			return signed.Missed()
		}
		return nil
	}
	last, err := loadSequences(tx, c.Kind, c.Scope)
	if err != nil {
		return err
	}
	if c.Sequence <= last.Applied {
		return signed.Outdated(c.Sequence, last.Applied)
	}
	return nil
}

// markApplied takes the sequence of an applied change, within tx.
func markApplied(tx *bolt.Tx, c *Change) error {
	return changeSequences(tx, c, func(s *sequences) { s.Applied = max(s.Applied, c.Sequence) })
}

// refusalEvery bounds how often a refused signature is reported up: whoever
// sends bad ones in bulk must not fill the outbox. The audit has them all.
const refusalEvery = time.Minute

// auditRefusal puts a refused signature into the audit.
func (e *Engine) auditRefusal(tx *bolt.Tx, r wire.ChangeReport, why *errcode.Error) error {
	if why.Code != errcode.AuthSignatureError {
		return nil
	}
	e.o.Log.Warn("a change's signature is refused", "kind", r.Kind, "change", r.ChangeID, "why", why.Detail)
	return audit.Put(tx, audit.Entry{At: e.o.Now().Unix(), What: "refused", Kind: r.Kind, ChangeID: r.ChangeID, Code: int(why.Code), Detail: why.Detail})
}

// refused puts a refused signature into the audit and, now and then, reports it.
func (e *Engine) refused(tx *bolt.Tx, k Kind, c wire.ChangeCommand, why *errcode.Error) error {
	if why.Code != errcode.AuthSignatureError {
		return nil
	}
	now := e.o.Now()
	r := wire.ChangeReport{ChangeID: c.ChangeID, Kind: k.Name(), Digest: c.Digest,
		Result: &wire.ChangeResult{ErrorCode: int(why.Code), ErrorMessage: why.Error(), At: now.Unix()}}
	if err := e.auditRefusal(tx, r, why); err != nil {
		return err
	}
	if now.Sub(e.refusals).Abs() < refusalEvery {
		return nil
	}
	e.refusals = now
	if known, err := e.load(tx, k.Name(), c.ChangeID); err == nil && known != nil {
		r.State, r.Digest = known.State, known.Digest
	}
	return e.report(tx, r)
}
