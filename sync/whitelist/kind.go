package whitelist

import (
	"context"

	bolt "go.etcd.io/bbolt"

	"gatehouse/sync/change"
	"gatehouse/sync/errcode"
)

// Kind is the whitelist as a kind of change, in two steps: the new set is
// written beside the one in force, then put in its place in one transaction
// with the change's result.
func (l *List) Kind() change.Kind { return kind{l} }

type kind struct{ list *List }

var (
	_ change.Kind    = kind{}
	_ change.Limiter = kind{}
)

func (kind) Name() string { return "whitelist" }

func (kind) Codes() change.Codes {
	return change.Codes{NotExist: errcode.WhitelistNotExist, Used: errcode.WhitelistUsed, Cancelled: errcode.WhitelistCancelled}
}

// MaxLength is the longest content that is taken, in bytes.
func (kind) MaxLength() int64 { return 1 << 30 }

func (k kind) Check(c *change.Change) error {
	_, err := checked(c.Open, visitor{})
	return err
}

func (k kind) Steps() []change.Step {
	return []change.Step{
		{Name: "build", Resume: true,
			Do: func(ctx context.Context, c *change.Change) error {
				return k.list.Build(ctx, c.ChangeID, c.Base, c.Open)
			},
			Undo: func(_ context.Context, c *change.Change) error { return k.list.Abandon(c.ChangeID) }},
		{Name: "swap", Resume: true, NoReturn: true,
			DoTx: func(tx *bolt.Tx, c *change.Change) (err error) {
				c.SetDigest, err = k.list.Swap(tx, c.ChangeID, c.Base, c.Open)
				return err
			}},
	}
}

func (k kind) Committed() error { return k.list.Committed() }
