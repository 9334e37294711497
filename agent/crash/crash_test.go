package crash

import (
	"cmp"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/agent/site"
	"gatehouse/sync/fault"
	"gatehouse/sync/wire"
)

// long reports whether the long forms are asked for (`make crash`).
func long() bool { return os.Getenv("CRASH") == "long" }

// setting is a number from the environment.
func setting(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}

var kinds = strings.Split(cmp.Or(os.Getenv("KINDS"), "config,whitelist"), ",")

// trial is one change during which the agent is killed.
type trial struct {
	point, kind, verb string
	hit               int // the how manieth time the point is come to
}

// likely is the trial, or where an agent does not come to the point with its
// kind and verb, one with which it does.
func (c trial) likely() trial {
	switch {
	case strings.HasPrefix(c.point, "whitelist.") || strings.HasPrefix(c.point, "change.content.") || c.point == "change.fetched":
		c.kind = "whitelist"
	case strings.HasPrefix(c.point, "config."):
		c.kind = "config"
	case strings.HasPrefix(c.point, "change.undo."):
		c.kind, c.verb = "config", wire.VerbCancel
	default:
		return c
	}
	c.hit = 1
	return c
}

// outcome is what was seen.
type outcome struct {
	trial
	killed bool
	state  string
}

// openSite starts a cloud of its own.
func openSite(t testing.TB) (*site.Site, *site.Process) {
	t.Helper()
	s, err := site.Open(t.TempDir(), programs(t))
	if err != nil {
		t.Fatal(err)
	}
	cloud, err := s.StartCloud(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cloud.Kill()
		http.DefaultClient.CloseIdleConnections()
	})
	return s, cloud
}

// The real agent, killed at every fault point × kind × apply and cancel: no
// change half applied, none stuck, board and cloud agree, no event lost or
// doubled, the state readable.
func TestKilledAtEveryFaultPoint(t *testing.T) {
	var trials []trial
	for i, p := range fault.Points {
		for j, k := range kinds {
			for l, v := range []string{wire.VerbApply, wire.VerbCancel} {
				for hit := 1; hit <= 2; hit++ {
					c := trial{p, k, v, hit}
					// The short form: every point once, kinds, verbs and hits in turn.
					if long() || c == c.likely() && (i+j)%2 == 0 && (i/2+l)%2 == 0 && hit == 1+i%2 {
						trials = append(trials, c)
					}
				}
			}
		}
	}
	if !long() {
		for i, p := range fault.Points { // those that only one kind or verb comes to
			c := trial{p, kinds[i%2], wire.VerbApply, 1}
			if c.likely() != c || !slices.ContainsFunc(trials, func(have trial) bool { return have.point == p }) {
				trials = append(trials, c.likely())
			}
		}
	}
	boards := 3
	s, _ := openSite(t)
	table := make(map[trial]outcome)
	var mu sync.Mutex
	abreast(t, s, boards, 1, func(n int, r *rig) {
		for i, c := range trials {
			if i%boards != n || r.t.Failed() {
				continue
			}
			o := r.killedAt(c)
			for try := 1; long() && !o.killed && c == c.likely() && try < 6 && !r.t.Failed(); try++ {
				o = r.killedAt(c) // a cancel, above all, has to come at the right moment
			}
			mu.Lock()
			table[c] = o
			mu.Unlock()
		}
	})
	t.Log("\n" + print(trials, table))
	killed := map[string]bool{}
	for _, o := range table {
		killed[o.point] = killed[o.point] || o.killed
	}
	if long() {
		for _, p := range fault.Points {
			if !killed[p] {
				t.Errorf("nothing was killed at %s", p)
			}
		}
	}
}

// print draws the table: rows are points, cells the state of the change that
// was under way, "-" where the agent did not come to the point.
func print(trials []trial, table map[trial]outcome) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-24s %3s", "killed at", "hit")
	for _, k := range kinds {
		for _, v := range []string{wire.VerbApply, wire.VerbCancel} {
			fmt.Fprintf(&b, "  %-16s", k+" "+v)
		}
	}
	b.WriteByte('\n')
	seen := map[string]bool{}
	for _, c := range trials {
		row := fmt.Sprintf("%-24s %3d", c.point, c.hit)
		if seen[row] {
			continue
		}
		seen[row] = true
		b.WriteString(row)
		for _, k := range kinds {
			for _, v := range []string{wire.VerbApply, wire.VerbCancel} {
				cell := ""
				if o, ok := table[trial{c.point, k, v, c.hit}]; ok {
					cell = o.state
					if !o.killed {
						cell += " (-)"
					}
				}
				fmt.Fprintf(&b, "  %-16s", cell)
			}
		}
		b.WriteByte('\n')
	}
	b.WriteString("(-): the agent did not come to the point\n")
	return b.String()
}

// killedAt has one change applied or cancelled by an agent that dies on the
// way, starts it again and checks everything.
func (r *rig) killedAt(c trial) outcome {
	r.t.Helper()
	r.note()
	r.agent.Kill()
	content, name, digest := r.content(c.kind, c.point)
	r.start(c.point + ":" + strconv.Itoa(c.hit))
	id := r.create(c.kind, content)
	r.want(c.kind, id, wire.VerbApply)
	if c.verb == wire.VerbCancel {
		time.Sleep(time.Duration(r.rand.IntN(60)) * time.Millisecond)
		r.want(c.kind, id, wire.VerbCancel)
	}
	killed := r.awaitDeath(func() bool { // a listed car comes when it comes
		return !strings.HasPrefix(c.point, "opening.") && r.target(c.kind, id).finished()
	})
	r.note()
	if !killed {
		r.agent.Kill()
	}
	r.start("")
	t := r.settle(c.kind, id, c.verb)
	r.verify(c.kind, id, t, name, digest)
	return outcome{c, killed, t.State}
}

// awaitDeath waits until the agent has died, or everything is done and it had
// a little more time to.
func (r *rig) awaitDeath(done func() bool) bool {
	deadline := time.Now().Add(8 * time.Second)
	for finished := false; time.Now().Before(deadline); {
		select {
		case <-r.agent.Ended():
			return true
		case <-time.After(20 * time.Millisecond):
		}
		if !finished && done() {
			finished = true
			deadline = time.Now().Add(200 * time.Millisecond)
		}
	}
	return false
}

// The real agent, killed at random moments while changes and events are under way.
func TestKilledAtRandomMoments(t *testing.T) {
	kills := 12
	if long() {
		kills = 2000
	}
	kills = setting("KILLS", kills)
	seed := uint64(setting("SEED", int(time.Now().UnixNano()&0xffff)))
	t.Logf("SEED=%d", seed)
	boards := 3
	s, _ := openSite(t)
	abreast(t, s, boards, seed, func(n int, r *rig) {
		for i := n; i < kills && !r.t.Failed(); i += boards {
			r.killedSometime()
			if long() && i/boards%50 == 49 {
				fmt.Printf("%s: %d of %d kills\n", r.board.Name, i, kills)
			}
		}
	})
}

// abreast runs several boards at one cloud side by side, and at the end checks
// that the cloud has all their events.
func abreast(t *testing.T, s *site.Site, boards int, seed uint64, work func(n int, r *rig)) {
	t.Run("boards", func(t *testing.T) {
		for n := range boards {
			t.Run(strconv.Itoa(n), func(t *testing.T) {
				t.Parallel()
				r := newRig(t, s, fmt.Sprintf("board%d", n), seed+uint64(n))
				defer func() { r.agent.Kill() }()
				work(n, r)
				events, opened := r.drained()
				if opened == 0 {
					t.Error("the barrier was never opened")
				}
				missing := "0 missing, 0 doubled"
				if t.Failed() {
					missing = "FAILED"
				}
				t.Logf("%s: %d starts, %d changes used, %d cancelled, %d undone and wanted again; %d events at the cloud, %s; %d openings, %d written down when it died",
					r.board.Name, r.starts, r.used, r.cancelled, r.undone, events, missing, opened, len(r.openings))
			})
		}
	})
}

// killedSometime has a change applied, sometimes cancelled, and kills the agent
// within the second that this takes, twice in a row at times.
func (r *rig) killedSometime() {
	r.t.Helper()
	kind := kinds[r.rand.IntN(len(kinds))]
	content, name, digest := r.content(kind, "")
	id := r.create(kind, content)
	verb := wire.VerbApply
	r.want(kind, id, verb)
	if r.rand.IntN(3) == 0 {
		time.Sleep(time.Duration(r.rand.IntN(100)) * time.Millisecond)
		verb = wire.VerbCancel
		r.want(kind, id, verb)
	}
	for range 1 + r.rand.IntN(2) {
		time.Sleep(time.Duration(r.rand.IntN(600)) * time.Millisecond)
		r.note()
		r.agent.Kill()
		r.start("")
	}
	t := r.settle(kind, id, verb)
	r.verify(kind, id, t, name, digest)
}
