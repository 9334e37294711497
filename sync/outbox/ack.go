package outbox

import (
	bolt "go.etcd.io/bbolt"

	"gatehouse/sync/store"
)

// forgotten is an acknowledged event that the next commit deletes.
type forgotten struct {
	key
	keep bool // its pictures are still to be uploaded
	pics bool
}

// Ack forgets the events of ranges (both ends included) and gives how many
// there were. Their pictures go too, or with keep stay until they are uploaded.
// It does not wait for the disk. Unknown events are no error: acknowledgements
// repeat. A gap that no receiver was given is not acknowledged by the number of
// its first event.
func (b *Outbox) Ack(boot string, ranges [][2]uint64, keep bool) (n int, err error) {
	select {
	case <-b.closed:
		return 0, ErrClosed
	default:
	}
	b.mu.Lock()
	s := b.index.series(boot)
	for _, r := range ranges {
		if s == nil {
			break
		}
		for seq, v := s.next(r[0]); v != nil && seq <= r[1]; seq, v = s.next(seq + 1) {
			if v.flags&isGap != 0 && v.flags&handedOut == 0 || v.flags&doomed != 0 {
				continue
			}
			b.acked = append(b.acked, forgotten{key{boot, seq}, keep, v.flags&hasPictures != 0})
			b.index.remove(s, seq)
			n++
		}
	}
	if n > 0 {
		b.stats.Acknowledged += uint64(n)
		b.tell()
	}
	b.mu.Unlock()
	if n > 0 {
		b.note()
	}
	return n, nil
}

// note tells the writer that there is something to delete.
func (b *Outbox) note() {
	select {
	case b.noted <- struct{}{}:
	default:
	}
}

// deleteAcked deletes acknowledged events within a commit and gives the
// pictures that go with them. Pictures to keep are moved before the commit, so
// that no power cut loses them.
func (b *Outbox) deleteAcked(events *bolt.Bucket, gone []forgotten) (files []string, err error) {
	var k []byte
	for _, f := range gone {
		k = f.append(k[:0])
		if f.pics {
			v, err := store.Get(events, k)
			if s, parseErr := parseRecord(f.key, v); err == nil && parseErr == nil {
				for _, file := range s.Files {
					if !f.keep || b.keepForUpload(s, file) != nil {
						files = append(files, file.Name)
					}
				}
			}
		}
		if err := events.Delete(k); err != nil {
			return nil, err
		}
	}
	return files, nil
}
