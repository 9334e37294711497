// Package outbox keeps what a board has to tell until somebody has taken it:
// store and forward over bbolt.
//
// An event is named by (boot, sequence); sequences are contiguous within a
// boot, and a range that had to be dropped leaves a gap event, so that the
// receiver can prove that it has everything. Put returns when the event is on
// disk; events that arrive together share a commit. An event leaves only when
// it is acknowledged.
//
// Not protected: events that were put while the disk was full are refused, with
// an error to the caller; nothing is ever dropped silently.
package outbox

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"

	"gatehouse/sync/store"
	"gatehouse/sync/wire"
)

// Priority orders what is dropped first when room runs out: the lowest first.
type Priority int

const (
	Normal   Priority = iota // recognitions, inputs: dropped by the caps, leaving gaps
	Decision                 // a barrier decision: dropped after all Normal ones
	Result                   // a change's result: never dropped
)

// Event is what is put in.
type Event struct {
	Name     string            `json:"name"`    // of the up message
	Payload  json.RawMessage   `json:"payload"` // without pictures
	Priority Priority          `json:"priority"`
	Pictures map[string][]byte `json:"-"`       // field of the message → JPEG, kept as files
	Account  int64             `json:"account"` // whom it belongs to; 0 before any binding
}

// Stored is an event that waits.
type Stored struct {
	Event
	ID      wire.EventID      `json:"id"`
	Files   map[string]string `json:"files,omitempty"` // field → file name in the picture directory
	AddedMS int64             `json:"added_ms"`        // Unix ms by the board's clock
}

// Options of an outbox.
type Options struct {
	PictureDir   string        // made if missing
	MaxEvents    int           // more waiting events drop the oldest; 0: 200,000
	MaxBytes     int64         // more bytes of waiting payloads drop the oldest; 0: 128 MiB
	MaxAge       time.Duration // older events are dropped; 0: never
	PictureQuota int64         // bytes; the oldest pictures go first, their events stay; 0: 512 MiB
	FlushEvery   time.Duration // the longest an event waits for company; 0: 20 ms
	MaxFile      int           // the database file's largest size in bytes; 0: no limit
	Trusted      func() bool   // whether the clock is synchronised; nil: never
	Log          *slog.Logger
}

var (
	eventsBucket = []byte("events") // boot, sequence → Stored
	metaBucket   = []byte("meta")
	bootKey      = []byte("boot") // count of boots
)

// Outbox is safe for concurrent use.
type Outbox struct {
	db      *store.DB
	o       Options
	boot    string
	begin   time.Time
	closed  chan struct{} // closed by Close
	ended   chan struct{} // closed when nothing is written any more
	done    sync.WaitGroup
	nextAge time.Time // when MaxAge is looked at again; the writer's
	in      chan *pending

	mu      sync.Mutex
	waiting map[key]int64 // → payload bytes
	bytes   int64
	images  int64 // bytes of pictures on disk
	seq     uint64
	stats   Stats
	added   chan struct{} // closed and replaced when something was added
}

// Stats counts since the outbox was opened.
type Stats struct {
	Boot         string `json:"boot"`
	LastSeq      uint64 `json:"last_seq"`
	Waiting      int    `json:"waiting"`
	WaitingBytes int64  `json:"waiting_bytes"`
	Acknowledged uint64 `json:"acknowledged"`
	Dropped      uint64 `json:"dropped"`
	Commits      uint64 `json:"commits"`
	Written      uint64 `json:"written"` // events
	Quarantined  string `json:"quarantined,omitempty"`
}

type key struct {
	boot string
	seq  uint64
}

func (k key) bytes() []byte {
	return binary.BigEndian.AppendUint64(append([]byte(k.boot), 0), k.seq)
}

func parseKey(b []byte) (key, bool) {
	if len(b) < 9 || b[len(b)-9] != 0 {
		return key{}, false
	}
	return key{string(b[:len(b)-9]), binary.BigEndian.Uint64(b[len(b)-8:])}, true
}

type pending struct {
	event Event
	id    wire.EventID
	err   error
	done  chan struct{}
}

// ErrClosed is a Put after Close.
var ErrClosed = errors.New("the outbox is closed")

// Open opens the outbox at path and begins a new boot.
func Open(path string, o Options) (*Outbox, error) {
	setDefaults(&o)
	if err := os.MkdirAll(o.PictureDir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the picture directory: %w", err)
	}
	db, err := store.Open(path, store.Options{Bulk: true, MaxBytes: o.MaxFile, Log: o.Log})
	if err != nil {
		return nil, err
	}
	b := &Outbox{db: db, o: o, begin: time.Now(), closed: make(chan struct{}), ended: make(chan struct{}), in: make(chan *pending, 256),
		waiting: map[key]int64{}, added: make(chan struct{})}
	b.stats.Quarantined = db.Quarantined
	if err := b.load(); err != nil {
		db.Close()
		return nil, err
	}
	b.done.Go(b.write)
	return b, nil
}

func setDefaults(o *Options) {
	if o.MaxEvents == 0 {
		o.MaxEvents = 200_000
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = 128 << 20
	}
	if o.PictureQuota == 0 {
		o.PictureQuota = 512 << 20
	}
	if o.FlushEvery == 0 {
		o.FlushEvery = 20 * time.Millisecond
	}
	if o.Trusted == nil {
		o.Trusted = func() bool { return false }
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
}

// load counts the boot, finds what waits, and removes pictures nobody refers to.
func (b *Outbox) load() error {
	referred := map[string]bool{}
	err := b.db.Update(func(tx *bolt.Tx) error {
		meta, err := tx.CreateBucketIfNotExists(metaBucket)
		if err != nil {
			return err
		}
		events, err := tx.CreateBucketIfNotExists(eventsBucket)
		if err != nil {
			return err
		}
		if b.boot, err = nextBoot(meta); err != nil {
			return err
		}
		return store.ForEach(events, func(k, v []byte, damaged error) error {
			id, ok := parseKey(k)
			var s Stored
			if damaged != nil || !ok || json.Unmarshal(v, &s) != nil {
				b.o.Log.Error("a stored event is damaged; it becomes a gap", "key", fmt.Sprintf("%x", k))
				return b.replaceByGap(events, k, id)
			}
			b.waiting[id] = int64(len(v))
			b.bytes += int64(len(v))
			for _, f := range s.Files {
				referred[f] = true
			}
			return nil
		})
	})
	if err != nil {
		return fmt.Errorf("cannot load the outbox: %w", err)
	}
	return b.sweep(referred)
}

// replaceByGap puts a gap event of one in the place of a damaged one.
func (b *Outbox) replaceByGap(events *bolt.Bucket, k []byte, id key) error {
	if id.boot == "" {
		return events.Delete(k)
	}
	payload, err := json.Marshal(wire.Body{Body: wire.Gap{Boot: id.boot, From: id.seq, To: id.seq, Cause: "damage"}})
	if err != nil {
		return err
	}
	s := Stored{Event: Event{Name: wire.NameGap, Payload: payload, Priority: Result}, ID: wire.EventID{Boot: id.boot, Seq: id.seq}}
	b.waiting[id] = int64(len(payload))
	return store.PutJSON(events, k, s)
}

// Boot is the id of this boot.
func (b *Outbox) Boot() string { return b.boot }

// MonoMS is the time since this boot in ms.
func (b *Outbox) MonoMS() int64 { return time.Since(b.begin).Milliseconds() }

// Stats counts.
func (b *Outbox) Stats() Stats {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.stats
	s.Boot, s.LastSeq, s.Waiting, s.WaitingBytes = b.boot, b.seq, len(b.waiting), b.bytes
	return s
}

// Oldest is the lowest waiting sequence of this boot, or the next one where none waits.
func (b *Outbox) Oldest() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	low := b.seq + 1
	for k := range b.waiting {
		if k.boot == b.boot && k.seq < low {
			low = k.seq
		}
	}
	return low
}

// Added gives a channel that is closed when the next event has been stored.
func (b *Outbox) Added() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.added
}

// Pending gives up to n waiting events that skip does not hold, those of this
// boot, newest first, before the backlog of earlier boots, oldest first: what
// happens now is told before what happened then.
func (b *Outbox) Pending(n int, skip func(wire.EventID) bool) ([]Stored, error) {
	b.mu.Lock()
	keys := make([]key, 0, min(len(b.waiting), 4*n))
	for k := range b.waiting {
		if skip == nil || !skip(wire.EventID{Boot: k.boot, Seq: k.seq}) {
			keys = append(keys, k)
		}
	}
	b.mu.Unlock()
	slices.SortFunc(keys, func(x, y key) int {
		xLive, yLive := x.boot == b.boot, y.boot == b.boot
		switch {
		case xLive != yLive && xLive:
			return -1
		case xLive != yLive:
			return 1
		case x.boot != y.boot:
			return strings.Compare(x.boot, y.boot)
		case x.seq < y.seq:
			return -1
		}
		return 1
	})
	return b.read(keys[:min(n, len(keys))])
}

func (b *Outbox) read(keys []key) (found []Stored, err error) {
	err = b.db.View(func(tx *bolt.Tx) error {
		events := tx.Bucket(eventsBucket)
		for _, k := range keys {
			var s Stored
			ok, err := store.GetJSON(events, k.bytes(), &s)
			if err != nil {
				b.o.Log.Error("a stored event is damaged; it becomes a gap at the next start", "boot", k.boot, "seq", k.seq, "err", err)
				continue
			}
			if ok {
				found = append(found, s)
			}
		}
		return nil
	})
	return found, err
}

// List gives all waiting events in order of boot and sequence, at most n.
func (b *Outbox) List(n int) (found []Stored, err error) {
	err = b.db.View(func(tx *bolt.Tx) error {
		return store.ForEach(tx.Bucket(eventsBucket), func(_, v []byte, damaged error) error {
			var s Stored
			if damaged == nil && json.Unmarshal(v, &s) == nil && len(found) < n {
				found = append(found, s)
			}
			return nil
		})
	})
	return found, err
}

// Picture reads a picture of a stored event; os.ErrNotExist where the quota has taken it.
func (b *Outbox) Picture(file string) ([]byte, error) {
	return os.ReadFile(filepath.Join(b.o.PictureDir, filepath.Base(file)))
}

// Ack forgets the events of ranges (both ends included) and their pictures, and
// gives how many there were. Unknown ones are no error: acknowledgements repeat.
func (b *Outbox) Ack(boot string, ranges [][2]uint64) (n int, err error) {
	b.mu.Lock()
	var gone []key
	for k := range b.waiting {
		if k.boot == boot && slices.ContainsFunc(ranges, func(r [2]uint64) bool { return r[0] <= k.seq && k.seq <= r[1] }) {
			gone = append(gone, k)
		}
	}
	b.mu.Unlock()
	if len(gone) == 0 {
		return 0, nil
	}
	files, err := b.remove(gone, nil)
	if err != nil {
		return 0, fmt.Errorf("cannot forget acknowledged events: %w", err)
	}
	b.mu.Lock()
	b.stats.Acknowledged += uint64(len(gone))
	b.mu.Unlock()
	b.deletePictures(files)
	return len(gone), nil
}

// remove deletes events and, in the same transaction, runs also; it gives their pictures.
func (b *Outbox) remove(keys []key, also func(events *bolt.Bucket) error) (files []string, err error) {
	err = b.db.Update(func(tx *bolt.Tx) error {
		events := tx.Bucket(eventsBucket)
		for _, k := range keys {
			var s Stored
			if _, err := store.GetJSON(events, k.bytes(), &s); err == nil {
				for _, f := range s.Files {
					files = append(files, f)
				}
			}
			if err := events.Delete(k.bytes()); err != nil {
				return err
			}
		}
		if also != nil {
			return also(events)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, k := range keys {
		b.bytes -= b.waiting[k]
		delete(b.waiting, k)
	}
	return files, nil
}

// Close ends the writing of events and closes the database.
func (b *Outbox) Close() error {
	close(b.closed)
	b.done.Wait()
	return b.db.Close()
}
