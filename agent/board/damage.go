package board

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"

	"gatehouse/sync/audit"
	"gatehouse/sync/errcode"
	"gatehouse/sync/outbox"
	"gatehouse/sync/wire"
	"gatehouse/vision/link"
)

// reportDamages tells what was found damaged at the start: to the log, the
// audit and, as faults, the cloud.
func (b *Board) reportDamages() {
	state := strings.Join(b.state.Damages(), "; ")
	if n := b.state.Whitelist.Damaged(); n > 0 {
		state = strings.TrimPrefix(state+"; rows of the whitelist were damaged or are missing, and do not count", "; ")
	}
	if b.state.Quarantined != "" {
		state += "; whitelist, faces and staged changes are gone until the cloud sends them again"
	}
	events := ""
	switch s := b.outbox.Stats(); {
	case s.Quarantined != "":
		events = "the database of events was damaged and set aside as " + filepath.Base(s.Quarantined) + "; what waited in it is lost"
	case s.Damaged > 0:
		events = fmt.Sprintf("%d stored events were damaged; gaps stand in their place", s.Damaged)
	case s.Doubtful:
		events = "one of the two heads of the database of events was damaged, and the last events before may be missing"
	}
	for _, f := range []struct{ component, what string }{{"state", state}, {"config", b.settings.Restored()}, {"events", events}} {
		if f.what != "" {
			b.fault(f.component, f.what)
		}
	}
}

// fault tells of something that is wrong with the board: a 1106 with its reason.
func (b *Board) fault(component, what string) {
	b.log.Error("something was damaged", "component", component, "what", what)
	what = strings.ToUpper(what[:1]) + what[1:] + "!"
	now := time.Now().Unix()
	err := b.state.db.Update(func(tx *bolt.Tx) error {
		return audit.Put(tx, audit.Entry{At: now, What: "damaged", Kind: component, Code: int(errcode.RequestFailed), Detail: what})
	})
	if err != nil {
		b.log.Error("the audit could not be written", "err", err)
	}
	b.tellFault(component, errcode.New(errcode.RequestFailed, what))
}

// faultEvery is how often the cloud is told the same fault of the vision process.
const faultEvery = time.Hour

// onVisionFault tells what the vision process reports: pictures that cannot be
// read, settings that are wrong, a camera that is silent.
func (b *Board) onVisionFault(f link.Fault) {
	b.log.Error("vision reports a fault", "code", f.Code, "message", f.Message)
	b.mu.Lock()
	defer b.mu.Unlock()
	for message, at := range b.faults {
		if time.Since(at) >= faultEvery {
			delete(b.faults, message)
		}
	}
	if _, told := b.faults[f.Message]; told || len(b.faults) >= 32 {
		return
	}
	if b.faults == nil {
		b.faults = map[string]time.Time{}
	}
	b.faults[f.Message] = time.Now()
	e := errcode.New(errcode.RequestFailed, f.Message)
	if code := errcode.Code(f.Code); f.Code != 0 {
		e = errcode.New(code, strings.TrimPrefix(f.Message, code.Message()))
	}
	b.background.Go(func() { b.tellFault("vision", e) }) // the disk may stand still
}

// tellFault tells the cloud of a fault, and reports whether there is one to tell.
func (b *Board) tellFault(component string, e *errcode.Error) (told bool) {
	account := b.account()
	if account == 0 && b.config().MQTT.Broker == "" {
		return false
	}
	payload, err := json.Marshal(wire.Body{Body: wire.Fault{ErrorCode: int(e.Code), ErrorMessage: e.Error(), Component: component, At: time.Now().Unix()}})
	if err == nil {
		_, err = b.outbox.Put(context.Background(), outbox.Event{Name: wire.NameFault, Payload: payload, Priority: outbox.Result, Account: account})
	}
	if err != nil {
		b.log.Error("a fault could not be stored for the cloud", "err", err)
	}
	return err == nil
}
