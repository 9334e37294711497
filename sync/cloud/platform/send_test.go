package platform

import (
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"gatehouse/sync/session"
	"gatehouse/sync/wire"
)

// broker keeps what is published.
type broker struct{ sent []string }

func (b *broker) Send(topic string, _ byte, payload []byte) *session.Sent {
	var m struct {
		Payload struct{ Body wire.ChangeCommand }
	}
	_ = json.Unmarshal(payload, &m)
	b.sent = append(b.sent, strings.TrimPrefix(topic, "device/")[:17]+" "+m.Payload.Body.OperatorType)
	return nil // nobody waits
}

// What a board that is online leaves unanswered is sent again; one that waits,
// one that is away and one that has answered are left alone.
func TestRemind(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	p, err := Open(t.TempDir(), Options{Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	b := &broker{}
	p.setConn(b)
	c := &change{ID: "c1", Kind: "whitelist", UserID: 1, Digest: "sha256:none"}
	err = p.db.Update(func(tx *bolt.Tx) error {
		for i, s := range []struct {
			away bool
			t    target
		}{
			{false, target{State: wire.StateStaged, Want: wire.VerbApply}},
			{true, target{State: wire.StateStaged, Want: wire.VerbApply}},
			{false, target{State: wire.StateStaged, Want: wire.VerbApply, Step: "waiting"}},
			{false, target{State: wire.StateApplying, Want: wire.VerbApply}},
			{false, target{State: wire.StateStaged, Want: wire.VerbStage}},
			{false, target{State: wire.StateStaged, Want: wire.VerbCancel}},
			{false, target{State: wire.StateUsed, Want: wire.VerbApply}},
		} {
			s.t.ChangeID, s.t.Kind, s.t.Updated = c.ID, c.Kind, now.Unix()
			s.t.SN = "265e1040-0000000" + string(rune('1'+i))
			d := &device{SN: s.t.SN, UserID: 1}
			if s.away {
				d.State = 1
			}
			if err := saveDevice(tx, d); err != nil {
				return err
			}
			if err := saveTarget(tx, c, nil, s.t); err != nil {
				return err
			}
		}
		return saveChange(tx, c)
	})
	if err != nil {
		t.Fatal(err)
	}
	if n := p.remind(); n != 0 {
		t.Errorf("%d boards are sent it again at once", n)
	}
	now = now.Add(unansweredFor)
	if n := p.remind(); n != 2 {
		t.Errorf("%d boards are sent it again, want 2", n)
	}
	for i := range sendWorkers {
		for sn := range p.sender.take(i) {
			p.sendPending(p.lookup(sn))
		}
	}
	slices.Sort(b.sent)
	if got := strings.Join(b.sent, ", "); got != "265e1040-00000001 apply, 265e1040-00000006 cancel" {
		t.Errorf("sent again: %q", got)
	}
}

// A repeated command that meets a board at work is no failure.
func TestTake(t *testing.T) {
	failure := &wire.ChangeResult{ErrorCode: 1106}
	for name, c := range map[string]struct {
		have   target
		report wire.ChangeReport
		code   int
		want   string // label
	}{
		"staged":                        {target{State: statePending}, wire.ChangeReport{State: "staged"}, 0, "staged"},
		"refused":                       {target{State: statePending}, wire.ChangeReport{}, 1103, "failed"},
		"its content could not come":    {target{State: statePending}, wire.ChangeReport{Result: failure}, 0, "failed"},
		"being fetched":                 {target{State: statePending}, wire.ChangeReport{Step: "download"}, 0, "pending"},
		"staged again while applying":   {target{State: "applying"}, wire.ChangeReport{State: "applying"}, 1106, "applying"},
		"applied again when used":       {target{State: "applying"}, wire.ChangeReport{State: "used"}, 5502, "used"},
		"could not be applied":          {target{State: "applying"}, wire.ChangeReport{State: "staged", Result: failure}, 0, "failed"},
		"an overtaken answer":           {target{State: "staged", Want: "stage", Result: failure}, wire.ChangeReport{State: "applying"}, 0, "failed"},
		"failed, and only told again":   {target{State: "staged", Result: failure}, wire.ChangeReport{State: "staged"}, 0, "failed"},
		"failed, and applied after all": {target{State: "staged", Result: failure}, wire.ChangeReport{State: "used", Result: &wire.ChangeResult{}}, 0, "used"},
	} {
		got := c.have
		got.take(c.report, c.code, "why", 1)
		if got.label() != c.want {
			t.Errorf("%s: %s, want %s", name, got.label(), c.want)
		}
	}
}

// Old changes go with their contents; one that a board still owes an answer to stays.
func TestPruneChanges(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	p, err := Open(t.TempDir(), Options{Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	long := now.Add(-2 * keepChanges).Unix()
	for _, c := range []struct {
		id, digest, state string
		created           int64
	}{{"old", "sha256:a", "used", long}, {"owing", "sha256:b", statePending, long}, {"new", "sha256:c", "used", now.Unix()}, {"shares", "sha256:c", "used", long}} {
		err := p.db.Update(func(tx *bolt.Tx) error {
			v := &change{ID: c.id, Kind: "config", Digest: c.digest, CreateTime: c.created}
			return errors.Join(saveTarget(tx, v, nil, target{ChangeID: c.id, SN: "265e1040-00000001", State: c.state, Want: "stage"}), saveChange(tx, v))
		})
		if err := errors.Join(err, os.WriteFile(p.contentPath(c.digest), nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.pruneChanges(); err != nil {
		t.Fatal(err)
	}
	var left []string
	err = p.db.View(func(tx *bolt.Tx) error {
		return each(p, tx, changesBucket, func(id string, _ change) error {
			left = append(left, id)
			if _, err := os.Stat(p.contentPath("sha256:c")); err != nil {
				return err
			}
			return nil
		})
	})
	_, gone := os.Stat(p.contentPath("sha256:a"))
	if err != nil || strings.Join(left, " ") != "new owing" || !errors.Is(gone, os.ErrNotExist) {
		t.Errorf("%v are left, %v %v", left, err, gone)
	}
}
