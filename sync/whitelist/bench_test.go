package whitelist

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"gatehouse/sync/store"
	"gatehouse/sync/wire"
)

// contentFile writes full(n) to a file, as a download leaves it, and opens it.
func contentFile(b *testing.B, n int) func() (io.ReadCloser, error) {
	b.Helper()
	path := filepath.Join(b.TempDir(), "content")
	if err := os.WriteFile(path, []byte(full(n, 1)), 0o600); err != nil {
		b.Fatal(err)
	}
	return func() (io.ReadCloser, error) { return os.Open(path) }
}

func put(b *testing.B, l *List, id string, content func() (io.ReadCloser, error)) {
	b.Helper()
	if err := l.Build(context.Background(), id, "", content); err != nil {
		b.Fatal(err)
	}
	err := l.db.Update(func(tx *bolt.Tx) error {
		_, err := l.Swap(tx, id, "", content)
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	if err := l.Committed(); err != nil {
		b.Fatal(err)
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkLookup compares the list with the two obvious ways: reading the row
// from the database, and a Go map of rows. Half of the plates are listed.
func BenchmarkLookup(b *testing.B) {
	for _, n := range []int{100_000, 1_000_000} {
		l := open(b)
		before := heap()
		put(b, l, "c", contentFile(b, n))
		perRow := float64(heap()-before) / float64(n)
		before = heap()
		rows := make(map[string]*wire.WhitelistRecord, n)
		for i := range n {
			r := &wire.WhitelistRecord{Plate: plateOf(i), Enable: 1, VehicleCode: fmt.Sprintf("C%d", i)}
			if i%3 == 0 {
				r.EnableTime, r.OverdueTime = "2026-01-01 00:00:00", fmt.Sprintf("2027-01-%02d 00:00:00", i%28+1)
			}
			rows[r.Plate] = r
		}
		perMapRow := float64(heap()-before) / float64(n)
		plates := make([]string, 4096)
		for i := range plates {
			plates[i] = plateOf(rand.IntN(n))
			if i%2 == 1 {
				plates[i] = "京" + plates[i][len("川"):]
			}
		}
		now := time.Now()
		b.Run(fmt.Sprintf("list/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				l.Lookup(plates[i%len(plates)], now)
			}
			b.ReportMetric(perRow, "B/row")
		})
		b.Run(fmt.Sprintf("map/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				_ = rows[plates[i%len(plates)]]
			}
			b.ReportMetric(perMapRow, "B/row")
		})
		b.Run(fmt.Sprintf("bbolt/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				_ = l.db.View(func(tx *bolt.Tx) error {
					h, _ := readHead(tx)
					_, err := store.Get(rowsOf(tx, h.Set), []byte(plates[i%len(plates)]))
					return err
				})
			}
		})
		b.Run(fmt.Sprintf("near1/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				l.Near(plates[i%len(plates)], 1, now)
			}
		})
	}
}

// BenchmarkApply puts sets in while lookups run in another goroutine, and tells
// the longest time one of them took ("stall"; "idle" is the same on the same
// machine while no set goes in: what the scheduler takes), the longest wait of
// another writer of the database ("held"), the memory that a set takes more than
// the one in force while it goes in ("peak"), and the bytes written per row.
// LONG=1 does the same with a million rows.
func BenchmarkApply(b *testing.B) {
	sizes := []int{100_000}
	if os.Getenv("LONG") != "" {
		sizes = append(sizes, 1_000_000)
	}
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			l := open(b)
			content := contentFile(b, n)
			put(b, l, "first", content)
			var stop atomic.Bool
			var longest, held, lookups, peak atomic.Int64
			inUse := func() int64 {
				sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
				metrics.Read(sample)
				return int64(sample[0].Value.Uint64())
			}
			var wait sync.WaitGroup
			plates := make([]string, 1024)
			for i := range plates {
				plates[i] = plateOf(rand.IntN(n))
			}
			wait.Go(func() {
				now := time.Now()
				for i := 0; !stop.Load(); i++ {
					begin := time.Now()
					l.Lookup(plates[i%len(plates)], now)
					if d := int64(time.Since(begin)); d > longest.Load() {
						longest.Store(d)
					}
					lookups.Add(1)
				}
			})
			wait.Go(func() { // another writer, as the journal is
				for !stop.Load() {
					begin := time.Now()
					_ = l.db.Update(func(tx *bolt.Tx) error { return nil })
					if d := int64(time.Since(begin)); d > held.Load() {
						held.Store(d)
					}
					peak.Store(max(peak.Load(), inUse()))
					time.Sleep(10 * time.Millisecond)
				}
			})
			time.Sleep(2 * time.Second)
			idle := longest.Swap(0)
			start := int64(heap())
			held.Store(0)
			lookups.Store(0)
			peak.Store(0)
			pages := l.db.Stats().TxStats
			begin, _ := written(l)
			sets := 0
			for b.Loop() {
				put(b, l, fmt.Sprint("c", sets), content)
				sets++
			}
			now := l.db.Stats().TxStats
			end, ok := written(l)
			stop.Store(true)
			wait.Wait()
			b.ReportMetric(float64(longest.Load())/1e6, "stall-ms")
			b.ReportMetric(float64(idle)/1e6, "idle-ms")
			b.ReportMetric(float64(held.Load())/1e6, "held-ms")
			b.ReportMetric(float64(peak.Load()-start)/(1<<20), "peak-MiB")
			b.ReportMetric(float64(lookups.Load())/b.Elapsed().Seconds(), "lookups/s")
			b.ReportMetric(float64(now.GetPageCount()-pages.GetPageCount())/float64(sets*n)*float64(os.Getpagesize()), "pageB/row")
			if ok {
				b.ReportMetric(float64(end-begin)/float64(sets*n), "diskB/row")
			}
		})
	}
}

// written is what this process has given to write calls.
func written(*List) (n int64, ok bool) {
	f, err := os.Open("/proc/self/io")
	if err != nil {
		return 0, false
	}
	defer f.Close()
	var r, w int64
	if _, err := fmt.Fscanf(f, "rchar: %d\nwchar: %d\n", &r, &w); err != nil {
		return 0, false
	}
	return w, true
}
