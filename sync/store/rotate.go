package store

import (
	"errors"
	"fmt"
	"os"

	bolt "go.etcd.io/bbolt"

	"gatehouse/sync/fault"
)

// bulkStep is by how much a bulk database's file grows, in bytes.
const bulkStep = 256 << 10

// View reads; the transaction ends with f.
func (d *DB) View(f func(*bolt.Tx) error) error {
	d.swap.RLock()
	defer d.swap.RUnlock()
	return d.DB.View(f)
}

// Update writes in one transaction, counted by Written.
func (d *DB) Update(f func(*bolt.Tx) error) error {
	d.swap.RLock()
	defer d.swap.RUnlock()
	err := d.DB.Update(f)
	if err == nil {
		d.commits.Add(1)
	}
	return err
}

// Written is how many bytes the commits since Open have given to the kernel:
// every changed page and one meta page a commit.
func (d *DB) Written() int64 {
	d.swap.RLock()
	defer d.swap.RUnlock()
	return d.earlier.Load() + d.written()
}

func (d *DB) written() int64 {
	s := d.DB.Stats()
	return s.TxStats.GetPageAlloc() + d.commits.Load()*d.page
}

// PageSize is what the file is written in, in bytes.
func (d *DB) PageSize() int64 {
	d.swap.RLock()
	defer d.swap.RUnlock()
	return d.page
}

// Room is how large the file is by its highest page, and how much of that is free, in bytes.
func (d *DB) Room() (size, free int64) {
	d.swap.RLock()
	defer d.swap.RUnlock()
	_ = d.DB.View(func(tx *bolt.Tx) error {
		size = tx.Size()
		return nil
	})
	s := d.DB.Stats()
	return size, int64(s.FreePageN+s.PendingPageN) * d.page
}

// Rotate puts a new file, filled by fill from the old one, into the place of
// the database's: a file that has once been large makes each later commit dear.
// After a power cut there is either the old file or the new one, whole. Readers
// and writers wait for it. With done the new file is in use: an error then says
// that its directory could not be synced, so that a power cut may bring back the
// old one, or that the old one could not be closed.
func (d *DB) Rotate(fill func(old, fresh *bolt.Tx) error) (done bool, err error) {
	d.swap.Lock()
	defer d.swap.Unlock()
	temporary := d.path + ".new"
	if err := os.Remove(temporary); err != nil && !errors.Is(err, os.ErrNotExist) {
		return false, fmt.Errorf("cannot rotate %s: %w", d.path, err)
	}
	fresh, err := bolt.Open(temporary, 0o600, d.options)
	if err != nil {
		return false, fmt.Errorf("cannot rotate %s: %w", d.path, err)
	}
	fresh.AllocSize = d.AllocSize
	err = d.DB.View(func(from *bolt.Tx) error {
		return fresh.Update(func(to *bolt.Tx) error { return fill(from, to) })
	})
	if err := errors.Join(err, fresh.Sync()); err != nil {
		return false, errors.Join(fmt.Errorf("cannot rotate %s: %w", d.path, err), fresh.Close(), os.Remove(temporary))
	}
	if err := os.Rename(temporary, d.path); err != nil {
		return false, errors.Join(fmt.Errorf("cannot rotate %s: %w", d.path, err), fresh.Close())
	}
	// From here on the old file has no name: what is written to it would be lost.
	fault.Point("store.file.renamed")
	unsynced := syncDir(d.path)
	d.earlier.Add(d.written() + 4*d.page) // the four pages of a new file
	d.commits.Store(1)
	old := d.DB
	d.DB, d.page = fresh, int64(fresh.Info().PageSize)
	if err := errors.Join(unsynced, old.Close()); err != nil {
		return true, fmt.Errorf("%s is rotated: %w", d.path, err)
	}
	return true, nil
}
