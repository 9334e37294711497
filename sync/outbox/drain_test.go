package outbox

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// A drain begins with decisions, which lie scattered over the pages of a file
// that is nearly full: deleting them must not drop what waits beside them.
func TestADrainDropsNothing(t *testing.T) {
	b := open(t, t.TempDir(), Options{MaxBytes: 4 << 20, AckDelay: 50 * time.Millisecond})
	defer b.Close()
	text := json.RawMessage(`"` + strings.Repeat("x", 1100) + `"`) // three to a page
	decisions := 0
	for used := int64(0); used < 4<<20-fileMargin-64<<10; {
		group := make(chan struct{}, 60)
		for i := range 60 {
			e := Event{Name: "ivs_result", Payload: text, Account: 7}
			if i%3 == 0 {
				e.Priority = Decision
				decisions++
			}
			go func() {
				defer func() { group <- struct{}{} }()
				put(t, b, e)
			}()
		}
		for range 60 {
			<-group
		}
		settle(t, b)
		size, free := b.db.Room()
		used = size - free
	}
	before := b.Stats()
	if before.Dropped > 0 {
		t.Fatalf("%d were dropped already", before.Dropped)
	}
	f := b.Feed(7, FeedOptions{Most: 1 << 20})
	defer f.Close()
	list := take(t, f, decisions)
	for _, s := range list {
		if _, err := b.Ack(s.ID.Boot, [][2]uint64{{s.ID.Seq, s.ID.Seq}}, false); err != nil {
			t.Fatal(err)
		}
	}
	for deadline := time.Now().Add(time.Minute); b.ackedLeft() > 0 && time.Now().Before(deadline); {
		time.Sleep(5 * time.Millisecond)
	}
	settle(t, b)
	s := b.Stats()
	if len(list) != decisions || s.Dropped > 0 || int(s.Waiting) != int(before.Waiting)-decisions {
		t.Errorf("%d of %d decisions were handed out, %d of %d events wait, %d were dropped", len(list), decisions, s.Waiting, before.Waiting, s.Dropped)
	}
}

// What was to be dropped, and could not be, is handed out all the same.
func TestSparedEventsAreHandedOut(t *testing.T) {
	b := open(t, t.TempDir(), Options{})
	defer b.Close()
	for i := range 10 {
		put(t, b, event(i))
	}
	f := b.Feed(0, FeedOptions{})
	defer f.Close()
	spared := victims{boot: b.Boot(), seqs: []uint64{1, 2, 3, 4}}
	b.mu.Lock()
	for _, seq := range spared.seqs {
		b.index.get(key{spared.boot, seq}).flags |= doomed
	}
	b.mu.Unlock()
	if n := len(take(t, f, 100)); n != 6 {
		t.Errorf("%d are handed out while four are to be dropped", n)
	}
	b.spare([]victims{spared})
	if n := len(take(t, f, 100)); n != 4 {
		t.Errorf("%d are handed out after they were spared", n)
	}
}
