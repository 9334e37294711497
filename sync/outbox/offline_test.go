package outbox

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"gatehouse/sync/store"
	"gatehouse/sync/wire"
)

// long reports whether the long forms of the tests are asked for.
func long() bool { return os.Getenv("GATEHOUSE_LONG") != "" }

// wrote is what this process has given to the kernel to write so far, in bytes.
func wrote(t testing.TB) (n int64) {
	t.Helper()
	b, err := os.ReadFile("/proc/self/io")
	if err != nil {
		t.Skip("no /proc/self/io")
	}
	for line := range strings.Lines(string(b)) {
		if _, err := fmt.Sscanf(line, "wchar: %d", &n); err == nil {
			return n
		}
	}
	t.Fatalf("no wchar in %s", b)
	return 0
}

// used is how much of the disk the files below dir take, in bytes.
func used(t testing.TB, dir string) (n int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			n += info.Sys().(*syscall.Stat_t).Blocks * 512
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Days without a network: the caps hold on the disk, results are all there,
// gaps are exact, and afterwards a single event is cheap again. The long form
// (GATEHOUSE_LONG=1) is 72 hours at two events a second within 256 MiB.
func TestDaysOffline(t *testing.T) {
	hours, maxBytes, quota := 1, int64(6<<20), int64(1<<20)
	if long() {
		hours, maxBytes, quota = 72, 208<<20, 40<<20
	}
	limit := maxBytes + quota + 4<<20 + 1<<20 // file, pictures, reserve, directories and partial blocks
	if long() {
		limit = 256 << 20
	}
	total := hours * 3600 * 2
	dir := t.TempDir()
	var clock atomic.Int64
	clock.Store(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli())
	b := open(t, dir, Options{MaxBytes: maxBytes, PictureQuota: quota, Reserve: 4 << 20, FlushEvery: 50 * time.Millisecond, Trusted: func() bool { return true },
		Now: func() time.Time { return time.UnixMilli(clock.Load()) }, MaxAge: 30 * 24 * time.Hour})
	defer b.Close()
	boot := b.Boot()
	text, err := json.Marshal(wire.NewResult("265e1040-85e01fb7", "gate", "127.0.0.1", time.UnixMilli(clock.Load())))
	if err != nil {
		t.Fatal(err)
	}
	const rate = 256 // puts at one time, 128 s of events
	var results, most atomic.Int64
	begin := time.Now()
	for i := 0; i < total; i += rate {
		clock.Add(rate * 500)
		var puts sync.WaitGroup
		for j := i; j < min(i+rate, total); j++ {
			puts.Go(func() {
				e := Event{Name: wire.NameIVSResult, Payload: text, Account: 7}
				switch {
				case j%2000 == 0:
					e.Name, e.Payload, e.Priority = wire.NameChange, json.RawMessage(`{"body":{"state":"used"}}`), Result
					results.Add(1)
				case j%50 == 0:
					e.Priority = Decision
				}
				if j%20 == 0 {
					e.Pictures = map[string][]byte{"small_image_content": make([]byte, 8<<10)}
				}
				put(t, b, e)
			})
		}
		puts.Wait()
		if i/rate%64 == 0 || i+rate >= total {
			n := used(t, dir)
			most.Store(max(most.Load(), n))
			if n > limit {
				t.Fatalf("%d bytes of disk after %d events, the limit is %d", n, i, limit)
			}
		}
	}
	settle(t, b)
	list, err := b.List(total)
	if err != nil {
		t.Fatal(err)
	}
	events, inGaps, gaps := accounted(t, list, boot, uint64(total))
	var kept int64
	for _, s := range list {
		if s.Name == wire.NameChange {
			kept++
		}
	}
	s := b.Stats()
	if kept != results.Load() || inGaps != int(s.Dropped) || inGaps == 0 {
		t.Errorf("%d of %d results are kept; %d in gaps, %d dropped", kept, results.Load(), inGaps, s.Dropped)
	}
	t.Logf("%d events in %s: %d kept, %d results of %d, %d dropped in %d gaps; at most %d MiB of disk; %d bytes written an event of %d bytes, %.1f events a commit",
		total, time.Since(begin).Round(time.Second), events, kept, results.Load(), inGaps, gaps, most.Load()>>20, s.BytesPerEvent, len(text), float64(s.Written)/float64(s.Commits))

	begin = time.Now()
	f := b.Feed(7, FeedOptions{})
	n := 0
	for list := take(t, f, 256); len(list) > 0; list = take(t, f, 256) {
		for _, s := range list {
			n++
			if _, err := b.Ack(s.ID.Boot, [][2]uint64{{s.ID.Seq, s.ID.Seq}}, false); err != nil {
				t.Fatal(err)
			}
		}
	}
	f.Close()
	if n != events+gaps {
		t.Errorf("%d of %d are handed out; %d wait, %d were dropped meanwhile", n, events+gaps, b.Stats().Waiting, b.Stats().Dropped-s.Dropped)
	}
	for deadline := time.Now().Add(time.Minute); b.Stats().Rotations == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the drained file is not rotated: %+v", b.Stats())
		}
	}
	t.Logf("drained %d in %s; %d KiB of disk afterwards", n, time.Since(begin).Round(time.Millisecond), used(t, dir)>>10)
	oneEvent(t, b, text)
}

// oneEvent measures commits of one event each, against the counter and the kernel.
func oneEvent(t *testing.T, b *Outbox, text []byte) {
	t.Helper()
	const n = 20
	first, counted := wrote(t), b.db.Written()
	for range n {
		id := put(t, b, Event{Name: wire.NameIVSResult, Payload: text, Account: 7, Priority: Decision})
		if _, err := b.Ack(id.Boot, [][2]uint64{{id.Seq, id.Seq}}, false); err != nil {
			t.Fatal(err)
		}
	}
	measured, counted := (wrote(t)-first)/n, (b.db.Written()-counted)/n
	t.Logf("a commit of one event writes %d bytes by the kernel's count, %d by ours", measured, counted)
	if measured >= 32<<10 {
		t.Errorf("a commit of one event writes %d bytes, want less than 32 KiB", measured)
	}
	if counted < measured*9/10 || counted > measured*11/10 {
		t.Errorf("we count %d bytes a commit, the kernel %d", counted, measured)
	}
}

// On a disk that is full indeed, pictures go first, then the reserve, then old
// events; results still get in, and each event is told or in a gap.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("none", dir, "tmpfs", 0, "size=8m"); err != nil {
		t.Skipf("cannot mount a small disk: %v", err)
	}
	defer func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}()
	b := open(t, dir, Options{FlushEvery: time.Microsecond, Reserve: 1 << 20})
	if _, err := os.Stat(b.reservePath()); err != nil {
		t.Errorf("no reserve: %v", err)
	}
	boot := b.Boot()
	text := json.RawMessage(`{"text":"` + strings.Repeat("x", 2000) + `"}`)
	results, refusals := 0, 0
	for i := range 6000 {
		e := Event{Name: wire.NameIVSResult, Payload: text, Pictures: map[string][]byte{"full": make([]byte, 1<<10)}}
		if i%100 == 99 {
			e = Event{Name: wire.NameChange, Payload: text, Priority: Result}
			results++
		}
		if _, err := b.Put(context.Background(), e); err != nil {
			if refusals++; e.Priority == Result {
				t.Errorf("result %d: %v", results, err)
				break
			}
		}
	}
	settle(t, b)
	s := b.Stats()
	list, err := b.List(10000)
	if err != nil {
		t.Fatal(err)
	}
	events, inGaps, gaps := accounted(t, list, boot, s.LastSeq)
	kept := 0
	for _, s := range list {
		if s.Name == wire.NameChange {
			kept++
		}
	}
	if kept != results || s.Dropped == 0 || int(s.Refused) != refusals || events+inGaps != int(s.LastSeq) {
		t.Errorf("%d of %d results; %+v", kept, results, s)
	}
	if _, err := os.Stat(b.reservePath()); err == nil {
		t.Error("the reserve is still there although old events went")
	}
	t.Logf("%d events kept, %d in %d gaps, %d refused, %d bytes of pictures left", events, inGaps, gaps, s.Refused, s.PictureBytes)
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	b = open(t, dir, Options{})
	defer b.Close()
	if list, err = b.List(10000); err != nil {
		t.Fatal(err)
	}
	accounted(t, list, boot, s.LastSeq)
}

// What a full disk refuses is counted and becomes a gap with the next event
// that gets in.
func TestRefusedBecomeAGap(t *testing.T) {
	b := open(t, t.TempDir(), Options{FlushEvery: time.Microsecond})
	defer b.Close()
	put(t, b, event(1))
	settle(t, b)
	p := &pending{done: make(chan struct{}), do: func() error { b.refused = 3; return nil }}
	if err := b.submit(context.Background(), p); err != nil {
		t.Fatal(err)
	}
	if id := put(t, b, event(2)); id.Seq != 5 {
		t.Errorf("%+v", id)
	}
	list, err := b.List(10)
	if err != nil || len(list) != 3 || !strings.Contains(string(list[1].Payload), wire.GapDiskFull) {
		t.Fatalf("%+v %v", list, err)
	}
	accounted(t, list, b.Boot(), 5)
}

// BenchmarkPut compares grouped commits with one commit an event, in events a
// second and in bytes given to the disk an event. Events are 2 KiB results.
func BenchmarkPut(b *testing.B) {
	store.RunCheckIfAsked()
	text, err := json.Marshal(wire.NewResult("265e1040-85e01fb7", "gate", "127.0.0.1", time.Now()))
	if err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct {
		name     string
		priority Priority
		putters  int
	}{{"one-commit-an-event", Decision, 1}, {"grouped-of-32", Normal, 16}, {"grouped-of-256", Normal, 128}} {
		b.Run(c.name, func(b *testing.B) {
			box := open(b, b.TempDir(), Options{FlushEvery: 5 * time.Millisecond})
			defer box.Close()
			first := wrote(b)
			b.ReportAllocs()
			b.SetParallelism(c.putters)
			if c.putters == 1 {
				for b.Loop() {
					put(b, box, Event{Name: wire.NameIVSResult, Payload: text, Priority: c.priority})
				}
			} else {
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if _, err := box.Put(context.Background(), Event{Name: wire.NameIVSResult, Payload: text, Priority: c.priority}); err != nil {
							b.Error(err)
						}
					}
				})
			}
			s := box.Stats()
			b.ReportMetric(float64(s.Written)/b.Elapsed().Seconds(), "events/s")
			b.ReportMetric(float64(s.Written)/float64(s.Commits), "events/commit")
			b.ReportMetric(float64(wrote(b)-first)/float64(s.Written), "diskB/event")
		})
	}
}
