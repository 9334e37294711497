package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	bolt "go.etcd.io/bbolt"
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
	sound = sound[:min(len(sound), 12<<10)]
	f.Add(sound, uint16(3), uint16(20), uint32(7))
	f.Fuzz(func(t *testing.T, file []byte, page, at uint16, to uint32) {
		h, _, err := newestHead(bytes.NewReader(file))
		if i := int64(page)*h.pageSize + int64(at); err == nil && page >= 2 && i+4 <= int64(len(file)) {
			binary.NativeEndian.PutUint32(file[i:], to) // the heads have a checksum: leave them
		}
		_ = walk(bytes.NewReader(file), int64(len(file)))
	})
}
