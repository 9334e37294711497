package platform

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// The page has words in both languages for everything a board or the cloud may
// say there in codes.
func TestThePageHasWords(t *testing.T) {
	gate, err := os.ReadFile("../../../agent/gate/gate.go") // the cloud does not import the agent
	if err != nil {
		t.Fatal(err)
	}
	reasons := regexp.MustCompile(`Reason string // ([a-z_, ]+)\n`).FindStringSubmatch(string(gate))
	if reasons == nil {
		t.Fatal("the gate does not list its reasons")
	}
	for _, r := range strings.Split(reasons[1], ", ") {
		if w := reasonWords[r]; w.en == "" || w.zh == "" {
			t.Errorf("there is no word for %s", r)
		}
	}
	for _, k := range kinds {
		if w := kindWords[k.name]; w.en == "" || w.zh == "" {
			t.Errorf("there is no word for %s", k.name)
		}
	}
	english := regexp.MustCompile(`[A-Za-z]{3,}`)
	for _, state := range []string{"", rolloutRunning, rolloutStopped, rolloutDone, rolloutCancelled} {
		c := change{Kind: "config", Rollout: rollout{State: state, Planned: 3, Failed: 2, Reason: "2 of 3 devices failed"}}
		for _, w := range stateWords {
			c.Counts = map[string]int{w.state: 1}
			if text := c.KindWord(true) + c.Phase(true) + c.Tally(true); english.MatchString(text) || !strings.Contains(c.Phase(true), "2 台设备失败") {
				t.Errorf("the Chinese page says %q", text)
			}
		}
	}
	if got := (event{Reason: "not_listed"}).Why(true); got != "不在白名单中" {
		t.Error(got)
	}
	if got := (event{Reason: "some_new_one"}).Why(true); got != "some new one" {
		t.Error(got)
	}
}
