package audit

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"

	"gatehouse/sync/store"
)

func TestMain(m *testing.M) {
	store.RunCheckIfAsked()
	os.Exit(m.Run())
}

func TestTheRecordIsBounded(t *testing.T) {
	db, err := store.Open(filepath.Join(t.TempDir(), "db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if list, err := List(db, 10); err != nil || len(list) != 0 {
		t.Errorf("%v %v", list, err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		for i := range Keep + 10 {
			if err := Put(tx, Entry{What: "refused", ChangeID: fmt.Sprint(i), Detail: strings.Repeat("x", 2*MaxDetail)}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	list, err := List(db, 2*Keep)
	if err != nil || len(list) != Keep || list[0].ChangeID != fmt.Sprint(Keep+9) || list[Keep-1].ChangeID != "10" {
		t.Fatalf("%d entries, %v", len(list), err)
	}
	if e := list[0]; e.At == 0 || len(e.Detail) != MaxDetail {
		t.Errorf("%+v", e)
	}
}
