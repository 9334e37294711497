package outbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.uber.org/goleak"

	"gatehouse/sync/store"
	"gatehouse/sync/wire"
)

func TestMain(m *testing.M) {
	store.RunCheckIfAsked()
	goleak.VerifyTestMain(m)
}

func open(t testing.TB, dir string, o Options) *Outbox {
	t.Helper()
	o.PictureDir = filepath.Join(dir, "pictures")
	if o.Reserve == 0 {
		o.Reserve = -1
	}
	b, err := Open(filepath.Join(dir, "events.db"), o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func event(i int) Event {
	return Event{Name: "ivs_result", Payload: json.RawMessage(fmt.Sprintf(`{"n":%d}`, i))}
}

func put(t testing.TB, b *Outbox, e Event) wire.EventID {
	t.Helper()
	id, err := b.Put(context.Background(), e)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// take hands out n events at most.
func take(t testing.TB, f *Feed, n int) []Stored {
	t.Helper()
	list, err := f.Next(n)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// settle waits until the writer is done with what it was given before.
func settle(t testing.TB, b *Outbox) {
	t.Helper()
	for range 2 { // the second comes behind all that follows the first's answer
		if err := b.submit(context.Background(), &pending{done: make(chan struct{}), do: func() error { return nil }}); err != nil {
			t.Fatal(err)
		}
	}
}

// accounted checks that each sequence of a boot up to last is told exactly
// once, by an event or by a gap, and counts the two.
func accounted(t *testing.T, list []Stored, boot string, last uint64) (events, inGaps, gaps int) {
	t.Helper()
	told := map[uint64]bool{}
	for _, s := range list {
		if s.ID.Boot != boot {
			continue
		}
		from, to := s.ID.Seq, s.ID.Seq
		if s.Name == wire.NameGap {
			var p struct{ Body wire.Gap }
			if err := json.Unmarshal(s.Payload, &p); err != nil || p.Body.Boot != boot || p.Body.From != s.ID.Seq {
				t.Errorf("gap %s: %v", s.Payload, err)
			}
			from, to = p.Body.From, p.Body.To
			inGaps += int(to - from + 1)
			gaps++
		} else {
			events++
		}
		for seq := from; seq <= to; seq++ {
			if told[seq] {
				t.Errorf("event %d is told twice", seq)
			}
			told[seq] = true
		}
	}
	for seq := uint64(1); seq <= last; seq++ {
		if !told[seq] {
			t.Fatalf("event %d of %d is told by nobody", seq, last)
		}
	}
	if len(told) != int(last) {
		t.Errorf("%d events are told, %d were put", len(told), last)
	}
	return events, inGaps, gaps
}

func TestSequencesAreContiguousAndSurvive(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, Options{})
	first := b.Boot()
	var puts sync.WaitGroup
	for i := range 100 {
		puts.Go(func() { put(t, b, event(i)) })
	}
	puts.Wait()
	if s := b.Stats(); s.LastSeq != 100 || s.Waiting != 100 || s.Commits > 50 {
		t.Errorf("%+v: want 100 events in few commits", s)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Put(context.Background(), event(1)); !errors.Is(err, ErrClosed) {
		t.Errorf("put after close: %v", err)
	}
	b = open(t, dir, Options{})
	defer b.Close()
	if b.Boot() <= first {
		t.Errorf("boot %s does not sort behind %s", b.Boot(), first)
	}
	if id := put(t, b, event(0)); id.Seq != 1 || id.Boot != b.Boot() {
		t.Errorf("a new boot begins with %+v", id)
	}
	list, err := b.List(1000)
	if err != nil {
		t.Fatal(err)
	}
	accounted(t, list, first, 100)
	accounted(t, list, b.Boot(), 1)
}

func TestAck(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, Options{FlushEvery: time.Millisecond})
	for i := range 10 {
		e := event(i)
		e.Pictures = map[string][]byte{"full": []byte("jpeg")}
		put(t, b, e)
	}
	if n, err := b.Ack(b.Boot(), [][2]uint64{{1, 3}, {7, 7}, {90, 1 << 63}}, false); n != 4 || err != nil {
		t.Errorf("Ack = %d, %v; want 4", n, err)
	}
	if n, _ := b.Ack(b.Boot(), [][2]uint64{{1, 3}}, false); n != 0 {
		t.Errorf("a repeated acknowledgement took %d", n)
	}
	if n, _ := b.Ack("other", [][2]uint64{{1, 99}}, false); n != 0 {
		t.Errorf("another boot's acknowledgement took %d", n)
	}
	if b.Oldest() != 4 {
		t.Errorf("oldest is %d", b.Oldest())
	}
	list, err := b.List(100)
	if err != nil || len(list) != 6 || list[0].ID.Seq != 4 {
		t.Fatalf("%v %v", list, err)
	}
	if jpeg, err := b.Picture(list[0].Files[0]); err != nil || string(jpeg) != "jpeg" {
		t.Errorf("%s %v", jpeg, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "pictures", list[1].Files[0].Name), []byte("je"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Picture(list[1].Files[0]); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a torn picture is given: %v", err)
	}
	b.Close() // deletes what was acknowledged
	if files, _ := filepath.Glob(filepath.Join(dir, "pictures", "*.jpg")); len(files) != 6 {
		t.Errorf("%d pictures are left, want 6", len(files))
	}
	b = open(t, dir, Options{})
	defer b.Close()
	if s := b.Stats(); s.Waiting != 6 {
		t.Errorf("%d wait after a restart, want 6", s.Waiting)
	}
}

// Acknowledgements cost no commit of their own while events come, and are
// committed within their delay when none do.
func TestAckWaitsForACommit(t *testing.T) {
	b := open(t, t.TempDir(), Options{FlushEvery: time.Microsecond, AckDelay: 30 * time.Millisecond})
	defer b.Close()
	for i := range 20 {
		id := put(t, b, event(i))
		if _, err := b.Ack(id.Boot, [][2]uint64{{id.Seq, id.Seq}}, false); err != nil {
			t.Fatal(err)
		}
	}
	for deadline := time.Now().Add(10 * time.Second); b.ackedLeft() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the last acknowledgement is never committed")
		}
	}
	count := 0
	if err := b.db.View(func(tx *bolt.Tx) error {
		return tx.Bucket(eventsBucket).ForEach(func(_, _ []byte) error { count++; return nil })
	}); err != nil || count != 0 {
		t.Errorf("%d records are left: %v", count, err)
	}
}

// A receiver is told what happens now before what happened then, and of the
// backlog results before decisions before the rest.
func TestFeedOrder(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, Options{FlushEvery: time.Microsecond})
	for i, p := range []Priority{Normal, Normal, Decision, Result} {
		e := event(i)
		e.Priority = p
		put(t, b, e)
	}
	b.Close()
	b = open(t, dir, Options{FlushEvery: time.Microsecond})
	defer b.Close()
	put(t, b, event(4))
	f := b.Feed(0, FeedOptions{})
	put(t, b, event(5))
	var got []string
	for _, s := range take(t, f, 100) {
		got = append(got, fmt.Sprintf("%s live=%v", s.Payload, s.Live))
	}
	want := `[{"n":5} live=true {"n":3} live=false {"n":2} live=false {"n":0} live=false {"n":1} live=false {"n":4} live=false]`
	if fmt.Sprint(got) != want {
		t.Errorf("got  %v\nwant %s", got, want)
	}
	if again := take(t, f, 100); len(again) != 0 {
		t.Errorf("handed out twice: %v", again)
	}
	f.Close()
	next := b.Feed(0, FeedOptions{})
	defer next.Close()
	if list := take(t, next, 100); len(list) != 6 || list[0].Live {
		t.Errorf("a new connection is given %d events", len(list))
	}
}

// Who stops waiting reads nothing of what the writer is still at.
func TestStopWaiting(t *testing.T) {
	b := open(t, t.TempDir(), Options{FlushEvery: time.Millisecond})
	defer b.Close()
	for i := range 100 {
		ctx, cancel := context.WithCancel(t.Context())
		go cancel()
		if boot, last, err := b.Begin(ctx, int64(i)); err != nil && (boot != "" || last != 0) {
			t.Error(boot, last, err)
		}
		if id, err := b.Put(ctx, event(i)); err != nil && id.Boot != "" {
			t.Error(id, err)
		}
	}
}

// The backlog is what waited when the present receiver came, of all boots.
func TestBacklog(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, Options{})
	put(t, b, Event{Name: "other", Payload: []byte(`1`)})
	first := put(t, b, Event{Name: "result", Payload: []byte(`2`)})
	b.Close()
	b = open(t, dir, Options{})
	defer b.Close()
	put(t, b, Event{Name: "result", Payload: []byte(`3`)})
	look := func(when string, want int) {
		t.Helper()
		n, oldest, err := b.Backlog(0, "result")
		if err != nil || n != want || n > 0 && (oldest.ID.Boot != first.Boot || oldest.ID.Seq != first.Seq || string(oldest.Payload) != "2") {
			t.Errorf("%s: %d, %+v %v; want %d", when, n, oldest, err, want)
		}
	}
	look("nobody is there", 2)
	f := b.Feed(0, FeedOptions{})
	put(t, b, Event{Name: "result", Payload: []byte(`4`)})
	look("a live one is on its way", 2)
	f.Close()
	look("the receiver went", 3)
	if n, _, err := b.Backlog(7, "result"); n != 0 || err != nil {
		t.Errorf("another account: %d %v", n, err)
	}
}

func TestFeedWindowAndRetry(t *testing.T) {
	b := open(t, t.TempDir(), Options{FlushEvery: time.Microsecond})
	defer b.Close()
	for i := range 20 {
		put(t, b, event(i))
	}
	f := b.Feed(0, FeedOptions{Most: 8, Retry: time.Hour})
	defer f.Close()
	first := take(t, f, 100)
	if len(first) != 8 || len(take(t, f, 100)) != 0 {
		t.Fatalf("%d are in flight, want 8", len(first))
	}
	if _, err := b.Ack(b.Boot(), [][2]uint64{{2, 4}}, false); err != nil { // not the head of the window
		t.Fatal(err)
	}
	if list := take(t, f, 100); len(list) != 3 || list[0].ID.Seq != 9 {
		t.Fatalf("%d follow 3 acknowledged ones", len(list))
	}
	f.o.Retry = time.Nanosecond
	if list := take(t, f, 4); len(list) != 4 || list[0].ID.Seq != 1 || list[1].ID.Seq != 5 {
		t.Errorf("due again: %d", len(list))
	}
}

// Another account's events and gaps are another boot's and go to nobody else.
func TestAccountsAreSeries(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, Options{FlushEvery: time.Microsecond, MaxEvents: 20})
	mine := func(i int, account int64) Event { e := event(i); e.Account = account; return e }
	boot := b.Boot()
	for i := range 5 {
		if id := put(t, b, mine(i, 7)); id.Boot != boot || id.Seq != uint64(i+1) {
			t.Fatalf("%+v", id)
		}
	}
	second, last, err := b.Begin(context.Background(), 8)
	if err != nil || second <= boot || last != 0 {
		t.Fatalf("%s %d %v", second, last, err)
	}
	if again, _, _ := b.Begin(context.Background(), 8); again != second {
		t.Errorf("asked again, it is %s", again)
	}
	var puts sync.WaitGroup
	for i := range 30 { // drops those of account 7 as well
		puts.Go(func() { put(t, b, mine(i, 8)) })
	}
	puts.Wait()
	check := func() {
		t.Helper()
		for account, boots := range map[int64]string{7: boot, 8: second, 9: ""} {
			f := b.Feed(account, FeedOptions{})
			for _, s := range take(t, f, 100) {
				if s.ID.Boot != boots || s.Account != account {
					t.Errorf("account %d is given %+v", account, s)
				}
			}
			f.Close()
		}
	}
	check()
	b.Close()
	b = open(t, dir, Options{FlushEvery: time.Microsecond})
	defer b.Close()
	check()
}

// The caps drop the oldest ordinary events, then decisions, never results, and
// the gaps say exactly what is missing, in few records.
func TestCapsLeaveExactGaps(t *testing.T) {
	b := open(t, t.TempDir(), Options{MaxEvents: 50, FlushEvery: time.Microsecond})
	defer b.Close()
	for i := range 400 {
		e := event(i)
		switch {
		case i%40 == 0:
			e.Priority = Result
		case i%4 == 0:
			e.Priority = Decision
		}
		put(t, b, e)
	}
	settle(t, b)
	list, err := b.List(1000)
	if err != nil {
		t.Fatal(err)
	}
	events, inGaps, gaps := accounted(t, list, b.Boot(), 400)
	results := 0
	for _, s := range list {
		if s.Priority == Result && s.Name != wire.NameGap {
			results++
		}
	}
	s := b.Stats()
	if results != 10 || inGaps != int(s.Dropped) || events+inGaps != 400 {
		t.Errorf("%d of 10 results, %d events, %d in gaps, %d dropped", results, events, inGaps, s.Dropped)
	}
	if gaps > 45 || s.Waiting > 100 {
		t.Errorf("%d gaps, %d waiting: gaps are not joined", gaps, s.Waiting)
	}
}

// A gap that a receiver has seen is never changed, and what it was given is not dropped.
func TestGapsSeenStay(t *testing.T) {
	b := open(t, t.TempDir(), Options{MaxEvents: 20, FlushEvery: time.Microsecond})
	defer b.Close()
	for i := range 30 {
		put(t, b, event(i))
	}
	settle(t, b)
	f := b.Feed(0, FeedOptions{})
	defer f.Close()
	given := take(t, f, 3) // the gap, and two events
	if len(given) != 3 || given[0].Name != wire.NameGap {
		t.Fatalf("%+v", given)
	}
	for i := range 100 {
		put(t, b, event(i))
	}
	settle(t, b)
	list, err := b.List(1000)
	if err != nil {
		t.Fatal(err)
	}
	accounted(t, list, b.Boot(), 130)
	for i, s := range list[:3] {
		if s.ID != given[i].ID || string(s.Payload) != string(given[i].Payload) {
			t.Errorf("handed out %+v, now %+v", given[i], s)
		}
	}
	gap := list[3]
	if gap.Name != wire.NameGap {
		t.Fatalf("%+v", gap)
	}
	if n, _ := b.Ack(b.Boot(), [][2]uint64{{gap.ID.Seq, gap.ID.Seq}}, false); n != 0 {
		t.Error("a gap that nobody was given is acknowledged")
	}
	var told bool
	for _, s := range take(t, f, 1000) {
		told = told || s.ID == gap.ID
	}
	if !told {
		t.Error("the new gap behind what was handed out is never told")
	}
}

func TestAge(t *testing.T) {
	var now atomic.Int64
	now.Store(1_800_000_000)
	var trusted atomic.Bool
	b := open(t, t.TempDir(), Options{MaxAge: time.Hour, FlushEvery: time.Microsecond, Now: func() time.Time { return time.Unix(now.Load(), 0) }, Trusted: trusted.Load})
	defer b.Close()
	put(t, b, event(1))
	settle(t, b)
	trusted.Store(true)
	put(t, b, event(2))
	settle(t, b)
	now.Add(7200)
	put(t, b, event(3))
	settle(t, b)
	list, err := b.List(10)
	if err != nil || len(list) != 3 || list[0].Name == wire.NameGap || list[1].Name != wire.NameGap || list[2].Name == wire.NameGap {
		t.Errorf("%+v %v: want only the event of the trusted clock dropped", list, err)
	}
}

func TestPictureQuota(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, Options{PictureQuota: 1000, FlushEvery: time.Microsecond})
	defer b.Close()
	for i := range 20 {
		e := event(i)
		e.Pictures = map[string][]byte{"full": make([]byte, 100)}
		put(t, b, e)
	}
	files, err := filepath.Glob(filepath.Join(dir, "pictures", "*.jpg"))
	if err != nil || len(files) < 9 || len(files) > 10 {
		t.Errorf("%d pictures, %v; want the newest 9 or 10", len(files), err)
	}
	list, err := b.List(100)
	if err != nil || len(list) != 20 {
		t.Fatalf("%d events are left, want all 20: %v", len(list), err)
	}
	if _, err := b.Picture(list[0].Files[0]); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the oldest picture: %v", err)
	}
	if _, err := b.Picture(list[19].Files[0]); err != nil {
		t.Errorf("the newest picture: %v", err)
	}
}

// Pictures outlive their event's acknowledgement until they are uploaded.
func TestUploads(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, Options{FlushEvery: time.Microsecond, AckDelay: time.Millisecond})
	_, more, err := b.Uploads()
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		e := event(i)
		e.Account, e.Pictures = 7, map[string][]byte{"full_image_content": fmt.Appendf(nil, "jpeg %d", i)}
		put(t, b, e)
	}
	if _, err := b.Ack(b.Boot(), [][2]uint64{{1, 2}}, true); err != nil {
		t.Fatal(err)
	}
	select {
	case <-more:
	case <-time.After(10 * time.Second):
		t.Fatal("no picture is there to be uploaded")
	}
	boot := b.Boot()
	b.Close()
	b = open(t, dir, Options{})
	defer b.Close()
	list, _, err := b.Uploads()
	if err != nil || len(list) != 2 || list[0].Seq != 2 || list[0].Boot != boot || list[0].Account != 7 || list[0].Field != "full_image_content" {
		t.Fatalf("%+v %v", list, err)
	}
	if jpeg, err := b.ReadUpload(list[0]); err != nil || string(jpeg) != "jpeg 1" {
		t.Errorf("%s %v", jpeg, err)
	}
	b.Uploaded(list[0])
	if list, _, _ = b.Uploads(); len(list) != 1 || b.Stats().PictureBytes != 2*int64(len("jpeg 0")) {
		t.Errorf("%+v, %d bytes", list, b.Stats().PictureBytes)
	}
}

// A record damaged on disk becomes a gap, at the start and while running.
func TestDamageBecomesAGap(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, Options{FlushEvery: time.Microsecond})
	for i := range 10 {
		put(t, b, event(i))
	}
	boot := b.Boot()
	damage := func(seq uint64) {
		t.Helper()
		err := b.db.Update(func(tx *bolt.Tx) error {
			events := tx.Bucket(eventsBucket)
			k := key{boot, seq}.bytes()
			v := append([]byte(nil), events.Get(k)...)
			v[len(v)-1] ^= 1
			return events.Put(k, v)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	damage(4)
	f := b.Feed(0, FeedOptions{})
	if list := take(t, f, 100); len(list) != 9 {
		t.Errorf("%d events are handed out", len(list))
	}
	settle(t, b)
	if list := take(t, f, 100); len(list) != 1 || list[0].Name != wire.NameGap || list[0].ID.Seq != 4 {
		t.Errorf("%+v", list)
	}
	f.Close()
	damage(7)
	b.Close()
	b = open(t, dir, Options{})
	defer b.Close()
	list, err := b.List(100)
	if err != nil {
		t.Fatal(err)
	}
	if events, _, gaps := accounted(t, list, boot, 10); events != 8 || gaps != 2 {
		t.Errorf("%d events, %d gaps", events, gaps)
	}
}

// The next event is found at once, however far off it is.
func TestNextIsFarOff(t *testing.T) {
	const far = 1 << 60
	var x index
	s := x.add("00000001-aa", 0)
	for _, seq := range []uint64{far, 5, far + 1, 600} {
		x.set(s, seq, slot{size: 1})
	}
	var found []uint64
	x.each(key{}, func(_ *series, seq uint64, _ *slot) bool {
		found = append(found, seq)
		return true
	})
	if want := []uint64{5, 600, far, far + 1}; !slices.Equal(found, want) {
		t.Errorf("%v, want %v", found, want)
	}
	x.remove(s, 5)
	x.remove(s, 600)
	if seq, v := s.next(0); v == nil || seq != far {
		t.Errorf("the next one is %d", seq)
	}
	x.remove(s, far)
	x.remove(s, far+1)
	if _, v := s.next(0); v != nil || x.waiting != 0 || len(s.order) != 0 {
		t.Errorf("%d wait in %v", x.waiting, s.order)
	}
}

// A bit that flips in a key's sequence keeps the order of the keys, so the
// database's check passes: the outbox goes on, whichever bit it is.
func TestADamagedSequence(t *testing.T) {
	for _, bit := range []int{9, 31, 40, 55, 63} {
		dir := t.TempDir()
		b := open(t, dir, Options{FlushEvery: time.Microsecond})
		for i := range 10 {
			put(t, b, event(i))
		}
		boot := b.Boot()
		err := b.db.Update(func(tx *bolt.Tx) error {
			events := tx.Bucket(eventsBucket)
			old := key{boot, 10}.bytes()
			return errors.Join(events.Put(key{boot, 10 | 1<<bit}.bytes(), events.Get(old)), events.Delete(old))
		})
		if err := errors.Join(err, b.Close()); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		b = open(t, dir, Options{FlushEvery: time.Microsecond})
		put(t, b, event(10))
		f := b.Feed(0, FeedOptions{})
		list := take(t, f, 100)
		f.Close()
		events := 0
		for _, e := range list {
			if e.Name != wire.NameGap {
				events++
			} else if e.ID.Boot != boot || e.ID.Seq > maxSeq {
				t.Errorf("bit %d: a gap at %s/%d", bit, e.ID.Boot, e.ID.Seq)
			}
		}
		if events != 10 || b.Stats().Damaged != 1 {
			t.Errorf("bit %d: %d events, %d damaged", bit, events, b.Stats().Damaged)
		}
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("bit %d: it took %s", bit, took)
		}
		if _, err := b.Ack(boot, [][2]uint64{{1, 1 << 62}}, false); err != nil {
			t.Fatal(err)
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func FuzzParseRecord(f *testing.F) {
	k := key{"00000001-aa", 9}
	f.Add(appendRecord(nil, gapEvent(k, 7, gap{9, 12, "age"}))[store.Headroom:])
	s := Stored{Event: event(1), ID: wire.EventID{Boot: k.boot, Seq: k.seq, MonoMS: 5, WallMS: -1, Trusted: true}, Files: []File{{Field: "full", Size: 3, CRC: 4}}}
	f.Add(appendRecord(nil, &s)[store.Headroom:])
	f.Add([]byte{1, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseRecord(k, b)
		if err != nil {
			return
		}
		again, err := parseRecord(k, appendRecord(nil, &s)[store.Headroom:])
		if err != nil || fmt.Sprint(again) != fmt.Sprint(s) {
			t.Errorf("%+v is read back as %+v, %v", s, again, err)
		}
	})
}

func FuzzParseUpload(f *testing.F) {
	f.Add("00000001-aabbccdd-000000000009-7-00c0ffee-full_image_content.jpg")
	f.Add("a-b-1-2-3-../x.jpg")
	f.Fuzz(func(t *testing.T, name string) {
		if u, ok := parseUpload(name); ok && (!validField(u.Field) || u.name != name) {
			t.Errorf("%q is taken as %+v", name, u)
		}
	})
}
