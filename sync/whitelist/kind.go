package whitelist

import (
	bolt "go.etcd.io/bbolt"

	"gatehouse/sync/change"
	"gatehouse/sync/errcode"
)

// Kind is the whitelist as a kind of change: one step, in one transaction with
// the change's state and result.
func (l *List) Kind() change.Kind { return kind{l} }

type kind struct{ list *List }

var _ change.Kind = kind{}

func (kind) Name() string { return "whitelist" }

func (kind) Codes() change.Codes {
	return change.Codes{NotExist: errcode.WhitelistNotExist, Used: errcode.WhitelistUsed, Cancelled: errcode.WhitelistCancelled}
}

func (k kind) Check(c *change.Change) error {
	text, err := c.Bytes()
	if err != nil {
		return err
	}
	return k.list.Check(text)
}

func (k kind) Steps() []change.Step {
	return []change.Step{{Name: "rows", DoTx: func(tx *bolt.Tx, c *change.Change) error {
		text, err := c.Bytes()
		if err != nil {
			return err
		}
		return k.list.Apply(tx, text, c.Base)
	}}}
}

func (k kind) Committed() error { return k.list.Reload() }
