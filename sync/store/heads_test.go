package store

import (
	"os"
	"path/filepath"
	"testing"
)

// A database with one damaged head opens, and says that it may be behind; with
// two it is set aside.
func TestHeads(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	if heads(path) != -1 {
		t.Error("a missing file has heads")
	}
	for damaged := range 3 {
		db, err := Open(path, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if db.Doubtful != (damaged == 1) && damaged < 2 || damaged == 2 && (db.Quarantined == "" || db.Doubtful) {
			t.Errorf("%d damaged heads: doubtful %v, quarantined %q", damaged, db.Doubtful, db.Quarantined)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		if heads(path) != 2 && damaged != 1 {
			t.Errorf("%d damaged: %d good heads", damaged, heads(path))
		}
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		for i := range damaged + 1 {
			if _, err := f.WriteAt([]byte("damage"), int64(i*os.Getpagesize()+20)); err != nil {
				t.Fatal(err)
			}
		}
		f.Close()
	}
}
