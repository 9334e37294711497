package outbox

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"time"

	bolt "go.etcd.io/bbolt"

	"gatehouse/sync/fault"
	"gatehouse/sync/store"
	"gatehouse/sync/wire"
)

// pending is an event that waits for its commit, or something the writer is to do between two.
type pending struct {
	event Event
	do    func() error
	id    wire.EventID
	err   error
	done  chan struct{}
}

// Put stores an event and returns its id when it is on disk. Events put at the
// same time share a commit; a Decision or Result is committed at once.
func (b *Outbox) Put(ctx context.Context, e Event) (wire.EventID, error) {
	p := &pending{event: e, done: make(chan struct{})}
	if err := b.submit(ctx, p); err != nil { // the writer may still be at p
		return wire.EventID{}, err
	}
	return p.id, nil
}

// Begin makes sure that the present series belongs to the account, and gives
// its boot and last sequence. Called before a birth is sent.
func (b *Outbox) Begin(ctx context.Context, account int64) (boot string, last uint64, err error) {
	var now key // the writer's until p is done
	p := &pending{done: make(chan struct{})}
	p.do = func() error {
		if err := b.belongTo(account); err != nil {
			return err
		}
		b.mu.Lock()
		now = key{b.current.boot, b.seq}
		b.mu.Unlock()
		return nil
	}
	if err := b.submit(ctx, p); err != nil {
		return "", 0, err
	}
	return now.boot, now.seq, nil
}

// submit gives p to the writer and waits for it.
func (b *Outbox) submit(ctx context.Context, p *pending) error {
	select {
	case b.in <- p:
	case <-b.closed:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-p.done:
		return p.err
	case <-b.ended: // it came behind the last one that was written or refused
		select {
		case <-p.done:
			return p.err
		default:
			return ErrClosed
		}
	case <-ctx.Done(): // it may still be stored
		return ctx.Err()
	}
}

// write collects events and acknowledgements and commits them, until Close.
func (b *Outbox) write() {
	defer close(b.ended)
	const mostAcks = 1024 // are not kept waiting
	ackDue := time.NewTimer(math.MaxInt64)
	defer ackDue.Stop()
	armed := false
	commit := func(group []*pending) {
		if b.commit(group) {
			b.note()
		}
	}
	for {
		select {
		case p := <-b.in:
			commit(b.collect(p))
		case <-b.noted:
			switch n := b.ackedLeft(); {
			case n >= mostAcks:
				commit(nil)
			case !armed && n > 0:
				armed = true
				ackDue.Reset(b.o.AckDelay)
			}
		case <-ackDue.C:
			armed = false
			commit(nil)
		case <-b.closed:
			b.refuse()
			for b.commit(nil) {
			}
			return
		}
	}
}

// collect waits for company for p, for as long as it may.
func (b *Outbox) collect(p *pending) []*pending {
	const most, mostBytes = 256, 512 << 10
	group := []*pending{p}
	bytes := len(p.event.Payload)
	wait := time.NewTimer(b.o.FlushEvery)
	defer wait.Stop()
	for len(group) < most && bytes < mostBytes && p.do == nil && p.event.Priority == Normal {
		select {
		case p = <-b.in:
			group = append(group, p)
			bytes += len(p.event.Payload)
		case <-wait.C:
			return group
		case <-b.closed:
			return group
		}
	}
	for len(group) < most && bytes < mostBytes { // who has come already goes along
		select {
		case p = <-b.in:
			group = append(group, p)
			bytes += len(p.event.Payload)
		default:
			return group
		}
	}
	return group
}

// refuse answers what was put too late.
func (b *Outbox) refuse() {
	for {
		select {
		case p := <-b.in:
			p.err = ErrClosed
			close(p.done)
		default:
			return
		}
	}
}

// commit stores a group, a run of one account at a time, and deletes what was
// acknowledged. An empty group does the latter alone. More: there is still
// something to delete.
func (b *Outbox) commit(group []*pending) (more bool) {
	put := len(group) > 0
	if !put && b.ackedLeft() > 0 {
		b.commitRun(nil)
	}
	for len(group) > 0 {
		if p := group[0]; p.do != nil {
			p.err = p.do()
			close(p.done)
			group = group[1:]
			continue
		}
		n := 1
		for n < len(group) && group[n].do == nil && group[n].event.Account == group[0].event.Account {
			n++
		}
		if err := b.belongTo(group[0].event.Account); err != nil {
			answer(group[:n], err)
		} else {
			b.commitRun(group[:n])
		}
		group = group[n:]
	}
	if put { // a drain makes room by itself: nothing is dropped for it
		b.enforce(b.o.Now())
	}
	left := b.ackedLeft()
	if left == 0 {
		b.rotate()
	}
	return left > 0 && b.lastErr == nil
}

func (b *Outbox) ackedLeft() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.acked)
}

func answer(run []*pending, err error) {
	for _, p := range run {
		if err != nil {
			p.err = fmt.Errorf("cannot store the event: %w", err)
		}
		close(p.done)
	}
}

// commitRun stores events of the present series. A full disk is met by giving
// up what is worth less, at last the ordinary events of the run itself, which
// are counted for a gap.
func (b *Outbox) commitRun(run []*pending) {
	err := b.tryRun(run, b.deletable())
	if full(err) && len(run) == 0 {
		err = b.deleteFew()
	}
	for stage, cause := firstStage(err); full(err) && b.makeRoom(stage, cause); stage++ {
		err = b.tryRun(run, b.deletable())
	}
	if full(err) && len(run) > 0 {
		var rest []*pending
		for _, p := range run {
			if p.event.Priority == Normal {
				b.refused++
				answer([]*pending{p}, err)
			} else {
				rest = append(rest, p)
			}
		}
		b.mu.Lock()
		b.stats.Refused += uint64(len(run) - len(rest))
		b.mu.Unlock()
		if run = rest; len(run) > 0 {
			err = b.tryRun(run, b.deletable())
		}
	}
	if err != nil {
		b.o.Log.Error("events could not be stored", "events", len(run), "err", err)
	}
	b.lastErr = err
	answer(run, err)
}

// The acknowledged events that one transaction deletes.
const (
	mostDeleted  = 4096
	leastDeleted = 64
)

// deletable is how many acknowledged events there are pages to delete in one
// transaction: each may lie in a page of its own, which is written anew, and
// decisions, which are told first, do lie scattered.
func (b *Outbox) deletable() int {
	size, free := b.db.Room()
	pages := (b.o.MaxBytes - size + free) / b.db.PageSize()
	return int(min(mostDeleted, max(leastDeleted, pages/4)))
}

// deleteFew deletes acknowledged events where the file has no page left for
// doing so: those that are free may belong to readers still. Few at a time need
// few pages, and readers come to an end; dropping what waits would be the wrong way.
func (b *Outbox) deleteFew() (err error) {
	for wait := 5 * time.Millisecond; wait < time.Second; wait *= 2 {
		if err = b.tryRun(nil, leastDeleted); !full(err) {
			return err
		}
		time.Sleep(wait)
	}
	return err
}

// tryRun stores a run in one transaction, together with the gap of refused
// events and the deletion of at most so many acknowledged ones.
func (b *Outbox) tryRun(run []*pending, most int) error {
	now := b.o.Now()
	b.mu.Lock()
	s, seq := b.current, b.seq
	gone := b.acked[:min(len(b.acked), most)]
	b.mu.Unlock()
	var lost *Stored
	if b.refused > 0 && len(run) > 0 {
		lost = gapEvent(key{s.boot, seq + 1}, s.account, gap{seq + 1, seq + b.refused, wire.GapDiskFull})
		seq += b.refused
	}
	stored := b.stored[:0]
	for _, p := range run {
		seq++
		p.id = wire.EventID{Boot: s.boot, Seq: seq, MonoMS: now.Sub(b.begin).Milliseconds(), WallMS: now.UnixMilli(), Trusted: b.o.Trusted()}
		stored = append(stored, Stored{Event: p.event, ID: p.id, AddedMS: now.UnixMilli(), Files: b.writePictures(p)})
	}
	if lost != nil {
		stored = append(stored, *lost)
	}
	slots := b.slots[:0]
	var files []string
	b.arena = b.arena[:0]
	err := b.db.Update(func(tx *bolt.Tx) error {
		events := tx.Bucket(eventsBucket)
		events.FillPercent = 0.95 // keys only grow
		var err error
		if files, err = b.deleteAcked(events, gone); err != nil {
			return err
		}
		for i := range stored {
			from := len(b.arena)
			b.arena = appendRecord(b.arena, &stored[i])
			b.key = keyOf(stored[i].ID).append(b.key[:0])
			record := b.arena[from:]
			store.Seal(b.key, record)
			if err := events.Put(b.key, record); err != nil { // it copies the key, and keeps the record until the commit
				return err
			}
			slots = append(slots, slotOf(&stored[i], len(record)))
		}
		fault.Point("outbox.commit")
		return nil
	})
	b.stored, b.slots = stored, slots
	defer clear(stored) // let go of payloads and pictures
	if err != nil {
		b.removeWritten(stored)
		return err
	}
	fault.Point("outbox.committed")
	b.mu.Lock()
	b.acked = b.acked[len(gone):]
	if len(b.acked) == 0 {
		b.acked = nil
	}
	for i := range stored {
		b.index.set(s, stored[i].ID.Seq, slots[i])
	}
	b.stats.Commits++
	if len(stored) > 0 {
		b.seq, b.refused = seq, 0
		b.stats.Written += uint64(len(run))
		b.tell()
	}
	b.mu.Unlock()
	b.deletePictures(files)
	return nil
}

// gapEvent is the event that stands for a dropped range, stored under k.
func gapEvent(k key, account int64, g gap) *Stored {
	payload, err := json.Marshal(wire.Body{Body: wire.Gap{Boot: k.boot, From: g.from, To: g.to, Cause: g.cause}})
	if err != nil {
		panic(err) // two numbers and two texts
	}
	return &Stored{Event: Event{Name: wire.NameGap, Payload: payload, Priority: Result, Account: account}, ID: wire.EventID{Boot: k.boot, Seq: k.seq}}
}

// belongTo makes the present series the account's: a new one, where the present
// one has events of another.
func (b *Outbox) belongTo(account int64) error {
	b.mu.Lock()
	s, seq := b.current, b.seq
	b.mu.Unlock()
	if s.account == account {
		return nil
	}
	if seq == 0 && b.refused == 0 { // nobody has heard of it yet
		err := b.db.Update(func(tx *bolt.Tx) error { return putAccount(tx, s.boot, account) })
		if err == nil {
			b.mu.Lock()
			s.account = account
			b.mu.Unlock()
		}
		return err
	}
	var boot string
	var lost *Stored // of the old series
	var size int
	err := b.db.Update(func(tx *bolt.Tx) (err error) {
		if b.refused > 0 {
			lost = gapEvent(key{s.boot, seq + 1}, s.account, gap{seq + 1, seq + b.refused, wire.GapDiskFull})
			if size, err = putStored(tx.Bucket(eventsBucket), lost); err != nil {
				return err
			}
		}
		boot, err = newSeries(tx, account)
		return err
	})
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if lost != nil {
		b.index.set(s, lost.ID.Seq, slotOf(lost, size))
		b.refused = 0
	}
	b.start(boot, account)
	return nil
}

// newSeries counts a boot and writes down whose it is.
func newSeries(tx *bolt.Tx, account int64) (boot string, err error) {
	if boot, err = nextBoot(tx.Bucket(metaBucket)); err != nil {
		return "", err
	}
	return boot, putAccount(tx, boot, account)
}

// start makes a boot the present one; b.mu is held.
func (b *Outbox) start(boot string, account int64) {
	b.current, b.seq = b.index.add(boot, account), 0
	b.index.forget(b.current)
}

// nextBoot counts a boot and names it: counter and chance, in hex, so that a
// board whose database was lost does not repeat an earlier name.
func nextBoot(meta *bolt.Bucket) (string, error) {
	var n uint32
	if v, err := store.Get(meta, bootKey); err == nil && len(v) == 4 {
		n = binary.BigEndian.Uint32(v)
	}
	n++
	var chance [4]byte
	if _, err := rand.Read(chance[:]); err != nil {
		return "", err
	}
	return fmt.Sprintf("%08x-%x", n, chance), store.Put(meta, bootKey, binary.BigEndian.AppendUint32(nil, n))
}

func putAccount(tx *bolt.Tx, boot string, account int64) error {
	return store.Put(tx.Bucket(seriesBucket), []byte(boot), binary.AppendVarint(nil, account))
}

func loadAccounts(tx *bolt.Tx) map[string]int64 {
	accounts := map[string]int64{}
	_ = store.ForEach(tx.Bucket(seriesBucket), func(boot, v []byte, err error) error {
		if account, n := binary.Varint(v); err == nil && n > 0 {
			accounts[string(boot)] = account
		}
		return nil
	})
	return accounts
}

func putStored(events *bolt.Bucket, s *Stored) (size int, err error) {
	k := keyOf(s.ID).bytes()
	record := appendRecord(nil, s)
	store.Seal(k, record)
	return len(record), events.Put(k, record)
}

// rotateAbove is the file size from which rotating pays.
const rotateAbove = 4 << 20

// rotate begins a new file once little is left of a large one.
func (b *Outbox) rotate() {
	size, _ := b.db.Room()
	b.mu.Lock()
	left := b.index.bytes
	b.mu.Unlock()
	if size <= rotateAbove || left*8 > size || left > rotateAbove {
		return
	}
	done, err := b.db.Rotate(func(old, fresh *bolt.Tx) error {
		for _, name := range [][]byte{metaBucket, seriesBucket, eventsBucket} {
			to, err := fresh.CreateBucket(name)
			if err != nil {
				return err
			}
			to.FillPercent = 0.95
			err = old.Bucket(name).ForEach(func(k, v []byte) error { return to.Put(k, v) })
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.o.Log.Error("the outbox's file could not be rotated, or not as it should be", "rotated", done, "err", err)
	}
	if !done {
		return
	}
	b.mu.Lock()
	b.stats.Rotations++
	b.mu.Unlock()
	b.o.Log.Info("the outbox's file was rotated", "bytes_before", size)
}
