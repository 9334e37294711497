package platform

import (
	"fmt"
	"strings"

	bolt "go.etcd.io/bbolt"

	"gatehouse/sync/store"
	"gatehouse/sync/wire"
)

// series is what the cloud knows of the events of one boot of a board: which
// have arrived or are accounted for by gaps, and by that which are missing.
type series struct {
	SN        string `json:"sn"`
	Boot      string `json:"boot"`
	AccountID int64  `json:"account_id"`
	Last      uint64 `json:"last"`     // the highest sequence that is known to exist
	Known     packed `json:"known"`    // arrived, or in a gap
	Received  uint64 `json:"received"` // events that arrived, each once
	Repeated  uint64 `json:"repeated"` // arrived again
	Gaps      uint64 `json:"gaps"`     // gap events
	Dropped   uint64 `json:"dropped"`  // sequences in them
	Updated   int64  `json:"update_time"`
}

// storedGap is a dropped range, kept apart from events: some of its events may
// have arrived before they were dropped.
type storedGap struct {
	To    uint64 `json:"to"`
	Cause string `json:"cause"`
}

func seriesKey(sn, boot string) []byte { return []byte(sn + "\x00" + boot) }

// SeriesReport is the account of one boot of a board.
type SeriesReport struct {
	Boot     string      `json:"boot"`
	Last     uint64      `json:"last"`     // the highest sequence that is known to exist
	Received uint64      `json:"received"` // events, each counted once
	Repeated uint64      `json:"repeated"` // arrived again, and were not counted
	Dropped  uint64      `json:"dropped"`  // by the board, told in gaps
	Gaps     []wire.Gap  `json:"gaps"`
	Missing  [][2]uint64 `json:"missing"` // neither arrived nor told as dropped, yet
	Updated  int64       `json:"update_time"`
}

// String is the report in a line.
func (r SeriesReport) String() string {
	missing := "nothing missing"
	if len(r.Missing) > 0 {
		var parts []string
		for _, m := range r.Missing[:min(20, len(r.Missing))] {
			if m[0] == m[1] {
				parts = append(parts, fmt.Sprint(m[0]))
			} else {
				parts = append(parts, fmt.Sprintf("%d-%d", m[0], m[1]))
			}
		}
		if missing = "missing " + strings.Join(parts, ", "); len(r.Missing) > 20 {
			missing += " and more"
		}
	}
	return fmt.Sprintf("boot %s: %d events known of, %d arrived (%d again), %d dropped by the board in %d gaps, %s",
		r.Boot, r.Last, r.Received, r.Repeated, r.Dropped, len(r.Gaps), missing)
}

// Series reports what has arrived of a board's events and what has not, boot by
// boot. Account 0 sees all.
func (p *Platform) Series(sn string, account int64) (reports []SeriesReport, err error) {
	reports = []SeriesReport{}
	err = p.db.View(func(tx *bolt.Tx) error {
		return eachWithPrefix(p, tx, seriesBucket, sn+"\x00", func(_ string, s series) error {
			if account != 0 && s.AccountID != account {
				return nil
			}
			r := SeriesReport{Boot: s.Boot, Last: s.Last, Received: s.Received, Repeated: s.Repeated, Dropped: s.Dropped, Updated: s.Updated,
				Gaps: []wire.Gap{}, Missing: s.Known.missing(s.Last)}
			err := eachWithPrefix(p, tx, gapsBucket, string(seriesKey(sn, s.Boot))+"\x00", func(key string, g storedGap) error {
				var from uint64
				if _, err := fmt.Sscanf(key[len(key)-20:], "%d", &from); err != nil {
					return err
				}
				r.Gaps = append(r.Gaps, wire.Gap{Boot: s.Boot, From: from, To: g.To, Cause: g.Cause})
				return nil
			})
			reports = append(reports, r)
			return err
		})
	})
	return reports, err
}

func (p *Platform) listSeries(q *request) (any, error) {
	var sn string
	err := p.db.View(func(tx *bolt.Tx) error {
		d, err := p.own(tx, q.PathValue("sn"), q.account.ID)
		if err == nil {
			sn = d.SN
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	reports, err := p.Series(sn, q.account.ID)
	if err != nil {
		return nil, err
	}
	return scan(q.query, reports)
}

// batch is a group of messages within one transaction. Devices and series are
// read once and written once.
type batch struct {
	p        *Platform
	tx       *bolt.Tx
	now      int64 // Unix ms
	devices  map[string]*device
	dirty    map[string]bool
	series   map[string]*series
	pictures bool // some were written
	events   int64
	acks     map[string]map[string]*ranges // sn → boot → sequences
	wake     map[string]bool               // boards that are to be sent what is pending
}

func (p *Platform) newBatch(tx *bolt.Tx) *batch {
	return &batch{p: p, tx: tx, now: p.o.Now().UnixMilli(), devices: map[string]*device{}, dirty: map[string]bool{}, series: map[string]*series{},
		acks: map[string]map[string]*ranges{}, wake: map[string]bool{}}
}

// device gives a device, or nil for one that nobody has claimed.
func (b *batch) device(sn string) (*device, error) {
	if d, ok := b.devices[sn]; ok {
		return d, nil
	}
	d, err := loadDevice(b.tx, sn)
	if err != nil {
		return nil, err
	}
	b.devices[sn] = d
	return d, nil
}

// of gives the series of a boot. A record that cannot be read begins anew: the
// board's events show what is there.
func (b *batch) of(d *device, boot string) *series {
	k := seriesKey(d.SN, boot)
	if s := b.series[string(k)]; s != nil {
		return s
	}
	s := &series{}
	if _, err := store.GetJSON(b.tx.Bucket(seriesBucket), k, s); err != nil {
		b.p.o.Log.Error("what has arrived of a boot cannot be read", "sn", d.SN, "boot", boot, "err", err)
		*s = series{}
	}
	s.SN, s.Boot, s.AccountID = d.SN, boot, d.UserID
	b.series[string(k)] = s
	return s
}

func (b *batch) alsoWake(sns []string) {
	for _, sn := range sns {
		b.wake[sn] = true
	}
}

// keep stores an event or a gap once, and notes that it is to be acknowledged.
func (b *batch) keep(d *device, e event, jpeg pictures) error {
	e.AccountID, e.Received = d.UserID, b.now
	s := b.of(d, e.Boot)
	s.Updated = b.now / 1000
	if b.acks[e.SN] == nil {
		b.acks[e.SN] = map[string]*ranges{}
	}
	if b.acks[e.SN][e.Boot] == nil {
		b.acks[e.SN][e.Boot] = &ranges{}
	}
	ack := b.acks[e.SN][e.Boot]
	ack.add(e.Seq, e.Seq)
	if e.Gap != nil {
		if e.Gap.Boot == e.Boot {
			ack.add(e.Gap.From, e.Gap.To)
		}
		s.Known.add(e.Seq, e.Seq) // a gap may have a number of its own
		s.Last = max(s.Last, e.Seq)
		return b.keepGap(b.of(d, e.Gap.Boot), *e.Gap)
	}
	again, err := b.arrived(s, e.Seq), error(nil)
	if !again {
		again, err = b.p.keep(b.tx, e, jpeg)
	}
	if err != nil {
		return err
	}
	if again {
		s.Repeated++
		return nil
	}
	b.pictures = b.pictures || jpeg.full != nil || jpeg.small != nil
	b.events++
	s.Received++
	s.Last = max(s.Last, e.Seq)
	s.Known.add(e.Seq, e.Seq)
	return nil
}

// arrived reports whether an event came before, though it may be stored no
// more. One in a gap counts as new: told as dropped, it may have been on its way.
func (b *batch) arrived(s *series, seq uint64) bool {
	if !s.Known.has(seq) {
		return false
	}
	c := b.tx.Bucket(gapsBucket).Cursor()
	k, _ := c.Seek(eventKey(s.SN, s.Boot, seq+1))
	if k == nil {
		k, _ = c.Last()
	} else {
		k, _ = c.Prev()
	}
	if !strings.HasPrefix(string(k), string(seriesKey(s.SN, s.Boot))+"\x00") {
		return true
	}
	var g storedGap
	ok, err := store.GetJSON(b.tx.Bucket(gapsBucket), k, &g)
	return ok && err == nil && g.To < seq
}

func (b *batch) keepGap(s *series, g wire.Gap) error {
	k := eventKey(s.SN, s.Boot, g.From)
	var old storedGap
	known, err := store.GetJSON(b.tx.Bucket(gapsBucket), k, &old)
	if err != nil {
		return err
	}
	if known && old.To >= g.To {
		s.Repeated++
		return nil
	}
	if known {
		s.Dropped -= old.To - g.From + 1
		s.Gaps--
	}
	s.Gaps++
	s.Dropped += g.To - g.From + 1
	s.Last = max(s.Last, g.To)
	s.Known.add(g.From, g.To)
	return store.PutJSON(b.tx.Bucket(gapsBucket), k, storedGap{To: g.To, Cause: g.Cause})
}

// finish writes what was changed in memory.
func (b *batch) finish() error {
	for sn := range b.dirty {
		if err := saveDevice(b.tx, b.devices[sn]); err != nil {
			return err
		}
	}
	for k, s := range b.series {
		if err := store.PutJSON(b.tx.Bucket(seriesBucket), []byte(k), s); err != nil {
			return err
		}
	}
	if b.events > 0 {
		n, err := countEvents(b.tx)
		if err != nil {
			return err
		}
		if err := store.PutJSON(b.tx.Bucket(metaBucket), eventsKey, n+b.events); err != nil {
			return err
		}
	}
	if b.pictures { // before the commit: a listed picture is there
		return b.p.syncPictures()
	}
	return nil
}

func countEvents(tx *bolt.Tx) (n int64, err error) {
	_, err = store.GetJSON(tx.Bucket(metaBucket), eventsKey, &n)
	return n, err
}
