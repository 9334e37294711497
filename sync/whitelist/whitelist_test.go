package whitelist

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"gatehouse/sync/errcode"
	"gatehouse/sync/store"
	"gatehouse/sync/wire"
)

func TestMain(m *testing.M) {
	store.RunCheckIfAsked()
	os.Exit(m.Run())
}

var zone = time.FixedZone("CST", 8*3600)

func open(t testing.TB) *List {
	t.Helper()
	db, err := store.Open(filepath.Join(t.TempDir(), "state.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	l, err := Open(db, zone, nil)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func apply(l *List, text, base string) error {
	if err := l.db.Update(func(tx *bolt.Tx) error { return l.Apply(tx, []byte(text), base) }); err != nil {
		return err
	}
	return l.Reload()
}

func TestLookup(t *testing.T) {
	l := open(t)
	err := apply(l, `{"mode":"replace","rows":[
		{"plate":"川A·12345","enable":1},
		{"plate":"京B00001","enable":0},
		{"plate":"京B00002","enable":1,"need_alarm":1},
		{"plate":"京B00003","enable":1,"enable_time":"2026-11-23 00:00:00","overdue_time":"2026-12-23 00:00:00"},
		{"plate":"京B00004","enable":1,"time_seg_enable":1,"seg_time_start":"08:00:00","seg_time_end":"18:00:00"},
		{"plate":"京B00005","enable":1,"time_seg_enable":1,"seg_time_start":"22:00:00","seg_time_end":"06:00:00"},
		{"plate":"京B00006","enable":1,"time_seg_enable":0,"seg_time_start":"00:00:00","seg_time_end":"00:00:00"}]}`, "")
	if err != nil {
		t.Fatal(err)
	}
	at := func(s string) time.Time {
		m, err := time.ParseInLocation(time.DateTime, s, zone)
		if err != nil {
			t.Fatal(err)
		}
		return m.UTC()
	}
	for _, c := range []struct {
		plate, at string
		want      Verdict
	}{
		{"川A12345", "2026-11-24 12:00:00", Listed},
		{"川A12346", "2026-11-24 12:00:00", NotListed},
		{"川A1234", "2026-11-24 12:00:00", NotListed},
		{"", "2026-11-24 12:00:00", NotListed},
		{"京B00001", "2026-11-24 12:00:00", Suspended},
		{"京B00002", "2026-11-24 12:00:00", Blacklisted},
		{"京B00003", "2026-11-22 23:59:59", OutOfTime},
		{"京B00003", "2026-11-23 00:00:00", Listed},
		{"京B00003", "2026-12-23 00:00:01", OutOfTime},
		{"京B00004", "2026-11-24 07:59:59", OutOfTime},
		{"京B00004", "2026-11-24 08:00:00", Listed},
		{"京B00004", "2026-11-24 18:00:01", OutOfTime},
		{"京B00005", "2026-11-24 23:00:00", Listed},
		{"京B00005", "2026-11-24 05:00:00", Listed},
		{"京B00005", "2026-11-24 12:00:00", OutOfTime},
		{"京B00006", "2026-11-24 12:00:00", Listed},
	} {
		if _, got := l.Lookup(c.plate, at(c.at)); got != c.want {
			t.Errorf("%s at %s: %v, want %v", c.plate, c.at, got, c.want)
		}
	}
}

func TestNormalize(t *testing.T) {
	for in, want := range map[string]string{
		"川a·12345": "川A12345", "京 B-000.01": "京B00001", "ＡＢ１２３": "AB123", "粤Z1234港\x00\x00": "粤Z1234港", "": "",
	} {
		if got := Normalize(in); got != want {
			t.Errorf("Normalize(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestDeltaAndDigest(t *testing.T) {
	l := open(t)
	empty := l.Digest()
	if err := apply(l, `{"mode":"replace","rows":[{"plate":"A1","enable":1},{"plate":"A2","enable":1}]}`, ""); err != nil {
		t.Fatal(err)
	}
	base := l.Digest()
	if base == empty {
		t.Error("the digest does not see the rows")
	}
	if err := apply(l, `{"mode":"delta","rows":[{"plate":"A3","enable":1}],"remove":["a1"]}`, empty); !hasCode(err, errcode.RequestFailed) {
		t.Errorf("a delta on another base: %v", err)
	}
	if err := apply(l, `{"mode":"delta","rows":[{"plate":"A3","enable":1}],"remove":["a1"]}`, base); err != nil {
		t.Fatal(err)
	}
	if l.Len() != 2 || l.find("A1").Records == nil || len(l.find("").Records) != 2 || l.find("").Records[0].Plate != "A2" {
		t.Errorf("%+v", l.find(""))
	}
}

func hasCode(err error, code errcode.Code) bool {
	var e *errcode.Error
	return errors.As(err, &e) && e.Code == code
}

func TestCheckNamesWhatIsWrong(t *testing.T) {
	l := open(t)
	for text, want := range map[string]string{
		`{"mode":"all"}`: "Param [/mode] must be replace or delta!",
		`{"mode":"replace","rows":[{"plate":"A1","enable":1},{"plate":"a 1","enable":1}]}`:  "Param [/rows/1/plate] is that of row 0 too!",
		`{"mode":"replace","rows":[{"plate":"","enable":1}]}`:                               "Param [/rows/0] is wrong: Param [plate] must be 1 to 32 bytes!!",
		`{"mode":"replace","rows":[{"plate":"A","enable":1,"enable_time":"2026-02-30 x"}]}`: "Param [/rows/0] is wrong: Param [enable_time] must look like 2026-11-23 00:00:00!!",
		`{"mode":"replace","rows":[{"plate":"A","enable":"1"}]}`:                            "Param [/rows/enable] must be of type int!",
		`{"mode":"replace","remove":["A"]}`:                                                 "Param [/remove] goes with mode delta only!",
		`{"mode":"delta","remove":[" "]}`:                                                   "Param [/remove/0] must not be empty!",
	} {
		if err := l.Check([]byte(text)); !hasCode(err, errcode.ParamsError) || errcode.From(err).Detail != want {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
	if err := l.Check([]byte(`{`)); !hasCode(err, errcode.ParseJSONFailed) {
		t.Error(err)
	}
}

func TestOperate(t *testing.T) {
	l := open(t)
	row := func(plate string) wire.WhitelistRecord { return wire.WhitelistRecord{Plate: plate, Enable: 1} }
	ops := []struct {
		op   wire.WhitelistOperator
		ok   bool
		rows int
	}{
		{wire.WhitelistOperator{OperatorType: "update_or_add", Records: []wire.WhitelistRecord{row("A1"), row("A2"), row("A3")}}, true, 3},
		{wire.WhitelistOperator{OperatorType: "update_or_add", Records: []wire.WhitelistRecord{row("A4"), row("")}}, false, 3},
		{wire.WhitelistOperator{OperatorType: "delete", Plates: []string{"a1", "unknown"}}, true, 2},
		{wire.WhitelistOperator{OperatorType: "delete", Plates: []string{}}, true, 2},
		{wire.WhitelistOperator{OperatorType: "delete", DeleteAll: true}, true, 0},
	}
	for i, c := range ops {
		if _, err := l.Operate(c.op); (err == nil) != c.ok || l.Len() != c.rows {
			t.Errorf("operation %d: %v, %d rows; want %d", i, err, l.Len(), c.rows)
		}
	}
}

// A damaged row does not open the gate, the others still do.
func TestADamagedRowDoesNotCount(t *testing.T) {
	l := open(t)
	if err := apply(l, `{"mode":"replace","rows":[{"plate":"A1","enable":1},{"plate":"A2","enable":1}]}`, ""); err != nil {
		t.Fatal(err)
	}
	err := l.db.Update(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucket)
		return b.Put([]byte("A9"), b.Get([]byte("A1")))
	})
	if err := errors.Join(err, l.Reload()); err != nil {
		t.Fatal(err)
	}
	if _, v := l.Lookup("A9", time.Now()); v != NotListed || l.Damaged() != 1 || l.Len() != 2 {
		t.Errorf("%v, %d damaged, %d rows", v, l.Damaged(), l.Len())
	}
}

func TestLookupDoesNotAllocate(t *testing.T) {
	l := open(t)
	if err := apply(l, `{"mode":"replace","rows":[{"plate":"川A12345","enable":1,"time_seg_enable":1,"seg_time_start":"08:00:00","seg_time_end":"18:00:00"}]}`, ""); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	if n := testing.AllocsPerRun(100, func() { l.Lookup("川A12345", now); l.Lookup("川A12346", now) }); n != 0 {
		t.Errorf("%v allocations a lookup", n)
	}
}

func FuzzParse(f *testing.F) {
	l := open(f)
	f.Add([]byte(`{"mode":"delta","rows":[{"plate":"A3","enable":1}],"remove":["a1"]}`))
	f.Add([]byte(`{"mode":"replace","rows":[{"plate":"Ａ３","seg_time_start":"25:00:00"}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := l.Check(text); err != nil {
			var e *errcode.Error
			if !errors.As(err, &e) {
				t.Errorf("%v has no code", err)
			}
		}
	})
}
