package whitelist

import (
	"bytes"
	"context"
	"io"

	bolt "go.etcd.io/bbolt"

	"gatehouse/sync/change"
	"gatehouse/sync/errcode"
)

// Kind is the whitelist as a kind of change, in two steps: the new set is
// written beside the one in force, then put in its place in one transaction
// with the change's result.
func (l *List) Kind() change.Kind { return kind{l} }

type kind struct{ list *List }

var _ change.Kind = kind{}

func (kind) Name() string { return "whitelist" }

func (kind) Codes() change.Codes {
	return change.Codes{NotExist: errcode.WhitelistNotExist, Used: errcode.WhitelistUsed, Cancelled: errcode.WhitelistCancelled}
}

// content gives a change's content from its beginning.
func content(c *change.Change) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) {
		text, err := c.Bytes()
		if err != nil {
			return nil, err
		}
		return io.NopCloser(bytes.NewReader(text)), nil
	}
}

func (k kind) Check(c *change.Change) error {
	_, err := checked(content(c), visitor{})
	return err
}

func (k kind) Steps() []change.Step {
	return []change.Step{
		{Name: "build", Resume: true,
			Do: func(ctx context.Context, c *change.Change) error {
				return k.list.Build(ctx, c.ChangeID, c.Base, content(c))
			},
			Undo: func(_ context.Context, c *change.Change) error { return k.list.Abandon(c.ChangeID) }},
		{Name: "swap", Resume: true, NoReturn: true,
			DoTx: func(tx *bolt.Tx, c *change.Change) (err error) {
				c.SetDigest, err = k.list.Swap(tx, c.ChangeID, c.Base, content(c))
				return err
			}},
	}
}

func (k kind) Committed() error { return k.list.Committed() }
