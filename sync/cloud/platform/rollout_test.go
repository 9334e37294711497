package platform

import (
	"fmt"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"gatehouse/sync/wire"
)

// A board that is away holds a batch for the time that was set, and only once
// another one has shown that the change can be used.
func TestRolloutWaits(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	p, err := Open(t.TempDir(), Options{Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	sn := func(i int) string { return fmt.Sprintf("265e1040-%08d", i) }
	check := func(what, state string, released int) {
		t.Helper()
		if err := p.goOn(); err != nil {
			t.Fatal(err)
		}
		err := p.db.View(func(tx *bolt.Tx) error {
			c, err := loadChange(tx, "c1")
			if err == nil && (c.Rollout.State != state || c.Rollout.Released != released) {
				t.Errorf("%s: %+v", what, c.Rollout)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	used := func(i int) {
		t.Helper()
		err := p.db.Update(func(tx *bolt.Tx) error {
			_, err := p.replied(tx, &device{SN: sn(i), UserID: 1}, "whitelist", []byte(`{"code":200,"payload":{"body":{"change_id":"c1","state":"used"}}}`))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	err = p.db.Update(func(tx *bolt.Tx) error {
		c := &change{ID: "c1", Kind: "whitelist", UserID: 1, Rollout: rollout{Canary: 2, Batch: 2, Wait: 60}}
		var list []target
		for i := range 5 {
			s := target{ChangeID: c.ID, Kind: c.Kind, SN: sn(i), State: wire.StateStaged, Want: wire.VerbStage}
			if err := saveDevice(tx, &device{SN: s.SN, UserID: 1, Bound: true}); err != nil {
				return err
			}
			if err := saveTarget(tx, c, nil, s); err != nil {
				return err
			}
			list = append(list, s)
		}
		if _, err := p.begin(tx, c, list); err != nil {
			return err
		}
		return saveChange(tx, c)
	})
	if err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Hour)
	check("nobody has used it", rolloutRunning, 2)
	used(0)
	check("a canary has used it, the other one is away", rolloutRunning, 4)
	now = now.Add(59 * time.Second)
	used(2)
	check("the second batch is still waited for", rolloutRunning, 4)
	now = now.Add(time.Second)
	check("it has been waited for", rolloutRunning, 5)
	used(4)
	used(1)
	used(3)
	check("all have used it", rolloutDone, 5)
}
