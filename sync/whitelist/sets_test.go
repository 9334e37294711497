package whitelist

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"gatehouse/sync/errcode"
	"gatehouse/sync/wire"
)

// plateOf is the i-th of a million different plates.
func plateOf(i int) string {
	const letters = "ABCDEFGHJKLMNPQRSTUVWXYZ"
	return fmt.Sprintf("川%c%c%c%03d", letters[i/576_000], letters[i/24_000%24], letters[i/1000%24], i%1000)
}

// full is a replace with n rows in an order of chance; each third row has times.
func full(n int, seed uint64) string {
	var b strings.Builder
	b.Grow(n * 100)
	b.WriteString(`{"mode":"replace","rows":[`)
	for k, i := range rand.New(rand.NewPCG(seed, 1)).Perm(n) {
		if k > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"plate":"%s","enable":1,"vehicle_code":"C%d"`, plateOf(i), i)
		if i%3 == 0 {
			fmt.Fprintf(&b, `,"enable_time":"2026-01-01 00:00:00","overdue_time":"2027-01-%02d 00:00:00"`, i%28+1)
		}
		b.WriteByte('}')
	}
	b.WriteString(`]}`)
	return b.String()
}

// Sets of more rows than one transaction takes: full, delta by row and delta by
// merge give the same as rows one by one.
func TestLargeSets(t *testing.T) {
	const n = 3*smallSet + 17
	l := open(t)
	text := full(n, 1)
	if err := apply(l, text, ""); err != nil {
		t.Fatal(err)
	}
	same(t, l)
	if s, err := Summarise(opener(text)); err != nil || l.Len() != n || s.SetDigest != l.Digest() || s.Rows != n {
		t.Fatalf("%d rows %s, announced %+v %v", l.Len(), l.Digest(), s, err)
	}
	if err := apply(l, full(n, 2), ""); err != nil { // the same rows in another order
		t.Fatal(err)
	}
	base := l.Digest()
	if s, _ := Summarise(opener(text)); s.SetDigest != base {
		t.Error("the digest depends on the order")
	}
	if r, ok, err := l.Record(plateOf(7)); err != nil || !ok || r.VehicleCode != "C7" {
		t.Errorf("%+v %v %v", r, ok, err)
	}

	// A delta with more edits than go in at once: every second row goes, the
	// others change, some come.
	var rows, remove []string
	for i := range n {
		if i%2 == 0 {
			remove = append(remove, fmt.Sprintf("%q", plateOf(i)))
		} else {
			rows = append(rows, fmt.Sprintf(`{"plate":%q,"enable":0}`, plateOf(i)))
		}
	}
	for i := range 100 {
		rows = append(rows, fmt.Sprintf(`{"plate":"京C%05d","enable":1,"group":"new"}`, i))
	}
	delta := `{"mode":"delta","remove":[` + strings.Join(remove, ",") + `],"rows":[` + strings.Join(rows, ",") + `]}`
	if err := apply(l, delta, "sha256:"+strings.Repeat("0", 64)); !hasCode(err, errcode.RequestFailed) {
		t.Errorf("a delta on another base: %v", err)
	}
	if err := apply(l, delta, base); err != nil {
		t.Fatal(err)
	}
	same(t, l)
	if want := n/2 + 100; l.Len() != want {
		t.Errorf("%d rows, want %d", l.Len(), want)
	}
	for plate, want := range map[string]Verdict{plateOf(0): NotListed, plateOf(1): Suspended, "京C00042": Listed} {
		if _, v := l.Lookup(plate, time.Now()); v != want {
			t.Errorf("%s: %v, want %v", plate, v, want)
		}
	}
	// Undone by a small delta, row by row: the digest comes back to what a full set says.
	if err := apply(l, `{"mode":"delta","rows":[{"plate":"`+plateOf(0)+`","enable":1}],"remove":["京C00042"]}`, l.Digest()); err != nil {
		t.Fatal(err)
	}
	same(t, l)
	l.tidying.Wait()
	sets := 0
	err := l.db.View(func(tx *bolt.Tx) error {
		return tx.Bucket(bucket).ForEachBucket(func([]byte) error { sets++; return nil })
	})
	if err != nil || sets != 2 {
		t.Errorf("%d buckets are left, want those of one set: %v", sets, err)
	}
}

// A content larger than one run is sorted through files.
func TestSortingThroughFiles(t *testing.T) {
	s := &sorter{dir: t.TempDir(), limit: 1000}
	defer s.close()
	for _, i := range rand.New(rand.NewPCG(1, 1)).Perm(500) {
		e := edit{plate: plateOf(i), value: []byte{byte(i)}}
		if err := s.add(e); err != nil {
			t.Fatal(err)
		}
		if i%5 == 0 { // removed too: the row counts
			if err := s.add(edit{plate: plateOf(i)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if s.inMemory() {
		t.Fatal("nothing was written to a file")
	}
	if left, _ := filepath.Glob(filepath.Join(s.dir, "*")); len(left) != 0 {
		t.Errorf("visible files: %v", left)
	}
	m, err := newMerge(s.sources())
	if err != nil {
		t.Fatal(err)
	}
	last := ""
	for n := 0; ; n++ {
		e, ok, err := m.next()
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			if n != 500 {
				t.Errorf("%d rows, want 500", n)
			}
			break
		}
		if e.plate <= last || len(e.value) != 1 {
			t.Fatalf("%q behind %q: %v", e.plate, last, e.value)
		}
		last = e.plate
	}
}

// The process ends at every point between the two steps; afterwards the old set
// or the new one is in force, the half one is gone, and applying again works.
func TestPowerCuts(t *testing.T) {
	const n = smallSet + 500
	text := full(n, 1)
	want, err := Summarise(opener(text))
	if err != nil {
		t.Fatal(err)
	}
	cut := errors.New("power cut")
	for name, until := range map[string]func(l *List) error{
		"while it is written": func(l *List) error {
			ctx, cancel := context.WithCancelCause(context.Background())
			cancel(cut)
			s := &sorter{dir: l.dir, limit: maxRun}
			for i := range 10 {
				if err := s.add(edit{plate: plateOf(i), value: []byte(`{"plate":"` + plateOf(i) + `","enable":1}`)}); err != nil {
					return err
				}
			}
			m, err := newMerge(s.sources())
			if err != nil {
				return err
			}
			if err := l.writeRows(context.Background(), 99, m, newBuilder()); err != nil { // as much as one batch
				return err
			}
			return l.Build(ctx, "c", "", opener(text))
		},
		"after it was written": func(l *List) error {
			return errors.Join(l.Build(context.Background(), "c", "", opener(text)), cut)
		},
		"before the swap is committed": func(l *List) error {
			if err := l.Build(context.Background(), "c", "", opener(text)); err != nil {
				return err
			}
			return l.db.Update(func(tx *bolt.Tx) error {
				_, err := l.Swap(tx, "c", "", opener(text))
				return errors.Join(err, cut)
			})
		},
		"after the swap, before it is in force": func(l *List) error {
			if err := l.Build(context.Background(), "c", "", opener(text)); err != nil {
				return err
			}
			err := l.db.Update(func(tx *bolt.Tx) error {
				_, err := l.Swap(tx, "c", "", opener(text))
				return err
			})
			return errors.Join(err, cut)
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := open(t)
			if err := apply(l, `{"mode":"replace","rows":[{"plate":"A1","enable":1}]}`, ""); err != nil {
				t.Fatal(err)
			}
			old := l.Digest()
			if err := until(l); !errors.Is(err, cut) {
				t.Fatal(err)
			}
			l, err := Open(l.db, zone, nil) // the next start
			if err != nil {
				t.Fatal(err)
			}
			if done := strings.HasPrefix(name, "after the swap"); done != (l.Digest() == want.SetDigest) || !done && l.Digest() != old {
				t.Errorf("in force is %s", l.Digest())
			}
			// The engine resumes the step it was in; both may come again.
			if err := l.Build(context.Background(), "c", "", opener(text)); err != nil {
				t.Fatal(err)
			}
			err = l.db.Update(func(tx *bolt.Tx) error {
				_, err := l.Swap(tx, "c", "", opener(text))
				return err
			})
			if err := errors.Join(err, l.Committed()); err != nil || l.Digest() != want.SetDigest {
				t.Errorf("again: %v, %s", err, l.Digest())
			}
			same(t, l)
			if err := l.dropUnfinished(); err != nil {
				t.Error(err)
			}
		})
	}
}

// A row command between the two steps of a delta is not lost: the delta fails.
func TestARowBetweenTheStepsOfADelta(t *testing.T) {
	l := open(t)
	if err := apply(l, `{"mode":"replace","rows":[{"plate":"A1","enable":1}]}`, ""); err != nil {
		t.Fatal(err)
	}
	delta := strings.Replace(full(smallSet+1, 1), "replace", "delta", 1)
	if err := l.Build(context.Background(), "c", "", opener(delta)); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Operate(wire.WhitelistOperator{OperatorType: "update_or_add", Records: []wire.WhitelistRecord{{Plate: "A2", Enable: 1}}}); err != nil {
		t.Fatal(err)
	}
	err := l.db.Update(func(tx *bolt.Tx) error {
		_, err := l.Swap(tx, "c", "", opener(delta))
		return err
	})
	if !hasCode(err, errcode.RequestFailed) {
		t.Errorf("%v", err)
	}
	if err := l.Abandon("c"); err != nil || l.Len() != 2 {
		t.Errorf("%v, %d rows", err, l.Len())
	}
	same(t, l)
}

// Row commands and sets at the same time, with lookups all the while: at the
// end memory and disk agree, and no lookup ever saw a plate vanish that is in all sets.
func TestWritersAtTheSameTime(t *testing.T) {
	l := open(t)
	const n = smallSet + 300
	texts := []string{full(n, 1), strings.Replace(full(n, 2), `"enable":1,"vehicle_code":"C5"`, `"enable":0,"vehicle_code":"C5"`, 1)}
	if err := apply(l, texts[0], ""); err != nil {
		t.Fatal(err)
	}
	var stop atomic.Bool
	var wait sync.WaitGroup
	wait.Go(func() {
		now := time.Date(2026, 11, 25, 12, 0, 0, 0, zone)
		for i := 0; !stop.Load(); i++ {
			if _, v := l.Lookup(plateOf(1+i%4), now); v != Listed {
				t.Errorf("%s: %v", plateOf(1+i%4), v)
				return
			}
		}
	})
	wait.Go(func() {
		for i := 0; !stop.Load(); i++ {
			if _, err := l.Operate(wire.WhitelistOperator{OperatorType: "update_or_add", Records: []wire.WhitelistRecord{{Plate: fmt.Sprintf("X%d", i%50), Enable: i % 2}}}); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for i := range 6 {
		if err := apply(l, texts[i%2], ""); err != nil {
			t.Error(err)
		}
	}
	stop.Store(true)
	wait.Wait()
	same(t, l)
}

func TestGroupsAndWeeks(t *testing.T) {
	l := open(t)
	err := apply(l, `{"mode":"replace",
		"groups":[{"name":"staff","enable":1,"weekly":[{"days":[1,2,3,4,5],"start":"07:00:00","end":"19:00:00"}]},{"name":"left","enable":0},
			{"name":"guests","enable":1,"enable_time":"2026-11-23 00:00:00","overdue_time":"2026-11-24 23:59:59"}],
		"rows":[{"plate":"A1","enable":1,"group":"staff"},{"plate":"A2","enable":1,"group":"left"},{"plate":"A3","enable":1,"group":"guests"},
			{"plate":"A4","enable":1,"group":"nobody described it"},
			{"plate":"A5","enable":1,"weekly":[{"days":[5],"start":"22:00:00","end":"06:00:00"},{"days":[7],"start":"00:00:00","end":"00:00:00"}]},
			{"plate":"A6","enable":1,"group":"staff","time_seg_enable":1,"seg_time_start":"12:00:00","seg_time_end":"13:00:00"}]}`, "")
	if err != nil {
		t.Fatal(err)
	}
	check := func(list map[string]Verdict) {
		t.Helper()
		for what, want := range list {
			plate, at, _ := strings.Cut(what, " ")
			m, err := time.ParseInLocation(time.DateTime, at, zone)
			if err != nil {
				t.Fatal(err)
			}
			if _, got := l.Lookup(plate, m.UTC()); got != want {
				t.Errorf("%s: %v, want %v", what, got, want)
			}
		}
	}
	check(map[string]Verdict{ // 2026-11-23 is a Monday
		"A1 2026-11-23 08:00:00": Listed, "A1 2026-11-23 06:59:59": OutOfTime, "A1 2026-11-28 08:00:00": OutOfTime,
		"A2 2026-11-23 08:00:00": Suspended,
		"A3 2026-11-24 23:59:59": Listed, "A3 2026-11-25 00:00:00": OutOfTime,
		"A4 2026-11-25 00:00:00": Listed,
		"A5 2026-11-27 21:59:59": OutOfTime, "A5 2026-11-27 22:00:00": Listed, "A5 2026-11-28 05:59:59": Listed,
		"A5 2026-11-28 22:00:00": OutOfTime, "A5 2026-11-29 00:00:00": Listed, "A5 2026-11-29 23:59:59": Listed, "A5 2026-11-30 00:00:00": OutOfTime,
		"A6 2026-11-23 12:30:00": Listed, "A6 2026-11-23 13:30:00": OutOfTime, "A6 2026-11-29 12:30:00": OutOfTime,
	})
	// A group changes for all its rows by one delta; one that goes restricts nothing.
	if err := apply(l, `{"mode":"delta","groups":[{"name":"left","enable":1}],"remove_groups":["staff"]}`, l.Digest()); err != nil {
		t.Fatal(err)
	}
	same(t, l)
	check(map[string]Verdict{"A2 2026-11-23 08:00:00": Listed, "A1 2026-11-28 08:00:00": Listed})
	if e, _ := l.Lookup("A1", time.Now()); e.Group != "staff" || e.Plate != "A1" {
		t.Errorf("%+v", e)
	}
}

func TestNear(t *testing.T) {
	l := open(t)
	err := apply(l, `{"mode":"replace","rows":[{"plate":"川AB8888","enable":1},{"plate":"川A00001","enable":1},{"plate":"川AD0001","enable":1},
		{"plate":"川A55555","enable":1,"need_alarm":1},{"plate":"川A22222","enable":0},{"plate":"京B12345","enable":1}]}`, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		reading string
		most    int
		plate   string
		verdict Verdict
	}{
		{"川A88888", 1, "川AB8888", Listed},
		{"川A88888", 0, "", NotListed},          // switched off
		{"川A8B888", 1, "", NotListed},          // two characters
		{"川A8B888", 2, "川AB8888", Listed},      //
		{"川AQ0001", 1, "", NotListed},          // of 川A00001 and 川AD0001: whose it is cannot be known
		{"川AD0001", 1, "", NotListed},          // the same, though one is the reading itself
		{"川AC8888", 2, "", NotListed},          // C and B are no pair
		{"川AS5555", 1, "川A55555", Blacklisted}, //
		{"川AZ2222", 1, "川A22222", Suspended},   //
		{"津B12345", 2, "", NotListed},          // provinces are not taken for one another
		{"京B1234", 2, "", NotListed},           // nor is a character missing
		{strings.Repeat("0", 40), 2, "", NotListed},
	} {
		e, v := l.Near(c.reading, c.most, time.Now())
		if e.Plate != c.plate || v != c.verdict {
			t.Errorf("%s within %d: %q %v, want %q %v", c.reading, c.most, e.Plate, v, c.plate, c.verdict)
		}
	}
	now := time.Now()
	if n := testing.AllocsPerRun(100, func() { l.Near("川A88888", 2, now) }); n != 0 {
		t.Errorf("%v allocations a search", n)
	}
}

// A select of a large set stays within one message and says how many there are.
func TestSelectIsBounded(t *testing.T) {
	l := open(t)
	if err := apply(l, full(smallSet+1000, 1), ""); err != nil {
		t.Fatal(err)
	}
	s, err := l.find("")
	if err != nil || s.TotalCount != smallSet+1000 || len(s.Records) == 0 || len(s.Records) >= s.TotalCount {
		t.Errorf("%d of %d, %v", len(s.Records), s.TotalCount, err)
	}
}

// Clear, as an unbinding does it, leaves nothing, not even a set that is being built.
func TestClear(t *testing.T) {
	l := open(t)
	if err := apply(l, full(smallSet+1, 1), ""); err != nil {
		t.Fatal(err)
	}
	if err := l.Build(context.Background(), "c", "", opener(full(smallSet+1, 2))); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(l.db.Update(l.Clear), l.Reload()); err != nil || l.Len() != 0 {
		t.Fatalf("%v, %d rows", err, l.Len())
	}
	err := l.db.View(func(tx *bolt.Tx) error {
		return tx.Bucket(bucket).ForEachBucket(func(name []byte) error { t.Errorf("%s is left", name); return nil })
	})
	if err != nil {
		t.Error(err)
	}
	if err := apply(l, `{"mode":"delta","rows":[{"plate":"A1","enable":1}]}`, l.Digest()); err != nil || l.Len() != 1 {
		t.Errorf("%v, %d rows", err, l.Len())
	}
	same(t, l)
}

func TestSum(t *testing.T) {
	a, b := rowSum([]byte("a")), rowSum([]byte("b"))
	if a.plus(b) != b.plus(a) || a.plus(b).minus(b) != a || a == b || rowSum([]byte("a")) == groupSum([]byte("a")) {
		t.Error("the sum is none")
	}
	if back, ok := parseSum(a.plus(b).String()); !ok || back != a.plus(b) {
		t.Error("a sum does not survive its text")
	}
	for _, bad := range []string{"", "sha256:", "sha256:" + strings.Repeat("x", 64)} {
		if _, ok := parseSum(bad); ok {
			t.Errorf("%q is taken", bad)
		}
	}
}
