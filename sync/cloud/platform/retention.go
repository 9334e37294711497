package platform

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"

	"gatehouse/sync/store"
	"gatehouse/sync/upload"
)

// receivedKey orders events by the time of their arrival.
func receivedKey(ms int64, event []byte) []byte {
	return append(binary.BigEndian.AppendUint64(nil, uint64(ms)), event...)
}

// retain removes old events until ctx ends.
func (p *Platform) retain(ctx context.Context) {
	tick := time.NewTicker(10 * time.Minute)
	defer tick.Stop()
	for {
		if err := p.pruneChanges(); err != nil {
			p.o.Log.Error("old changes could not be removed", "err", err)
		}
		for more := true; more && ctx.Err() == nil; {
			n, err := p.prune()
			if err != nil {
				p.o.Log.Error("old events could not be removed", "err", err)
			}
			more = n == pruneMost && err == nil
		}
		if err := p.dropParts(); err != nil {
			p.o.Log.Error("unfinished uploads could not be removed", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// pruneMost bounds one transaction of prune.
const pruneMost = 2000

// prune removes the events that are older than events are kept, and the oldest
// of too many, with their pictures; at most pruneMost, and it gives how many.
func (p *Platform) prune() (n int, err error) {
	limit := p.o.Now().Add(-p.o.KeepEvents).UnixMilli()
	var pictures []string
	err = p.db.Update(func(tx *bolt.Tx) error {
		pictures, n = nil, 0
		count, err := countEvents(tx)
		if err != nil {
			return err
		}
		c := tx.Bucket(receivedBucket).Cursor()
		for k, _ := c.First(); k != nil && n < pruneMost; k, _ = c.First() {
			if len(k) < 8 || int64(binary.BigEndian.Uint64(k)) >= limit && count-int64(n) <= p.o.MostEvents {
				break
			}
			if err := p.forget(tx, k[8:], &pictures); err != nil {
				return err
			}
			if err := c.Delete(); err != nil {
				return err
			}
			n++
		}
		if n == 0 {
			return nil
		}
		return store.PutJSON(tx.Bucket(metaBucket), eventsKey, count-int64(n))
	})
	if err != nil {
		return 0, fmt.Errorf("cannot remove old events: %w", err)
	}
	for _, f := range pictures {
		if err := os.Remove(f); err != nil && !errors.Is(err, os.ErrNotExist) {
			p.o.Log.Warn("a picture could not be removed", "err", err)
		}
	}
	return n, nil
}

// forget deletes an event; what has arrived of its boot stays known.
func (p *Platform) forget(tx *bolt.Tx, key []byte, pictures *[]string) error {
	var e event
	if ok, err := store.GetJSON(tx.Bucket(eventsBucket), key, &e); ok && err == nil && e.Image {
		for _, kind := range []string{fullPicture, smallPicture} {
			*pictures = append(*pictures, p.picturePath(e.SN, e.Boot, e.Seq, kind))
		}
	}
	return tx.Bucket(eventsBucket).Delete(key)
}

// latest gives the last events that arrived and that want takes, newest first,
// looking at so many at most.
func (p *Platform) latest(tx *bolt.Tx, n, look int, want func(event) bool) (list []event) {
	c := tx.Bucket(receivedBucket).Cursor()
	for k, _ := c.Last(); k != nil && len(list) < n && look > 0; k, _ = c.Prev() {
		look--
		var e event
		if len(k) < 8 {
			continue
		}
		if ok, err := store.GetJSON(tx.Bucket(eventsBucket), k[8:], &e); ok && err == nil && want(e) {
			list = append(list, e)
		}
	}
	return list
}

// Kinds of pictures.
const (
	fullPicture  = upload.Full
	smallPicture = upload.Small
)

func (p *Platform) pictureDir() string { return filepath.Join(p.dir, "pictures") }

func (p *Platform) picturePath(sn, boot string, seq uint64, kind string) string {
	suffix := ""
	if kind == smallPicture {
		suffix = "-small"
	}
	return filepath.Join(p.pictureDir(), fmt.Sprintf("%s-%s-%020d%s.jpg", sn, boot, seq, suffix))
}

// writePicture writes a picture; syncPictures makes it last.
func (p *Platform) writePicture(path string, jpeg []byte) error {
	temporary := path + ".new"
	if err := os.WriteFile(temporary, jpeg, 0o600); err != nil {
		return fmt.Errorf("cannot write a picture: %w", err)
	}
	return os.Rename(temporary, path)
}

// syncPictures brings all that was written to the disk, once for many pictures.
func (p *Platform) syncPictures() error {
	d, err := os.Open(p.pictureDir())
	if err != nil {
		return err
	}
	defer d.Close()
	return unix.Syncfs(int(d.Fd()))
}

// validBoot keeps a boot's name fit for keys and file names.
func validBoot(boot string) bool {
	return boot != "" && len(boot) <= 64 && !strings.ContainsAny(boot, "\x00/\\.") && strings.ToValidUTF8(boot, "") == boot
}
