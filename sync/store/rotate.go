package store

import (
	"errors"
	"fmt"
	"os"

	bolt "go.etcd.io/bbolt"
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
// and writers wait for it.
func (d *DB) Rotate(fill func(old, fresh *bolt.Tx) error) error {
	d.swap.Lock()
	defer d.swap.Unlock()
	temporary := d.path + ".new"
	if err := os.Remove(temporary); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("cannot rotate %s: %w", d.path, err)
	}
	fresh, err := bolt.Open(temporary, 0o600, d.options)
	if err != nil {
		return fmt.Errorf("cannot rotate %s: %w", d.path, err)
	}
	fresh.AllocSize = d.AllocSize
	err = d.DB.View(func(from *bolt.Tx) error {
		return fresh.Update(func(to *bolt.Tx) error { return fill(from, to) })
	})
	if err := errors.Join(err, fresh.Sync()); err != nil {
		return errors.Join(fmt.Errorf("cannot rotate %s: %w", d.path, err), fresh.Close(), os.Remove(temporary))
	}
	if err := Rename(temporary, d.path); err != nil {
		return errors.Join(fmt.Errorf("cannot rotate %s: %w", d.path, err), fresh.Close())
	}
	d.earlier.Add(d.written() + 4*d.page) // the four pages of a new file
	d.commits.Store(1)
	old := d.DB
	d.DB, d.page = fresh, int64(fresh.Info().PageSize)
	return old.Close()
}
