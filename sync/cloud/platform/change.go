package platform

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	bolt "go.etcd.io/bbolt"

	"gatehouse/sync/errcode"
	"gatehouse/sync/store"
	"gatehouse/sync/wire"
)

// change is a config, whitelist or upgrade as an account created it. Its
// content lies in a file (content.go), what each device does with it in targets.
type change struct {
	ID     string `json:"id"`
	Kind   string `json:"kind"` // config, upgrade or whitelist
	UserID int64  `json:"user_id"`
	// Sequence rises with every change of this cloud; boards are sent changes in
	// this order, and signatures carry it.
	Sequence   uint64 `json:"sequence"`
	Digest     string `json:"digest"`
	Length     int64  `json:"length"`
	Inline     bool   `json:"inline"` // short enough for the stage command itself
	Remark     string `json:"remark"`
	CreateTime int64  `json:"create_time"`

	Mode          string `json:"mode,omitempty"`           // replace, delta or merge
	Base          string `json:"base,omitempty"`           // of a delta: the set it starts from
	Rows          int    `json:"rows,omitempty"`           // of a whitelist
	SetDigest     string `json:"set_digest,omitempty"`     // of the set that a replace makes
	BoardVersions []int  `json:"board_versions,omitempty"` // of an upgrade; none: any

	Targets int            `json:"targets"`
	Counts  map[string]int `json:"counts"` // devices by state, failed ones apart
	Rollout rollout        `json:"rollout"`

	Content string `json:"content,omitempty"` // in answers, where it is short
	Failure string `json:"failure,omitempty"` // in answers: the first device on which it has failed, and why
}

// target is what one device should do with a change, and what it has said.
type target struct {
	ChangeID string             `json:"change_id"`
	Kind     string             `json:"kind"`
	SN       string             `json:"sn"`
	Sequence uint64             `json:"sequence"`
	Want     string             `json:"want"`  // stage, apply or cancel
	State    string             `json:"state"` // the board's; pending before its first word
	Step     string             `json:"step"`
	Reason   string             `json:"reason,omitempty"` // why it waits
	Progress int                `json:"progress"`
	Result   *wire.ChangeResult `json:"result"`
	Run      int                `json:"run"` // of the roll-out it was released in, 0: not yet
	Created  int64              `json:"create_time"`
	Staged   int64              `json:"stage_time"`
	Finished int64              `json:"finish_time"`
	Updated  int64              `json:"update_time"`
	FailedAt int64              `json:"failed_at,omitempty"` // of the last failure that the board told, by its clock
}

// The states that a board does not know.
const (
	statePending = "pending" // the board has not answered yet
	stateFailed  = "failed"  // in counts: it has refused the change or could not apply it
)

// failed reports whether the last thing the board said was a failure.
func (t target) failed() bool {
	return t.Result != nil && t.Result.ErrorCode != 0 && t.State != wire.StateUsed && t.State != wire.StateCancelled
}

// label is the state as it is counted.
func (t target) label() string {
	if t.failed() {
		return stateFailed
	}
	return t.State
}

// settled reports whether the board has nothing to be sent any more.
func (t target) settled() bool {
	switch t.State {
	case wire.StateUsed, wire.StateCancelled:
		return true
	case wire.StateStaged, wire.StateApplying:
		return t.Want == wire.VerbStage
	}
	return t.failed() // it was refused
}

func targetKey(id, sn string) []byte { return []byte(id + "\x00" + sn) }

func pendingKey(t target) []byte {
	return fmt.Appendf(nil, "%s\x00%016x\x00%s", t.SN, t.Sequence, t.ChangeID)
}

func loadTarget(tx *bolt.Tx, id, sn string) (t target, ok bool, err error) {
	ok, err = store.GetJSON(tx.Bucket(targetsBucket), targetKey(id, sn), &t)
	return t, ok, err
}

// saveTarget stores a target, keeps the list of what is pending for its board,
// and counts it in its change, which the caller saves.
func saveTarget(tx *bolt.Tx, c *change, old *target, t target) error {
	if c.Counts == nil {
		c.Counts = map[string]int{}
	}
	if old != nil {
		if c.Counts[old.label()]--; c.Counts[old.label()] <= 0 {
			delete(c.Counts, old.label())
		}
	}
	c.Counts[t.label()]++
	c.Rollout.count(old, t)
	pending := tx.Bucket(pendingBucket)
	var err error
	if t.settled() {
		err = pending.Delete(pendingKey(t))
	} else {
		err = store.Put(pending, pendingKey(t), nil)
	}
	return errors.Join(err, store.PutJSON(tx.Bucket(targetsBucket), targetKey(t.ChangeID, t.SN), t))
}

func loadChange(tx *bolt.Tx, id string) (*change, error) {
	var c change
	ok, err := store.GetJSON(tx.Bucket(changesBucket), []byte(id), &c)
	if err != nil || !ok {
		return nil, err
	}
	return &c, nil
}

func saveChange(tx *bolt.Tx, c *change) error {
	return store.PutJSON(tx.Bucket(changesBucket), []byte(c.ID), c)
}

// ownChange gives a change of the account and kind: else 5301, 5401 or 5501.
func (p *Platform) ownChange(tx *bolt.Tx, k *kind, id string, accountID int64) (*change, error) {
	c, err := loadChange(tx, id)
	if err != nil {
		return nil, err
	}
	if c == nil || c.UserID != accountID || c.Kind != k.name {
		return nil, errcode.New(k.notExist, "")
	}
	return c, nil
}

// nextSequence is above every one that was given before, and near the time in
// ms, so that boards are not left with signatures of the future when the
// cloud's data is put back to an older copy.
func (p *Platform) nextSequence(tx *bolt.Tx) (uint64, error) {
	var last uint64
	b := tx.Bucket(metaBucket)
	if _, err := store.GetJSON(b, sequenceKey, &last); err != nil {
		return 0, err
	}
	last = max(last+1, uint64(max(p.o.Now().UnixMilli(), 1)))
	return last, store.PutJSON(b, sequenceKey, last)
}

// creation is the body of POST /{kinds}.
type creation struct {
	Content *string `json:"content"`
	File    string  `json:"file"` // digest of an uploaded file
	Base    string  `json:"base"`
	Targets struct {
		SNs      []string `json:"sns"`
		GroupIDs []int64  `json:"group_ids"`
	} `json:"targets"`
	Rollout rollout `json:"rollout"`
	Remark  string  `json:"remark"`
}

// createChange keeps a change and stages it on its targets.
func (p *Platform) createChange(k *kind) func(q *request) (any, error) {
	return func(q *request) (any, error) {
		var in creation
		if err := q.decode(&in); err != nil {
			return nil, err
		}
		if err := in.Rollout.check(); err != nil {
			return nil, err
		}
		if len(in.Remark) > 1024 {
			return nil, errcode.Param("remark", "must be at most 1024 bytes")
		}
		c := &change{ID: wire.NewID(), Kind: k.name, UserID: q.account.ID, Base: in.Base, Remark: in.Remark, CreateTime: p.o.Now().Unix(),
			Rollout: rollout{Canary: in.Rollout.Canary, Batch: in.Rollout.Batch, MaxFailures: in.Rollout.MaxFailures, Wait: in.Rollout.Wait}, Counts: map[string]int{}}
		p.contents.RLock()
		defer p.contents.RUnlock()
		if err := p.takeContent(k, c, in); err != nil {
			return nil, err
		}
		devices := map[string]*device{}
		err := p.db.Update(func(tx *bolt.Tx) (err error) {
			if err := p.collect(tx, q.account.ID, in.Targets.SNs, in.Targets.GroupIDs, devices); err != nil {
				return err
			}
			if len(devices) == 0 {
				return errcode.Param("targets", "must name at least one device, or a group with one")
			}
			if err := p.knownBoards(tx, c); err != nil {
				return err
			}
			if c.Sequence, err = p.nextSequence(tx); err != nil {
				return err
			}
			c.Targets = len(devices)
			c.Inline = c.Inline && c.Length*int64(c.Targets) <= maxFanOut
			for sn, d := range devices {
				t := target{ChangeID: c.ID, Kind: c.Kind, SN: sn, Sequence: c.Sequence, Want: wire.VerbStage, State: statePending, Created: c.CreateTime, Updated: c.CreateTime}
				if len(c.BoardVersions) > 0 && d.BoardVersion != 0 && !slices.Contains(c.BoardVersions, d.BoardVersion) {
					t.Result = &wire.ChangeResult{ErrorCode: int(errcode.BoardNotExist), At: c.CreateTime,
						ErrorMessage: errcode.BoardNotExist.Message() + fmt.Sprintf("The upgrade is not for board type %d!", d.BoardVersion)}
				}
				if err := saveTarget(tx, c, nil, t); err != nil {
					return err
				}
			}
			return saveChange(tx, c)
		})
		if err != nil {
			return nil, err
		}
		p.wake(slices.Collect(maps.Keys(devices)))
		return c, nil
	}
}

// collect finds the devices of serial numbers and groups; all must be the account's.
func (p *Platform) collect(tx *bolt.Tx, accountID int64, sns []string, groups []int64, into map[string]*device) error {
	for _, sn := range sns {
		if !wire.ValidSN(sn) {
			return errcode.Param("targets/sns", "has a malformed serial number: "+fmt.Sprintf("%.40q", sn))
		}
		d, err := p.own(tx, sn, accountID)
		if err != nil {
			return err
		}
		into[sn] = d
	}
	if len(groups) == 0 {
		return nil
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

func (p *Platform) getChange(k *kind) func(q *request) (any, error) {
	return func(q *request) (any, error) {
		var c *change
		err := p.db.View(func(tx *bolt.Tx) (err error) {
			if c, err = p.ownChange(tx, k, q.PathValue("id"), q.account.ID); err == nil {
				c.Failure = p.firstFailure(tx, c)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		if c.Inline {
			text, err := p.readContent(c)
			if err != nil {
				return nil, err
			}
			c.Content = string(text)
		}
		return c, nil
	}
}

func (p *Platform) listChanges(k *kind) func(q *request) (any, error) {
	return func(q *request) (any, error) {
		var list []change
		err := p.db.View(func(tx *bolt.Tx) error {
			return each(p, tx, changesBucket, func(_ string, c change) error {
				if c.UserID == q.account.ID && c.Kind == k.name {
					list = append(list, c)
				}
				return nil
			})
		})
		if err != nil {
			return nil, err
		}
		slices.SortFunc(list, func(a, b change) int { return int(a.Sequence) - int(b.Sequence) })
		return scan(q.query, list)
	}
}

func (p *Platform) changeDevices(k *kind) func(q *request) (any, error) {
	return func(q *request) (any, error) {
		var targets []target
		err := p.db.View(func(tx *bolt.Tx) error {
			c, err := p.ownChange(tx, k, q.PathValue("id"), q.account.ID)
			if err != nil {
				return err
			}
			targets, err = p.targetsOf(tx, c)
			return err
		})
		if err != nil {
			return nil, err
		}
		for i, t := range targets {
			if t.State == statePending { // or failed: it has refused it
				targets[i].State = t.label()
			}
		}
		return scan(q.query, targets)
	}
}

// firstFailure tells the first device on which a change has failed, and why.
func (p *Platform) firstFailure(tx *bolt.Tx, c *change) string {
	if c.Counts[stateFailed] == 0 {
		return ""
	}
	text := ""
	_ = eachWithPrefix(p, tx, targetsBucket, c.ID+"\x00", func(_ string, t target) error {
		if !t.failed() {
			return nil
		}
		text = fmt.Sprintf("%s: %d %s", t.SN, t.Result.ErrorCode, t.Result.ErrorMessage)
		return errFound
	})
	return text
}

// errFound ends a walk over records.
var errFound = errors.New("found")

// targetsOf are a change's targets in order of their serial numbers.
func (p *Platform) targetsOf(tx *bolt.Tx, c *change) (list []target, err error) {
	err = eachWithPrefix(p, tx, targetsBucket, c.ID+"\x00", func(_ string, t target) error {
		list = append(list, t)
		return nil
	})
	return list, err
}

// decodeContent reads a short content's own fields; the rest is the board's to check.
func decodeContent(text []byte, v any) error {
	if err := json.Unmarshal(text, v); err != nil {
		var t *json.UnmarshalTypeError
		if errors.As(err, &t) {
			return errcode.Param("content/"+t.Field, "must be of type "+t.Type.String())
		}
		return errcode.Param("content", "must be JSON text")
	}
	return nil
}
