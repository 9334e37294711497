package crash

import (
	"strings"
	"testing"
	"time"

	"gatehouse/sync/wire"
)

// Configs that would cut the board off or keep its agent from running are
// undone by themselves, also when the power fails meanwhile, and the cloud is
// told why.
func TestConfigsThatDoHarmAreUndone(t *testing.T) {
	s, _ := openSite(t)
	r := newRig(t, s, "board", 1)
	defer func() { r.agent.Kill() }()
	for _, c := range []struct {
		name, config, why string
		kill              bool
	}{
		{"a broker that is not there", `{"mqtt":{"broker":"tcp://127.0.0.1:1","trial":"5s"}}`, "not reached over the new connection", false},
		{"the same, and a power cut", `{"mqtt":{"broker":"tcp://127.0.0.1:1","trial":"1m"}}`, "restarted", true},
		{"a barrier that is not there", `{"barrier":{"driver":"gpio","gpio":{"lines":["no such line"]}}}`, "cannot run with this config", false},
	} {
		id := r.create("config", `{"mode":"merge","config":`+c.config+`}`)
		r.want("config", id, wire.VerbApply)
		if c.kill {
			for deadline := time.Now().Add(30 * time.Second); !strings.Contains(r.changes(), id+" applying trial"); time.Sleep(20 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal(r.changes())
				}
			}
			r.agent.Kill()
			r.start("")
		}
		var at target
		for deadline := time.Now().Add(60 * time.Second); at.Result == nil || at.Result.ErrorCode == 0; time.Sleep(50 * time.Millisecond) {
			if at = r.target("config", id); time.Now().After(deadline) {
				t.Fatalf("%s: %+v, the board: %s", c.name, at, r.changes())
			}
		}
		if at.State != wire.StateStaged || at.Result.ErrorCode != 1106 || !strings.Contains(at.Result.ErrorMessage, c.why) {
			t.Errorf("%s: %+v %+v", c.name, at, at.Result)
		}
		if out, err := r.board.Command(t.Context(), "config", "diff", "--json"); err != nil || strings.Contains(string(out), "127.0.0.1:1\"") || strings.Contains(string(out), "gpio") {
			t.Errorf("%s: it is still in force (%v):\n%s", c.name, err, out)
		}
		t.Logf("%s: %s", c.name, at.Result.ErrorMessage)
	}
	// And the board can still be changed.
	content, name, digest := r.content("config", "")
	id := r.create("config", content)
	r.want("config", id, wire.VerbApply)
	r.verify("config", id, r.settle("config", id, wire.VerbApply), name, digest)
}
