package platform

import (
	bolt "go.etcd.io/bbolt"

	"gatehouse/sync/errcode"
	"gatehouse/sync/store"
	"gatehouse/sync/wire"
)

// Provision enters boards into the factory list that are bound to the first
// account from the beginning, as a batch that leaves a factory for one customer
// (or for a trial) is. Boards gives serial number and public key; the answer
// has each board's password at the broker. One transaction; none may be there.
func (p *Platform) Provision(boards map[string]string) (passwords map[string]string, err error) {
	passwords = map[string]string{}
	err = p.db.Update(func(tx *bolt.Tx) error {
		var owner account
		k, _ := tx.Bucket(accountsBucket).Cursor().First()
		if _, err := store.GetJSON(tx.Bucket(accountsBucket), k, &owner); err != nil {
			return err
		}
		pol, err := loadPolicy(tx, owner.ID)
		if err != nil {
			return err
		}
		for sn, key := range boards {
			if !wire.ValidSN(sn) {
				return errcode.Param("sn", "format error")
			}
			if tx.Bucket(factoryBucket).Get([]byte(sn)) != nil {
				return errcode.Param("sn", sn+" is in the factory list")
			}
			if err := store.Put(tx.Bucket(factoryBucket), []byte(sn), []byte(key)); err != nil {
				return err
			}
			d := &device{SN: sn, UserID: owner.ID, State: 1, CreateTime: p.o.Now().Unix(), Addition: map[string]string{}, Layout: wire.LayoutNew,
				Bound: true, BindID: "factory", Password: random32(), PolicyRevision: pol.Revision}
			d.PasswordHash = hash(d.Password)
			if d.ID, err = next(tx.Bucket(devicesBucket)); err != nil {
				return err
			}
			if err := saveDevice(tx, d); err != nil {
				return err
			}
			passwords[sn] = d.Password
		}
		return nil
	})
	return passwords, err
}
