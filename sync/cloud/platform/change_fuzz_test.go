package platform

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"gatehouse/sync/errcode"
)

// Whatever a board answers, the counts of its change stay those of its targets.
func FuzzReplied(f *testing.F) {
	p, err := Open(f.TempDir(), Options{Now: func() time.Time { return time.Unix(1_800_000_000, 0) }})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { p.Close() })
	p.db.NoSync = true // the disk would be all that is tested
	f.Add("whitelist", []byte(`{"code":200,"payload":{"body":{"change_id":"c1","state":"staged"}}}`), byte(0))
	f.Add("whitelist", []byte(`{"code":500,"error_code":1106,"payload":{"body":{"change_id":"c1","state":"applying","progress":-5}}}`), byte(1))
	f.Add("whitelist", []byte(`{"payload":{"body":{"change_id":"c1","state":"used","set_digest":"x","result":{"error_code":9}}}}`), byte(2))
	f.Add("bind", []byte(`{"id":"policy-99999999999999999999-x","code":200}`), byte(0))
	f.Fuzz(func(t *testing.T, name string, text []byte, want byte) {
		err := p.db.Update(func(tx *bolt.Tx) error {
			d := &device{SN: "265e1040-00000001", UserID: 1, Bound: true}
			c := &change{ID: "c1", Kind: "whitelist", UserID: 1, Rollout: rollout{State: rolloutRunning, Run: 1, Planned: 1, Released: 1}}
			start := target{ChangeID: "c1", Kind: "whitelist", SN: d.SN, State: statePending, Run: 1, Want: []string{"stage", "apply", "cancel"}[want%3]}
			if err := errors.Join(saveDevice(tx, d), saveTarget(tx, c, nil, start), saveChange(tx, c)); err != nil {
				return err
			}
			_, err := p.replied(tx, d, name, text)
			var coded *errcode.Error
			if err != nil && !errors.As(err, &coded) {
				return err
			}
			now, _, err1 := loadTarget(tx, "c1", d.SN)
			after, err2 := loadChange(tx, "c1")
			if err1 != nil || err2 != nil || len(after.Counts) != 1 || after.Counts[now.label()] != 1 {
				t.Errorf("%+v: counts %v, %v %v", now, after.Counts, err1, err2)
			}
			pending := tx.Bucket(pendingBucket).Get(pendingKey(now)) != nil
			if pending == now.settled() {
				t.Errorf("%+v: pending %v", now, pending)
			}
			return tx.Bucket(pendingBucket).Delete(pendingKey(now))
		})
		if err != nil {
			t.Error(err)
		}
	})
}

// What max_failures reads it writes again, and it is never below 0.
func FuzzFailing(f *testing.F) {
	for _, s := range []string{`3`, `"10%"`, `"101%"`, `-1`, `null`, `"%"`, `1e3`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var a, b failing
		if err := json.Unmarshal(text, &a); err != nil {
			return
		}
		again, err := json.Marshal(a)
		if err != nil || json.Unmarshal(again, &b) != nil || a != b || a.Number < 0 {
			t.Errorf("%s gives %+v, that gives %+v", text, a, b)
		}
	})
}
