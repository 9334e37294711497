package platform

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	bolt "go.etcd.io/bbolt"

	"gatehouse/sync/binding"
	"gatehouse/sync/errcode"
	"gatehouse/sync/store"
	"gatehouse/sync/wire"
)

// whitelist is a whitelist change as the account created it.
type whitelist struct {
	ID         string         `json:"id"`
	UserID     int64          `json:"user_id"`
	Digest     string         `json:"digest"`
	Content    string         `json:"content"`
	Remark     string         `json:"remark"`
	CreateTime int64          `json:"create_time"`
	Counts     map[string]int `json:"counts,omitempty"` // devices by state
}

// target is what one device should do with a change, and what it has said.
type target struct {
	ChangeID string             `json:"change_id"`
	SN       string             `json:"sn"`
	Want     string             `json:"want"`  // stage, apply or cancel
	State    string             `json:"state"` // the board's; pending before its first word
	Step     string             `json:"step"`
	Progress int                `json:"progress"`
	Result   *wire.ChangeResult `json:"result"`
	Updated  int64              `json:"update_time"`
}

const statePending = "pending"

// settled reports whether the board has nothing to be sent any more.
func (t target) settled() bool {
	switch t.State {
	case wire.StateUsed, wire.StateCancelled:
		return true
	case wire.StateStaged, wire.StateApplying:
		return t.Want == wire.VerbStage
	}
	return t.Result != nil && t.Result.ErrorCode != 0 // it was refused
}

func targetKey(id, sn string) []byte { return []byte(id + "\x00" + sn) }

func (p *Platform) createWhitelist(q *request) (any, error) {
	var in struct {
		Content string `json:"content"`
		Targets struct {
			SNs      []string `json:"sns"`
			GroupIDs []int64  `json:"group_ids"`
		} `json:"targets"`
		Remark string `json:"remark"`
	}
	if err := q.decode(&in); err != nil {
		return nil, err
	}
	if !json.Valid([]byte(in.Content)) {
		return nil, errcode.Param("content", "must be JSON text")
	}
	if len(in.Content) > wire.MaxMessage*3/4 {
		return nil, errcode.Param("content", "must be at most 96 KiB for now; larger sets come with the delivery issue")
	}
	sum := sha256.Sum256([]byte(in.Content))
	w := whitelist{ID: wire.NewID(), UserID: q.account.ID, Digest: "sha256:" + hex.EncodeToString(sum[:]), Content: in.Content, Remark: in.Remark, CreateTime: p.o.Now().Unix()}
	devices := map[string]*device{}
	err := p.db.Update(func(tx *bolt.Tx) error {
		if err := p.collect(tx, q.account.ID, in.Targets.SNs, in.Targets.GroupIDs, devices); err != nil {
			return err
		}
		if len(devices) == 0 {
			return errcode.Param("targets", "must name at least one bound device or group with one")
		}
		for sn := range devices {
			t := target{ChangeID: w.ID, SN: sn, Want: wire.VerbStage, State: statePending, Updated: w.CreateTime}
			if err := store.PutJSON(tx.Bucket(targetsBucket), targetKey(w.ID, sn), t); err != nil {
				return err
			}
		}
		return store.PutJSON(tx.Bucket(changesBucket), []byte(w.ID), w)
	})
	if err != nil {
		return nil, err
	}
	for _, d := range devices {
		p.sendPending(d)
	}
	w.Counts = map[string]int{statePending: len(devices)}
	return w, nil
}

// collect finds the devices of serial numbers and groups; all must be the account's.
func (p *Platform) collect(tx *bolt.Tx, accountID int64, sns []string, groups []int64, into map[string]*device) error {
	for _, sn := range sns {
		d, err := p.own(tx, sn, accountID)
		if err != nil {
			return err
		}
		into[sn] = d
	}
	all, err := p.devicesOf(tx, accountID)
	if err != nil {
		return err
	}
	for _, id := range groups {
		if err := p.groupExists(tx, id, accountID); err != nil {
			return err
		}
		for i := range all {
			if all[i].GroupID == id {
				into[all[i].SN] = &all[i]
			}
		}
	}
	return nil
}

// ownWhitelist gives a whitelist of the account with its counts: else 5501.
func (p *Platform) ownWhitelist(tx *bolt.Tx, id string, accountID int64) (*whitelist, []target, error) {
	var w whitelist
	ok, err := store.GetJSON(tx.Bucket(changesBucket), []byte(id), &w)
	if err != nil {
		return nil, nil, err
	}
	if !ok || w.UserID != accountID {
		return nil, nil, errcode.New(errcode.WhitelistNotExist, "")
	}
	var targets []target
	w.Counts = map[string]int{}
	err = eachWithPrefix(p, tx, targetsBucket, id+"\x00", func(_ string, t target) error {
		targets = append(targets, t)
		w.Counts[t.State]++
		return nil
	})
	return &w, targets, err
}

func (p *Platform) getWhitelist(q *request) (any, error) {
	var w *whitelist
	err := p.db.View(func(tx *bolt.Tx) (err error) {
		w, _, err = p.ownWhitelist(tx, q.PathValue("id"), q.account.ID)
		return err
	})
	return w, err
}

func (p *Platform) listWhitelists(q *request) (any, error) {
	var list []whitelist
	err := p.db.View(func(tx *bolt.Tx) error {
		return each(p, tx, changesBucket, func(id string, w whitelist) error {
			if w.UserID != q.account.ID {
				return nil
			}
			full, _, err := p.ownWhitelist(tx, id, q.account.ID)
			if err != nil {
				return err
			}
			full.Content = "" // a list is for looking through
			list = append(list, *full)
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return scan(q.query, list)
}

func (p *Platform) whitelistDevices(q *request) (any, error) {
	var targets []target
	err := p.db.View(func(tx *bolt.Tx) (err error) {
		_, targets, err = p.ownWhitelist(tx, q.PathValue("id"), q.account.ID)
		return err
	})
	if err != nil {
		return nil, err
	}
	return scan(q.query, targets)
}

func (p *Platform) applyWhitelist(q *request) (any, error)  { return p.wantAll(q, wire.VerbApply) }
func (p *Platform) cancelWhitelist(q *request) (any, error) { return p.wantAll(q, wire.VerbCancel) }

// wantAll asks all devices of a whitelist to apply or cancel it. Devices where
// it is applied or cancelled already are failures with 5502 and 5503.
func (p *Platform) wantAll(q *request, verb string) (any, error) {
	results := binding.ItemResults{Successes: []binding.DeviceItem{}, Failures: []binding.DeviceItem{}}
	var devices []*device
	err := p.db.Update(func(tx *bolt.Tx) error {
		_, targets, err := p.ownWhitelist(tx, q.PathValue("id"), q.account.ID)
		if err != nil {
			return err
		}
		for _, t := range targets {
			code := errcode.Code(0)
			d, err := p.own(tx, t.SN, q.account.ID)
			switch {
			case err != nil:
				code = errcode.From(err).Code
			case t.State == wire.StateUsed:
				code = errcode.WhitelistUsed
			case t.State == wire.StateCancelled:
				code = errcode.WhitelistCancelled
			}
			if code != 0 {
				results.Failures = append(results.Failures, binding.DeviceItem{SN: t.SN, Error: &binding.ItemError{Code: int(code), Message: code.Message()}})
				continue
			}
			t.Want, t.Updated, t.Result = verb, p.o.Now().Unix(), nil
			if err := store.PutJSON(tx.Bucket(targetsBucket), targetKey(t.ChangeID, t.SN), t); err != nil {
				return err
			}
			devices = append(devices, d)
			results.Successes = append(results.Successes, binding.DeviceItem{SN: t.SN})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, d := range devices {
		p.sendPending(d)
	}
	return results, nil
}

// sendPending sends a board what it has not yet done of what is wanted: a
// stage before an apply where the board has not said that it has it. Boards
// answer a repeated command with its state, so sending again is safe.
func (p *Platform) sendPending(d *device) {
	var commands []wire.ChangeCommand
	err := p.db.View(func(tx *bolt.Tx) error {
		return each(p, tx, targetsBucket, func(_ string, t target) error {
			if t.SN != d.SN || t.settled() {
				return nil
			}
			var w whitelist
			if ok, err := store.GetJSON(tx.Bucket(changesBucket), []byte(t.ChangeID), &w); !ok || err != nil || w.UserID != d.UserID {
				return err
			}
			if t.State == statePending {
				commands = append(commands, wire.ChangeCommand{OperatorType: wire.VerbStage, ChangeID: w.ID, Digest: w.Digest, Content: w.Content})
			}
			if t.Want != wire.VerbStage {
				commands = append(commands, wire.ChangeCommand{OperatorType: t.Want, ChangeID: w.ID})
			}
			return nil
		})
	})
	if err != nil {
		p.o.Log.Error("pending changes cannot be read", "sn", d.SN, "err", err)
	}
	for _, c := range commands {
		p.send(d, "whitelist", c)
	}
}

// reported takes over what a board says of a change: its report, or the code
// with which it refused a command.
func (p *Platform) reported(tx *bolt.Tx, sn string, r wire.ChangeReport, code int, message string) error {
	var t target
	ok, err := store.GetJSON(tx.Bucket(targetsBucket), targetKey(r.ChangeID, sn), &t)
	if err != nil || !ok {
		return err
	}
	if t.State == wire.StateUsed || t.State == wire.StateCancelled {
		return nil // a finished result never changes
	}
	if r.State != "" {
		t.State, t.Step, t.Progress, t.Result = r.State, r.Step, r.Progress, r.Result
	}
	if code != 0 && !t.settled() {
		t.Result = &wire.ChangeResult{ErrorCode: code, ErrorMessage: message, At: p.o.Now().Unix()}
	}
	if t.Result != nil && t.Result.ErrorCode != 0 && t.State == wire.StateStaged {
		t.Want = wire.VerbStage // it failed and stays staged until somebody asks again
	}
	t.Updated = p.o.Now().Unix()
	return store.PutJSON(tx.Bucket(targetsBucket), targetKey(r.ChangeID, sn), t)
}
