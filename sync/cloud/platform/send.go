package platform

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"strings"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"

	"gatehouse/sync/wire"
)

// order is a command that a board is to be sent.
type order struct {
	name string
	id   string // of the message; empty: one by chance
	body any
}

// sendPending sends a board what it has not yet done of what is wanted, in the
// order of the changes: a stage before an apply where the board has not said
// that it has it. Boards answer a repeated command with its state, so sending
// again is safe.
func (p *Platform) sendPending(d *device) {
	var orders []order
	err := p.db.View(func(tx *bolt.Tx) error {
		pol, err := loadPolicy(tx, d.UserID)
		if err != nil {
			return err
		}
		if orders, err = p.rebind(tx, d, pol); err != nil {
			return err
		}
		early := len(orders) > 0
		return p.eachPending(tx, d.SN, func(t target) error {
			c, err := loadChange(tx, t.ChangeID)
			if err != nil || c == nil || c.UserID != d.UserID {
				return err
			}
			if early && pol.asks(c.Kind) {
				return nil // it may not know the key yet; it follows once it has confirmed the policy
			}
			o, err := p.orders(tx, c, t)
			orders = append(orders, o...)
			return err
		})
	})
	if err != nil {
		p.o.Log.Error("pending changes cannot be read", "sn", d.SN, "err", err)
	}
	for _, o := range orders {
		p.sendAs(d, o.name, o.id, o.body)
	}
}

// unansweredFor is how long a board that is online may leave a command without
// an answer before it is sent again: the broker may have lost it.
const unansweredFor = 20 * time.Second

// unanswered reports whether the board has said nothing to what it was last sent.
func (t target) unanswered(now int64) bool {
	if t.settled() || now-t.Updated < int64(unansweredFor.Seconds()) {
		return false
	}
	return t.Step == "" && (t.State == statePending || t.State == wire.StateStaged)
}

// remind sends again what boards that are online have not answered, and tells
// how many these are.
func (p *Platform) remind() int {
	var late []string
	now := p.o.Now().Unix()
	err := p.db.View(func(tx *bolt.Tx) error {
		return p.eachWaiting(tx, func(sn string) error {
			d, err := loadDevice(tx, sn)
			if err != nil || d == nil || d.State != 0 {
				return err
			}
			silent := false
			err = p.eachPending(tx, sn, func(t target) error {
				silent = silent || t.unanswered(now)
				return nil
			})
			if silent {
				late = append(late, sn)
			}
			return err
		})
	})
	if err != nil {
		p.o.Log.Error("pending changes cannot be read", "err", err)
	}
	if len(late) > 0 {
		p.o.Log.Info("boards are sent again what they have not answered", "boards", len(late))
	}
	p.wake(late)
	return len(late)
}

// keepReminding reminds boards and moves roll-outs on until ctx ends.
func (p *Platform) keepReminding(ctx context.Context) {
	tick := time.NewTicker(unansweredFor)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			p.remind()
			if err := p.goOn(); err != nil {
				p.o.Log.Error("roll-outs cannot be moved on", "err", err)
			}
		}
	}
}

// eachWaiting gives the boards for which something is pending.
func (p *Platform) eachWaiting(tx *bolt.Tx, f func(sn string) error) error {
	last := ""
	c := tx.Bucket(pendingBucket).Cursor()
	for k, _ := c.First(); k != nil; k, _ = c.Next() {
		if sn, _, _ := strings.Cut(string(k), "\x00"); sn != last {
			last = sn
			if err := f(sn); err != nil {
				return err
			}
		}
	}
	return nil
}

// eachPending gives the unsettled targets of a board in order.
func (p *Platform) eachPending(tx *bolt.Tx, sn string, f func(t target) error) error {
	b := tx.Bucket(pendingBucket)
	prefix := sn + "\x00"
	c := b.Cursor()
	var ids []string
	for k, _ := c.Seek([]byte(prefix)); k != nil && strings.HasPrefix(string(k), prefix); k, _ = c.Next() {
		if parts := strings.Split(string(k), "\x00"); len(parts) == 3 {
			ids = append(ids, parts[2])
		}
	}
	for _, id := range ids {
		t, ok, err := loadTarget(tx, id, sn)
		if err != nil {
			return err
		}
		if ok && !t.settled() {
			if err := f(t); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *Platform) orders(tx *bolt.Tx, c *change, t target) (list []order, err error) {
	if t.Want == wire.VerbCancel { // a board that has never heard of it answers so: cancelled
		return []order{{name: c.Kind, body: wire.ChangeCommand{OperatorType: wire.VerbCancel, ChangeID: c.ID}}}, nil
	}
	if t.State == statePending {
		stage := wire.ChangeCommand{OperatorType: wire.VerbStage, ChangeID: c.ID, Digest: c.Digest, Base: c.Base}
		if stage.Signature, err = p.sign(tx, c, t.SN); err != nil {
			return nil, err
		}
		if c.Inline {
			text, err := p.readContent(c)
			if err != nil {
				return nil, err
			}
			stage.Content = string(text)
		} else {
			stage.URL, stage.Length = p.address(c, t.SN), c.Length
		}
		list = append(list, order{name: c.Kind, body: stage})
	}
	if t.Want == wire.VerbApply {
		list = append(list, order{name: c.Kind, body: wire.ChangeCommand{OperatorType: wire.VerbApply, ChangeID: c.ID}})
	}
	return list, nil
}

// sender sends boards what is pending for them, beside the goroutine that
// receives: a roll-out to thousands must not hold up acknowledgements. A board
// is always served by the same worker, so that its commands keep their order;
// woken again while it waits, it is served once.
type sender struct {
	mu      sync.Mutex
	waiting [sendWorkers]map[string]bool
	signal  [sendWorkers]chan struct{}
}

const sendWorkers = 8

func newSender() *sender {
	s := &sender{}
	for i := range s.signal {
		s.waiting[i], s.signal[i] = map[string]bool{}, make(chan struct{}, 1)
	}
	return s
}

func (s *sender) add(sns []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sn := range sns {
		h := fnv.New32a()
		_, _ = h.Write([]byte(sn))
		i := h.Sum32() % sendWorkers
		s.waiting[i][sn] = true
		select {
		case s.signal[i] <- struct{}{}:
		default:
		}
	}
}

func (s *sender) take(i int) map[string]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.waiting[i]
	s.waiting[i] = map[string]bool{}
	return list
}

// run serves until ctx ends.
func (s *sender) run(ctx context.Context, i int, serve func(sn string)) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.signal[i]:
		}
		for sn := range s.take(i) {
			if ctx.Err() != nil {
				return
			}
			serve(sn)
		}
	}
}

// wake has boards sent what is pending for them.
func (p *Platform) wake(sns []string) { p.sender.add(sns) }

// failures takes over from a birth which staged changes could not be applied:
// their own reports follow, but what is pending is sent before that, and an
// apply that cuts a board off would be sent again at each of its births.
func (p *Platform) failures(b *batch, d *device, name string, payload json.RawMessage) error {
	if name != wire.NameBirth {
		return nil
	}
	birth, err := wire.ParseBirth(payload)
	if err != nil {
		return err
	}
	for _, c := range birth.Changes {
		if c.State != wire.StateStaged || c.Result == nil || c.Result.ErrorCode == 0 {
			continue
		}
		t, ok, err := loadTarget(b.tx, c.ChangeID, d.SN)
		if err != nil {
			return err
		}
		if !ok || t.FailedAt == c.Result.At {
			continue // known, and perhaps wanted again since
		}
		wake, err := p.reported(b.tx, d, wire.ChangeReport{ChangeID: c.ChangeID, Kind: c.Kind, State: c.State, Result: c.Result}, 0, "")
		if err != nil {
			return err
		}
		b.alsoWake(wake)
	}
	return nil
}

// reported takes over what a board says of a change: its report, or the code
// with which it refused a command. It gives the boards that are to be sent
// something because of it.
func (p *Platform) reported(tx *bolt.Tx, d *device, r wire.ChangeReport, code int, message string) (wake []string, err error) {
	old, ok, err := loadTarget(tx, r.ChangeID, d.SN)
	if err != nil || !ok {
		return nil, err
	}
	c, err := loadChange(tx, r.ChangeID)
	if err != nil || c == nil || c.UserID != d.UserID {
		return nil, err
	}
	if old.State == wire.StateUsed || old.State == wire.StateCancelled {
		return nil, nil // a finished result never changes
	}
	t := old
	now := p.o.Now().Unix()
	switch k := kindOf(c.Kind); {
	case code == int(k.notExist) && old.Want == wire.VerbCancel:
		t.State, t.Result = wire.StateCancelled, &wire.ChangeResult{At: now} // it never had it
	case code == int(k.notExist) && old.State != statePending:
		t.State, t.Step, t.Progress, t.Result = statePending, "", 0, nil // it has it no more: staged again
		wake = append(wake, d.SN)
	case code == int(k.notExist):
		// It has never staged it, so it cannot apply it: what it answers to the
		// stage says why, and where that was lost it is sent again.
		return nil, nil
	default:
		t.take(r, code, message, now)
	}
	t.Updated = now
	if t.State != statePending && t.Staged == 0 {
		t.Staged = now
	}
	if t.State == wire.StateUsed || t.State == wire.StateCancelled {
		t.Finished = now
	}
	if err := saveTarget(tx, c, &old, t); err != nil {
		return nil, err
	}
	if t.State == wire.StateUsed {
		if err := expect(tx, d, c, r); err != nil {
			return nil, err
		}
	}
	more, err := p.advance(tx, c)
	if err != nil {
		return nil, err
	}
	return append(wake, more...), saveChange(tx, c)
}

// take takes over a report.
func (t *target) take(r wire.ChangeReport, code int, message string, now int64) {
	if t.failed() && t.Want == wire.VerbStage && r.State == wire.StateApplying {
		return // an answer that was overtaken by the report of the failure
	}
	if r.State != "" {
		// A staged change that has failed stays so when its state is only repeated.
		if !(t.failed() && r.State == wire.StateStaged && r.Result == nil) {
			t.Result = r.Result
		}
		t.State, t.Progress = r.State, r.Progress
	} else if r.Result != nil {
		t.Result = r.Result // its content could not be fetched, or was refused
	}
	if r.State != "" || r.Step != "" {
		t.Step, t.Reason, t.Progress = r.Step, r.Reason, r.Progress
	}
	switch {
	case code == 0, t.State == wire.StateUsed, t.State == wire.StateCancelled:
	case t.State == wire.StateApplying:
		// A command that came twice, or a cancel that came too late: how it ends is
		// still to be told.
		t.Reason = message
	default:
		t.Result = &wire.ChangeResult{ErrorCode: code, ErrorMessage: message, At: now}
	}
	if r.Result != nil && r.Result.ErrorCode != 0 {
		t.FailedAt = r.Result.At
	}
	if t.failed() && t.State == wire.StateStaged {
		t.Want = wire.VerbStage // it stays staged until somebody asks again
	}
}

// expect notes the digest that a board's state has from now on, so that drift shows.
func expect(tx *bolt.Tx, d *device, c *change, r wire.ChangeReport) error {
	digest := r.SetDigest
	if digest == "" {
		digest = c.SetDigest
	}
	if digest == "" {
		return nil
	}
	if d.Expected == nil {
		d.Expected = map[string]string{}
	}
	if d.StateDigest == nil {
		d.StateDigest = map[string]string{}
	}
	d.Expected[c.Kind], d.StateDigest[c.Kind] = digest, digest
	return saveDevice(tx, d)
}

// drift lists what differs on a board from what was last applied there.
func (d device) drift() []string {
	list := []string{}
	for _, kind := range []string{"config", "whitelist"} {
		if want, have := d.Expected[kind], d.StateDigest[kind]; want != "" && have != "" && want != have {
			list = append(list, kind)
		}
	}
	return list
}

// leave ends what is pending for a board that leaves its account: a roll-out
// does not wait for it.
func (p *Platform) leave(tx *bolt.Tx, sn string) (wake []string, err error) {
	var list []target
	if err := p.eachPending(tx, sn, func(t target) error { list = append(list, t); return nil }); err != nil {
		return nil, err
	}
	for _, old := range list {
		c, err := loadChange(tx, old.ChangeID)
		if err != nil {
			return nil, err
		}
		if c == nil {
			continue
		}
		t := old
		t.Result, t.Want = gone(p.o.Now().Unix()), wire.VerbStage
		if err := saveTarget(tx, c, &old, t); err != nil {
			return nil, err
		}
		more, err := p.advance(tx, c)
		if err != nil {
			return nil, err
		}
		if wake = append(wake, more...); saveChange(tx, c) != nil {
			return nil, fmt.Errorf("cannot record that %s has left", sn)
		}
	}
	return wake, nil
}
