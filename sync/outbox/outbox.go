// Package outbox keeps what a board has to tell until somebody has taken it:
// store and forward over bbolt.
//
// An event is named by (boot, sequence). Sequences are contiguous, and a range
// that had to be dropped leaves a gap event that names range and cause, so that
// the receiver can prove that it has everything. A boot's events belong to one
// account: another account begins another boot. Put returns when the event is
// on disk; events that arrive together share a commit, and what was
// acknowledged is deleted with the next one. An event leaves only when it is
// acknowledged.
//
// When room runs out pictures go first, then ordinary events, then barrier
// decisions, oldest first; results never, and nothing that a receiver was given
// since the start. Events that the full disk refuses become a gap as well.
//
// Not protected: after a power cut the acknowledgements of the last second are
// forgotten, so that a receiver may see those events again; pictures are not
// synced, and one that was torn is left out.
package outbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"

	"gatehouse/sync/store"
	"gatehouse/sync/wire"
)

// Priority orders what is dropped first when room runs out, the lowest first,
// and what is told first of a backlog, the highest first.
type Priority uint8

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

// File is a picture of a stored event.
type File struct {
	Field string `json:"field"` // of the message
	Name  string `json:"name"`  // in the picture directory
	Size  int64  `json:"size"`  // bytes
	CRC   uint32 `json:"crc"`   // Castagnoli
}

// Stored is an event that waits.
type Stored struct {
	Event
	ID      wire.EventID `json:"id"`
	Files   []File       `json:"files,omitempty"`
	AddedMS int64        `json:"added_ms"` // Unix ms by the board's clock
	Live    bool         `json:"-"`        // from a Feed: it came after the connection did
}

// Options of an outbox.
type Options struct {
	PictureDir   string        // made if missing
	MaxEvents    int           // more waiting events drop the oldest; 0: no limit
	MaxBytes     int64         // the database file never grows beyond this; 0: 256 MiB; from 4 MiB
	MaxAge       time.Duration // older events are dropped, where both times come from a trusted clock; 0: never
	PictureQuota int64         // bytes; the oldest pictures go first, their events stay; 0: 512 MiB
	Reserve      int64         // bytes set aside for a full disk; 0: 4 MiB; negative: none
	FlushEvery   time.Duration // the longest an event waits for company; 0: 20 ms
	AckDelay     time.Duration // the longest an acknowledgement waits for a commit; 0: 1 s
	Trusted      func() bool   // whether the clock is synchronised; nil: never
	Now          func() time.Time
	Log          *slog.Logger
}

var (
	eventsBucket = []byte("events") // boot, sequence → record
	metaBucket   = []byte("meta")
	seriesBucket = []byte("series") // boot → account
	bootKey      = []byte("boot")   // count of boots
)

// Outbox is safe for concurrent use.
type Outbox struct {
	db     *store.DB
	path   string
	o      Options
	begin  time.Time
	in     chan *pending
	noted  chan struct{} // something was acknowledged
	closed chan struct{} // closed by Close
	ended  chan struct{} // closed when nothing is written any more
	done   sync.WaitGroup

	// The writer's own.
	arena    []byte // records of the commit under way; these four are kept for the next
	key      []byte
	stored   []Stored
	slots    []slot
	lastErr  error // of the last commit
	nextAge  time.Time
	nextHold time.Time // when the reserve is made again
	tight    bool      // the disk was full and the reserve is gone
	refused  uint64    // events that a full disk refused since the last commit

	mu      sync.Mutex
	index   index
	current *series
	feed    *Feed  // the present one, or nil
	seq     uint64 // the last one given in current
	acked   []forgotten
	images  int64 // bytes of pictures on disk
	stats   Stats
	gaps    uint64        // counts gaps made, so that a Feed looks for them
	spared  uint64        // counts how often what was to be dropped was spared, for the same
	changed chan struct{} // closed and replaced when events came or went
	moved   chan struct{} // closed and replaced when pictures were kept for uploading
}

// Stats counts since the outbox was opened.
type Stats struct {
	Boot         string `json:"boot"`
	LastSeq      uint64 `json:"last_seq"`
	Waiting      int    `json:"waiting"`
	WaitingBytes int64  `json:"waiting_bytes"`
	PictureBytes int64  `json:"picture_bytes"`
	FileBytes    int64  `json:"file_bytes"` // the database's file by its highest page
	Acknowledged uint64 `json:"acknowledged"`
	Dropped      uint64 `json:"dropped"` // by the caps, told as gaps
	Refused      uint64 `json:"refused"` // by a full disk, told as gaps
	Commits      uint64 `json:"commits"`
	Written      uint64 `json:"written"` // events
	Rotations    uint64 `json:"rotations"`
	BytesWritten int64  `json:"bytes_written"` // to flash, pictures included
	// BytesPerEvent is BytesWritten without pictures over Written.
	BytesPerEvent int64  `json:"bytes_per_event"`
	Quarantined   string `json:"quarantined,omitempty"`
	Damaged       int    `json:"damaged,omitempty"`  // records found damaged at the start; gaps stand in their place, where their names could be read
	Doubtful      bool   `json:"doubtful,omitempty"` // the last events before the start may be missing

	pictureBytesWritten int64
}

// ErrClosed is a Put after Close.
var ErrClosed = errors.New("the outbox is closed")

// Open opens the outbox at path and begins a new boot. A database that passed
// its check and cannot be used all the same is set aside: see Stats.
func Open(path string, o Options) (*Outbox, error) {
	setDefaults(&o)
	if err := os.MkdirAll(uploadDir(o.PictureDir), 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the picture directory: %w", err)
	}
	b, err := openOnce(path, o)
	if !store.Unusable(err) {
		return b, err
	}
	aside, asideErr := store.SetAside(path)
	if asideErr != nil {
		return nil, errors.Join(err, asideErr)
	}
	o.Log.Error("the outbox cannot be used and is set aside", "aside", aside, "err", err)
	if b, err = openOnce(path, o); err == nil {
		b.mu.Lock()
		b.stats.Quarantined = aside
		b.mu.Unlock()
	}
	return b, err
}

func openOnce(path string, o Options) (opened *Outbox, err error) {
	db, err := store.Open(path, store.Options{Bulk: true, MaxBytes: int(o.MaxBytes), Log: o.Log})
	if err != nil {
		return nil, err
	}
	b := &Outbox{db: db, path: path, o: o, begin: o.Now(), in: make(chan *pending, 256), noted: make(chan struct{}, 1),
		closed: make(chan struct{}), ended: make(chan struct{}), changed: make(chan struct{}), moved: make(chan struct{})}
	b.stats.Quarantined, b.stats.Doubtful = db.Quarantined, db.Doubtful
	if err := store.Guard(b.load); err != nil {
		db.Close()
		return nil, err
	}
	b.keepReserve()
	b.done.Go(b.write)
	return b, nil
}

func setDefaults(o *Options) {
	if o.MaxBytes == 0 {
		o.MaxBytes = 256 << 20
	}
	o.MaxBytes = max(o.MaxBytes, 4<<20)
	if o.PictureQuota == 0 {
		o.PictureQuota = 512 << 20
	}
	if o.Reserve == 0 {
		o.Reserve = 4 << 20
	}
	if o.FlushEvery == 0 {
		o.FlushEvery = 20 * time.Millisecond
	}
	if o.AckDelay == 0 {
		o.AckDelay = time.Second
	}
	if o.Trusted == nil {
		o.Trusted = func() bool { return false }
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
}

// load counts the boot, finds what waits, and removes pictures nobody refers to.
func (b *Outbox) load() error {
	referred := map[string]bool{}
	damaged := map[string][]uint64{} // boot → sequences
	var boot string
	err := b.db.Update(func(tx *bolt.Tx) error {
		for _, name := range [][]byte{metaBucket, seriesBucket, eventsBucket} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		accounts := loadAccounts(tx)
		inSeries := func(boot string) *series {
			if s := b.index.series(boot); s != nil {
				return s
			}
			account, known := accounts[boot]
			if !known {
				account = anyAccount
			}
			return b.index.add(boot, account)
		}
		err := store.ForEach(tx.Bucket(eventsBucket), func(k, v []byte, err error) error {
			id, ok := parseKey(k)
			if !ok {
				b.stats.Damaged++
				return nil // a key no Put made; it stays, unread, until the rotation
			}
			stored, parseErr := parseRecord(id, v)
			s := inSeries(id.boot)
			if err != nil || parseErr != nil {
				b.stats.Damaged++
				damaged[id.boot] = append(damaged[id.boot], id.seq)
				b.index.set(s, id.seq, slot{size: 1, priority: Result, flags: doomed})
				return nil
			}
			if s.account == anyAccount {
				s.account = stored.Account
			}
			b.index.set(s, id.seq, slotOf(&stored, len(v)))
			for _, f := range stored.Files {
				referred[f.Name] = true
			}
			return nil
		})
		if err != nil {
			return err
		}
		for old := range accounts {
			if b.index.series(old) == nil {
				if err := tx.Bucket(seriesBucket).Delete([]byte(old)); err != nil {
					return err
				}
			}
		}
		boot, err = newSeries(tx, 0)
		return err
	})
	if err != nil {
		return fmt.Errorf("cannot load the outbox: %w", err)
	}
	b.start(boot, 0)
	for boot, seqs := range damaged {
		b.o.Log.Error("stored events are damaged; they become gaps", "boot", boot, "events", len(seqs))
		if err := b.replaceByGaps(boot, seqs, wire.GapDamage); err != nil {
			return fmt.Errorf("cannot load the outbox: %w", err)
		}
	}
	return b.sweep(referred)
}

func slotOf(s *Stored, size int) slot {
	v := slot{size: uint32(size), added: uint32(s.AddedMS / 1000), priority: s.Priority}
	if len(s.Files) > 0 {
		v.flags |= hasPictures
	}
	if s.Name == wire.NameGap {
		v.flags |= isGap
	}
	if s.ID.Trusted {
		v.flags |= clockTrusted
	}
	return v
}

// Boot is the name of the present series.
func (b *Outbox) Boot() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.current.boot
}

// MonoMS is the time since Open in ms.
func (b *Outbox) MonoMS() int64 { return b.o.Now().Sub(b.begin).Milliseconds() }

// Stats counts.
func (b *Outbox) Stats() Stats {
	size, _ := b.db.Room()
	written := b.db.Written()
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.stats
	s.Boot, s.LastSeq, s.Waiting, s.WaitingBytes = b.current.boot, b.seq, b.index.waiting, b.index.bytes
	s.FileBytes, s.PictureBytes, s.BytesWritten = size, b.images, written+s.pictureBytesWritten
	if s.Written > 0 {
		s.BytesPerEvent = written / int64(s.Written)
	}
	return s
}

// Oldest is the lowest waiting sequence of this boot, or the next one where none waits.
func (b *Outbox) Oldest() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	if seq, v := b.current.next(0); v != nil {
		return seq
	}
	return b.seq + 1
}

// Backlog counts the waiting events of an account by name that came before the
// present Feed, all of them where there is none, and gives the oldest; it reads
// them all.
func (b *Outbox) Backlog(account int64, name string) (n int, oldest Stored, err error) {
	b.mu.Lock()
	end := key{"\xff", math.MaxUint64}
	if b.feed != nil {
		end = b.feed.start
	}
	b.mu.Unlock()
	err = b.Each(func(s Stored) bool {
		if (key{s.ID.Boot, s.ID.Seq}).less(end) && s.Account == account && s.Name == name {
			if n == 0 {
				oldest, oldest.Payload = s, append(json.RawMessage(nil), s.Payload...)
			}
			n++
		}
		return true
	})
	return n, oldest, err
}

// Changed gives a channel that is closed when the next event has been stored
// or acknowledged: a Feed may then have more.
func (b *Outbox) Changed() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.changed
}

// tell wakes who waits for Changed; b.mu is held.
func (b *Outbox) tell() {
	close(b.changed)
	b.changed = make(chan struct{})
}

// List gives the waiting events in order of boot and sequence, at most n.
func (b *Outbox) List(n int) (found []Stored, err error) {
	if n <= 0 {
		return nil, nil
	}
	err = b.Each(func(s Stored) bool {
		s.Payload = append(json.RawMessage(nil), s.Payload...)
		found = append(found, s)
		return len(found) < n
	})
	return found, err
}

// Each reads the waiting events until f says no; the payload is valid in f only.
func (b *Outbox) Each(f func(Stored) bool) error {
	stop := errors.New("stop")
	err := b.db.View(func(tx *bolt.Tx) error {
		return store.ForEach(tx.Bucket(eventsBucket), func(k, v []byte, err error) error {
			id, ok := parseKey(k)
			if !ok || err != nil {
				return nil
			}
			s, err := parseRecord(id, v)
			b.mu.Lock()
			waits := b.index.get(id) != nil
			b.mu.Unlock()
			if err == nil && waits && !f(s) {
				return stop
			}
			return nil
		})
	})
	if errors.Is(err, stop) {
		return nil
	}
	return err
}

// Close stores what was put and acknowledged, and closes the database.
func (b *Outbox) Close() error {
	close(b.closed)
	b.done.Wait()
	return b.db.Close()
}
