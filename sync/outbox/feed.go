package outbox

import (
	"encoding/json"
	"errors"
	"math"
	"time"

	bolt "go.etcd.io/bbolt"

	"gatehouse/sync/store"
	"gatehouse/sync/wire"
)

// Feed hands the waiting events of one account to one receiver over one
// connection. There is one at a time; Close it before the next is made. Not
// safe for concurrent use.
type Feed struct {
	b       *Outbox
	account int64
	o       FeedOptions

	start  key    // what comes from here on is live
	live   key    // where to look for live events
	back   [3]key // where to look in the backlog, by priority
	gaps   uint64 // gaps made when back was last reset
	spared uint64 // and how often events were spared
	flight []given
}

type given struct {
	key
	at time.Time
}

// FeedOptions of a Feed.
type FeedOptions struct {
	Most  int           // events handed out and not acknowledged at one time; 0: 512
	Retry time.Duration // after this an event that was not acknowledged is handed out again; 0: never
}

// Feed begins to hand out events to a new connection.
func (b *Outbox) Feed(account int64, o FeedOptions) *Feed {
	if o.Most == 0 {
		o.Most = 512
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now := key{b.current.boot, b.seq + 1}
	b.feed = &Feed{b: b, account: account, o: o, start: now, live: now, gaps: b.gaps, spared: b.spared}
	return b.feed
}

// Close gives back what was handed out and not acknowledged.
func (f *Feed) Close() {
	f.b.mu.Lock()
	defer f.b.mu.Unlock()
	for _, g := range f.flight {
		if v := f.b.index.get(g.key); v != nil {
			v.flags &^= inFlight
		}
	}
	f.flight = nil
	if f.b.feed == f {
		f.b.feed = nil
	}
}

// Next gives up to n events: those due again, live ones, and then the backlog,
// results before decisions before the rest, oldest first. None: nothing is to
// be sent now.
func (f *Feed) Next(n int) ([]Stored, error) {
	now := time.Now()
	f.b.mu.Lock()
	keys := f.again(now, n)
	again := len(keys)
	keys = f.fresh(keys, n)
	for _, k := range keys[again:] {
		f.flight = append(f.flight, given{k, now})
	}
	live := make([]bool, len(keys))
	for i, k := range keys {
		live[i] = !k.less(f.start)
		s := f.b.index.series(k.boot)
		_, v := s.next(k.seq)
		v.flags |= inFlight | handedOut
		s.seal(k.seq)
	}
	f.b.mu.Unlock()
	return f.b.read(keys, live)
}

// again gives what was handed out too long ago, and forgets what was acknowledged.
func (f *Feed) again(now time.Time, n int) (keys []key) {
	flying := func(k key) bool {
		v := f.b.index.get(k)
		return v != nil && v.flags&inFlight != 0
	}
	for len(f.flight) > 0 && !flying(f.flight[0].key) {
		f.flight = f.flight[1:]
	}
	if len(f.flight) >= f.o.Most || len(f.flight) > 0 && f.o.Retry > 0 && now.Sub(f.flight[0].at) > f.o.Retry {
		kept := f.flight[:0]
		for _, g := range f.flight {
			switch {
			case !flying(g.key):
			case f.o.Retry > 0 && now.Sub(g.at) > f.o.Retry && len(keys) < n:
				keys = append(keys, g.key)
			default:
				kept = append(kept, g)
			}
		}
		f.flight = kept
		for _, k := range keys {
			f.flight = append(f.flight, given{k, now})
		}
	}
	return keys
}

// fresh adds events that this receiver has not been given.
func (f *Feed) fresh(keys []key, n int) []key {
	room := f.o.Most - len(f.flight)
	end := key{"\xff", math.MaxUint64}
	take := func(from key, until key, match func(*slot) bool) key {
		f.b.index.each(from, func(s *series, seq uint64, v *slot) bool {
			k := key{s.boot, seq}
			if len(keys) >= n || room == 0 || !k.less(until) {
				return false
			}
			from = key{s.boot, seq + 1}
			if (s.account == f.account || s.account == anyAccount) && v.flags&(inFlight|doomed) == 0 && match(v) {
				keys = append(keys, k)
				room--
			}
			return true
		})
		return from
	}
	if f.spared != f.b.spared {
		f.spared, f.back, f.live = f.b.spared, [3]key{}, f.start
	}
	f.live = take(f.live, end, func(*slot) bool { return true })
	if f.gaps != f.b.gaps { // a gap may stand where we have been
		f.gaps, f.back[Result] = f.b.gaps, key{}
	}
	for _, level := range []Priority{Result, Decision, Normal} {
		f.back[level] = take(f.back[level], f.start, func(v *slot) bool { return v.priority == level })
	}
	return keys
}

// read reads events; a damaged one becomes a gap.
func (b *Outbox) read(keys []key, live []bool) (found []Stored, err error) {
	var damaged []key
	err = b.db.View(func(tx *bolt.Tx) error {
		events := tx.Bucket(eventsBucket)
		for i, k := range keys {
			v, err := store.Get(events, k.bytes())
			if v == nil && err == nil { // acknowledged and deleted meanwhile
				continue
			}
			s, parseErr := parseRecord(k, v)
			if errors.Join(err, parseErr) != nil {
				damaged = append(damaged, k)
				continue
			}
			s.Payload, s.Live = append(json.RawMessage(nil), s.Payload...), live[i]
			found = append(found, s)
		}
		return nil
	})
	for _, k := range damaged {
		b.o.Log.Error("a stored event is damaged; it becomes a gap", "boot", k.boot, "seq", k.seq)
		p := &pending{done: make(chan struct{}), do: func() error { return b.replaceByGaps(k.boot, []uint64{k.seq}, wire.GapDamage) }}
		select {
		case b.in <- p:
		case <-b.closed:
		}
	}
	return found, err
}
