package platform

import (
	"slices"
	"strconv"

	bolt "go.etcd.io/bbolt"

	"gatehouse/sync/errcode"
	"gatehouse/sync/store"
)

// board is a type of boards, as the vendor numbers them; upgrades name the
// types they are for.
type board struct {
	BoardVersion int    `json:"board_version"`
	SeriesName   string `json:"series_name"`
	ProductName  string `json:"product_name"`
	Remark       string `json:"remark"`
	UserID       int64  `json:"user_id"`
	CreateTime   int64  `json:"create_time"`
}

func boardKey(accountID int64, version int) []byte {
	return append(idKey(accountID), idKey(int64(version))...)
}

// loadBoard gives a board type of an account, nil where there is none.
func loadBoard(tx *bolt.Tx, accountID int64, version int) (*board, error) {
	var b board
	ok, err := store.GetJSON(tx.Bucket(boardsBucket), boardKey(accountID, version), &b)
	if err != nil || !ok {
		return nil, err
	}
	return &b, nil
}

type boardInput struct {
	BoardVersion *int    `json:"board_version"`
	SeriesName   *string `json:"series_name"`
	ProductName  *string `json:"product_name"`
	Remark       *string `json:"remark"`
}

// set takes over what is given.
func (b *board) set(in boardInput) error {
	for _, f := range []struct {
		name string
		from *string
		to   *string
	}{{"series_name", in.SeriesName, &b.SeriesName}, {"product_name", in.ProductName, &b.ProductName}, {"remark", in.Remark, &b.Remark}} {
		if f.from == nil {
			continue
		}
		if len(*f.from) > 1024 {
			return errcode.Param(f.name, "must be at most 1024 bytes")
		}
		*f.to = *f.from
	}
	return nil
}

// createBoard enters a board type; one that is there is replaced.
func (p *Platform) createBoard(q *request) (any, error) {
	var in boardInput
	if err := q.decode(&in); err != nil {
		return nil, err
	}
	if in.BoardVersion == nil || *in.BoardVersion < 1 || *in.BoardVersion > 1<<31-1 {
		return nil, errcode.Param("board_version", "must be a number from 1, as the vendor numbers its boards")
	}
	b := board{BoardVersion: *in.BoardVersion, UserID: q.account.ID, CreateTime: p.o.Now().Unix()}
	if err := b.set(in); err != nil {
		return nil, err
	}
	return b, p.db.Update(func(tx *bolt.Tx) error {
		return store.PutJSON(tx.Bucket(boardsBucket), boardKey(b.UserID, b.BoardVersion), b)
	})
}

// ownBoard gives the board type of a request's path: else 5201.
func ownBoard(tx *bolt.Tx, q *request) (*board, error) {
	n, err := strconv.Atoi(q.PathValue("board_version"))
	if err != nil || n < 0 {
		return nil, errcode.New(errcode.BoardNotExist, "")
	}
	b, err := loadBoard(tx, q.account.ID, n)
	if err == nil && b == nil {
		err = errcode.New(errcode.BoardNotExist, "")
	}
	return b, err
}

func (p *Platform) getBoard(q *request) (any, error) {
	var b *board
	err := p.db.View(func(tx *bolt.Tx) (err error) {
		b, err = ownBoard(tx, q)
		return err
	})
	return b, err
}

func (p *Platform) updateBoard(q *request) (any, error) {
	var in boardInput
	if err := q.decode(&in); err != nil {
		return nil, err
	}
	var b *board
	err := p.db.Update(func(tx *bolt.Tx) (err error) {
		if b, err = ownBoard(tx, q); err != nil {
			return err
		}
		if in.BoardVersion != nil && *in.BoardVersion != b.BoardVersion {
			return errcode.Param("board_version", "cannot be changed; create another board type")
		}
		if err := b.set(in); err != nil {
			return err
		}
		return store.PutJSON(tx.Bucket(boardsBucket), boardKey(b.UserID, b.BoardVersion), b)
	})
	return b, err
}

func (p *Platform) deleteBoard(q *request) (any, error) {
	return nil, p.db.Update(func(tx *bolt.Tx) error {
		b, err := ownBoard(tx, q)
		if err != nil {
			return err
		}
		return tx.Bucket(boardsBucket).Delete(boardKey(b.UserID, b.BoardVersion))
	})
}

func (p *Platform) listBoards(q *request) (any, error) {
	var list []board
	err := p.db.View(func(tx *bolt.Tx) error {
		return each(p, tx, boardsBucket, func(_ string, b board) error {
			if b.UserID == q.account.ID {
				list = append(list, b)
			}
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(list, func(a, b board) int { return a.BoardVersion - b.BoardVersion })
	return scan(q.query, list)
}
