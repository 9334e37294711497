package platform

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	bolt "go.etcd.io/bbolt"

	"gatehouse/sync/download"
	"gatehouse/sync/errcode"
	"gatehouse/sync/whitelist"
)

// kind is one sort of change: its names, codes and what the cloud looks at in
// its content. What the cloud does not look at the board refuses.
type kind struct {
	name                      string // in messages
	path                      string // below /v2/stp/user
	notExist, used, cancelled errcode.Code
	maxLength                 int64
	describe                  func(c *change, open func() (io.ReadCloser, error)) error
}

var kinds = []*kind{
	{"config", "configs", errcode.ConfigNotExist, errcode.ConfigUsed, errcode.ConfigCancelled, 1 << 20, describeConfig},
	{"upgrade", "upgrades", errcode.UpgradeNotExist, errcode.UpgradeUsed, errcode.UpgradeCancelled, 1 << 20, describeUpgrade},
	{"whitelist", "whitelists", errcode.WhitelistNotExist, errcode.WhitelistUsed, errcode.WhitelistCancelled, 1 << 30, describeWhitelist},
}

func kindOf(name string) *kind {
	for _, k := range kinds {
		if k.name == name {
			return k
		}
	}
	return nil
}

func all(open func() (io.ReadCloser, error)) ([]byte, error) {
	r, err := open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func describeConfig(c *change, open func() (io.ReadCloser, error)) error {
	text, err := all(open)
	if err != nil {
		return err
	}
	var in struct {
		Mode   string                     `json:"mode"`
		Config map[string]json.RawMessage `json:"config"`
	}
	if err := decodeContent(text, &in); err != nil {
		return err
	}
	if c.Mode = in.Mode; c.Mode != "replace" && c.Mode != "merge" {
		return errcode.Param("content/mode", "must be replace or merge")
	}
	if in.Config == nil {
		return errcode.Param("content/config", "must be an object")
	}
	return nil
}

func describeUpgrade(c *change, open func() (io.ReadCloser, error)) error {
	text, err := all(open)
	if err != nil {
		return err
	}
	var in struct {
		BoardVersions []int `json:"board_versions"`
	}
	if err := decodeContent(text, &in); err != nil {
		return err
	}
	c.BoardVersions = in.BoardVersions
	return nil
}

// knownBoards gives 5201 for an upgrade for a board type that the account has not entered.
func (p *Platform) knownBoards(tx *bolt.Tx, c *change) error {
	for _, v := range c.BoardVersions {
		b, err := loadBoard(tx, c.UserID, v)
		if err != nil {
			return err
		}
		if b == nil {
			return errcode.New(errcode.BoardNotExist, fmt.Sprintf("Board type %d is unknown; enter it at /boards!", v))
		}
	}
	return nil
}

func describeWhitelist(c *change, open func() (io.ReadCloser, error)) error {
	s, err := whitelist.Summarise(open)
	var e *errcode.Error
	if errors.As(err, &e) { // it names what is wrong by its JSON pointer within the content
		if e.Code == errcode.ParseJSONFailed {
			return errcode.Param("content", "must be JSON text. "+strings.TrimSuffix(e.Detail, "!"))
		}
		return errcode.New(e.Code, strings.Replace(e.Detail, "Param [/", "Param [content/", 1))
	}
	if err != nil {
		return err
	}
	if c.Mode, c.Rows, c.SetDigest = s.Mode, s.Rows, s.SetDigest; c.Mode == "replace" && c.Base != "" {
		return errcode.Param("base", "goes with a delta only")
	}
	if c.Base != "" && !download.ValidDigest(c.Base) {
		return errcode.Param("base", "must be sha256: and 64 lower-case hex digits, as a device's state_digest tells it")
	}
	return nil
}

// open gives a content's file from its beginning.
func open(path string) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return os.Open(path) }
}
