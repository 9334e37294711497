package whitelist

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.uber.org/goleak"

	"gatehouse/sync/errcode"
	"gatehouse/sync/store"
	"gatehouse/sync/wire"
)

func TestMain(m *testing.M) {
	store.RunCheckIfAsked()
	goleak.VerifyTestMain(m)
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
	t.Cleanup(l.Close)
	return l
}

func opener(text string) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }
}

// apply does what the engine does: build, swap in one transaction, committed.
func apply(l *List, text, base string) error {
	if _, err := checked(opener(text), visitor{}); err != nil {
		return err
	}
	id := wire.NewID()
	if err := l.Build(context.Background(), id, base, opener(text)); err != nil {
		return errors.Join(err, l.Abandon(id))
	}
	err := l.db.Update(func(tx *bolt.Tx) error {
		_, err := l.Swap(tx, id, base, opener(text))
		return err
	})
	if err != nil {
		return errors.Join(err, l.Abandon(id))
	}
	return l.Committed()
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
		{"plate":"京B00006","enable":1,"time_seg_enable":0,"seg_time_start":"00:00:00","seg_time_end":"00:00:00"},
		{"plate":"京B00007","enable":1,"overdue_time":"1970-01-01 08:00:00"},
		{"plate":"京B00008","enable":1,"overdue_time":"1970-01-01 00:00:00"},
		{"plate":"京B00009","enable":1,"enable_time":"1970-01-01 08:00:00"}]}`, "")
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
		{"京B00007", "2026-11-24 12:00:00", OutOfTime},
		{"京B00008", "2026-11-24 12:00:00", OutOfTime},
		{"京B00009", "2026-11-24 12:00:00", Listed},
	} {
		if _, got := l.Lookup(c.plate, at(c.at)); got != c.want {
			t.Errorf("%s at %s: %v, want %v", c.plate, c.at, got, c.want)
		}
	}
}

func TestNormalize(t *testing.T) {
	for in, want := range map[string]string{
		"川a·12345": "川A12345", "京 B-000.01": "京B00001", "ＡＢ１２３": "AB123", "粤Z1234港\x00\x00": "粤Z1234港", "": "",
		"川AOI23I": "川A01231", "川ADOI234": "川AD01234", "京OA1234": "京OA1234", "使O12345": "使O12345", "WJ京O123I": "WJ京01231",
		"民航BO12I": "民航B0121", "OI 12 AB": "OI12AB", "B-IO 1234": "BIO1234", "粤ｚ·ｏ１２３港": "粤Z0123港",
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
	all := records(t, l, "")
	if l.Len() != 2 || len(all) != 2 || all[0].Plate != "A2" || all[1].Plate != "A3" || len(records(t, l, "a3")) != 1 {
		t.Errorf("%+v", all)
	}
}

func records(t *testing.T, l *List, part string) []wire.WhitelistRecord {
	t.Helper()
	s, err := l.find(part)
	if err != nil || s.TotalCount != len(s.Records) {
		t.Fatalf("%+v %v", s, err)
	}
	return s.Records
}

func hasCode(err error, code errcode.Code) bool {
	var e *errcode.Error
	return errors.As(err, &e) && e.Code == code
}

func TestCheckNamesWhatIsWrong(t *testing.T) {
	for text, want := range map[string]string{
		`{"mode":"all"}`: "Param [/mode] must be replace or delta!",
		`{"rows":[]}`:    "Param [/mode] must be replace or delta!",
		`{"mode":"replace","rows":[{"plate":"A1","enable":1},{"plate":"a 1","enable":1}]}`:                                               "Param [/rows/1/plate] is that of row 0 too!",
		`{"mode":"replace","rows":[{"plate":"","enable":1}]}`:                                                                            "Param [/rows/0/plate] must be 1 to 32 bytes!",
		`{"mode":"replace","rows":[{"plate":"A","enable":2}]}`:                                                                           "Param [/rows/0/enable] must be 0 or 1!",
		`{"mode":"replace","rows":[{"plate":"A","enable":1,"enable_time":"2026-02-30 x"}]}`:                                              "Param [/rows/0/enable_time] must look like 2026-11-23 00:00:00!",
		`{"mode":"replace","rows":[{"plate":"A1","enable":1},{"plate":"A","enable":"1"}]}`:                                               "Param [/rows/1/enable] must be of type int!",
		`{"mode":"replace","rows":[{"plate":"A","enable":1,"weekly":[{"days":[8],"start":"08:00:00","end":"09:00:00"}]}]}`:               "Param [/rows/0/weekly/0/days] must be 1 (Monday) to 7 (Sunday)!",
		`{"mode":"replace","rows":[{"plate":"A","enable":1,"vehicle_code":"` + strings.Repeat("x", 33) + `"}]}`:                          "Param [/rows/0/vehicle_code] must be at most 32 characters!",
		`{"mode":"replace","rows":[{"plate":"A","enable":1,"time_seg_enable":1}]}`:                                                       "Param [/rows/0/seg_time_start] is missing, with time_seg_enable 1!",
		`{"mode":"replace","rows":[{"plate":"A","enable":1,"time_seg_enable":1,"seg_time_start":"08:00:00"}]}`:                           "Param [/rows/0/seg_time_end] is missing, with time_seg_enable 1!",
		`{"mode":"replace","rows":[{"plate":"A","enable":1,"time_seg_enable":1,"seg_time_start":"00:00:00","seg_time_end":"00:00:00"}]}`: "Param [/rows/0/seg_time_end] must not be seg_time_start, with time_seg_enable 1!",
		`{"mode":"replace","rows":{}}`:                                                                "Param [/rows] must be an array!",
		`{"mode":"replace","remove":["A"]}`:                                                           "Param [/remove] goes with mode delta only!",
		`{"mode":"delta","remove":[" "]}`:                                                             "Param [/remove/0] must be 1 to 32 bytes!",
		`{"mode":"replace","groups":[{"name":"a","enable":1},{"name":"a","enable":1}]}`:               "Param [/groups/1/name] is that of an earlier group too!",
		`{"mode":"replace","groups":[{"name":"a","enable":1,"weekly":[{"days":[1,2,3,4,5,6,7,1]}]}]}`: "Param [/groups/0/weekly/0/days] must be at most 7!",
		`{"mode":"delta","remove_groups":["a",""]}`:                                                   "Param [/remove_groups/1] must be 1 to 32 bytes!",
		`{"mode":"replace","row":[]}`:                                                                 "Param [/row] is not known; a whitelist has mode, rows, remove, groups and remove_groups!",
		`{"mode":"replace","rows":[{"plate":"A","enable":1,"vehicle_comment":"` + strings.Repeat("x", 3*maxElement) + `"}]}`: "Param [/rows/0] is larger than 64 KiB!",
	} {
		if _, err := checked(opener(text), visitor{}); !hasCode(err, errcode.ParamsError) || errcode.From(err).Detail != want {
			t.Errorf("%.90s: %v, want %s", text, err, want)
		}
	}
	for _, text := range []string{"{", "", "[]", `{"mode":"replace"} x`, `{"mode":"replace","rows":[}`, "null"} {
		if _, err := checked(opener(text), visitor{}); !hasCode(err, errcode.ParseJSONFailed) {
			t.Errorf("%s: %v", text, err)
		}
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

// A row that was stored when a segment without times was still taken does not
// hold all day, and does not keep the set from being changed.
func TestAStoredSegmentWithoutTimes(t *testing.T) {
	l := open(t)
	if err := apply(l, `{"mode":"replace","rows":[{"plate":"A1","enable":1}]}`, ""); err != nil {
		t.Fatal(err)
	}
	err := l.db.Update(func(tx *bolt.Tx) error {
		h, err := readHead(tx)
		return errors.Join(err, store.PutJSON(rowsOf(tx, h.Set), []byte("A1"), wire.WhitelistRecord{Plate: "A1", Enable: 1, TimeSegEnable: 1}))
	})
	if err := errors.Join(err, l.Reload()); err != nil {
		t.Fatal(err)
	}
	if _, v := l.Lookup("A1", time.Date(2026, 11, 24, 12, 0, 0, 0, zone)); v != OutOfTime {
		t.Errorf("it is %v", v)
	}
	op := wire.WhitelistOperator{OperatorType: "update_or_add", Records: []wire.WhitelistRecord{{Plate: "A2", Enable: 1}}}
	if _, err := l.Operate(op); err != nil || l.Len() != 2 {
		t.Errorf("%v, %d rows", err, l.Len())
	}
	op.Records[0].TimeSegEnable = 1
	if _, err := l.Operate(op); !hasCode(err, errcode.ParamsError) {
		t.Errorf("it is taken from a parking system: %v", err)
	}
}

// endless gives a whitelist in which a part comes again and again, n times, and
// how much of it was read.
type endless struct {
	head, part, tail string
	n, read          int
}

func (e *endless) Read(b []byte) (int, error) {
	for e.head == "" {
		if e.n == 0 {
			e.head, e.tail = e.tail, ""
			if e.head == "" {
				return 0, io.EOF
			}
			break
		}
		e.head, e.n = e.part, e.n-1
	}
	n := copy(b, e.head)
	e.head, e.read = e.head[n:], e.read+n
	return n, nil
}

// A content is refused as soon as it has more groups than there may be, however
// they are given: what they are kept in must not take the board's memory.
func TestGroupsWithoutEnd(t *testing.T) {
	for _, c := range []struct{ head, part, tail, want string }{
		{`{"mode":"delta","remove_groups":["a"`, `,"a"`, `]}`, "Param [/remove_groups] must be at most 1000!"},
		{`{"mode":"delta"`, `,"remove_groups":["a"]`, `}`, "Param [/remove_groups] is given twice!"},
		{`{"mode":"replace"`, `,"groups":[{"name":"a","enable":1}]`, `}`, "Param [/groups] is given twice!"},
		{`{"mode":"replace"`, `,"groups":null`, `}`, "Param [/groups] is given twice!"},
		{`{"mode":"replace","groups":[{"name":"a","enable":1}`, `,{"name":"b","enable":1}`, `]}`, "Param [/groups] must be at most 1000!"},
		{`{"mode":"replace"`, `,"mode":"delta"`, `}`, "Param [/mode] is given twice!"},
	} {
		e := &endless{head: c.head, part: c.part, tail: c.tail, n: 1 << 20}
		_, err := read(e, visitor{})
		if !hasCode(err, errcode.ParamsError) || errcode.From(err).Detail != c.want {
			t.Errorf("%s%s…: %v, want %s", c.head, c.part, err, c.want)
		}
		if e.read > 1<<20 {
			t.Errorf("%s%s…: %d bytes were read first", c.head, c.part, e.read)
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
		h, err := readHead(tx)
		b := rowsOf(tx, h.Set)
		return errors.Join(err, b.Put([]byte("A9"), b.Get([]byte("A1"))))
	})
	if err := errors.Join(err, l.Reload()); err != nil {
		t.Fatal(err)
	}
	if _, v := l.Lookup("A9", time.Now()); v != NotListed || l.Damaged() != 1 || l.Len() != 2 {
		t.Errorf("%v, %d damaged, %d rows", v, l.Damaged(), l.Len())
	}
	if _, err := l.Operate(wire.WhitelistOperator{OperatorType: "delete", Plates: []string{"A9"}}); err != nil || l.Len() != 2 {
		t.Errorf("deleting it: %v, %d rows", err, l.Len())
	}
	same(t, l)
}

// What a damaged group restricted is not known: none of its rows passes.
func TestADamagedGroupClosesItsRows(t *testing.T) {
	l := open(t)
	if err := apply(l, `{"mode":"replace","groups":[{"name":"left","enable":0},{"name":"staff","enable":1}],"rows":[{"plate":"A1","enable":1,"group":"left"},
		{"plate":"A2","enable":1,"group":"staff"},{"plate":"A3","enable":1}]}`, ""); err != nil {
		t.Fatal(err)
	}
	err := l.db.Update(func(tx *bolt.Tx) error {
		h, err := readHead(tx)
		b := groupsOf(tx, h.Set)
		return errors.Join(err, b.Put([]byte("left"), b.Get([]byte("staff"))), b.Put([]byte("staff"), []byte("torn")))
	})
	if err := errors.Join(err, l.Reload()); err != nil {
		t.Fatal(err)
	}
	for plate, want := range map[string]Verdict{"A1": Suspended, "A2": Suspended, "A3": Listed} {
		if _, v := l.Lookup(plate, time.Now()); v != want {
			t.Errorf("%s is %v, not %v", plate, v, want)
		}
	}
	if l.Damaged() != 2 {
		t.Errorf("%d damaged", l.Damaged())
	}
	if err := apply(l, `{"mode":"delta","groups":[{"name":"staff","enable":1}]}`, ""); err != nil {
		t.Fatal(err)
	}
	if _, v := l.Lookup("A2", time.Now()); v != Listed {
		t.Errorf("a group that is sent again leaves its rows %v", v)
	}
}

// A group's record that is gone, or lies under another name, restricts its rows
// all the same: after row commands and restarts, too, until a full set comes.
func TestALostGroupClosesItsRows(t *testing.T) {
	const set = `{"mode":"replace","groups":[{"name":"left","enable":0}],"rows":[{"plate":"A1","enable":1,"group":"left"},{"plate":"A2","enable":1}]}`
	for name, lose := range map[string]func(rows, groups *bolt.Bucket) error{
		"missing": func(_, groups *bolt.Bucket) error { return groups.Delete([]byte("left")) },
		"under a new key": func(_, groups *bolt.Bucket) error {
			return errors.Join(groups.Put([]byte("lefu"), groups.Get([]byte("left"))), groups.Delete([]byte("left")))
		},
		"with its rows": func(rows, groups *bolt.Bucket) error {
			return errors.Join(groups.Delete([]byte("left")), rows.Delete([]byte("A1")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := open(t)
			if err := apply(l, set, ""); err != nil {
				t.Fatal(err)
			}
			err := l.db.Update(func(tx *bolt.Tx) error {
				h, err := readHead(tx)
				return errors.Join(err, lose(rowsOf(tx, h.Set), groupsOf(tx, h.Set)))
			})
			restart := func() {
				t.Helper()
				var openErr error
				if l, openErr = Open(l.db, zone, nil); errors.Join(err, openErr) != nil {
					t.Fatal(err, openErr)
				}
			}
			restart()
			closed := func() {
				t.Helper()
				same(t, l)
				for plate, want := range map[string]Verdict{"A1": Suspended, "A2": Listed} {
					if _, v := l.Lookup(plate, time.Now()); v != want && v != NotListed {
						t.Errorf("%s is %v, not %v", plate, v, want)
					}
				}
				if l.Damaged() != 1 {
					t.Errorf("%d damaged", l.Damaged())
				}
			}
			closed()
			op := wire.WhitelistOperator{OperatorType: "update_or_add", Records: []wire.WhitelistRecord{{Plate: "A1", Enable: 1, Group: "left"}, {Plate: "A3", Enable: 1}}}
			for range 2 {
				if _, err := l.Operate(op); err != nil {
					t.Fatal(err)
				}
				closed()
				restart()
				closed()
			}
			if err := apply(l, strings.Replace(set, `"enable":0`, `"enable":1`, 1), ""); err != nil {
				t.Fatal(err)
			}
			if restart(); l.Damaged() != 0 {
				t.Errorf("after a full set: %d damaged", l.Damaged())
			}
			if _, v := l.Lookup("A1", time.Now()); v != Listed {
				t.Errorf("after a full set A1 is %v", v)
			}
		})
	}
}

// A damaged head leaves no row in force, and the next set or row mends it.
func TestADamagedHead(t *testing.T) {
	l := open(t)
	if err := apply(l, `{"mode":"replace","rows":[{"plate":"A1","enable":1}]}`, ""); err != nil {
		t.Fatal(err)
	}
	err := l.db.Update(func(tx *bolt.Tx) error { return tx.Bucket(bucket).Put(headKey, []byte("xxxx{}")) })
	again, err2 := Open(l.db, zone, nil)
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	if again.Len() != 0 || again.Damaged() != 1 {
		t.Errorf("%d rows, %d damaged", again.Len(), again.Damaged())
	}
	if err := apply(again, `{"mode":"replace","rows":[{"plate":"A2","enable":1}]}`, ""); err != nil {
		t.Fatal(err)
	}
	same(t, again)
	if again.Len() != 1 {
		t.Errorf("%d rows", again.Len())
	}
}

// same checks that the snapshot in force is what a restart would read.
func same(t *testing.T, l *List) {
	t.Helper()
	again := newList(l.db, zone, l.log)
	if err := again.Reload(); err != nil {
		t.Fatal(err)
	}
	if again.Digest() != l.Digest() || again.Len() != l.Len() {
		t.Errorf("in force are %d rows %s, on disk %d rows %s", l.Len(), l.Digest(), again.Len(), again.Digest())
	}
	a, b := l.snapshot.Load(), again.snapshot.Load()
	for i := range a.shards {
		if (a.shards[i] == nil) != (b.shards[i] == nil) || a.shards[i] != nil && a.shards[i].rows != b.shards[i].rows {
			t.Fatalf("shard %d differs", i)
		}
		for r := range a.shards[i].all() {
			plate := r.plate
			now := time.Date(2026, 11, 25, 12, 0, 0, 0, zone)
			ea, va := l.Lookup(plate, now)
			if eb, vb := again.Lookup(plate, now); ea != eb || va != vb || va == NotListed {
				t.Fatalf("%s: %v %v in force, %v %v on disk", plate, ea, va, eb, vb)
			}
		}
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
