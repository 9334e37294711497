package platform

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"gatehouse/sync/wire"
)

// The set agrees with a plain one, whatever is added in whatever order.
func TestRanges(t *testing.T) {
	for trial := range 200 {
		random := rand.New(rand.NewPCG(2, uint64(trial)))
		plain := map[uint64]bool{}
		var r ranges
		for range 40 {
			from := 1 + random.Uint64N(100)
			to := from + random.Uint64N(8)
			r.add(from, to)
			for n := from; n <= to; n++ {
				plain[n] = true
			}
		}
		if r.count() != uint64(len(plain)) {
			t.Fatalf("trial %d: %v has %d, want %d", trial, r, r.count(), len(plain))
		}
		for i := 1; i < len(r); i++ {
			if r[i][0] <= r[i-1][1]+1 {
				t.Fatalf("trial %d: %v is not joined", trial, r)
			}
		}
		gone := r.missing(120)
		for n := uint64(1); n <= 120; n++ {
			if r.has(n) != plain[n] || gone.has(n) == plain[n] {
				t.Fatalf("trial %d: %d: has %v, missing %v, want %v", trial, n, r.has(n), gone.has(n), plain[n])
			}
		}
		text, err := json.Marshal(packed{r})
		var back packed
		if err != nil || json.Unmarshal(text, &back) != nil || fmt.Sprint(back.ranges) != fmt.Sprint(r) {
			t.Fatalf("trial %d: %v is stored as %s and read as %v", trial, r, text, back)
		}
	}
	var r ranges
	r.add(1, 1<<64-1)
	r.add(5, 9)
	if len(r) != 1 || len(r.missing(1<<64-1)) != 0 {
		t.Errorf("%v", r)
	}
}

func FuzzPacked(f *testing.F) {
	f.Add([]byte(`"AQEDAA"`))
	f.Add([]byte(`"////////////AQE"`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var p packed
		if p.UnmarshalJSON(text) != nil {
			return
		}
		again, err := p.MarshalJSON()
		var back packed
		if err != nil || back.UnmarshalJSON(again) != nil || fmt.Sprint(back.ranges) != fmt.Sprint(p.ranges) {
			t.Errorf("%v is read back as %v", p.ranges, back.ranges)
		}
	})
}

const testSN = "265e1040-85e01fb7"

// openBound opens a platform with one bound board.
func openBound(t testing.TB, dir string, o Options) *Platform {
	t.Helper()
	p, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	err = p.db.Update(func(tx *bolt.Tx) error { return saveDevice(tx, &device{SN: testSN, UserID: 1, Bound: true}) })
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func eventMessage(t testing.TB, boot string, seq uint64, full string) message {
	t.Helper()
	r := wire.NewResult(testSN, "gate", "127.0.0.1", time.Now())
	r.AlarmInfoPlate.Result.PlateResult.FullImageContent = wire.B64(full)
	text, err := json.Marshal(wire.Up{SN: testSN, Name: wire.NameIVSResult, Payload: r, Event: &wire.EventID{Boot: boot, Seq: seq}})
	if err != nil {
		t.Fatal(err)
	}
	return message{"device/" + testSN + "/message/up/ivs_result", text}
}

// Events are kept for so long and so many; what has arrived stays known, so
// that one that comes again later is no new one to the account of the boot.
func TestRetention(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	dir := t.TempDir()
	p := openBound(t, dir, Options{KeepEvents: 24 * time.Hour, MostEvents: 10, Now: func() time.Time { return now }})
	send := func(from, to uint64) {
		var group []message
		for seq := from; seq <= to; seq++ {
			group = append(group, eventMessage(t, "00000001-0", seq, "jpeg"))
		}
		p.handle(group)
	}
	check := func(events int) {
		t.Helper()
		for {
			n, err := p.prune()
			if err != nil {
				t.Fatal(err)
			}
			if n == 0 {
				break
			}
		}
		files, _ := os.ReadDir(p.pictureDir())
		var n int64
		_ = p.db.View(func(tx *bolt.Tx) error { n, _ = countEvents(tx); return nil })
		if len(files) != events || n != int64(events) {
			t.Errorf("%d pictures and %d events are kept, want %d", len(files), n, events)
		}
	}
	send(1, 5)
	check(5)
	send(6, 15)
	check(10)
	if _, err := os.Stat(p.picturePath(testSN, "00000001-0", 6, fullPicture)); err != nil {
		t.Error(err)
	}
	now = now.Add(25 * time.Hour)
	send(16, 16)
	check(1)
	reports, err := p.Series(testSN, 0)
	if err != nil || len(reports) != 1 || reports[0].Received != 16 || len(reports[0].Missing) != 0 {
		t.Errorf("%+v %v", reports, err)
	}
	// What comes again is not stored again, though the first is gone; what was
	// told as dropped and comes after all is new.
	send(7, 8)
	check(1)
	gap, err := json.Marshal(wire.Up{SN: testSN, Name: wire.NameGap, Payload: wire.Body{Body: wire.Gap{Boot: "00000001-0", From: 17, To: 20, Cause: "bytes"}},
		Event: &wire.EventID{Boot: "00000001-0", Seq: 21}})
	if err != nil {
		t.Fatal(err)
	}
	p.handle([]message{{"device/" + testSN + "/message/up/gap", gap}})
	send(18, 18)
	send(21, 22)
	check(3)
	reports, err = p.Series(testSN, 0)
	if err != nil || reports[0].Received != 18 || reports[0].Repeated != 3 || reports[0].Dropped != 4 {
		t.Errorf("%+v %v", reports, err)
	}
}

// FuzzMessage puts any message on any topic of a board to the cloud.
func FuzzMessage(f *testing.F) {
	p := openBound(f, f.TempDir(), Options{})
	f.Add("device/"+testSN+"/message/up/birth", []byte(`{"payload":{"body":{"boot":"1-1","epoch":3,"last_seq":7}}}`))
	f.Add("device/"+testSN+"/message/up/offline", []byte(`{"payload":{"body":{"boot":"1-1","epoch":3,"reason":"lost"}}}`))
	f.Add("device/"+testSN+"/message/up/gap", []byte(`{"payload":{"body":{"boot":"1-1","from":3,"to":18446744073709551615}},"event":{"boot":"1-1","seq":3}}`))
	f.Add("device/"+testSN+"/message/down/whitelist/reply", []byte(`{"code":200,"payload":{"body":{"change_id":"x","state":"used"}}}`))
	m := eventMessage(f, "1-1", 1, "x")
	f.Add(m.topic, m.payload)
	f.Fuzz(func(t *testing.T, topic string, payload []byte) {
		p.handle([]message{{topic, payload}})
		reports, err := p.Series(testSN, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range reports {
			for _, m := range r.Missing {
				if m[0] == 0 || m[0] > m[1] || m[1] > r.Last {
					t.Errorf("%s: missing %v of %d", r.Boot, m, r.Last)
				}
			}
		}
		names, err := filepath.Glob(filepath.Join(p.dir, "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range names {
			if strings.HasSuffix(n, ".jpg") {
				t.Errorf("a picture escaped: %s", n)
			}
		}
	})
}

// BenchmarkReceive measures how many events a second are stored and
// acknowledged, in groups and one to a commit.
func BenchmarkReceive(b *testing.B) {
	for _, size := range []int{1, 512} {
		b.Run(fmt.Sprintf("group-of-%d", size), func(b *testing.B) {
			p := openBound(b, b.TempDir(), Options{})
			seq := uint64(0)
			var group []message
			for b.Loop() {
				seq++
				b.StopTimer()
				group = append(group, eventMessage(b, "00000001-0", seq, ""))
				b.StartTimer()
				if len(group) == size {
					p.handle(group)
					group = group[:0]
				}
			}
			b.ReportMetric(float64(seq)/b.Elapsed().Seconds(), "events/s")
		})
	}
}
