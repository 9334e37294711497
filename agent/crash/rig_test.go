package crash

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"gatehouse/agent/site"
	"gatehouse/agent/site/sitetest"
	"gatehouse/configs"
	"gatehouse/sync/change"
	"gatehouse/sync/fault"
	"gatehouse/sync/store"
	"gatehouse/sync/whitelist"
	"gatehouse/sync/wire"
	"gatehouse/vision/link"
)

// TestMain is the stand-in for the vision process too: a camera that sees
// another car every 100 ms, early and, half a second later, finally. Every
// fifteenth is listed; more often, the barrier would never be at rest and no
// change be applied.
func TestMain(m *testing.M) {
	var cars []link.Result
	if sitetest.Vision(func(string) (list []link.Result) {
		n := len(cars)
		plate := fmt.Sprintf("川A%05d", n%100000)
		if n%15 == 0 {
			plate = listed(n / 15 % listedCars)
		}
		car := link.Result{Event: link.EventQuick, Trigger: 1, Passage: uint64(time.Now().UnixNano()),
			Plates: []link.Plate{{Text: plate, Score: 0.98, Kind: "cn_blue", Type: 1, ColorType: 1}}}
		cars = append(cars, car)
		if n >= 5 {
			final := cars[n-5]
			final.Event, final.Full = link.EventPassage, []byte("\xff\xd8full")
			list = append(list, final)
		}
		return append(list, car)
	}) {
		return
	}
	store.RunCheckIfAsked()
	code := m.Run()
	if built != "" {
		_ = os.RemoveAll(built)
	}
	os.Exit(code)
}

// listedCars is how many cars are in every set.
const listedCars = 10

func listed(n int) string { return fmt.Sprintf("川C%05d", n) }

// built is where the programs are, once they are built.
var built string

// programs are the real ones, built once, with the stand-in beside them.
func programs(t testing.TB) string {
	t.Helper()
	if built == "" {
		bin, err := os.MkdirTemp("", "gatehouse-crash-")
		if err != nil {
			t.Fatal(err)
		}
		built = bin
		sitetest.Build(t, bin)
	}
	return built
}

// rig is a board at the site, with what is known of it.
type rig struct {
	t     testing.TB
	site  *site.Site
	board *site.Board
	agent *site.Process
	sn    string
	rand  *rand.Rand

	n         int               // counts contents
	name      string            // device name that is in force
	digest    string            // set that is in force
	last      map[string]uint64 // boot → the highest sequence that was stored for certain
	openings  map[string]bool   // passages that were opened for and written down when the agent died
	starts    int
	cancelled int // changes that ended so
	used      int
	undone    int // and those that were undone and applied again
}

func newRig(t testing.TB, s *site.Site, name string, seed uint64) *rig {
	t.Helper()
	c := configs.Default()
	c.Device.Name = name
	c.Camera.Source = t.TempDir()
	c.MQTT.BackoffMax = configs.Duration(time.Second)
	c.Delivery.EventsPerSecond, c.Delivery.Burst = 500, 500
	b, err := s.Board(name, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if text, err := os.ReadFile(filepath.Join(s.Dir, name+".log")); err == nil && t.Failed() {
			t.Logf("the end of its log:\n%s", text[max(0, len(text)-3000):])
		}
	})
	r := &rig{t: t, site: s, board: b, name: name, last: map[string]uint64{}, openings: map[string]bool{}, rand: rand.New(rand.NewPCG(seed, 1))}
	r.start("")
	if r.sn, err = b.Bind(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.digest = r.status().Whitelist.Digest
	content, name, digest := r.content("whitelist", "") // so that the barrier opens from now on
	id := r.create("whitelist", content)
	r.want("whitelist", id, wire.VerbApply)
	r.verify("whitelist", id, r.settle("whitelist", id, wire.VerbApply), name, digest)
	return r
}

// start starts the agent, which is to die at a fault point ("": nowhere); it
// may do so before it answers.
func (r *rig) start(point string) {
	r.t.Helper()
	r.noteOpenings()
	r.starts++
	p, err := r.board.Start(r.t.Context(), fault.Env+"="+point)
	if r.agent = p; err != nil && (point == "" || p == nil || p.Running()) {
		r.t.Fatal(err)
	}
}

// noteOpenings remembers the passages in the file of openings of an agent that has died.
func (r *rig) noteOpenings() {
	text, err := os.ReadFile(filepath.Join(r.board.State, "openings"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var o struct{ Result *link.Result }
		if _, line, _ = strings.Cut(line, " "); json.Unmarshal([]byte(line), &o) == nil && o.Result != nil {
			r.openings[strconv.FormatUint(o.Result.Passage, 10)] = true
		}
	}
}

type status struct {
	SN     string `json:"sn"`
	Outbox struct {
		Boot    string `json:"boot"`
		LastSeq uint64 `json:"last_seq"`
		Waiting int    `json:"waiting"`
	} `json:"outbox"`
	Whitelist struct {
		Rows    int    `json:"rows"`
		Digest  string `json:"digest"`
		Damaged int    `json:"damaged"`
	} `json:"whitelist"`
	Broker struct {
		Online bool `json:"online"`
	} `json:"broker"`
}

// status asks the agent, and notes what it has stored.
func (r *rig) status() (s status) {
	r.t.Helper()
	if err := r.ask(&s, "status", "--json"); err != nil {
		r.t.Fatal(err)
	}
	return s
}

// note remembers how far the outbox is, if the agent still lives.
func (r *rig) note() {
	var s status
	if r.ask(&s, "status", "--json") == nil {
		r.last[s.Outbox.Boot] = max(r.last[s.Outbox.Boot], s.Outbox.LastSeq)
	}
}

func (r *rig) ask(v any, args ...string) error {
	out, err := r.board.Command(r.t.Context(), args...)
	if err != nil {
		return err
	}
	return json.Unmarshal(out, v)
}

// content is a new content of a kind, one that comes to a fault point ("": any),
// with what is so once it is applied.
func (r *rig) content(kind, point string) (text, name, digest string) {
	r.n++
	if strings.HasPrefix(point, "change.undo.") {
		r.n += (5 - r.n%4) % 4 // a config on trial, which takes long enough for a cancel
	}
	if kind == "config" {
		name = fmt.Sprintf("%s-%d", strings.Split(r.name, "-")[0], r.n)
		more := []string{
			`"gate":{"same_plate":"Ns"}`,     // the vision process is started anew
			`"mqtt":{"keep_alive":"Ns"}`,     // on trial over a new connection
			`"barrier":{"close_after":"Ns"}`, // the agent is started again
			`"maintenance":{"windows":[]}`,   // in place
		}[r.n%4]
		more = strings.Replace(more, "N", strconv.Itoa(5+r.n%50), 1)
		return fmt.Sprintf(`{"mode":"merge","config":{"device":{"name":%q},%s}}`, name, more), name, r.digest
	}
	n, padding := 40+r.n%7, 0 // within the command
	switch {
	case point == "change.content.written" || point == "" && r.n%3 == 1:
		padding = change.InlineMax // within the command, and into a file
	case point == "change.fetched" || strings.HasPrefix(point, "whitelist.") || point == "" && r.n%3 == 2:
		n = 3000 // by url
	}
	rows := make([]string, n)
	for i := range rows {
		if rows[i] = fmt.Sprintf(`{"plate":%q,"enable":1,"need_alarm":0,"time_seg_enable":0}`, listed(i)); i < listedCars {
			continue
		}
		rows[i] = fmt.Sprintf(`{"plate":"川B%04d%03d","enable":1,"need_alarm":0,"time_seg_enable":0}`, i, r.n%1000)
	}
	text = `{"mode":"replace","rows":[` + strings.Join(rows, ",") + `]` + strings.Repeat(" ", padding) + `}`
	sum, err := whitelist.Summarise(func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil })
	if err != nil {
		r.t.Fatal(err)
	}
	return text, r.name, sum.SetDigest
}

// create stages a change at the cloud.
func (r *rig) create(kind, content string) (id string) {
	r.t.Helper()
	var made struct {
		ID string `json:"id"`
	}
	body := map[string]any{"content": content, "targets": map[string]any{"sns": []string{r.sn}}}
	if err := r.site.API(r.t.Context(), http.MethodPost, "/v2/stp/user/"+kind+"s", body, &made); err != nil {
		r.t.Fatal(err)
	}
	return made.ID
}

// want asks the cloud to have a change applied or cancelled; a board where it
// is finished already is no failure.
func (r *rig) want(kind, id, verb string) {
	r.t.Helper()
	if err := r.site.API(r.t.Context(), http.MethodPut, "/v2/stp/user/"+kind+"s/"+id+"/"+verb, nil, nil); err != nil {
		r.t.Fatal(err)
	}
}

// target is how the cloud knows a change of this board to stand.
type target struct {
	SN     string             `json:"sn"`
	State  string             `json:"state"`
	Step   string             `json:"step"`
	Result *wire.ChangeResult `json:"result"`
}

func (r *rig) target(kind, id string) target {
	r.t.Helper()
	var list struct{ Results []target }
	if err := r.site.API(r.t.Context(), http.MethodGet, "/v2/stp/user/"+kind+"s/"+id+"/devices", nil, &list); err != nil {
		r.t.Fatal(err)
	}
	if len(list.Results) != 1 {
		r.t.Fatalf("%+v", list)
	}
	return list.Results[0]
}

func (t target) finished() bool { return t.State == wire.StateUsed || t.State == wire.StateCancelled }

// settle waits until a change is finished at the cloud. One that was undone is
// wanted again.
func (r *rig) settle(kind, id, verb string) target {
	r.t.Helper()
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		t := r.target(kind, id)
		switch {
		case t.finished():
			return t
		case t.State == wire.StateStaged && t.Step == "" && t.Result != nil && t.Result.ErrorCode != 0:
			r.undone++
			r.want(kind, id, verb)
		case time.Now().After(deadline):
			r.t.Fatalf("the %s %s is stuck: %+v\nthe board: %s", kind, id, t, r.changes())
		}
	}
}

func (r *rig) changes() string {
	out, err := r.board.Command(r.t.Context(), "changes")
	if err != nil {
		return err.Error()
	}
	return string(out)
}

// verify compares board and cloud: the state of the change, and that exactly
// its content is in force, or exactly what was before.
func (r *rig) verify(kind, id string, t target, name, digest string) {
	r.t.Helper()
	switch t.State {
	case wire.StateUsed:
		r.name, r.digest = name, digest
		r.used++
	default:
		r.cancelled++
	}
	out, err := r.board.Command(r.t.Context(), "changes", "--json")
	if err != nil {
		r.t.Fatal(err)
	}
	found := t.State == wire.StateCancelled // one that was cancelled before the board heard of it is unknown there
	for line := range strings.Lines(string(out)) {
		var c wire.ChangeReport
		if err := json.Unmarshal([]byte(line), &c); err != nil {
			r.t.Fatal(err)
		}
		if c.ChangeID == id {
			found = c.State == t.State && (c.Result.ErrorCode == t.Result.ErrorCode)
		}
		if c.State == wire.StateApplying {
			r.t.Errorf("an operation is stuck: %s", line)
		}
	}
	if !found {
		r.t.Errorf("the cloud says %+v of %s, the board:\n%s", t, id, out)
	}
	var c configs.Config
	if err := r.ask(&c, "config", "show", "--json"); err != nil {
		r.t.Fatal(err)
	}
	if c.Device.Name != r.name {
		r.t.Errorf("%s %s is %s: the config in force is %q, not %q", kind, id, t.State, c.Device.Name, r.name)
	}
	if s := r.status(); s.Whitelist.Digest != r.digest || s.Whitelist.Damaged != 0 {
		r.t.Errorf("%s %s is %s: the whitelist in force is %s, not %s", kind, id, t.State, s.Whitelist.Digest, r.digest)
	}
}

// drained checks that the cloud has each event of each boot once, each passage
// once, and those that the barrier was opened for when the agent died.
func (r *rig) drained() (events, opened int) {
	r.t.Helper()
	type id struct {
		Boot string    `json:"boot"`
		Seq  uint64    `json:"seq"`
		Gap  *wire.Gap `json:"gap"`
	}
	r.note()
	var have map[id]int
	var missing []string
	var passages map[string]int
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		var list struct {
			Results []struct {
				id
				Passage string `json:"passage"`
				Opened  bool   `json:"opened"`
			}
		}
		if err := r.site.API(r.t.Context(), http.MethodGet, "/v2/stp/user/devices/"+r.sn+"/events", nil, &list); err != nil {
			r.t.Fatal(err)
		}
		have, missing, passages, opened = map[id]int{}, nil, map[string]int{}, 0
		highest := map[string]uint64{}
		covered := map[id]bool{}
		for _, e := range list.Results {
			if e.Passage != "" {
				passages[e.Passage]++
			}
			if e.Opened {
				opened++
			}
			key := id{Boot: e.Boot, Seq: e.Seq}
			have[key]++
			highest[e.Boot] = max(highest[e.Boot], e.Seq)
			if e.Gap != nil {
				r.t.Errorf("events were given up: %+v", *e.Gap)
				for s := e.Gap.From; s <= e.Gap.To && s-e.Gap.From < 1000; s++ {
					covered[id{Boot: e.Gap.Boot, Seq: s}] = true
				}
			}
		}
		for boot, n := range r.last {
			highest[boot] = max(highest[boot], n)
		}
		for boot, n := range highest {
			for seq := uint64(1); seq <= n; seq++ {
				if key := (id{Boot: boot, Seq: seq}); have[key] == 0 && !covered[key] {
					missing = append(missing, fmt.Sprintf("%s/%d", boot, seq))
				}
			}
		}
		for p := range r.openings {
			if passages[p] == 0 {
				missing = append(missing, "passage "+p)
			}
		}
		if len(missing) == 0 {
			break
		}
		if time.Now().After(deadline) {
			r.t.Errorf("%d events are missing at the cloud: %.300v", len(missing), missing)
			break
		}
	}
	for e, n := range have {
		if n != 1 {
			r.t.Errorf("event %+v is at the cloud %d times", e, n)
		}
	}
	for p, n := range passages {
		if n != 1 {
			r.t.Errorf("passage %s is at the cloud %d times", p, n)
		}
	}
	return len(have), opened
}

// onlyFiles hides what cannot be copied: the agent's socket.
type onlyFiles struct{ fs.FS }

func (f onlyFiles) ReadDir(name string) (list []fs.DirEntry, err error) {
	entries, err := fs.ReadDir(f.FS, name)
	for _, e := range entries {
		if e.IsDir() || e.Type().IsRegular() {
			list = append(list, e)
		}
	}
	return list, err
}
