package board

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"gatehouse/agent/gate"
	"gatehouse/sync/wire"
	"gatehouse/vision/link"
)

// The power fails between the early notice that opened the barrier and the
// final result: the next start tells the opening, once.
func TestAnOpeningSurvivesAPowerCut(t *testing.T) {
	dir := t.TempDir()
	log := slog.New(slog.DiscardHandler)
	o, left, err := openOpenings(filepath.Join(dir, "openings"), log)
	if err != nil || len(left) != 0 {
		t.Fatal(err, left)
	}
	at := time.Now().Add(-time.Minute).Truncate(time.Millisecond)
	opened := func(text string, passage uint64) decided {
		return decided{result: &link.Result{Event: link.EventQuick, Trigger: link.TriggerVideo, Passage: passage, Plates: []link.Plate{{Text: text, Score: 1}}, Full: []byte("a picture")},
			decision: gate.Decision{Opened: true, Reason: "listed", Plate: text}, at: at}
	}
	o.keep(opened("A1", 7))
	o.keep(opened("A2", 8))
	o.told(8)
	o.close() // no more than what a crash leaves

	b := open(t, dir)
	if len(b.left) != 1 || b.left[0].Result.Passage != 7 || b.left[0].Decision.Plate != "A1" {
		t.Fatalf("left: %+v", b.left)
	}
	c := *b.config()
	c.MQTT.Broker = "tcp://127.0.0.1:1" // so that events are somebody's
	b.current.Store(&c)
	stopped, cancel := context.WithCancel(context.Background())
	cancel()
	b.store(stopped)
	list, err := b.outbox.List(10)
	if err != nil || len(list) != 1 || list[0].Name != wire.NameIVSResult || !bytes.Contains(list[0].Payload, []byte(`"opened":true`)) {
		t.Errorf("%v, %d events: %+v", err, len(list), list)
	}
	b.Close()
	b = open(t, dir)
	defer b.Close()
	if len(b.left) != 0 {
		t.Error("the opening is told again")
	}
}

// The power fails after the final result was stored and before the file of
// openings says so: the passage is not told again.
func TestAStoredPassageIsNotToldTwice(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir)
	c := *b.config()
	c.MQTT.Broker = "tcp://127.0.0.1:1" // so that events are somebody's
	b.current.Store(&c)
	for passage := range uint64(3) {
		r := &link.Result{Event: link.EventQuick, Trigger: link.TriggerVideo, Passage: passage + 1, Plates: []link.Plate{{Text: "A1", Score: 1}}}
		d := decided{result: r, decision: gate.Decision{Opened: true, Reason: "listed", Plate: "A1"}, at: time.Now()}
		b.storeOne(d)
		if passage != 1 {
			b.put(d, wire.NameIVSResult, b.message(d), 0, nil) // as storeOne does, before it calls told
		}
	}
	b.Close()

	b = open(t, dir)
	defer b.Close()
	b.current.Store(&c)
	stopped, cancel := context.WithCancel(context.Background())
	cancel()
	b.store(stopped)
	list, err := b.outbox.List(10)
	seen := map[string]int{}
	for _, e := range list {
		var r wire.IVSResult
		if err := json.Unmarshal(e.Payload, &r); err != nil {
			t.Fatal(err)
		}
		seen[r.Gatehouse.Passage]++
	}
	if err != nil || !reflect.DeepEqual(seen, map[string]int{"1": 1, "2": 1, "3": 1}) {
		t.Errorf("%v %v", seen, err)
	}
	if info, err := os.Stat(filepath.Join(dir, "openings")); err != nil || info.Size() != 0 {
		t.Errorf("%v, %d bytes are left", err, info.Size())
	}
}

func TestOpeningsAreForgottenWhenTold(t *testing.T) {
	path := filepath.Join(t.TempDir(), "openings")
	o, _, err := openOpenings(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer o.close()
	for i := range uint64(100) {
		o.keep(decided{result: &link.Result{Passage: i + 1}, decision: gate.Decision{Opened: true}})
		o.told(i + 1)
	}
	if info, err := os.Stat(path); err != nil || info.Size() != 0 {
		t.Errorf("%v, %d bytes are left", err, info.Size())
	}
}

func FuzzReadOpenings(f *testing.F) {
	good := `{"result":{"passage":3},"decision":{"Opened":true},"at_ms":5}`
	f.Add([]byte(lineSum([]byte(good)) + " " + good + "\n" + lineSum([]byte(`{"told":3}`)) + ` {"told":3}`))
	f.Add([]byte("00000000 {}\n\n x"))
	f.Fuzz(func(t *testing.T, text []byte) {
		left, err := readOpenings(bytes.NewReader(text))
		for _, l := range left {
			if err == nil && l.Result == nil {
				t.Fatal("an opening without a result")
			}
		}
	})
}
