package platform

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	bolt "go.etcd.io/bbolt"

	"gatehouse/sync/binding"
	"gatehouse/sync/errcode"
	"gatehouse/sync/store"
	"gatehouse/sync/wire"
)

// rollout is how a change reaches many devices: first some canaries, then the
// others in batches, each batch once the one before has ended everywhere, until
// too many have failed. It moves with what boards report, so a restart of the
// cloud loses nothing. A board that is away keeps its batch open for Wait.
type rollout struct {
	Canary      int     `json:"canary"`       // devices of the first batch; 0: as Batch
	Batch       int     `json:"batch"`        // devices of each later one; 0: all that are left
	MaxFailures failing `json:"max_failures"` // a number of devices, or "10%" of those released
	Wait        int64   `json:"wait"`         // seconds that a batch is waited for once a device has used the change; 0: without end

	State     string `json:"state"`  // "" before the first apply, running, stopped, done, cancelled
	Reason    string `json:"reason"` // why it was stopped
	Run       int    `json:"run"`    // counts applies
	Planned   int    `json:"planned"`
	Released  int    `json:"released"`
	Used      int    `json:"used"` // of those released in this run
	Failed    int    `json:"failed"`
	Cancelled int    `json:"cancelled"`
	At        int64  `json:"released_at"` // Unix time, s, of the last batch
}

// The states of a roll-out.
const (
	rolloutRunning   = "running"
	rolloutStopped   = "stopped"
	rolloutDone      = "done"
	rolloutCancelled = "cancelled"
)

// failing is how many failures a roll-out bears: a number, or a share in per cent.
type failing struct {
	Number  int
	Percent bool
}

// MarshalJSON writes 3 or "10%".
func (f failing) MarshalJSON() ([]byte, error) {
	if f.Percent {
		return json.Marshal(strconv.Itoa(f.Number) + "%")
	}
	return json.Marshal(f.Number)
}

// UnmarshalJSON reads what MarshalJSON writes; anything else is 1103.
func (f *failing) UnmarshalJSON(text []byte) error {
	var s string
	wrong := errcode.Param("rollout/max_failures", `must be a number from 0, or a share such as "10%"`)
	if json.Unmarshal(text, &f.Number) == nil {
		f.Percent = false
		if f.Number < 0 {
			return wrong
		}
		return nil
	}
	if json.Unmarshal(text, &s) != nil {
		return wrong
	}
	share, ok := strings.CutSuffix(s, "%")
	n, err := strconv.Atoi(share)
	if !ok || err != nil || n < 0 || n > 100 {
		return wrong
	}
	f.Number, f.Percent = n, true
	return nil
}

func (r rollout) check() error {
	if r.Canary < 0 {
		return errcode.Param("rollout/canary", "must be a number from 0")
	}
	if r.Batch < 0 {
		return errcode.Param("rollout/batch", "must be a number from 0")
	}
	if r.Wait < 0 {
		return errcode.Param("rollout/wait", "must be a number of seconds from 0")
	}
	return nil
}

// over reports whether the batch has ended everywhere, or has been waited for
// long enough: boards may be away for ever. One device at least must have shown
// that the change can be used.
func (r rollout) over(now int64) bool {
	return r.Used+r.Failed+r.Cancelled >= r.Released || r.Wait > 0 && r.Used > 0 && now-r.At >= r.Wait
}

// tooMany reports whether more have failed than may.
func (r rollout) tooMany() bool {
	if r.MaxFailures.Percent {
		return r.Failed*100 > r.MaxFailures.Number*r.Released
	}
	return r.Failed > r.MaxFailures.Number
}

// count notes how a device of this run has moved.
func (r *rollout) count(old *target, t target) {
	if t.Run == 0 || t.Run != r.Run {
		return
	}
	if old != nil && old.Run == t.Run {
		r.add(*old, -1)
	}
	r.add(t, 1)
}

func (r *rollout) add(t target, n int) {
	switch t.label() {
	case wire.StateUsed:
		r.Used += n
	case wire.StateCancelled:
		r.Cancelled += n
	case stateFailed:
		r.Failed += n
	}
}

func (p *Platform) applyChange(k *kind) func(q *request) (any, error) {
	return func(q *request) (any, error) { return p.wantAll(q, k, wire.VerbApply) }
}

func (p *Platform) cancelChange(k *kind) func(q *request) (any, error) {
	return func(q *request) (any, error) { return p.wantAll(q, k, wire.VerbCancel) }
}

// wantAll asks all devices of a change to apply or cancel it. Devices where it
// is applied or cancelled already are failures with 5x02 and 5x03, those that
// left the account with 5002 or 5003. An apply begins a roll-out, of the
// devices that are left where one was stopped.
func (p *Platform) wantAll(q *request, k *kind, verb string) (any, error) {
	results := binding.ItemResults{Successes: []binding.DeviceItem{}, Failures: []binding.DeviceItem{}}
	var wake []string
	err := p.db.Update(func(tx *bolt.Tx) error {
		results.Successes, results.Failures, wake = results.Successes[:0], results.Failures[:0], nil
		c, err := p.ownChange(tx, k, q.PathValue("id"), q.account.ID)
		if err != nil {
			return err
		}
		targets, err := p.targetsOf(tx, c)
		if err != nil {
			return err
		}
		var eligible []target
		for _, t := range targets {
			if code := p.ineligible(tx, k, c, t); code != 0 {
				results.Failures = append(results.Failures, binding.DeviceItem{SN: t.SN, Error: &binding.ItemError{Code: int(code), Message: code.Message()}})
				continue
			}
			eligible = append(eligible, t)
			results.Successes = append(results.Successes, binding.DeviceItem{SN: t.SN})
		}
		if len(eligible) == 0 || verb == wire.VerbApply && c.Rollout.State == rolloutRunning {
			return nil // nothing to do, or under way: a repeated call does not begin it anew
		}
		if verb == wire.VerbCancel {
			wake, err = p.cancelAll(tx, c, eligible)
		} else {
			wake, err = p.begin(tx, c, eligible)
		}
		if err != nil {
			return err
		}
		return saveChange(tx, c)
	})
	if err != nil {
		return nil, err
	}
	p.wake(wake)
	return results, nil
}

// ineligible is the code with which a device takes no part, or 0.
func (p *Platform) ineligible(tx *bolt.Tx, k *kind, c *change, t target) errcode.Code {
	switch t.State {
	case wire.StateUsed:
		return k.used
	case wire.StateCancelled:
		return k.cancelled
	}
	if _, err := p.own(tx, t.SN, c.UserID); err != nil {
		return errcode.From(err).Code
	}
	return 0
}

func (p *Platform) cancelAll(tx *bolt.Tx, c *change, list []target) (wake []string, err error) {
	c.Rollout.State = rolloutCancelled
	for _, old := range list {
		t := old
		t.Want, t.Result, t.Updated = wire.VerbCancel, nil, p.o.Now().Unix()
		if err := saveTarget(tx, c, &old, t); err != nil {
			return nil, err
		}
		wake = append(wake, t.SN)
	}
	return wake, nil
}

// begin plans a run over the devices and releases its first batch.
func (p *Platform) begin(tx *bolt.Tx, c *change, list []target) (wake []string, err error) {
	r := &c.Rollout
	r.State, r.Reason, r.Run = rolloutRunning, "", r.Run+1
	r.Planned, r.Released, r.Used, r.Failed, r.Cancelled = len(list), 0, 0, 0, 0
	plan := make([]string, len(list))
	for i, old := range list {
		t := old
		plan[i] = t.SN
		// An earlier failure is forgotten; who has it under way goes on.
		t.Result, t.Run = nil, 0
		if t.Want == wire.VerbCancel {
			t.Want = wire.VerbStage
		}
		if err := saveTarget(tx, c, &old, t); err != nil {
			return nil, err
		}
	}
	if err := store.PutJSON(tx.Bucket(plansBucket), []byte(c.ID), plan); err != nil {
		return nil, err
	}
	first := r.Canary
	if first == 0 {
		first = r.Batch
	}
	return p.release(tx, c, first)
}

// release has the next n devices of the plan apply the change, 0: all that are left.
func (p *Platform) release(tx *bolt.Tx, c *change, n int) (wake []string, err error) {
	var plan []string
	if _, err := store.GetJSON(tx.Bucket(plansBucket), []byte(c.ID), &plan); err != nil {
		return nil, err
	}
	rest := plan[min(c.Rollout.Released, len(plan)):]
	if n > 0 {
		rest = rest[:min(n, len(rest))]
	}
	c.Rollout.Released += len(rest)
	c.Rollout.At = p.o.Now().Unix()
	for _, sn := range rest {
		old, ok, err := loadTarget(tx, c.ID, sn)
		if err != nil {
			return nil, err
		}
		if !ok {
			return nil, fmt.Errorf("cannot release %s: its target is gone", sn)
		}
		t := old
		t.Want, t.Run, t.Updated = wire.VerbApply, c.Rollout.Run, p.o.Now().Unix()
		if _, err := p.own(tx, sn, c.UserID); err != nil { // it left the account meanwhile
			t.Result = gone(p.o.Now().Unix())
		}
		if err := saveTarget(tx, c, &old, t); err != nil {
			return nil, err
		}
		wake = append(wake, sn)
	}
	return wake, nil
}

// gone is the result of a device that the account has no more.
func gone(at int64) *wire.ChangeResult {
	return &wire.ChangeResult{ErrorCode: int(errcode.DeviceNotBound), ErrorMessage: errcode.DeviceNotBound.Message(), At: at}
}

// advance moves a roll-out on after a device of it has moved, or time has; the caller saves c.
func (p *Platform) advance(tx *bolt.Tx, c *change) (wake []string, err error) {
	r := &c.Rollout
	for r.State == rolloutRunning {
		switch {
		case r.tooMany():
			r.State = rolloutStopped
			r.Reason = fmt.Sprintf("%d of %d devices failed", r.Failed, r.Released)
		case !r.over(p.o.Now().Unix()):
			return wake, nil
		case r.Released >= r.Planned:
			r.State = rolloutDone
		default:
			more, err := p.release(tx, c, r.Batch)
			if err != nil {
				return nil, err
			}
			wake = append(wake, more...)
		}
	}
	return wake, nil
}

// goOn moves on the roll-outs whose batch has been waited for long enough.
func (p *Platform) goOn() error {
	var late []string
	err := p.db.View(func(tx *bolt.Tx) error {
		looked := map[string]bool{}
		return tx.Bucket(pendingBucket).ForEach(func(k, _ []byte) error {
			parts := strings.Split(string(k), "\x00")
			id := parts[len(parts)-1]
			if looked[id] {
				return nil
			}
			looked[id] = true
			c, err := loadChange(tx, id)
			if err == nil && c != nil && c.Rollout.State == rolloutRunning && c.Rollout.over(p.o.Now().Unix()) {
				late = append(late, id)
			}
			return err
		})
	})
	if err != nil || len(late) == 0 {
		return err
	}
	var wake []string
	err = p.db.Update(func(tx *bolt.Tx) error {
		wake = nil
		for _, id := range late {
			c, err := loadChange(tx, id)
			if err != nil {
				return err
			}
			if c == nil {
				continue
			}
			more, err := p.advance(tx, c)
			if err != nil {
				return err
			}
			wake = append(wake, more...)
			if err := saveChange(tx, c); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		p.wake(wake)
	}
	return err
}
