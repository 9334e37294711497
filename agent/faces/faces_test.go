package faces

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"gatehouse/sync/errcode"
	"gatehouse/sync/store"
)

func TestMain(m *testing.M) {
	store.RunCheckIfAsked()
	m.Run()
}

func feature(seed uint64) []float32 {
	r := rand.New(rand.NewPCG(seed, 7))
	f := make([]float32, Size)
	var length float64
	for i := range f {
		f[i] = float32(r.NormFloat64())
		length += float64(f[i]) * float64(f[i])
	}
	for i := range f {
		f[i] /= float32(math.Sqrt(length))
	}
	return f
}

func library(t testing.TB, path string) *Library {
	t.Helper()
	db, err := store.Open(path, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	l, err := Open(db, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func wantCode(t *testing.T, err error, code errcode.Code) {
	t.Helper()
	var e *errcode.Error
	if !errors.As(err, &e) || e.Code != code {
		t.Errorf("got %v, want code %d", err, code)
	}
}

func TestLibrary(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	l := library(t, path)
	if name, s := l.Match(feature(1)); name != "" || s != -1 {
		t.Error("an empty library knows", name, s)
	}
	for i, name := range []string{"张三", "李四", "Ann"} {
		if err := l.Add(name, feature(uint64(i)), time.Unix(1e9, 0)); err != nil {
			t.Fatal(err)
		}
	}
	if name, s := l.Match(feature(1)); name != "李四" || math.Abs(s-1) > 1e-5 {
		t.Error(name, s)
	}
	if _, s := l.Match(feature(99)); s > .3 {
		t.Error("a stranger is similar:", s)
	}
	wantCode(t, l.Add("Ann", feature(9), time.Now()), errcode.FaceUserExists)
	wantCode(t, l.Add(" ", feature(9), time.Now()), errcode.ParamsError)
	wantCode(t, l.Add("Bob", feature(9)[:100], time.Now()), errcode.FaceFeatureFailed)
	wantCode(t, l.Add("Bob", make([]float32, Size), time.Now()), errcode.FaceFeatureFailed)
	wantCode(t, l.Remove("Bob"), errcode.FaceUserNotExist)
	if err := l.Remove("李四"); err != nil {
		t.Fatal(err)
	}
	if err := l.db.Close(); err != nil {
		t.Fatal(err)
	}
	l = library(t, path)
	if got := l.List(); len(got) != 2 || got[0].Name != "Ann" || got[1].Name != "张三" || got[0].Added != 1e9 {
		t.Errorf("after a restart: %+v", got)
	}
	// A damaged record is left out; the others stay.
	if err := l.db.Update(func(tx *bolt.Tx) error { return tx.Bucket(bucket).Put([]byte("Ann"), []byte("damaged")) }); err != nil {
		t.Fatal(err)
	}
	if err := l.Reload(); err != nil || len(l.List()) != 1 || l.damaged != 1 {
		t.Errorf("%v, %+v", err, l.List())
	}
	if err := l.db.Update(Clear); err != nil {
		t.Fatal(err)
	}
	if err := l.Reload(); err != nil || len(l.List()) != 0 {
		t.Error("somebody is left")
	}
}

// Two libraries have one digest when the same people have the same features.
func TestDigest(t *testing.T) {
	a, b := library(t, filepath.Join(t.TempDir(), "a.db")), library(t, filepath.Join(t.TempDir(), "b.db"))
	add := func(l *Library, name string, seed uint64, at int64) {
		t.Helper()
		if err := l.Add(name, feature(seed), time.Unix(at, 0)); err != nil {
			t.Fatal(err)
		}
	}
	same := func(what string, want bool) {
		t.Helper()
		if (a.Digest() == b.Digest()) != want {
			t.Errorf("%s: %s and %s", what, a.Digest(), b.Digest())
		}
	}
	same("empty", true)
	add(a, "张三", 1, 1e9)
	same("one more", false)
	add(a, "李四", 2, 1e9)
	add(b, "李四", 2, 2e9)
	add(b, "张三", 1, 2e9)
	same("in another order", true)
	if err := b.Remove("张三"); err != nil {
		t.Fatal(err)
	}
	add(b, "张三", 3, 1e9)
	same("another feature", false)
}

func TestJoined(t *testing.T) {
	a, b := feature(1), feature(1)
	b[0] += .2
	unit := float32(math.Sqrt(cosine(b, b)))
	for i := range b {
		b[i] /= unit
	}
	f, err := Joined([][]float32{a, b})
	if err != nil || check(f) != nil || cosine(f, a) < cosine(a, b) {
		t.Error(err, cosine(f, a), cosine(a, b))
	}
	_, err = Joined([][]float32{feature(1), feature(2)})
	wantCode(t, err, errcode.FaceCompareFailed)
	_, err = Joined([][]float32{feature(1)[:3]})
	wantCode(t, err, errcode.FaceFeatureFailed)
	_, err = Joined(nil)
	wantCode(t, err, errcode.FaceFeatureFailed)
}

// BenchmarkMatch is the search among the enrolled; the plain sum is the
// baseline.
func BenchmarkMatch(b *testing.B) {
	for _, n := range []int{1_000, 50_000} {
		l := &Library{}
		for i := range n {
			l.people = append(l.people, Person{Name: fmt.Sprint(i)})
			l.features = append(l.features, feature(uint64(i%100))...)
		}
		f := feature(50)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				l.Match(f)
			}
		})
		b.Run(fmt.Sprint(n, " baseline one sum"), func(b *testing.B) {
			for b.Loop() {
				best := float32(-1)
				for i := range n {
					var s float32
					for k, v := range l.features[i*Size : (i+1)*Size] {
						s += v * f[k]
					}
					best = max(best, s)
				}
			}
		})
	}
}

// Nobody is removed from the database while the memory does not have them yet:
// else they would be put there afterwards, and known until the next start.
func TestRemovedWhileAdded(t *testing.T) {
	l := library(t, filepath.Join(t.TempDir(), "db"))
	stored := func() (there bool) {
		_ = l.db.View(func(tx *bolt.Tx) error {
			there = tx.Bucket(bucket).Get([]byte("Li Lei")) != nil
			return nil
		})
		return there
	}
	l.mu.RLock() // a search keeps Add from the memory
	done := make(chan error, 2)
	go func() { done <- l.Add("Li Lei", feature(1), time.Now()) }()
	for deadline := time.Now().Add(10 * time.Second); !stored(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the face is not stored")
		}
	}
	go func() { done <- l.Remove("Li Lei") }()
	for range 100 {
		if time.Sleep(2 * time.Millisecond); !stored() {
			t.Error("the face is removed from the database before it is in memory")
			break
		}
	}
	l.mu.RUnlock()
	if err := errors.Join(<-done, <-done); err != nil {
		t.Fatal(err)
	}
	if stored() || l.Len() != 0 {
		t.Errorf("stored: %v, %d in memory", stored(), l.Len())
	}
}
