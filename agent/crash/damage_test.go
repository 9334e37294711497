package crash

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/agent/site"
	"gatehouse/configs"
	"gatehouse/sync/audit"
	"gatehouse/sync/wire"
)

// page is bbolt's on the machines that we run on.
const page = 4096

// damages are the ways in which a worn or cut-off flash spoils a file.
var damages = []struct {
	name  string
	spoil func(r *rand.Rand, file []byte) []byte
}{
	{"random page", func(r *rand.Rand, file []byte) []byte {
		at := r.IntN(len(file)/page) * page
		for i := at; i < at+page; i++ {
			file[i] = byte(r.Uint32())
		}
		return file
	}},
	{"zeroed tail of a page", func(r *rand.Rand, file []byte) []byte {
		at := r.IntN(len(file)/page) * page
		clear(file[at+r.IntN(page) : at+page])
		return file
	}},
	{"flipped bits", func(r *rand.Rand, file []byte) []byte {
		for range 1 + r.IntN(8) {
			file[r.IntN(len(file))] ^= 1 << r.IntN(8)
		}
		return file
	}},
	{"length of a value", func(r *rand.Rand, file []byte) []byte {
		const leaf, header, element = 2, 16, 16 // bbolt's page.go
		for range 1000 {
			at := r.IntN(len(file)/page) * page
			n := int(binary.NativeEndian.Uint16(file[at+10:]))
			if binary.NativeEndian.Uint16(file[at+8:]) != leaf || n == 0 || n > (page-header)/element {
				continue
			}
			file[at+header+element*r.IntN(n)+15-r.IntN(2)] ^= 1 << r.IntN(7)
			return file
		}
		return file
	}},
	{"page of another place", func(r *rand.Rand, file []byte) []byte {
		pages := len(file) / page
		to, from := r.IntN(pages)*page, r.IntN(pages)*page
		copy(file[to:to+page], file[from:from+page])
		return file
	}},
	{"torn tail", func(r *rand.Rand, file []byte) []byte {
		at := len(file) - 512*(1+r.IntN(min(64, len(file)/512)))
		clear(file[at:])
		return file
	}},
	{"truncated", func(r *rand.Rand, file []byte) []byte {
		return file[:r.IntN(len(file)+1)/512*512]
	}},
}

// before is what a sound board tells.
type before struct {
	sn       string
	digest   string
	name     string
	rows     map[string]string // plate → row
	waiting  []string          // boot/seq
	state    string            // the state directory
	config   configs.Config
	statusOf status
}

// The real agent on a damaged database: it always comes up, knows who it is,
// serves no row that is not one of the list, and says what happened.
func TestDamagedDatabases(t *testing.T) {
	trials := 12
	if long() {
		trials = 2000
	}
	trials = setting("DAMAGES", trials)
	seed := uint64(setting("SEED", int(time.Now().UnixNano()&0xffff)))
	t.Logf("SEED=%d", seed)
	s, cloud := openSite(t)
	was := soundBoard(t, s, cloud, seed)
	counts := map[string]map[string]int{}
	random := rand.New(rand.NewPCG(seed, 2))
	for i := range trials {
		d := damages[i%len(damages)]
		file := []string{"state.db", "events.db"}[i/len(damages)%2]
		found := damaged(t, s, was, i, file, func(b []byte) []byte { return d.spoil(random, b) })
		key := fmt.Sprintf("%-9s  %s", file, d.name)
		if counts[key] == nil {
			counts[key] = map[string]int{}
		}
		counts[key][found]++
		if t.Failed() {
			t.Fatalf("trial %d: %s of %s", i, d.name, file)
		}
		if long() && i%100 == 99 {
			fmt.Printf("%d of %d damages\n", i+1, trials)
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%-32s %9s %9s %12s %9s\n", "", "no effect", "set aside", "records lost", "doubtful")
	var keys []string
	for key := range counts {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		c := counts[key]
		fmt.Fprintf(&b, "%-32s %9d %9d %12d %9d\n", key, c["none"], c["set aside"], c["lost"], c["doubtful"])
	}
	t.Logf("%d trials; the agent came up in all, no row was wrong, what happened was told:\n%s", trials, b.String())
}

// soundBoard makes the state that is damaged: bound, with a whitelist, a pushed
// config and waiting events.
func soundBoard(t *testing.T, s *site.Site, cloud *site.Process, seed uint64) before {
	t.Helper()
	r := newRig(t, s, "sound", seed)
	r.n = 0 // so that the last set is short enough to be listed whole
	for _, kind := range []string{"whitelist", "config", "config", "whitelist"} {
		content, name, digest := r.content(kind, "")
		id := r.create(kind, content)
		r.want(kind, id, wire.VerbApply)
		r.verify(kind, id, r.settle(kind, id, wire.VerbApply), name, digest)
	}
	cloud.Kill() // from here on events wait
	for deadline := time.Now().Add(time.Minute); len(waiting(t, r.board)) < 10; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no events wait")
		}
	}
	was := before{sn: r.sn, state: r.board.State, digest: r.digest, rows: map[string]string{}}
	for _, row := range lines(t, r.board, "whitelist", "--json") {
		was.rows[plateOf(t, row)] = row
	}
	was.waiting = waiting(t, r.board)
	r.agent.Kill()
	var err error
	if was.config, err = configs.Load(filepath.Join(s.Dir, "sound.json")); err != nil {
		t.Fatal(err)
	}
	// What it tells after a start without damage is what the others are compared with.
	b, p := restarted(t, s, was, "compared", func(string) {})
	defer func() { p.Kill(); os.RemoveAll(b.State) }()
	was.statusOf = statusOf(t, b)
	was.name = nameOf(t, b)
	if was.statusOf.Whitelist.Digest != was.digest || len(was.rows) == 0 || len(was.waiting) == 0 || was.name != r.name {
		t.Fatalf("%+v, %d rows, %d events, %q, want %q", was.statusOf, len(was.rows), len(was.waiting), was.name, r.name)
	}
	return was
}

func lines(t *testing.T, b *site.Board, args ...string) (list []string) {
	t.Helper()
	out, err := b.Command(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		list = append(list, strings.TrimSpace(line))
	}
	return list
}

func parsed[T any](t *testing.T, text string) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return v
}

func plateOf(t *testing.T, row string) string { return parsed[wire.WhitelistRecord](t, row).Plate }

func statusOf(t *testing.T, b *site.Board) status {
	t.Helper()
	return parsed[status](t, strings.Join(lines(t, b, "status", "--json"), ""))
}

func nameOf(t *testing.T, b *site.Board) string {
	t.Helper()
	return parsed[configs.Config](t, strings.Join(lines(t, b, "config", "show", "--json"), "")).Device.Name
}

// waiting lists the events that wait, as boot/sequence.
func waiting(t *testing.T, b *site.Board) (list []string) {
	t.Helper()
	for _, line := range lines(t, b, "events", "--json") {
		e := parsed[struct {
			Boot string
			Seq  uint64
		}](t, line)
		list = append(list, fmt.Sprintf("%s/%d", e.Boot, e.Seq))
	}
	return list
}

// restarted copies the sound state, spoils the copy and starts an agent on it.
func restarted(t *testing.T, s *site.Site, was before, name string, spoil func(dir string)) (*site.Board, *site.Process) {
	t.Helper()
	b, err := s.Board(name, was.config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(b.State, onlyFiles{os.DirFS(was.state)}); err != nil {
		t.Fatal(err)
	}
	spoil(b.State)
	p, err := b.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return b, p
}

// served lists the rows that the board has in force. Where it is not known any
// more which set is, there are none, and the command says so.
func served(t *testing.T, b *site.Board, now status, told string) []string {
	t.Helper()
	out, err := b.Command(t.Context(), "whitelist", "--json")
	if err != nil && (now.Whitelist.Rows != 0 || told == "" || !strings.Contains(err.Error(), "damaged")) {
		t.Fatalf("%v, with %d rows in force; told: %q", err, now.Whitelist.Rows, told)
	}
	text := strings.TrimSpace(string(out))
	if err != nil || text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

// damaged is one trial; it gives what the damage led to.
func damaged(t *testing.T, s *site.Site, was before, n int, file string, spoil func([]byte) []byte) string {
	t.Helper()
	b, p := restarted(t, s, was, fmt.Sprintf("damaged%d", n), func(dir string) {
		path := filepath.Join(dir, file)
		text, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(path, spoil(text), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	defer func() { p.Kill(); os.RemoveAll(b.State); os.Remove(p.Log) }()
	now := statusOf(t, b)
	told := ""
	for _, line := range lines(t, b, "audit", "--json") {
		if e := parsed[audit.Entry](t, line); e.What == "damaged" {
			told += e.Detail
		}
	}
	// Who it is, and in which config.
	if now.SN != was.sn {
		t.Errorf("the board is now %s, not %s", now.SN, was.sn)
	}
	if name := nameOf(t, b); name != was.name && told == "" {
		t.Errorf("the config is %q, not %q, and nothing was told", name, was.name)
	}
	// No row that is not one of the list, as it was.
	for _, row := range served(t, b, now, told) {
		if plate := plateOf(t, row); was.rows[plate] != row {
			t.Errorf("a wrong row is served: %s, not %s", row, was.rows[plate])
		}
	}
	if now.Whitelist.Digest != was.digest && told == "" {
		t.Errorf("%d rows of %d are left, and nothing was told", now.Whitelist.Rows, len(was.rows))
	}
	// What waited waits, or a gap stands in its place, or it was told.
	left := map[string]bool{}
	for _, e := range waiting(t, b) {
		left[e] = true
	}
	lost := 0
	for _, e := range was.waiting {
		if !left[e] {
			lost++
		}
	}
	if lost > 0 && told == "" {
		t.Errorf("%d of %d waiting events are gone, and nothing was told", lost, len(was.waiting))
	}
	switch {
	case strings.Contains(told, "set aside"):
		return "set aside"
	case strings.Contains(told, "heads"):
		return "doubtful"
	case told != "":
		return "lost"
	}
	return "none"
}
