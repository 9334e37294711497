package outbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"gatehouse/sync/store"
	"gatehouse/sync/wire"
)

func TestMain(m *testing.M) {
	store.RunCheckIfAsked()
	goleak.VerifyTestMain(m)
}

func open(t *testing.T, dir string, o Options) *Outbox {
	t.Helper()
	o.PictureDir = filepath.Join(dir, "pictures")
	b, err := Open(filepath.Join(dir, "events.db"), o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func event(i int) Event {
	return Event{Name: "ivs_result", Payload: json.RawMessage(fmt.Sprintf(`{"n":%d}`, i))}
}

func put(t *testing.T, b *Outbox, e Event) wire.EventID {
	t.Helper()
	id, err := b.Put(context.Background(), e)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestSequencesAreContiguousAndSurvive(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, Options{})
	first := b.Boot()
	var puts sync.WaitGroup
	for i := range 100 {
		puts.Go(func() { put(t, b, event(i)) })
	}
	puts.Wait()
	if s := b.Stats(); s.LastSeq != 100 || s.Waiting != 100 || s.Commits > 50 {
		t.Errorf("%+v: want 100 events in few commits", s)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Put(context.Background(), event(1)); !errors.Is(err, ErrClosed) {
		t.Errorf("put after close: %v", err)
	}

	b = open(t, dir, Options{})
	defer b.Close()
	if b.Boot() <= first {
		t.Errorf("boot %s does not sort behind %s", b.Boot(), first)
	}
	if id := put(t, b, event(0)); id.Seq != 1 || id.Boot != b.Boot() {
		t.Errorf("a new boot begins with %+v", id)
	}
	seen := map[string]map[uint64]bool{first: {}, b.Boot(): {}}
	list, err := b.Pending(1000, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range list {
		seen[s.ID.Boot][s.ID.Seq] = true
	}
	if list[0].ID.Boot != b.Boot() {
		t.Error("the backlog goes before live events")
	}
	for seq := uint64(1); seq <= 100; seq++ {
		if !seen[first][seq] {
			t.Errorf("event %d of the first boot is lost", seq)
		}
	}
}

func TestAck(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, Options{FlushEvery: time.Millisecond})
	for i := range 10 {
		e := event(i)
		e.Pictures = map[string][]byte{"full": []byte("jpeg")}
		put(t, b, e)
	}
	if n, err := b.Ack(b.Boot(), [][2]uint64{{1, 3}, {7, 7}, {90, 99}}); n != 4 || err != nil {
		t.Errorf("Ack = %d, %v; want 4", n, err)
	}
	if n, _ := b.Ack(b.Boot(), [][2]uint64{{1, 3}}); n != 0 {
		t.Errorf("a repeated acknowledgement took %d", n)
	}
	if n, _ := b.Ack("other", [][2]uint64{{1, 99}}); n != 0 {
		t.Errorf("another boot's acknowledgement took %d", n)
	}
	if b.Oldest() != 4 {
		t.Errorf("oldest is %d", b.Oldest())
	}
	if files, _ := os.ReadDir(filepath.Join(dir, "pictures")); len(files) != 6 {
		t.Errorf("%d pictures are left, want 6", len(files))
	}
	list, err := b.List(100)
	if err != nil || len(list) != 6 || list[0].ID.Seq != 4 {
		t.Fatalf("%v %v", list, err)
	}
	if jpeg, err := b.Picture(list[0].Files["full"]); err != nil || string(jpeg) != "jpeg" {
		t.Errorf("%s %v", jpeg, err)
	}
	b.Close()
	b = open(t, dir, Options{})
	defer b.Close()
	if s := b.Stats(); s.Waiting != 6 {
		t.Errorf("%d wait after a restart, want 6", s.Waiting)
	}
}

// The caps drop the oldest ordinary events, never results, and the gaps say
// exactly what is missing.
func TestCapsLeaveExactGaps(t *testing.T) {
	b := open(t, t.TempDir(), Options{MaxEvents: 50, FlushEvery: time.Microsecond})
	defer b.Close()
	for i := range 200 {
		e := event(i)
		if i%20 == 0 {
			e.Priority = Result
		}
		put(t, b, e)
	}
	list, err := b.List(1000)
	if err != nil {
		t.Fatal(err)
	}
	told := map[uint64]bool{}
	results := 0
	for _, s := range list {
		from, to := s.ID.Seq, s.ID.Seq
		if s.Name == wire.NameGap {
			var p struct{ Body wire.Gap }
			if err := json.Unmarshal(s.Payload, &p); err != nil || p.Body.Cause != "count" {
				t.Errorf("%s: %v", s.Payload, err)
			}
			from, to = p.Body.From, p.Body.To
		} else if s.Priority == Result {
			results++
		}
		for seq := from; seq <= to; seq++ {
			if told[seq] {
				t.Errorf("event %d is told twice", seq)
			}
			told[seq] = true
		}
	}
	if len(told) != 200 || results != 10 {
		t.Errorf("%d of 200 events are accounted for, %d of 10 results are there", len(told), results)
	}
	if s := b.Stats(); s.Dropped == 0 || s.Waiting > 80 {
		t.Errorf("%+v", s)
	}
}

func TestPictureQuota(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, Options{PictureQuota: 1000, FlushEvery: time.Microsecond})
	defer b.Close()
	for i := range 20 {
		e := event(i)
		e.Pictures = map[string][]byte{"full": make([]byte, 100)}
		put(t, b, e)
	}
	files, err := os.ReadDir(filepath.Join(dir, "pictures"))
	if err != nil || len(files) != 10 {
		t.Errorf("%d pictures, %v; want the newest 10", len(files), err)
	}
	list, err := b.List(100)
	if err != nil || len(list) != 20 {
		t.Fatalf("%d events are left, want all 20: %v", len(list), err)
	}
	if _, err := b.Picture(list[0].Files["full"]); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the oldest picture: %v", err)
	}
	if _, err := b.Picture(list[19].Files["full"]); err != nil {
		t.Errorf("the newest picture: %v", err)
	}
}

// One commit an event is the baseline of the grouped one.
func BenchmarkPut(b *testing.B) {
	for name, priority := range map[string]Priority{"grouped": Normal, "one-commit-an-event": Decision} {
		b.Run(name, func(b *testing.B) {
			dir := b.TempDir()
			box, err := Open(filepath.Join(dir, "events.db"), Options{PictureDir: filepath.Join(dir, "p"), FlushEvery: 5 * time.Millisecond})
			if err != nil {
				b.Fatal(err)
			}
			defer box.Close()
			e := event(1)
			e.Priority = priority
			b.SetParallelism(32)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := box.Put(context.Background(), e); err != nil {
						b.Error(err)
					}
				}
			})
			s := box.Stats()
			b.ReportMetric(float64(s.Written)/float64(s.Commits), "events/commit")
		})
	}
}
