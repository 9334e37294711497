package whitelist

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"gatehouse/sync/errcode"
	"gatehouse/sync/wire"
)

// What is accepted when it is staged can be applied, and gives what Summarise says.
func FuzzContent(f *testing.F) {
	l := open(f)
	l.db.NoSync = true // the disk would be all that is tested
	f.Add([]byte(`{"mode":"delta","rows":[{"plate":"A3","enable":1}],"remove":["a1"],"remove_groups":["x"]}`))
	f.Add([]byte(`{"mode":"replace","rows":[{"plate":"Ａ３","seg_time_start":"25:00:00"}]}`))
	f.Add([]byte(`{"rows":[{"plate":"川AO0001","enable":1,"group":"x","weekly":[{"days":[1,7],"start":"22:00:00","end":"06:00:00"}]}],"mode":"replace","groups":[{"name":"x","enable":1}]}`))
	f.Add([]byte(`{"mode":"replace","rows":null}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := Summarise(opener(string(text)))
		if err != nil {
			var e *errcode.Error
			if !errors.As(err, &e) {
				t.Errorf("%v has no code", err)
			}
			return
		}
		if err := apply(l, string(text), ""); err != nil {
			t.Fatalf("accepted and not applied: %v", err)
		}
		if s.Mode == modeReplace && (l.Digest() != s.SetDigest || l.Len() != s.Rows) {
			t.Errorf("%d rows %s, announced %d %s", l.Len(), l.Digest(), s.Rows, s.SetDigest)
		}
	})
}

// A normalised plate stays as it is, and a row that passes the check can be looked up.
func FuzzRow(f *testing.F) {
	l := open(f)
	l.db.NoSync = true // the disk would be all that is tested
	f.Add("川a·O1234I", `{"enable":1,"time_seg_enable":1,"seg_time_start":"08:00:00","seg_time_end":"07:00:00"}`)
	f.Add("ＯＩ１２", `{"enable":1,"need_alarm":1,"enable_time":"2026-11-23 00:00:00"}`)
	f.Add("\xff", `{}`)
	f.Fuzz(func(t *testing.T, plate, text string) {
		r := wire.WhitelistRecord{}
		_ = json.Unmarshal([]byte(text), &r)
		r.Plate = Normalize(plate)
		if again := Normalize(r.Plate); again != r.Plate {
			t.Fatalf("%q becomes %q, that becomes %q", plate, r.Plate, again)
		}
		l.Near(r.Plate, 2, time.Now())
		_, err := l.Operate(wire.WhitelistOperator{OperatorType: wire.OperateUpdateOrAdd, Records: []wire.WhitelistRecord{r}})
		var e *errcode.Error
		if err != nil {
			if !errors.As(err, &e) || e.Code != errcode.ParamsError {
				t.Errorf("%v", err)
			}
			return
		}
		if _, v := l.Lookup(r.Plate, time.Now()); v == NotListed {
			t.Errorf("%q is not found", r.Plate)
		}
		if _, err := l.Operate(wire.WhitelistOperator{OperatorType: wire.OperateDelete, Plates: []string{plate}}); err != nil || l.Len() != 0 {
			t.Errorf("%q cannot be deleted: %v", plate, err)
		}
	})
}
