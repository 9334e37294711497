// Package whitelist is the board's black and white list: who may pass, when.
//
// A lookup reads a snapshot in memory: it never waits for the disk or for a
// new set going in, and allocates nothing. A set comes as a change (package
// change), in one transaction with the change's own state, or row by row from
// a parking system (the vendor's white_list_operator).
//
// When in doubt a plate is not listed: a row that is damaged on disk is left
// out and reported, a time that cannot be read is refused when the row comes.
package whitelist

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"

	"gatehouse/sync/errcode"
	"gatehouse/sync/store"
	"gatehouse/sync/wire"
)

// Verdict is what the list says of a plate at a moment.
type Verdict int

const (
	NotListed Verdict = iota
	Listed            // may pass
	Suspended         // listed, but not enabled
	OutOfTime         // listed, but not valid at this moment
	Blacklisted
)

func (v Verdict) String() string {
	return [...]string{"not_listed", "listed", "suspended", "out_of_time", "blacklisted"}[v]
}

// Entry is a row, ready for the lookup.
type Entry struct {
	Record      wire.WhitelistRecord
	from, until time.Time     // zero: open
	start, end  time.Duration // of the day; equal: the whole day
}

// List is safe for concurrent use.
type List struct {
	db       *store.DB
	log      *slog.Logger
	zone     *time.Location
	snapshot atomic.Pointer[snapshot]
	damaged  int
}

type snapshot struct {
	rows   map[string]*Entry
	digest string
}

var bucket = []byte("whitelist") // normalised plate → wire.WhitelistRecord

// maxPlate is the vendor's limit of a plate in bytes.
const maxPlate = 32

// Open reads the list from the state database. Times of rows are local times in zone.
func Open(db *store.DB, zone *time.Location, log *slog.Logger) (*List, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	l := &List{db: db, log: log, zone: zone}
	err := db.Update(func(tx *bolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(bucket)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot open the whitelist: %w", err)
	}
	return l, l.Reload()
}

// Reload makes the snapshot anew from the database; the engine calls it after
// a change was committed.
func (l *List) Reload() error {
	rows := map[string]*Entry{}
	damaged := 0
	err := l.db.View(func(tx *bolt.Tx) error {
		return store.ForEach(tx.Bucket(bucket), func(k, v []byte, err error) error {
			var r wire.WhitelistRecord
			if err == nil {
				err = json.Unmarshal(v, &r)
			}
			var e *Entry
			if err == nil {
				e, err = l.entry(r)
			}
			if err != nil {
				l.log.Error("a whitelist row is damaged and does not count", "err", err)
				damaged++
				return nil
			}
			rows[string(k)] = e
			return nil
		})
	})
	if err != nil {
		return fmt.Errorf("cannot read the whitelist: %w", err)
	}
	l.damaged = damaged
	l.snapshot.Store(&snapshot{rows: rows, digest: digest(rows)})
	return nil
}

// digest is "sha256:" and the hash over all rows in order of their plates, so
// that the cloud can see drift. The empty list has one too.
func digest(rows map[string]*Entry) string {
	plates := make([]string, 0, len(rows))
	for p := range rows {
		plates = append(plates, p)
	}
	slices.Sort(plates)
	h := sha256.New()
	enc := json.NewEncoder(h)
	for _, p := range plates {
		_ = enc.Encode(rows[p].Record) // a hash does not fail, a record of texts and ints neither
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

// Digest names the applied set.
func (l *List) Digest() string { return l.snapshot.Load().digest }

// Len is the number of rows.
func (l *List) Len() int { return len(l.snapshot.Load().rows) }

// Damaged is the number of rows that were left out as damaged.
func (l *List) Damaged() int { return l.damaged }

// Lookup says what the list says of a plate at a moment. The plate must be
// normalised. It does not block and does not allocate.
func (l *List) Lookup(plate string, at time.Time) (*Entry, Verdict) {
	e, ok := l.snapshot.Load().rows[plate]
	if !ok {
		return nil, NotListed
	}
	switch {
	case e.Record.Enable != 1:
		return e, Suspended
	case e.Record.NeedAlarm == 1:
		return e, Blacklisted
	case !e.valid(at.In(l.zone)):
		return e, OutOfTime
	}
	return e, Listed
}

// valid reports whether the row's days and daily segment hold at. A segment
// that ends before it starts runs over midnight.
func (e *Entry) valid(at time.Time) bool {
	if !e.from.IsZero() && at.Before(e.from) || !e.until.IsZero() && at.After(e.until) {
		return false
	}
	if e.Record.TimeSegEnable != 1 || e.start == e.end {
		return true
	}
	hour, minute, second := at.Clock()
	now := time.Duration(hour)*time.Hour + time.Duration(minute)*time.Minute + time.Duration(second)*time.Second
	if e.start < e.end {
		return e.start <= now && now <= e.end
	}
	return now >= e.start || now <= e.end
}

// entry checks a row and reads its times. Errors are 1103 naming the field.
func (l *List) entry(r wire.WhitelistRecord) (*Entry, error) {
	e := &Entry{Record: r}
	if r.Plate == "" || len(r.Plate) > maxPlate {
		return nil, errcode.Param("plate", fmt.Sprintf("must be 1 to %d bytes", maxPlate))
	}
	if !bit(r.Enable) || !bit(r.NeedAlarm) || !bit(r.TimeSegEnable) {
		return nil, errcode.Param("enable", "need_alarm and time_seg_enable must be 0 or 1")
	}
	var err error
	if e.from, err = l.moment(r.EnableTime); err != nil {
		return nil, errcode.Param("enable_time", "must look like 2026-11-23 00:00:00")
	}
	if e.until, err = l.moment(r.OverdueTime); err != nil {
		return nil, errcode.Param("overdue_time", "must look like 2026-12-23 00:00:00")
	}
	if e.start, err = clock(r.SegTimeStart); err != nil {
		return nil, errcode.Param("seg_time_start", "must look like 08:00:00")
	}
	if e.end, err = clock(r.SegTimeEnd); err != nil {
		return nil, errcode.Param("seg_time_end", "must look like 18:00:00")
	}
	return e, nil
}

func bit(n int) bool { return n == 0 || n == 1 }

func (l *List) moment(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	return time.ParseInLocation(time.DateTime, s, l.zone)
}

func clock(s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	t, err := time.Parse(time.TimeOnly, s)
	return time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute + time.Duration(t.Second())*time.Second, err
}

// Normalize writes a plate the way it is compared: full-width letters and
// digits as plain ones, upper case, no spaces, dots, dashes or NULs.
func Normalize(plate string) string {
	return strings.Map(func(c rune) rune {
		if c >= '！' && c <= '～' { // full-width forms
			c -= '！' - '!'
		}
		switch {
		case c >= 'a' && c <= 'z':
			return c - 'a' + 'A'
		case c == ' ', c == '\u3000', c == '.', c == '·', c == '•', c == '-', c == 0, c == '\t':
			return -1
		}
		return c
	}, plate)
}

// put stores a row under its normalised plate.
func (l *List) put(b *bolt.Bucket, r wire.WhitelistRecord) error {
	r.Plate = Normalize(r.Plate)
	if _, err := l.entry(r); err != nil {
		return err
	}
	return store.PutJSON(b, []byte(r.Plate), r)
}

// Clear removes all rows within tx; Reload follows once it is committed.
func (l *List) Clear(tx *bolt.Tx) error {
	if err := tx.DeleteBucket(bucket); err != nil {
		return err
	}
	_, err := tx.CreateBucket(bucket)
	return err
}
