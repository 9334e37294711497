package platform

import (
	"errors"
	"os"
	"time"

	bolt "go.etcd.io/bbolt"
)

// keepChanges is how long a change is kept that all its boards are through with.
const keepChanges = 180 * 24 * time.Hour

// pruneChanges removes old changes for which nothing is pending any more, one
// to a transaction, with the contents that no other change has.
func (p *Platform) pruneChanges() error {
	limit := p.o.Now().Add(-keepChanges).Unix()
	var old []change
	inUse := map[string]int{}
	p.contents.Lock()
	defer p.contents.Unlock()
	err := p.db.View(func(tx *bolt.Tx) error {
		err := each(p, tx, filesBucket, func(_ string, f uploaded) error {
			inUse[f.Digest]++
			return nil
		})
		if err != nil {
			return err
		}
		return each(p, tx, changesBucket, func(_ string, c change) error {
			inUse[c.Digest]++
			if c.CreateTime < limit && c.Rollout.State != rolloutRunning {
				old = append(old, c)
			}
			return nil
		})
	})
	for _, c := range old {
		removed := false
		err = errors.Join(err, p.db.Update(func(tx *bolt.Tx) (err error) {
			removed, err = p.pruneChange(tx, &c)
			return err
		}))
		if !removed {
			continue
		}
		if inUse[c.Digest]--; inUse[c.Digest] == 0 {
			if gone := os.Remove(p.contentPath(c.Digest)); gone != nil && !errors.Is(gone, os.ErrNotExist) {
				err = errors.Join(err, gone)
			}
		}
	}
	return err
}

// pruneChange removes a change with its targets, unless one of them is not settled.
func (p *Platform) pruneChange(tx *bolt.Tx, c *change) (removed bool, err error) {
	targets, err := p.targetsOf(tx, c)
	if err != nil {
		return false, err
	}
	for _, t := range targets {
		if !t.settled() {
			return false, nil
		}
	}
	for _, t := range targets {
		err = errors.Join(err, tx.Bucket(targetsBucket).Delete(targetKey(c.ID, t.SN)))
	}
	return true, errors.Join(err, tx.Bucket(plansBucket).Delete([]byte(c.ID)), tx.Bucket(changesBucket).Delete([]byte(c.ID)))
}
