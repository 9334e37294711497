package platform

import (
	bolt "go.etcd.io/bbolt"

	"gatehouse/sync/errcode"
	"gatehouse/sync/store"
	"gatehouse/sync/wire"
)

// AddBoards enters many boards (serial number → public key) into the factory
// list, in one transaction; none of them may be there.
func (p *Platform) AddBoards(boards map[string]string) error {
	return p.db.Update(func(tx *bolt.Tx) error {
		b := tx.Bucket(factoryBucket)
		for sn, key := range boards {
			if !wire.ValidSN(sn) {
				return errcode.Param("sn", "format error")
			}
			if b.Get([]byte(sn)) != nil {
				return errcode.Param("sn", sn+" is in the factory list")
			}
			if err := store.Put(b, []byte(sn), []byte(key)); err != nil {
				return err
			}
		}
		return nil
	})
}
