package models

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

func TestCatalogueIsComplete(t *testing.T) {
	all, err := Catalogue()
	if err != nil || len(all) < 5 {
		t.Fatal(len(all), err)
	}
	hash := regexp.MustCompile(`^[0-9a-f]{64}$`)
	files := map[string]bool{}
	for _, m := range all {
		if m.Name == "" || m.Job == "" || m.Licence == "" || !hash.MatchString(m.SHA256) || !hash.MatchString(m.Hash()) {
			t.Errorf("%+v", m)
		}
		if m.Embedded == "" && (m.Package == "" || m.Version == "" || m.Path == "" || m.File == "") {
			t.Errorf("%s: nobody knows where it comes from", m.Name)
		}
		if files[m.File] && m.File != "" {
			t.Errorf("two models are in %s", m.File)
		}
		files[m.File] = true
	}
}

// The nets that lie in the repository are the ones the catalogue names.
func TestEmbeddedNets(t *testing.T) {
	all, err := Catalogue()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, m := range all {
		if m.Embedded == "" {
			continue
		}
		n++
		m.File = filepath.Base(m.Embedded)
		if err := m.Check(filepath.Join("..", "..", filepath.Dir(m.Embedded))); err != nil {
			t.Error(err)
		}
	}
	if n == 0 {
		t.Errorf("%d nets", n)
	}
}

func TestDamagedModelIsRefused(t *testing.T) {
	all, err := Catalogue()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if _, err := Verify(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an empty directory gives %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, all[0].File), []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Verify(dir); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a damaged model gives %v", err)
	}
}
