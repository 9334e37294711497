package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// A bulk database walks its buckets when it is opened, in a goroutine of
// bbolt's: a bucket's value that leads out of the file would end the process.
func TestABucketBeyondTheFile(t *testing.T) {
	for name, spoil := range map[string]func(element []byte){
		"the value's size":     func(e []byte) { binary.NativeEndian.PutUint32(e[12:], 1<<30) },
		"the key's size":       func(e []byte) { binary.NativeEndian.PutUint32(e[8:], 1<<30) },
		"the position":         func(e []byte) { binary.NativeEndian.PutUint32(e[4:], 1<<30) },
		"size and position":    func(e []byte) { clear(e[4:]); binary.NativeEndian.PutUint64(e[8:], ^uint64(0)) },
		"a value without root": func(e []byte) { binary.NativeEndian.PutUint32(e[12:], 3) },
		"before the elements":  func(e []byte) { binary.NativeEndian.PutUint32(e[4:], 1) },
		"a key without length": func(e []byte) { binary.NativeEndian.PutUint32(e[8:], 0) },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "db")
			db, err := Open(path, Options{Bulk: true})
			if err != nil {
				t.Fatal(err)
			}
			err = db.Update(func(tx *bolt.Tx) error {
				var err error
				for _, name := range []string{"odd", "rows of another bucket"} {
					b, e := tx.CreateBucket([]byte(name))
					for i := 0; e == nil && i < 100; i++ {
						e = Put(b, fmt.Appendf(nil, "%06d", i), value(i))
					}
					err = errors.Join(err, e)
				}
				return err
			})
			if err := errors.Join(err, db.Close()); err != nil {
				t.Fatal(err)
			}
			file, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			head, _, err := newestHead(bytes.NewReader(file))
			if err != nil {
				t.Fatal(err)
			}
			spoil(file[int64(head.root)*head.pageSize+pageHeader:])
			if err := os.WriteFile(path, file, 0o600); err != nil {
				t.Fatal(err)
			}
			if db, err = Open(path, Options{Bulk: true}); err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			if db.Quarantined == "" {
				t.Error("it is not set aside")
			}
		})
	}
}

// What leads nowhere wrong but would have bbolt free a page twice at the next
// write, or end in a panic, is damage too; its own check does not see it.
func TestDamageThatOnlyWritingMeets(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	db, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		b, err := tx.CreateBucket(bucket)
		for i := 0; err == nil && i < 500; i++ {
			err = Put(b, fmt.Appendf(nil, "%06d", i), value(i))
		}
		small, e := tx.CreateBucket([]byte("small"))
		return errors.Join(err, e, Put(small, []byte("key"), []byte("value")))
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	sound, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := walk(bytes.NewReader(sound), int64(len(sound))); err != nil {
		t.Fatal(err)
	}
	inline := bytes.Index(sound, []byte("small")) + len("small") + bucketHeader
	branch := -1
	for at := 2 * os.Getpagesize(); at < len(sound); at += os.Getpagesize() {
		if flags, n := kindOf(sound[at:]); flags == branchPage && n > 2 {
			branch = at
		}
	}
	if branch < 0 {
		t.Fatal("no branch page")
	}
	key := bytes.Index(sound[branch:], []byte("000")) + branch // of its first element
	for name, spoil := range map[string]func(b []byte){
		"an inline bucket's page id":    func(b []byte) { b[inline] = 3 },
		"its overflow":                  func(b []byte) { b[inline+12] = 1 },
		"a branch key below its page's": func(b []byte) { b[key+6]--; b[key+5]-- },
		"an empty key":                  func(b []byte) { clear(b[inline+pageHeader+8 : inline+pageHeader+12]) },
	} {
		b := bytes.Clone(sound)
		spoil(b)
		if err := walk(bytes.NewReader(b), int64(len(b))); err == nil {
			t.Errorf("%s: nothing is found", name)
		}
	}
}

// Whatever is done to a database, it is a sound one.
func TestSoundDatabasesAreTrusted(t *testing.T) {
	for seed := range uint64(12) {
		random := rand.New(rand.NewPCG(seed, 9))
		path := filepath.Join(t.TempDir(), "db")
		options := &bolt.Options{PageSize: 1024 << random.IntN(5), NoSync: true}
		if random.IntN(2) == 0 {
			options.NoFreelistSync, options.FreelistType = true, bolt.FreelistMapType
		}
		db, err := bolt.Open(path, 0o600, options)
		if err != nil {
			t.Fatal(err)
		}
		name := func(n int) []byte { return fmt.Appendf(nil, "%0*d", 1+random.IntN(8), random.IntN(n)) }
		for range 40 {
			err := db.Update(func(tx *bolt.Tx) error {
				b, err := tx.CreateBucketIfNotExists(name(4))
				if err != nil {
					return err
				}
				if inner, err := b.CreateBucketIfNotExists(append([]byte("b"), name(3)...)); err == nil && random.IntN(2) == 0 {
					b = inner
				}
				for range random.IntN(60) {
					k := append([]byte("k"), name(300)...)
					if random.IntN(3) == 0 {
						err = b.Delete(k)
					} else {
						err = b.Put(k, make([]byte, random.IntN(1<<random.IntN(14))))
					}
					if err != nil {
						return err
					}
				}
				if random.IntN(8) == 0 {
					if err := tx.DeleteBucket(name(4)); err != nil && !errors.Is(err, bolterrors.ErrBucketNotFound) {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := checkPages(path); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// Where no more files can be opened, nothing is known against a database.
func TestASoundDatabaseIsNotSetAsideForWantOfFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	fill(t, path, 10)
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Max: limit.Max}); err != nil {
		t.Fatal(err)
	}
	_, err := Open(path, Options{})
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if _, found := os.Stat(path); err == nil || found != nil {
		t.Errorf("opened: %v; the file: %v", err, found)
	}
}

// A file from a kernel with other pages is a sound one.
func TestOtherPageSize(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	db, err := bolt.Open(path, 0o600, &bolt.Options{PageSize: 16 << 10})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		err = errors.Join(err, db.Update(func(tx *bolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists(bucket)
			return errors.Join(err, Put(b, []byte{byte(i)}, value(i)))
		}))
	}
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	for _, damaged := range []bool{false, true} {
		ours, err := Open(path, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if ours.Quarantined != "" || ours.Doubtful != damaged {
			t.Errorf("set aside %q, doubtful %v, want %v", ours.Quarantined, ours.Doubtful, damaged)
		}
		if err := ours.Close(); err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt([]byte("damage"), 20); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
}

// Whatever is in a file, walking its pages ends.
func FuzzPages(f *testing.F) {
	path := filepath.Join(f.TempDir(), "db")
	db, err := bolt.Open(path, 0o600, &bolt.Options{PageSize: 1024})
	if err != nil {
		f.Fatal(err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		b, err := tx.CreateBucket(bucket)
		for i := 0; err == nil && i < 20; i++ {
			err = Put(b, []byte{byte(i)}, value(i))
		}
		small, e := tx.CreateBucket([]byte("small"))
		return errors.Join(err, e, Put(small, []byte("k"), []byte("v")))
	})
	if err := errors.Join(err, db.Close()); err != nil {
		f.Fatal(err)
	}
	sound, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	h, _, err := newestHead(bytes.NewReader(sound))
	if err != nil {
		f.Fatal(err)
	}
	sound = sound[:int64(h.pages)*h.pageSize]
	f.Add(sound, uint16(3), uint16(20), uint32(7))
	f.Add(sound, uint16(0), uint16(0), uint32(0))
	f.Fuzz(func(t *testing.T, file []byte, page, at uint16, to uint32) {
		file = bytes.Clone(file) // it may be the sound one itself
		h, _, err := newestHead(bytes.NewReader(file))
		if i := int64(page)*h.pageSize + int64(at); err == nil && page >= 2 && i+4 <= int64(len(file)) {
			binary.NativeEndian.PutUint32(file[i:], to) // the heads have a checksum: leave them
		}
		if err := walk(bytes.NewReader(file), int64(len(file))); err != nil && bytes.Equal(file, sound) {
			t.Error("the sound one is refused:", err)
		}
	})
}
