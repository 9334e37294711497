package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// A value whose length leads out of the file kills who reads it: the check
// sees it, and without a check reading it is an error.
func TestAValueBeyondTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	fill(t, path, 500)
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	sizes := binary.NativeEndian.AppendUint32(nil, 6) // of a row's key and value, side by side in its page
	sizes = binary.NativeEndian.AppendUint32(sizes, uint32(len(value(0))+Headroom))
	at := bytes.Index(file, sizes)
	if at < 0 {
		t.Fatal("no row in the file")
	}
	binary.NativeEndian.PutUint32(file[at+4:], 1<<28)
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Check(path); err == nil {
		t.Error("the check finds nothing")
	}
	db, err := openFile(path, &bolt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = Guard(func() error { return db.View(func(tx *bolt.Tx) error { return readAll(tx.Bucket(bucket)) }) })
	if !Unusable(err) {
		t.Errorf("reading it gives %v", err)
	}
}

// readAll touches every byte of a bucket.
func readAll(b *bolt.Bucket) error {
	return b.ForEach(func(k, v []byte) error {
		_ = sum(k, v)
		return nil
	})
}

// What bbolt panics over when it opens a database speaks against the content.
func TestAPanicOnOpening(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	fill(t, path, 500)
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const freelist = 0x10 // the flag of its pages
	for at := 0; at < len(file); at += os.Getpagesize() {
		if flags := file[at+8:]; flags[0] == freelist {
			flags[0] = 0
		}
	}
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openFile(path, &bolt.Options{}); !Unusable(err) {
		t.Errorf("opening it gives %v", err)
	}
}

// An inline bucket that points to itself would have its reader go round for
// ever, and take all memory.
func TestABucketInACircle(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	db, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		b, err := tx.CreateBucket([]byte("small"))
		if err != nil {
			return err
		}
		return Put(b, []byte("key"), []byte("value"))
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// Its root 0, its sequence 0, and a page with id 0, a leaf (2) with one element.
	inline := make([]byte, 32)
	inline[24], inline[26] = 2, 1
	at := bytes.Index(file, append(inline[:28:28], 0, 0, 0, 0))
	if at < 0 {
		t.Fatal("no inline bucket")
	}
	file[at+24] = 1                 // a branch,
	clear(file[at+32+8 : at+32+16]) // whose element leads to page 0
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Check(path); err == nil {
		t.Errorf("the check says %v", err)
	}
}

// Once the new file has the database's name it is the one that is written to,
// also where the directory cannot be opened to be synced.
func TestRotatedWithoutItsDirectory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	fill(t, path, 10)
	db, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	done, err := db.Rotate(func(old, fresh *bolt.Tx) error {
		to, err := fresh.CreateBucket(bucket)
		err = errors.Join(err, old.Bucket(bucket).ForEach(func(k, v []byte) error { return to.Put(k, v) }))
		return errors.Join(err, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Max: limit.Max})) // nothing more can be opened
	})
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if !done || !errors.Is(err, syscall.EMFILE) {
		t.Errorf("rotated: %v, %v", done, err)
	}
	err = db.Update(func(tx *bolt.Tx) error { return Put(tx.Bucket(bucket), []byte("later"), []byte("event")) })
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	if db, err = Open(path, Options{}); err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.View(func(tx *bolt.Tx) error {
		v, err := Get(tx.Bucket(bucket), []byte("later"))
		if string(v) != "event" {
			t.Errorf("what was written later is %q", v)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
