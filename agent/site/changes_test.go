package site_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"gatehouse/agent/site"
	"gatehouse/configs"
	"gatehouse/sync/errcode"
	"gatehouse/sync/wire"
)

// changed is a change as the cloud shows it.
type changed struct {
	ID        string         `json:"id"`
	Inline    bool           `json:"inline"`
	SetDigest string         `json:"set_digest"`
	Counts    map[string]int `json:"counts"`
	Rollout   struct {
		State    string `json:"state"`
		Released int    `json:"released"`
		Failed   int    `json:"failed"`
	} `json:"rollout"`
}

// account makes changes at the cloud of a site.
type account struct {
	t *testing.T
	s *site.Site
}

func (a account) call(method, path string, in, out any) {
	a.t.Helper()
	if err := a.s.API(a.t.Context(), method, "/v2/stp/user"+path, in, out); err != nil {
		a.t.Fatalf("%s %s: %v", method, path, err)
	}
}

func (a account) create(kind string, content any, more map[string]any) (c changed) {
	a.t.Helper()
	text, ok := content.(string)
	if !ok {
		b, err := json.Marshal(content)
		if err != nil {
			a.t.Fatal(err)
		}
		text = string(b)
	}
	body := map[string]any{"content": text}
	for k, v := range more {
		body[k] = v
	}
	a.call(http.MethodPost, "/"+kind, body, &c)
	return c
}

func (a account) until(kind, id, what string, done func(changed) bool) (c changed) {
	a.t.Helper()
	defer func() {
		if a.t.Failed() {
			var list any
			a.call(http.MethodGet, "/"+kind+"/"+id+"/devices", nil, &list)
			a.t.Logf("%s: %+v", what, list)
		}
	}()
	until(a.t, what, func() bool {
		c = changed{}
		a.call(http.MethodGet, "/"+kind+"/"+id, nil, &c)
		return done(c)
	})
	return c
}

// apply stages a change, applies it and waits until all its devices have used it.
func (a account) apply(kind string, content any, more map[string]any) changed {
	a.t.Helper()
	c := a.create(kind, content, more)
	a.call(http.MethodPut, "/"+kind+"/"+c.ID+"/apply", nil, nil)
	return a.until(kind, c.ID, "the use of "+kind, func(c changed) bool {
		if c.Counts["failed"] > 0 {
			a.t.Fatalf("%s failed: %+v", kind, a.results(kind, c.ID))
		}
		return c.Rollout.State == "done"
	})
}

func (a account) results(kind, id string) map[string]wire.ChangeResult {
	a.t.Helper()
	var list struct {
		Results []struct {
			SN     string             `json:"sn"`
			Result *wire.ChangeResult `json:"result"`
		} `json:"results"`
	}
	a.call(http.MethodGet, "/"+kind+"/"+id+"/devices", nil, &list)
	out := map[string]wire.ChangeResult{}
	for _, r := range list.Results {
		if r.Result != nil {
			out[r.SN] = *r.Result
		}
	}
	return out
}

type listStatus struct {
	Whitelist struct {
		Rows   int    `json:"rows"`
		Digest string `json:"digest"`
	} `json:"whitelist"`
	Barrier struct {
		Opened     int    `json:"opened"`
		LastReason string `json:"last_reason"`
	} `json:"barrier"`
}

func listOf(t *testing.T, b *site.Board) (s listStatus) {
	t.Helper()
	if err := json.Unmarshal(must[[]byte](t)(b.Command(t.Context(), "status", "--json")), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// The round trip of changes with the real cloud and agent: a config that is
// merged, a whitelist of 100,000 rows that the board fetches, a delta, a delta
// for another set, a cancel.
func TestChanges(t *testing.T) {
	s := must[*site.Site](t)(site.Open(t.TempDir(), programs(t)))
	cloud := must[*site.Process](t)(s.StartCloud(t.Context(), ""))
	b := board(t, s, nil)
	agent := must[*site.Process](t)(b.Start(t.Context()))
	defer func() { _ = agent.Stop(); _ = cloud.Stop(); http.DefaultClient.CloseIdleConnections() }()
	sn := must[string](t)(b.Bind(t.Context()))
	a := account{t, s}
	to := map[string]any{"targets": map[string]any{"sns": []string{sn}}}
	noDrift := func() {
		t.Helper()
		var d struct {
			Drift    []string          `json:"drift"`
			Expected map[string]string `json:"expected_digest"`
		}
		a.call(http.MethodGet, "/devices/"+sn, nil, &d)
		if len(d.Drift) != 0 || len(d.Expected) == 0 {
			t.Errorf("%+v", d)
		}
	}

	a.apply("configs", `{"mode":"merge","config":{"gate":{"plate_tolerance":1}}}`, to)
	if out := must[[]byte](t)(b.Command(t.Context(), "config", "show")); !strings.Contains(string(out), `"plate_tolerance": 1`) {
		t.Errorf("the config in force:\n%s", out)
	}
	noDrift()
	// From here on the board takes signed changes only, and the cloud signs them.
	a.call(http.MethodPut, "/policy", map[string]bool{"sign_config": true, "sign_whitelist": true}, nil)
	until(t, "the board's word that it has the policy", func() bool {
		var d struct {
			Revision int `json:"policy_revision"`
		}
		a.call(http.MethodGet, "/devices/"+sn, nil, &d)
		return d.Revision == 1
	})
	bad := a.create("configs", `{"mode":"merge","config":{"gate":{"plate_tolerance":9}}}`, to)
	a.until("configs", bad.ID, "the refusal of a config", func(c changed) bool { return c.Counts["failed"] == 1 })
	if r := a.results("configs", bad.ID)[sn]; r.ErrorCode != int(errcode.ParamsError) || !strings.Contains(r.ErrorMessage, "/gate/plate_tolerance") {
		t.Errorf("%+v", r)
	}

	const n = 100_000
	var rows strings.Builder
	for i := range n {
		fmt.Fprintf(&rows, `,{"plate":"京B%05d","enable":1,"vehicle_code":"C%d"}`, i, i)
	}
	full := a.apply("whitelists", `{"mode":"replace","rows":[`+rows.String()[1:]+`]}`, to)
	if full.Inline {
		t.Error("100,000 rows went in a message")
	}
	if st := listOf(t, b); st.Whitelist.Rows != n || st.Whitelist.Digest != full.SetDigest || st.Barrier.Opened != 0 {
		t.Errorf("%+v, want %d rows %s and a closed barrier", st, n, full.SetDigest)
	}
	noDrift()

	to["base"] = "sha256:" + strings.Repeat("0", 64)
	other := a.create("whitelists", `{"mode":"delta","rows":[]}`, to)
	a.call(http.MethodPut, "/whitelists/"+other.ID+"/apply", nil, nil)
	a.until("whitelists", other.ID, "the failure of the delta", func(c changed) bool { return c.Rollout.State == "stopped" })
	if r := a.results("whitelists", other.ID)[sn]; r.ErrorCode != int(errcode.RequestFailed) || !strings.Contains(r.ErrorMessage, "another set") {
		t.Errorf("%+v", r)
	}
	a.call(http.MethodPut, "/whitelists/"+other.ID+"/cancel", nil, nil)
	a.until("whitelists", other.ID, "the cancel", func(c changed) bool { return c.Counts["cancelled"] == 1 })

	a.call(http.MethodPost, "/policy/keys", nil, nil) // a rotation: the delta is signed by the new key

	// The car before the camera is let in by a delta, which lists a plate that
	// it was read for but one confusable character. It comes last: a barrier that
	// moves holds up changes.
	to["base"] = full.SetDigest
	a.apply("whitelists", `{"mode":"delta","rows":[{"plate":"川AL2345","enable":1}],"remove":["京B00007"]}`, to)
	until(t, "the opening", func() bool { return listOf(t, b).Barrier.Opened > 0 })
	if st := listOf(t, b); st.Whitelist.Rows != n {
		t.Errorf("%+v", st)
	}
	noDrift()
	var events struct {
		Results []struct {
			Plate  string `json:"plate"`
			Opened bool   `json:"opened"`
		} `json:"results"`
	}
	until(t, "the event of the opening", func() bool {
		a.call(http.MethodGet, "/devices/"+sn+"/events?offset=0&limit=50", nil, &events)
		for _, e := range events.Results {
			if e.Opened && e.Plate == seen { // the raw reading is kept
				return true
			}
		}
		return false
	})
}

// A roll-out to a group of five real agents: a canary that fails stops it, and
// nothing has changed on the others.
func TestRolloutToAGroup(t *testing.T) {
	s := must[*site.Site](t)(site.Open(t.TempDir(), programs(t)))
	cloud := must[*site.Process](t)(s.StartCloud(t.Context(), ""))
	defer func() { _ = cloud.Stop(); http.DefaultClient.CloseIdleConnections() }()
	var boards []*site.Board
	var sns []string
	for i := range 5 {
		c := configs.Default()
		c.Device.SN = fmt.Sprintf("265e1040-%08x", i+1)
		c.MQTT.BackoffMax = c.MQTT.KeepAlive
		b := must[*site.Board](t)(s.Board(fmt.Sprint("board", i), c))
		agent := must[*site.Process](t)(b.Start(t.Context()))
		defer func() { _ = agent.Stop() }()
		boards, sns = append(boards, b), append(sns, must[string](t)(b.Bind(t.Context())))
	}
	a := account{t, s}
	// The first board has another set than the others: a delta on theirs fails there.
	set := a.apply("whitelists", `{"mode":"replace","rows":[{"plate":"川A00001","enable":1}]}`, map[string]any{"targets": map[string]any{"sns": sns[1:]}})
	c := a.create("whitelists", `{"mode":"delta","rows":[{"plate":"川A00002","enable":1}]}`, map[string]any{
		"base": set.SetDigest, "targets": map[string]any{"group_ids": []int{0}}, "rollout": map[string]any{"canary": 1, "batch": 2, "max_failures": 0}})
	a.call(http.MethodPut, "/whitelists/"+c.ID+"/apply", nil, nil)
	stopped := a.until("whitelists", c.ID, "the stop", func(c changed) bool { return c.Rollout.State == "stopped" })
	if stopped.Rollout.Released != 1 || stopped.Rollout.Failed != 1 {
		t.Errorf("%+v", stopped)
	}
	for i, b := range boards[1:] {
		if st := listOf(t, b); st.Whitelist.Digest != set.SetDigest {
			t.Errorf("board %d has changed: %+v", i+1, st)
		}
	}
	// The canary is brought in line, and the roll-out goes on: it alone fails no more.
	a.apply("whitelists", `{"mode":"replace","rows":[{"plate":"川A00001","enable":1}]}`, map[string]any{"targets": map[string]any{"sns": sns[:1]}})
	a.call(http.MethodPut, "/whitelists/"+c.ID+"/apply", nil, nil)
	done := a.until("whitelists", c.ID, "the end", func(c changed) bool { return c.Rollout.State == "done" })
	if done.Counts["used"] != 5 {
		t.Errorf("%+v %+v", done, a.results("whitelists", c.ID))
	}
	want := listOf(t, boards[0]).Whitelist
	for i, b := range boards {
		if st := listOf(t, b); st.Whitelist != want || want.Rows != 2 {
			t.Errorf("board %d: %+v, want %+v", i, st.Whitelist, want)
		}
	}
}
