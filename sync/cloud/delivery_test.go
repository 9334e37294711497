package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/sync/binding"
	"gatehouse/sync/cloud/platform"
	"gatehouse/sync/delivery"
	"gatehouse/sync/outbox"
	"gatehouse/sync/session"
	"gatehouse/sync/session/brokertest"
	"gatehouse/sync/wire"
)

// amount is how many events the delivery tests send: GATEHOUSE_EVENTS, or few.
func amount(t *testing.T, few int) int {
	n, err := strconv.Atoi(os.Getenv("GATEHOUSE_EVENTS"))
	if os.Getenv("GATEHOUSE_EVENTS") == "" {
		return few
	}
	if err != nil || n < 1 {
		t.Fatal("GATEHOUSE_EVENTS must be a number of events")
	}
	return n
}

// sending is a board with an outbox that delivers.
type sending struct {
	box  *outbox.Outbox
	stop func()
}

// send connects a board with its outbox to the broker at url.
func (b *board) send(t *testing.T, url string, o outbox.Options, ackWait time.Duration) *sending {
	t.Helper()
	dir := t.TempDir()
	o.PictureDir, o.Reserve = filepath.Join(dir, "pictures"), -1
	box, err := outbox.Open(filepath.Join(dir, "events.db"), o)
	if err != nil {
		t.Fatal(err)
	}
	topics, err := wire.NewTopics(wire.LayoutNew, sn, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = session.Run(ctx, session.Backoff{First: 20 * time.Millisecond, Max: 200 * time.Millisecond, Auth: time.Second, StableFor: time.Minute},
			func() (session.Options, error) {
				return session.Options{URL: url, ClientID: sn, Username: b.body.Broker.Username, Password: b.body.Broker.Password, Subscriptions: topics.DownFilter(),
					OnMessage: func(topic string, payload []byte) {
						if name, _ := topics.ParseDown(topic); name != wire.NameEventAck {
							return
						}
						cmd, err := wire.ParseCommand(wire.NameEventAck, payload)
						if err != nil {
							t.Error(err)
							return
						}
						ack, err := wire.ParseEventAck(cmd.Body)
						if err != nil {
							t.Error(err)
							return
						}
						_, _ = box.Ack(ack.Boot, ack.Ranges, false)
					},
					OnUp: func(ctx context.Context, c *session.Conn) {
						delivery.Sender{Box: box, Account: b.body.AccountID, ByCloud: true, AckWait: ackWait, Message: func(s outbox.Stored) (string, []byte, error) {
							text, err := json.Marshal(up(s.Name, s.Payload, &s.ID))
							return topics.Up(s.Name), text, err
						}}.Run(ctx, c)
					}}, nil
			}, nil)
	}()
	var once sync.Once
	s := &sending{box: box, stop: func() {
		once.Do(func() {
			cancel()
			<-done
			if err := box.Close(); err != nil {
				t.Error(err)
			}
		})
	}}
	t.Cleanup(s.stop)
	return s
}

// fill puts n results in, 64 at a time.
func (s *sending) fill(t *testing.T, account int64, n int) {
	t.Helper()
	var next atomic.Int64
	var puts sync.WaitGroup
	for range 64 {
		puts.Go(func() {
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				e := outbox.Event{Name: wire.NameIVSResult, Account: account, Payload: json.RawMessage(fmt.Sprintf(`{"AlarmInfoPlate":{"result":{"PlateResult":{"plateid":%d}}}}`, i))}
				if _, err := s.box.Put(context.Background(), e); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	puts.Wait()
}

// drained waits until all events of the outbox are acknowledged.
func (s *sending) drained(t *testing.T) {
	t.Helper()
	last, since := -1, time.Now()
	for {
		n := s.box.Stats().Waiting
		if n == 0 {
			return
		}
		if n != last {
			last, since = n, time.Now()
		}
		if time.Since(since) > 60*time.Second {
			t.Fatalf("%d events wait, and for a minute none was acknowledged", n)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// account checks that the cloud has each event of the outbox's boot once, or a
// gap in its place, and nothing else.
func (c *cloud) account(t *testing.T, box *outbox.Outbox) platform.SeriesReport {
	t.Helper()
	var reports struct{ Results []platform.SeriesReport }
	if code := c.call("GET", binding.DevicesPath+"/"+sn+"/series", nil, &reports); code != 0 || len(reports.Results) != 1 {
		t.Fatalf("%d %+v", code, reports)
	}
	r, s := reports.Results[0], box.Stats()
	if r.Last != s.LastSeq || len(r.Missing) != 0 || r.Received+r.Dropped != s.LastSeq || r.Dropped != s.Dropped {
		t.Errorf("the board put %d and dropped %d; the cloud knows of %d, received %d, dropped %d, missing %v", s.LastSeq, s.Dropped, r.Last, r.Received, r.Dropped, r.Missing)
	}
	var list struct {
		Results []struct{ Seq uint64 }
		Total   int
	}
	if code := c.call("GET", binding.DevicesPath+"/"+sn+"/events", nil, &list); code != 0 || uint64(list.Total) != r.Received {
		t.Fatalf("%d events are listed, %d were received (%d)", list.Total, r.Received, code)
	}
	told := map[uint64]bool{}
	for _, e := range list.Results {
		if told[e.Seq] {
			t.Errorf("event %d is there twice", e.Seq)
		}
		told[e.Seq] = true
	}
	for _, g := range r.Gaps {
		for seq := g.From; seq <= g.To; seq++ {
			if told[seq] {
				t.Errorf("event %d is there and in a gap", seq)
			}
			told[seq] = true
		}
	}
	if uint64(len(told)) != s.LastSeq {
		t.Errorf("%d of %d events are accounted for", len(told), s.LastSeq)
	}
	return r
}

// A broker that loses acknowledgements, repeats, reorders and cuts: nothing is
// missing at the cloud and nothing is there twice, and what the board had to
// drop meanwhile is told exactly. The long form: GATEHOUSE_EVENTS=200000.
func TestDeliveryThroughFaults(t *testing.T) {
	n := amount(t, 3000)
	c := startCloud(t, t.TempDir())
	b := newBoard(t, c, sn)
	b.bind(t, c, "bind-1")
	f := brokertest.Faults{DropPuback: 701, Duplicate: 97, Reorder: 61, Disconnect: 997}
	if n > 10000 {
		f.DropPuback, f.Disconnect = 5003, 9973
	}
	proxy, err := brokertest.Start(c.s.mqtt, f)
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Stop()
	begin := time.Now()
	s := b.send(t, proxy.URL(), outbox.Options{FlushEvery: time.Millisecond, MaxEvents: n / 8}, 2*time.Second)
	for range 8 { // as it can be delivered
		s.fill(t, b.body.AccountID, n/10)
		for deadline := time.Now().Add(time.Minute); s.box.Stats().Waiting > n/40 && time.Now().Before(deadline); {
			time.Sleep(5 * time.Millisecond)
		}
	}
	proxy.Away(true)
	s.fill(t, b.body.AccountID, n/5) // more than may wait
	proxy.Away(false)
	s.drained(t)
	r := c.account(t, s.box)
	if proxy.Dropped.Load() == 0 || proxy.Duplicated.Load() == 0 || proxy.Reordered.Load() == 0 || proxy.Cut.Load() == 0 {
		t.Error("the proxy made no mistakes")
	}
	if r.Dropped == 0 || r.Received < uint64(n)/2 {
		t.Errorf("%d arrived and %d were dropped: want most to arrive and some not", r.Received, r.Dropped)
	}
	t.Logf("%d events in %s: 0 missing, 0 doubled; %d arrived, %d again; %d dropped in %d gaps; %d acknowledgements lost, %d publishes repeated, %d reordered, %d cuts",
		n, time.Since(begin).Round(time.Millisecond), r.Received, r.Repeated, r.Dropped, len(r.Gaps), proxy.Dropped.Load(), proxy.Duplicated.Load(), proxy.Reordered.Load(), proxy.Cut.Load())
}

// A mosquitto that is killed every few seconds and forgets all: the same.
func TestDeliveryOverARestartingBroker(t *testing.T) {
	n := amount(t, 3000)
	m := brokertest.NewMosquitto(t, "")
	c := startCloudAt(t, t.TempDir(), "tcp://"+m.Address)
	b := newBoard(t, c, sn)
	b.bind(t, c, "bind-1")
	begin := time.Now()
	s := b.send(t, "tcp://"+m.Address, outbox.Options{FlushEvery: time.Millisecond}, 2*time.Second)
	every := 200 * time.Millisecond
	if n > 10000 {
		every = 3 * time.Second
	}
	restarts := 0
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	filled := make(chan struct{})
	go func() {
		defer close(filled)
		for i := 0; i < 20 && ctx.Err() == nil; i++ { // spread over the restarts
			s.fill(t, b.body.AccountID, n/20)
			select {
			case <-ctx.Done():
			case <-time.After(every / 4):
			}
		}
	}()
	for running := true; running || restarts < 2; {
		select {
		case <-filled:
			running = s.box.Stats().Waiting > 0
		case <-time.After(every):
		}
		if restarts < 2 || running && restarts < max(20, n/2000) {
			time.Sleep(every)
			m.Stop()
			m.Start()
			restarts++
		}
	}
	s.drained(t)
	r := c.account(t, s.box)
	t.Logf("%d events in %s over %d restarts of mosquitto: 0 missing, 0 doubled; %d arrived, %d again", n/20*20, time.Since(begin).Round(time.Millisecond), restarts, r.Received, r.Repeated)
}

// What cannot be understood is kept and acknowledged; what cannot be named is
// refused; and the board's missing events show until they arrive.
func TestStrangeEvents(t *testing.T) {
	c := startCloud(t, t.TempDir())
	b := newBoard(t, c, sn)
	b.bind(t, c, "bind-1")
	topics, _ := wire.NewTopics(wire.LayoutNew, sn, nil)
	publish, down, _, stop := b.online(t)
	defer stop()
	const boot = "00000007-0"
	for _, m := range []wire.Up{
		up(wire.NameBirth, wire.Body{Body: wire.Birth{Boot: boot, Epoch: 1, LastSeq: 9}}, nil),
		up(wire.NameIVSResult, "no object", &wire.EventID{Boot: boot, Seq: 2}),
		up(wire.NameGap, wire.Body{Body: wire.Gap{Boot: boot, From: 4, To: 6, Cause: "bytes"}}, &wire.EventID{Boot: boot, Seq: 4}),
		up(wire.NameGap, wire.Body{Body: wire.Gap{Boot: boot, From: 9, To: 3}}, &wire.EventID{Boot: boot, Seq: 8}),
		up(wire.NameIVSResult, result("A1", true), &wire.EventID{Boot: "../evil", Seq: 2}),
		up(wire.NameIVSResult, result("A1", true), &wire.EventID{Boot: boot}),
	} {
		if err := publish(topics.Up(m.Name), m); err != nil {
			t.Fatal(err)
		}
	}
	acked := map[uint64]bool{}
	for len(acked) < 5 {
		ack, err := wire.ParseEventAck(expect(t, down, wire.NameEventAck).Body)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range ack.Ranges {
			for s := r[0]; s <= r[1]; s++ {
				acked[s] = true
			}
		}
	}
	var reports struct{ Results []platform.SeriesReport }
	if code := c.call("GET", binding.DevicesPath+"/"+sn+"/series", nil, &reports); code != 0 || len(reports.Results) != 1 {
		t.Fatalf("%d %+v", code, reports)
	}
	r := reports.Results[0]
	if fmt.Sprint(r.Missing) != "[[1 1] [3 3] [7 7] [9 9]]" || r.Last != 9 || r.Dropped != 3 || len(r.Gaps) != 1 || r.Gaps[0].Cause != "bytes" {
		t.Errorf("%+v", r)
	}
	var out strings.Builder
	if err := command(context.Background(), []string{"device", "events", sn, "--data", c.s.data}, &out); err != nil || !strings.Contains(out.String(), "missing 1, 3, 7, 9") {
		t.Errorf("%v %s", err, out.String())
	}
	if err := command(context.Background(), []string{"device", "events", "--data", c.s.data}, io.Discard); err == nil {
		t.Error("no serial number is needed")
	}
}
