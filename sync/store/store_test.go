package store

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"
)

func TestMain(m *testing.M) {
	RunCheckIfAsked()
	os.Exit(m.Run())
}

var bucket = []byte("rows")

func value(i int) []byte { return bytes.Repeat([]byte(fmt.Sprintf("%06d", i)), 40) }

// fill makes a database with n rows at path.
func fill(t *testing.T, path string, n int) {
	t.Helper()
	db, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(bucket)
		for i := 0; err == nil && i < n; i++ {
			err = Put(b, fmt.Appendf(nil, "%06d", i), value(i))
		}
		return err
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

// Whatever is damaged, opening comes back and no wrong value is given.
func TestDamageNeverGivesAWrongValue(t *testing.T) {
	dir := t.TempDir()
	whole := filepath.Join(dir, "whole")
	fill(t, whole, 500)
	sound, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	sound = bytes.TrimRight(sound, "\x00") // bbolt grows its file ahead of the pages in use
	sound = append(sound, make([]byte, 4096-len(sound)%4096)...)
	trials := 60
	if testing.Short() {
		trials = 10
	}
	var setAside, refused int
	for trial := range trials {
		random := rand.New(rand.NewPCG(1, uint64(trial)))
		path := filepath.Join(dir, fmt.Sprint(trial))
		b := bytes.Clone(sound)
		page := random.IntN(len(b)/4096) * 4096
		switch trial % 3 {
		case 0: // a damaged page
			for i := range 4096 {
				b[page+i] = byte(random.Uint32())
			}
		case 1: // a torn tail
			clear(b[page+2048 : page+4096])
		case 2: // a truncated file
			b = b[:page]
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		db, err := Open(path, Options{})
		if err != nil {
			t.Fatalf("trial %d: %v", trial, err)
		}
		if db.Quarantined != "" {
			setAside++
			if _, err := os.Stat(db.Quarantined); err != nil || !strings.Contains(db.Quarantined, ".corrupt.") {
				t.Errorf("trial %d: %v %s", trial, err, db.Quarantined)
			}
		}
		err = db.View(func(tx *bolt.Tx) error {
			rows := tx.Bucket(bucket)
			if rows == nil {
				return nil
			}
			return ForEach(rows, func(k, v []byte, err error) error {
				var i int
				if err != nil {
					refused++
				} else if _, e := fmt.Sscanf(string(k), "%d", &i); e != nil || !bytes.Equal(v, value(i)) {
					t.Errorf("trial %d: key %s has a wrong value", trial, k)
				}
				return nil
			})
		})
		if err := errors.Join(err, db.Close()); err != nil {
			t.Errorf("trial %d: %v", trial, err)
		}
	}
	t.Logf("%d trials: %d databases set aside, %d records refused", trials, setAside, refused)
	if setAside < trials/3 {
		t.Errorf("only %d of %d damaged databases were noticed", setAside, trials)
	}
}

func TestASecondProcessIsToldSo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	fill(t, path, 1)
	db, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if second, err := Open(path, Options{}); err == nil || second != nil || !strings.Contains(err.Error(), "another process holds it") {
		t.Errorf("%v", err)
	}
}

func TestRecordUnderAnotherKeyIsDamaged(t *testing.T) {
	db, err := Open(filepath.Join(t.TempDir(), "db"), Options{Bulk: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.Update(func(tx *bolt.Tx) error {
		b, err := tx.CreateBucket(bucket)
		if err != nil {
			return err
		}
		if err := Put(b, []byte("a"), []byte("open")); err != nil {
			return err
		}
		if v, err := Get(b, []byte("a")); err != nil || string(v) != "open" {
			t.Errorf("%s %v", v, err)
		}
		if err := b.Put([]byte("b"), b.Get([]byte("a"))); err != nil {
			return err
		}
		if _, err := Get(b, []byte("b")); !errors.Is(err, ErrDamaged) {
			t.Errorf("a moved record is taken: %v", err)
		}
		if v, err := Get(b, []byte("c")); v != nil || err != nil {
			t.Errorf("absent: %v %v", v, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestWriteFileAtomic(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	for _, text := range []string{"one", "two"} {
		if err := WriteFileAtomic(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(path); err != nil || string(b) != text {
			t.Errorf("%s %v", b, err)
		}
	}
	if err := WriteFileAtomic(filepath.Join(path, "below-a-file"), nil, 0o600); err == nil {
		t.Error("wrote below a file")
	}
}

// The file's figures can be asked for while commits make it grow, which maps
// it anew: bbolt's Info panics then.
func TestFiguresWhileItGrows(t *testing.T) {
	db, err := Open(filepath.Join(t.TempDir(), "db"), Options{Bulk: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	stop, asked := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(asked)
		for {
			select {
			case <-stop:
				return
			default:
			}
			size, free := db.Room() // of two moments: a commit may lie between
			if db.Written() < 0 || size < 0 || free < 0 || db.PageSize() < 512 {
				t.Errorf("%d bytes written, %d of %d free, pages of %d", db.Written(), free, size, db.PageSize())
				return
			}
		}
	}()
	for i := range 64 {
		err := db.Update(func(tx *bolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists([]byte("b"))
			if err != nil {
				return err
			}
			return b.Put([]byte{byte(i)}, make([]byte, 64<<10))
		})
		if err != nil {
			t.Error(err)
		}
	}
	close(stop)
	<-asked
}
