package platform

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"gatehouse/sync/binding"
	"gatehouse/sync/errcode"
	"gatehouse/sync/store"
	"gatehouse/sync/wire"
)

// device is a board that an account has bound or claims.
type device struct {
	SN              string            `json:"sn"`
	ID              int64             `json:"id"`
	UserID          int64             `json:"user_id"`
	GroupID         int64             `json:"group_id"`
	Name            string            `json:"name"`
	IP              string            `json:"ip"`
	BoardVersion    int               `json:"board_version"`
	State           int               `json:"state"` // 0 online, 1 offline
	Addition        map[string]string `json:"addition"`
	SeriesName      string            `json:"series_name"`
	ProductName     string            `json:"product_name"`
	Remark          string            `json:"remark"`
	CreateTime      int64             `json:"create_time"`
	LastOnlineTime  int64             `json:"last_online_time"`
	LastOfflineTime int64             `json:"last_offline_time"`
	Bound           bool              `json:"bound"` // the board has proved itself; else the account only claims it
	StateDigest     map[string]string `json:"state_digest,omitempty"`
	Expected        map[string]string `json:"expected_digest,omitempty"` // what it had after the last change that was applied

	// Not shown.
	BindID       string      `json:"bind_id"`
	SealKey      string      `json:"seal_key"`
	Password     string      `json:"password"` // the board must be told it again, so it is kept as it is
	PasswordHash string      `json:"password_hash"`
	Layout       wire.Layout `json:"layout"`
	Epoch        int64       `json:"epoch"`
	Boot         string      `json:"boot"`
	// PolicyRevision is that of the account's policy that the board has confirmed.
	PolicyRevision int `json:"policy_revision"`
}

// shown is a device without what is nobody's business.
func (d device) shown() map[string]any {
	return map[string]any{"id": d.ID, "user_id": d.UserID, "group_id": d.GroupID, "sn": d.SN, "name": d.Name, "ip": d.IP,
		"ip_info": map[string]string{"country_name": "", "region_name": "", "city_name": ""}, "proxy": 0, "board_version": d.BoardVersion,
		"state": d.State, "addition": d.Addition, "series_name": d.SeriesName, "product_name": d.ProductName, "remark": d.Remark,
		"create_time": d.CreateTime, "last_online_time": d.LastOnlineTime, "last_offline_time": d.LastOfflineTime, "version": d.Addition["version"],
		"bound": d.Bound, "state_digest": d.StateDigest, "expected_digest": d.Expected, "drift": d.drift(), "policy_revision": d.PolicyRevision}
}

func hash(password string) string {
	h := sha256.Sum256([]byte(password))
	return hex.EncodeToString(h[:])
}

// Authenticate reports whether a board's broker credentials hold right now.
func (p *Platform) Authenticate(sn, password string) bool {
	var d device
	err := p.db.View(func(tx *bolt.Tx) error {
		_, err := store.GetJSON(tx.Bucket(devicesBucket), []byte(sn), &d)
		return err
	})
	return err == nil && d.Bound && d.PasswordHash != "" && subtle.ConstantTimeCompare([]byte(hash(password)), []byte(d.PasswordHash)) == 1
}

func loadDevice(tx *bolt.Tx, sn string) (*device, error) {
	var d device
	ok, err := store.GetJSON(tx.Bucket(devicesBucket), []byte(sn), &d)
	if err != nil || !ok {
		return nil, err
	}
	return &d, nil
}

func saveDevice(tx *bolt.Tx, d *device) error {
	return store.PutJSON(tx.Bucket(devicesBucket), []byte(d.SN), d)
}

// own gives a device of the account: 5002 if nobody's factory list has it, 5003 if it is not the account's.
func (p *Platform) own(tx *bolt.Tx, sn string, accountID int64) (*device, error) {
	d, err := loadDevice(tx, sn)
	switch {
	case err != nil:
		return nil, err
	case d != nil && d.UserID == accountID:
		return d, nil
	}
	known, err := store.Get(tx.Bucket(factoryBucket), []byte(sn))
	if err != nil {
		return nil, err
	}
	if known == nil {
		return nil, errcode.New(errcode.DeviceNotExist, "")
	}
	return nil, errcode.New(errcode.DeviceNotBound, "")
}

// perDevice runs f for each device of a request and sorts the outcomes.
func (p *Platform) perDevice(q *request, f func(tx *bolt.Tx, item *binding.DeviceItem) error) (binding.ItemResults, error) {
	var in struct {
		Devices []binding.DeviceItem `json:"devices"`
	}
	results := binding.ItemResults{Successes: []binding.DeviceItem{}, Failures: []binding.DeviceItem{}}
	if err := q.decode(&in); err != nil {
		return results, err
	}
	if len(in.Devices) == 0 || len(in.Devices) > 1000 {
		return results, errcode.Param("devices", "must be 1 to 1000")
	}
	for _, item := range in.Devices {
		err := errcode.From(nil)
		if !wire.ValidSN(item.SN) {
			err = errcode.Param("sn", "format error")
		} else if e := p.db.Update(func(tx *bolt.Tx) error { return f(tx, &item) }); e != nil {
			if !errors.As(e, &err) {
				return results, e
			}
		}
		item.Proof = nil
		if err != nil {
			item.Binding, item.Error = nil, &binding.ItemError{Code: int(err.Code), Message: err.Error()}
			results.Failures = append(results.Failures, item)
			continue
		}
		results.Successes = append(results.Successes, item)
	}
	return results, nil
}

// bindDevices binds boards to the account. With the board's proof the answer
// has its sealed credentials; without, the account only claims the board, and
// a claim gives way to another account's proof.
func (p *Platform) bindDevices(q *request) (any, error) {
	var kicked []string
	results, err := p.perDevice(q, func(tx *bolt.Tx, item *binding.DeviceItem) error {
		factoryKey, err := store.Get(tx.Bucket(factoryBucket), []byte(item.SN))
		if err != nil {
			return err
		}
		if factoryKey == nil {
			return errcode.New(errcode.DeviceNotExist, "")
		}
		if item.Proof != nil {
			if err := item.Proof.Verify(item.SN, q.key.ID, string(factoryKey), p.o.Now()); err != nil {
				return err
			}
		}
		if err := p.groupExists(tx, item.GroupID, q.account.ID); err != nil {
			return err
		}
		d, err := loadDevice(tx, item.SN)
		if err != nil {
			return err
		}
		if d != nil && d.UserID != q.account.ID {
			if d.Bound || item.Proof == nil {
				return errcode.New(errcode.DeviceBound, "")
			}
			d = nil // a claim gives way
		}
		if d == nil {
			d = &device{SN: item.SN, UserID: q.account.ID, State: 1, CreateTime: p.o.Now().Unix(), Addition: map[string]string{}, Layout: wire.LayoutNew}
			if d.ID, err = next(tx.Bucket(devicesBucket)); err != nil {
				return err
			}
		}
		d.GroupID, d.Remark = item.GroupID, item.Remark
		if item.Proof != nil {
			if d.BindID != item.Proof.BindID { // a repeated binding keeps its credentials
				d.Password = random32()
				d.PasswordHash, kicked = hash(d.Password), append(kicked, d.SN)
			}
			d.Bound, d.BindID, d.SealKey = true, item.Proof.BindID, item.Proof.SealKey
			sealed, err := p.seal(tx, d, d.SealKey)
			if err != nil {
				return err
			}
			item.Binding = &sealed
			pol, err := loadPolicy(tx, d.UserID)
			if err != nil {
				return err
			}
			d.PolicyRevision = pol.Revision
		}
		return saveDevice(tx, d)
	})
	p.kick(kicked)
	return results, err
}

func (p *Platform) kick(sns []string) {
	for _, sn := range sns {
		if p.o.Kick != nil {
			p.o.Kick(sn)
		}
	}
}

// handshake tells a board that proves itself what it is bound to.
func (p *Platform) handshake(q *request) (any, error) {
	var h binding.Hello
	if err := q.decode(&h); err != nil {
		return nil, err
	}
	if !wire.ValidSN(h.SN) {
		return nil, errcode.Param("sn", "format error")
	}
	var sealed binding.Sealed
	err := p.db.View(func(tx *bolt.Tx) error {
		factoryKey, err := store.Get(tx.Bucket(factoryBucket), []byte(h.SN))
		if err != nil {
			return err
		}
		if factoryKey == nil {
			return errcode.New(errcode.DeviceNotExist, "")
		}
		if err := h.Verify(string(factoryKey), p.o.Now()); err != nil {
			return err
		}
		d, err := loadDevice(tx, h.SN)
		if err != nil {
			return err
		}
		if d == nil || !d.Bound {
			return errcode.New(errcode.DeviceNotBound, "")
		}
		sealed, err = p.seal(tx, d, h.SealKey)
		return err
	})
	return map[string]any{"binding": sealed}, err
}

func (p *Platform) updateDevices(q *request) (any, error) {
	return p.perDevice(q, func(tx *bolt.Tx, item *binding.DeviceItem) error {
		d, err := p.own(tx, item.SN, q.account.ID)
		if err != nil {
			return err
		}
		if err := p.groupExists(tx, item.GroupID, q.account.ID); err != nil {
			return err
		}
		d.GroupID, d.Remark = item.GroupID, item.Remark
		return saveDevice(tx, d)
	})
}

// unbindDevices takes boards out of the account: their credentials end, they
// are told while their connection still stands, and it is ended.
func (p *Platform) unbindDevices(q *request) (any, error) {
	var gone []device
	var wake []string
	results, err := p.perDevice(q, func(tx *bolt.Tx, item *binding.DeviceItem) error {
		d, err := p.own(tx, item.SN, q.account.ID)
		if err != nil {
			return err
		}
		gone = append(gone, *d)
		more, err := p.leave(tx, d.SN)
		if err != nil {
			return err
		}
		wake = append(wake, more...)
		return tx.Bucket(devicesBucket).Delete([]byte(d.SN))
	})
	p.wake(wake)
	var sns []string
	for _, d := range gone {
		p.send(&d, wire.NameUnbind, map[string]any{})
		sns = append(sns, d.SN)
	}
	if len(sns) > 0 && p.o.Kick != nil {
		time.Sleep(unbindGrace)
		p.kick(sns)
	}
	return results, err
}

// unbindGrace is the time in which a board may hear that it is unbound before
// its connection ends. One that does not hear it learns it from its handshake.
const unbindGrace = 300 * time.Millisecond

// devicesOf are the account's devices in order of their ids.
func (p *Platform) devicesOf(tx *bolt.Tx, accountID int64) (list []device, err error) {
	err = each(p, tx, devicesBucket, func(_ string, d device) error {
		if d.UserID == accountID {
			list = append(list, d)
		}
		return nil
	})
	slices.SortFunc(list, func(a, b device) int { return int(a.ID - b.ID) })
	return list, err
}

func (p *Platform) listDevices(q *request) (any, error) {
	var list []map[string]any
	err := p.db.View(func(tx *bolt.Tx) error {
		devices, err := p.devicesOf(tx, q.account.ID)
		for _, d := range devices {
			list = append(list, d.shown())
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return scan(q.query, list)
}

func (p *Platform) getDevice(q *request) (any, error) {
	var d *device
	err := p.db.View(func(tx *bolt.Tx) (err error) {
		d, err = p.own(tx, q.PathValue("sn"), q.account.ID)
		return err
	})
	if err != nil {
		return nil, err
	}
	return d.shown(), nil
}

// group is a device group; 0 is the default one, which is not stored.
type group struct {
	ID         int64  `json:"id"`
	ParentID   int64  `json:"parent_id"`
	UserID     int64  `json:"user_id"`
	Name       string `json:"name"`
	Remark     string `json:"remark"`
	CreateTime int64  `json:"create_time"`
}

// groupExists gives 5101 for a group that is not the account's.
func (p *Platform) groupExists(tx *bolt.Tx, id, accountID int64) error {
	if id == 0 {
		return nil
	}
	_, err := p.group(tx, id, accountID)
	return err
}

func (p *Platform) group(tx *bolt.Tx, id, accountID int64) (*group, error) {
	var g group
	ok, err := store.GetJSON(tx.Bucket(groupsBucket), idKey(id), &g)
	if err != nil {
		return nil, err
	}
	if !ok || g.UserID != accountID {
		return nil, errcode.New(errcode.GroupNotExist, "")
	}
	return &g, nil
}

// groupInput is the body of a group's creation and change.
type groupInput struct {
	Name     *string `json:"name"`
	ParentID *int64  `json:"parent_id"`
	Remark   *string `json:"remark"`
}

// set takes over what is given; a group may not become its own ancestor.
func (p *Platform) set(tx *bolt.Tx, g *group, in groupInput) error {
	if in.Name != nil {
		g.Name = *in.Name
	}
	if in.Remark != nil {
		g.Remark = *in.Remark
	}
	if in.ParentID != nil {
		for id := *in.ParentID; id != 0; {
			if id == g.ID {
				return errcode.Param("parent_id", "is the group itself or one below it")
			}
			parent, err := p.group(tx, id, g.UserID)
			if err != nil {
				return err
			}
			id = parent.ParentID
		}
		g.ParentID = *in.ParentID
	}
	if g.Name == "" || len(g.Name) > 128 {
		return errcode.Param("name", "must be 1 to 128 bytes")
	}
	return store.PutJSON(tx.Bucket(groupsBucket), idKey(g.ID), g)
}

func (p *Platform) createGroup(q *request) (any, error) {
	var in groupInput
	if err := q.decode(&in); err != nil {
		return nil, err
	}
	g := group{UserID: q.account.ID, CreateTime: p.o.Now().Unix()}
	err := p.db.Update(func(tx *bolt.Tx) (err error) {
		if g.ID, err = next(tx.Bucket(groupsBucket)); err != nil {
			return err
		}
		return p.set(tx, &g, in)
	})
	return g, err
}

func (p *Platform) updateGroup(q *request) (any, error) {
	var in groupInput
	if err := q.decode(&in); err != nil {
		return nil, err
	}
	var g *group
	err := p.db.Update(func(tx *bolt.Tx) (err error) {
		if g, err = p.group(tx, parseID(q.PathValue("id")), q.account.ID); err != nil {
			return err
		}
		return p.set(tx, g, in)
	})
	return g, err
}

func (p *Platform) getGroup(q *request) (any, error) {
	var g *group
	err := p.db.View(func(tx *bolt.Tx) (err error) {
		g, err = p.group(tx, parseID(q.PathValue("id")), q.account.ID)
		return err
	})
	return g, err
}

func (p *Platform) listGroups(q *request) (any, error) {
	var list []group
	err := p.db.View(func(tx *bolt.Tx) error {
		return each(p, tx, groupsBucket, func(_ string, g group) error {
			if g.UserID == q.account.ID {
				list = append(list, g)
			}
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return scan(q.query, list)
}

// deleteGroup hands the group's children and devices to group 0.
func (p *Platform) deleteGroup(q *request) (any, error) {
	return nil, p.db.Update(func(tx *bolt.Tx) error {
		g, err := p.group(tx, parseID(q.PathValue("id")), q.account.ID)
		if err != nil {
			return err
		}
		var children []group
		err = each(p, tx, groupsBucket, func(_ string, child group) error {
			if child.UserID == q.account.ID && child.ParentID == g.ID {
				children = append(children, child)
			}
			return nil
		})
		if err != nil {
			return err
		}
		for _, child := range children {
			child.ParentID = 0
			if err := store.PutJSON(tx.Bucket(groupsBucket), idKey(child.ID), child); err != nil {
				return err
			}
		}
		devices, err := p.devicesOf(tx, q.account.ID)
		if err != nil {
			return err
		}
		for _, d := range devices {
			if d.GroupID == g.ID {
				d.GroupID = 0
				if err := saveDevice(tx, &d); err != nil {
					return err
				}
			}
		}
		return tx.Bucket(groupsBucket).Delete(idKey(g.ID))
	})
}
