package main

import (
	"bytes"
	"crypto/md5"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/sync/binding"
	"gatehouse/sync/errcode"
	"gatehouse/sync/signature"
	"gatehouse/sync/signed"
	"gatehouse/sync/wire"
)

type changeView struct {
	ID, Digest, Kind, Content, Failure string
	SetDigest                          string `json:"set_digest"`
	Targets                            int
	Counts                             map[string]int
	Rollout                            struct {
		State, Reason                        string
		Planned, Released, Used, Failed, Run int
	}
}

// until waits for a change to be as wanted.
func (c *cloud) until(path, id string, done func(changeView) bool) (v changeView) {
	c.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		v = changeView{}
		if code := c.call("GET", path+"/"+id, nil, &v); code != 0 {
			c.t.Fatalf("%s: %d", id, code)
		}
		if done(v) {
			return v
		}
	}
	c.t.Fatalf("it stays at %+v", v)
	return v
}

const (
	whitelists = "/v2/stp/user/whitelists"
	configs    = "/v2/stp/user/configs"
	upgrades   = "/v2/stp/user/upgrades"
)

func (c *cloud) create(path string, body map[string]any) (v changeView) {
	c.t.Helper()
	if code := c.call("POST", path, body, &v); code != 0 {
		c.t.Fatalf("POST %s: %d", path, code)
	}
	return v
}

func (c *cloud) put(path string) (r binding.ItemResults) {
	c.t.Helper()
	if code := c.call("PUT", path, nil, &r); code != 0 {
		c.t.Fatalf("PUT %s: %d", path, code)
	}
	return r
}

// The codes of the three kinds, each by a call that must get it.
func TestCodesOfChanges(t *testing.T) {
	c := startCloud(t, t.TempDir())
	r := c.robot(t, 1, 0)
	defer r.online()()
	contents := map[string]string{
		configs: `{"mode":"merge","config":{"gate":{"row_commands":false}}}`, upgrades: `{"version":"1"}`, whitelists: `{"mode":"replace","rows":[]}`,
	}
	for path, codes := range map[string][3]errcode.Code{
		configs:    {errcode.ConfigNotExist, errcode.ConfigUsed, errcode.ConfigCancelled},          // 5301 5302 5303
		upgrades:   {errcode.UpgradeNotExist, errcode.UpgradeUsed, errcode.UpgradeCancelled},       // 5401 5402 5403
		whitelists: {errcode.WhitelistNotExist, errcode.WhitelistUsed, errcode.WhitelistCancelled}, // 5501 5502 5503
	} {
		for _, call := range []string{"GET /none", "GET /none/devices", "PUT /none/apply", "PUT /none/cancel"} {
			method, rest, _ := strings.Cut(call, " ")
			if code := c.call(method, path+rest, nil, nil); code != codes[0] {
				t.Errorf("%s %s%s: %d, want %d", method, path, rest, code, codes[0])
			}
		}
		body := map[string]any{"content": contents[path], "targets": map[string]any{"sns": []string{r.sn}}}
		used, cancelled := c.create(path, body), c.create(path, body)
		c.put(path + "/" + used.ID + "/apply")
		c.put(path + "/" + cancelled.ID + "/cancel")
		c.until(path, used.ID, func(v changeView) bool { return v.Counts["used"] == 1 && v.Rollout.State == "done" })
		c.until(path, cancelled.ID, func(v changeView) bool { return v.Counts["cancelled"] == 1 })
		for id, want := range map[string]errcode.Code{used.ID: codes[1], cancelled.ID: codes[2]} {
			for _, verb := range []string{"apply", "cancel"} {
				if r := c.put(path + "/" + id + "/" + verb); len(r.Failures) != 1 || len(r.Successes) != 0 || r.Failures[0].Error.Code != int(want) {
					t.Errorf("%s %s/%s: %+v, want %d", verb, path, id, r, want)
				}
			}
		}
		// Of another kind an id is unknown.
		for other := range contents {
			if other != path {
				if code := c.call("GET", other+"/"+used.ID, nil, nil); code == 0 {
					t.Errorf("a change of %s is one of %s too", path, other)
				}
			}
		}
		var list struct {
			Results []changeView
			Total   int
		}
		if code := c.call("GET", path+"?offset=0&limit=1", nil, &list); code != 0 || list.Total != 2 || len(list.Results) != 1 || list.Results[0].ID != used.ID {
			t.Errorf("the list of %s: %d %+v", path, code, list)
		}
	}
}

func TestRefusedCreations(t *testing.T) {
	c := startCloud(t, t.TempDir())
	r := c.robot(t, 1, 0)
	var out strings.Builder
	if err := command(t.Context(), []string{"account", "add", "other", "--data", c.s.data}, &out); err != nil {
		t.Fatal(err)
	}
	other := strings.Fields(out.String())
	_ = newBoard(t, c, "265e1040-00000099") // in the factory list, bound to nobody
	mine := map[string]any{"sns": []string{r.sn}}
	good := `{"mode":"replace","rows":[]}`
	for name, want := range map[string]struct {
		path string
		body map[string]any
		code errcode.Code
	}{
		"nothing":                        {whitelists, map[string]any{"targets": mine}, errcode.ParamsError},
		"content and file":               {whitelists, map[string]any{"content": good, "file": "sha256:x", "targets": mine}, errcode.ParamsError},
		"a file that was never uploaded": {whitelists, map[string]any{"file": "sha256:" + strings.Repeat("0", 64), "targets": mine}, errcode.ParamsError},
		"no JSON":                        {whitelists, map[string]any{"content": "{", "targets": mine}, errcode.ParamsError},
		"a wrong row":                    {whitelists, map[string]any{"content": `{"mode":"replace","rows":[{"plate":""}]}`, "targets": mine}, errcode.ParamsError},
		"a config without mode":          {configs, map[string]any{"content": `{"config":{}}`, "targets": mine}, errcode.ParamsError},
		"a config that is a list":        {configs, map[string]any{"content": `[]`, "targets": mine}, errcode.ParamsError},
		"no targets":                     {whitelists, map[string]any{"content": good}, errcode.ParamsError},
		"a malformed number":             {whitelists, map[string]any{"content": good, "targets": map[string]any{"sns": []string{"x"}}}, errcode.ParamsError},
		"an unknown board":               {whitelists, map[string]any{"content": good, "targets": map[string]any{"sns": []string{"265e1040-0000ffff"}}}, errcode.DeviceNotExist},
		"nobody's board":                 {whitelists, map[string]any{"content": good, "targets": map[string]any{"sns": []string{"265e1040-00000099"}}}, errcode.DeviceNotBound},
		"an unknown group":               {configs, map[string]any{"content": `{"mode":"merge","config":{}}`, "targets": map[string]any{"group_ids": []int{9}}}, errcode.GroupNotExist},
		"an unknown board type":          {upgrades, map[string]any{"content": `{"board_versions":[77]}`, "targets": mine}, errcode.BoardNotExist},
		"a negative canary":              {whitelists, map[string]any{"content": good, "targets": mine, "rollout": map[string]any{"canary": -1}}, errcode.ParamsError},
		"a share above all":              {whitelists, map[string]any{"content": good, "targets": mine, "rollout": map[string]any{"max_failures": "200%"}}, errcode.ParamsError},
		"a base for a full set":          {whitelists, map[string]any{"content": good, "targets": mine, "base": "sha256:" + strings.Repeat("0", 64)}, errcode.ParamsError},
	} {
		if code := c.call("POST", want.path, want.body, nil); code != want.code {
			t.Errorf("%s: %d, want %d", name, code, want.code)
		}
	}
	// Another account's board and change are not there.
	if code := c.callAs(other[0], other[1], "POST", whitelists, map[string]any{"content": good, "targets": mine}, nil); code != errcode.DeviceNotBound {
		t.Errorf("another account's board: %d", code)
	}
	v := c.create(whitelists, map[string]any{"content": good, "targets": mine})
	for _, call := range []string{"GET ", "PUT /apply", "PUT /cancel", "GET /devices"} {
		method, rest, _ := strings.Cut(call, " ")
		if code := c.callAs(other[0], other[1], method, whitelists+"/"+v.ID+rest, nil, nil); code != errcode.WhitelistNotExist {
			t.Errorf("another account's %s: %d", call, code)
		}
	}
}

func TestBoardTypes(t *testing.T) {
	c := startCloud(t, t.TempDir())
	const boards = "/v2/stp/user/boards"
	for _, call := range []string{"GET", "PUT", "DELETE"} {
		if code := c.call(call, boards+"/12378", map[string]any{}, nil); code != errcode.BoardNotExist {
			t.Errorf("%s of an unknown type: %d", call, code)
		}
	}
	if code := c.call("POST", boards, map[string]any{"series_name": "RX"}, nil); code != errcode.ParamsError {
		t.Errorf("a type without number: %d", code)
	}
	if code := c.call("POST", boards, map[string]any{"board_version": 12378, "series_name": "RX"}, nil); code != 0 {
		t.Fatal(code)
	}
	var b map[string]any
	if code := c.call("PUT", boards+"/12378", map[string]any{"product_name": "R3"}, &b); code != 0 || b["series_name"] != "RX" || b["product_name"] != "R3" {
		t.Errorf("%d %v", code, b)
	}
	if code := c.call("PUT", boards+"/12378", map[string]any{"board_version": 1}, nil); code != errcode.ParamsError {
		t.Errorf("another number: %d", code)
	}
	var list struct{ Total int }
	if code := c.call("GET", boards, nil, &list); code != 0 || list.Total != 1 {
		t.Errorf("%d %+v", code, list)
	}
	// An upgrade for a type that some target is not of: that one has failed with 5201.
	r := c.robot(t, 1, 0)
	stop := r.online()
	defer stop()
	c.untilDevice(r.sn, func(d map[string]any) bool { return d["board_version"] == 12378.0 })
	if code := c.call("POST", boards, map[string]any{"board_version": 5}, nil); code != 0 {
		t.Fatal(code)
	}
	v := c.create(upgrades, map[string]any{"content": `{"board_versions":[5]}`, "targets": map[string]any{"sns": []string{r.sn}}})
	if v.Counts["failed"] != 1 {
		t.Errorf("%+v", v)
	}
	var devices struct {
		Results []struct{ Result wire.ChangeResult }
	}
	if code := c.call("GET", upgrades+"/"+v.ID+"/devices", nil, &devices); code != 0 || devices.Results[0].Result.ErrorCode != int(errcode.BoardNotExist) {
		t.Errorf("%d %+v", code, devices)
	}
	if code := c.call("DELETE", boards+"/5", nil, nil); code != 0 {
		t.Error(code)
	}
}

func (c *cloud) untilDevice(sn string, done func(map[string]any) bool) {
	c.t.Helper()
	var d map[string]any
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if c.call("GET", binding.DevicesPath+"/"+sn, nil, &d); done(d) {
			return
		}
	}
	c.t.Fatalf("the device stays at %v", d)
}

// Canary, then batches, each after the one before; the cloud is restarted in the middle.
func TestRollout(t *testing.T) {
	c := startCloud(t, t.TempDir())
	var g struct{ ID int64 }
	if code := c.call("POST", "/v2/stp/user/groups", map[string]any{"name": "north"}, &g); code != 0 {
		t.Fatal(code)
	}
	var robots []*robot
	for i := range 6 {
		r := c.robot(t, i+1, g.ID)
		robots = append(robots, r)
		if i != 3 {
			defer r.online()()
		}
	}
	v := c.create(whitelists, map[string]any{"content": `{"mode":"replace","rows":[{"plate":"A1","enable":1}]}`,
		"targets": map[string]any{"group_ids": []int64{g.ID}}, "rollout": map[string]any{"canary": 1, "batch": 3, "max_failures": 0}})
	if v.Targets != 6 {
		t.Fatalf("%+v", v)
	}
	c.until(whitelists, v.ID, func(v changeView) bool { return v.Counts["staged"] == 5 })
	if r := c.put(whitelists + "/" + v.ID + "/apply"); len(r.Successes) != 6 {
		t.Errorf("%+v", r)
	}
	// The canary and two of the batch are done; the fourth board is away, so the rest waits.
	c.until(whitelists, v.ID, func(v changeView) bool { return v.Counts["used"] == 3 && v.Rollout.Released == 4 })
	for _, i := range []int{4, 5} {
		if verbs := robots[i].verbs(v.ID); slices.Contains(verbs, "apply") {
			t.Errorf("board %d got %v before its batch", i, verbs)
		}
	}
	if r := c.put(whitelists + "/" + v.ID + "/apply"); len(r.Successes) != 3 || len(r.Failures) != 3 {
		t.Errorf("applied again in the middle: %+v", r)
	}
	c.stop()
	c.start()
	c.until(whitelists, v.ID, func(v changeView) bool {
		return v.Rollout.Run == 1 && v.Rollout.State == "running" && v.Counts["used"] == 3
	})
	defer robots[3].online()()
	end := c.until(whitelists, v.ID, func(v changeView) bool { return v.Rollout.State == "done" })
	if end.Counts["used"] != 6 || end.Rollout.Used != 6 || end.Rollout.Failed != 0 {
		t.Errorf("%+v", end)
	}
	if verbs := robots[3].verbs(v.ID); verbs[0] != "stage" || !slices.Contains(verbs, "apply") {
		t.Errorf("the board that was away got %v", verbs)
	}
}

// A canary that fails stops the roll-out; apply again goes on with what is left.
func TestAFailingCanaryStops(t *testing.T) {
	c := startCloud(t, t.TempDir())
	var robots []*robot
	for i := range 5 {
		r := c.robot(t, i+1, 0)
		robots = append(robots, r)
		defer r.online()()
	}
	robots[0].set("apply", errcode.RequestFailed)
	v := c.create(whitelists, map[string]any{"content": `{"mode":"replace","rows":[]}`, "targets": map[string]any{"group_ids": []int{0}}, "rollout": map[string]any{"canary": 1, "batch": 2, "max_failures": "20%"}})
	c.put(whitelists + "/" + v.ID + "/apply")
	stopped := c.until(whitelists, v.ID, func(v changeView) bool { return v.Rollout.State == "stopped" })
	if stopped.Rollout.Released != 1 || stopped.Counts["failed"] != 1 || stopped.Rollout.Reason != "1 of 1 devices failed" {
		t.Errorf("%+v", stopped)
	}
	for _, r := range robots[1:] {
		for _, verb := range r.verbs(v.ID) {
			if verb != "stage" {
				t.Errorf("%s got %s", r.sn, verb)
			}
		}
	}
	robots[0].set("apply", 0)
	robots[4].set("apply", errcode.RequestFailed) // of five one may fail: it goes to the end
	c.put(whitelists + "/" + v.ID + "/apply")
	end := c.until(whitelists, v.ID, func(v changeView) bool { return v.Rollout.State != "running" && v.Rollout.Run == 2 })
	if end.Rollout.State != "done" || end.Counts["used"] != 4 || end.Counts["failed"] != 1 {
		t.Errorf("%+v", end)
	}
	// A board that leaves does not hold up the others.
	robots[4].set("apply", 0)
	if err := c.client().Unbind(t.Context(), robots[4].sn); err != nil {
		t.Fatal(err)
	}
	if r := c.put(whitelists + "/" + v.ID + "/apply"); len(r.Failures) != 5 || len(r.Successes) != 0 {
		t.Errorf("%+v", r)
	}
}

// A cancel in the middle of a roll-out ends it; boards that never heard of the
// change count as cancelled.
func TestCancelOfARollout(t *testing.T) {
	c := startCloud(t, t.TempDir())
	away := c.robot(t, 1, 0)
	near := c.robot(t, 2, 0)
	defer near.online()()
	v := c.create(whitelists, map[string]any{"content": `{"mode":"replace","rows":[]}`, "targets": map[string]any{"sns": []string{away.sn, near.sn}}, "rollout": map[string]any{"canary": 1}})
	c.until(whitelists, v.ID, func(v changeView) bool { return v.Counts["staged"] == 1 })
	c.put(whitelists + "/" + v.ID + "/apply") // the canary is the one that is away
	if r := c.put(whitelists + "/" + v.ID + "/cancel"); len(r.Successes) != 2 {
		t.Errorf("%+v", r)
	}
	c.until(whitelists, v.ID, func(v changeView) bool { return v.Counts["cancelled"] == 1 && v.Rollout.State == "cancelled" })
	defer away.online()()
	c.until(whitelists, v.ID, func(v changeView) bool { return v.Counts["cancelled"] == 2 })
	if verbs := away.verbs(v.ID); verbs[len(verbs)-1] != "cancel" {
		t.Errorf("%v", verbs)
	}
}

// A content that is too long for a message is uploaded as a file and fetched by
// the board, by an address that is its own.
func TestLargeContent(t *testing.T) {
	c := startCloud(t, t.TempDir())
	r := c.robot(t, 1, 0)
	var address string
	r.content = func(cmd wire.ChangeCommand) error { address = cmd.URL; return checkContent(cmd) }
	defer r.online()()
	var rows []string
	for i := range 5000 {
		rows = append(rows, fmt.Sprintf(`{"plate":"A%05d","enable":1}`, i))
	}
	text := `{"mode":"replace","rows":[` + strings.Join(rows, ",") + `]}`
	upload := func(body, key string) (int, []byte) {
		t.Helper()
		q, err := http.NewRequest(http.MethodPost, "http://"+c.s.http+"/v2/stp/user/files", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		q.Header.Set("Content-Type", "application/octet-stream")
		sum := md5.Sum([]byte(text))
		signature.SignRequestSum(q, sum[:], c.keyID, key, time.Now().Add(time.Minute))
		answer, err := http.DefaultClient.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		b, _ := io.ReadAll(answer.Body)
		return answer.StatusCode, b
	}
	if status, b := upload(text, "wrong"); status != 401 {
		t.Errorf("a wrong secret: %d %s", status, b)
	}
	if status, b := upload(text+" ", c.key); status != 401 {
		t.Errorf("another body than was signed: %d %s", status, b)
	}
	status, b := upload(text, c.key)
	var f struct{ File string }
	if err := json.Unmarshal(b, &f); err != nil || status != 200 {
		t.Fatalf("%d %s", status, b)
	}
	v := c.create(whitelists, map[string]any{"file": f.File, "targets": map[string]any{"sns": []string{r.sn}}})
	if v.Digest != f.File || v.SetDigest == "" {
		t.Errorf("%+v", v)
	}
	c.until(whitelists, v.ID, func(v changeView) bool { return v.Counts["staged"] == 1 })
	if !strings.HasPrefix(address, "http://"+c.s.http+"/v2/stp/contents/") {
		t.Fatalf("fetched from %q", address)
	}
	get := func(url, ranges string) (int, []byte) {
		t.Helper()
		q, err := http.NewRequest(http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if ranges != "" {
			q.Header.Set("Range", ranges)
		}
		answer, err := http.DefaultClient.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		b, _ := io.ReadAll(answer.Body)
		return answer.StatusCode, b
	}
	if status, b := get(address, "bytes=100-199"); status != 206 || string(b) != text[100:200] {
		t.Errorf("a range: %d %q", status, b)
	}
	for name, url := range map[string]string{
		"another board": strings.Replace(address, r.sn, "265e1040-00000002", 1), "no signature": address[:strings.Index(address, "&signature")],
		"a longer life": strings.Replace(address, "expires=", "expires=9", 1),
	} {
		if status, b := get(url, ""); status == 200 || bytes.Contains(b, []byte("A00001")) {
			t.Errorf("%s: %d", name, status)
		}
	}
	// The same content in a request is the same file.
	again := c.create(whitelists, map[string]any{"content": text, "targets": map[string]any{"sns": []string{r.sn}}})
	if again.Digest != v.Digest || again.SetDigest != v.SetDigest {
		t.Errorf("%+v", again)
	}
}

// What the board has and what was last applied there are compared.
func TestDrift(t *testing.T) {
	c := startCloud(t, t.TempDir())
	r := c.robot(t, 1, 0)
	stop := r.online()
	v := c.create(whitelists, map[string]any{"content": `{"mode":"replace","rows":[{"plate":"A1","enable":1}]}`, "targets": map[string]any{"sns": []string{r.sn}}})
	c.put(whitelists + "/" + v.ID + "/apply")
	c.until(whitelists, v.ID, func(v changeView) bool { return v.Counts["used"] == 1 })
	c.untilDevice(r.sn, func(d map[string]any) bool {
		expected, _ := d["expected_digest"].(map[string]any)
		return expected["whitelist"] == v.SetDigest && len(d["drift"].([]any)) == 0
	})
	stop()
	defer r.online()() // its birth tells another digest
	c.untilDevice(r.sn, func(d map[string]any) bool {
		drift, _ := d["drift"].([]any)
		return len(drift) == 1 && drift[0] == "whitelist"
	})
}

// With the policy on, what boards are staged is signed; a new key reaches them
// before it is used, and an old one goes.
func TestPolicyAndKeys(t *testing.T) {
	c := startCloud(t, t.TempDir())
	r := c.robot(t, 1, 0)
	defer r.online()()
	const policy = "/v2/stp/user/policy"
	type view struct {
		SignWhitelist bool `json:"sign_whitelist"`
		Revision      int
		Keys          []struct {
			KeyID     string `json:"key_id"`
			PublicKey string `json:"public_key"`
			Signs     bool
			Seed      string
		}
	}
	stage := func() *wire.Signature {
		t.Helper()
		v := c.create(whitelists, map[string]any{"content": `{"mode":"replace","rows":[]}`, "targets": map[string]any{"sns": []string{r.sn}}})
		c.until(whitelists, v.ID, func(v changeView) bool { return v.Counts["staged"] == 1 })
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.commands[len(r.commands)-1].Signature
	}
	if s := stage(); s != nil {
		t.Errorf("signed without a policy: %+v", s)
	}
	var p view
	if code := c.call("PUT", policy, map[string]any{"sign_whitelist": true}, &p); code != 0 || !p.SignWhitelist || len(p.Keys) != 1 || p.Keys[0].Seed != "" {
		t.Fatalf("%d %+v", code, p)
	}
	c.untilDevice(r.sn, func(d map[string]any) bool { return d["policy_revision"] == 1.0 })
	r.mu.Lock()
	body, err := r.keys.Open(r.sealed[len(r.sealed)-1])
	r.mu.Unlock()
	if err != nil || !body.Policy.SignWhitelist || len(body.Keys) != 1 || body.Broker.Password != r.body.Broker.Password {
		t.Errorf("%v: the board was not told the policy", err)
	}
	first := stage()
	keys, err := signed.ParseKeys(body.Keys)
	if err != nil || first == nil {
		t.Fatalf("%v %+v", err, first)
	}
	r.mu.Lock()
	last := r.commands[len(r.commands)-1]
	r.mu.Unlock()
	verifier := signed.Verifier{Keys: keys, Scopes: []string{r.sn}, Last: func(string, string) (uint64, error) { return 0, nil }, Now: time.Now}
	if _, err := verifier.Verify(signed.Header{Kind: "whitelist", Digest: last.Digest, Length: int64(len(last.Content)), Base: last.Base}, first); err != nil {
		t.Error(err)
	}
	// The base of a delta is signed too: a broker cannot take it away.
	delta := c.create(whitelists, map[string]any{"content": `{"mode":"delta","remove":["A1"]}`, "base": "sha256:" + strings.Repeat("9", 64), "targets": map[string]any{"sns": []string{r.sn}}})
	c.until(whitelists, delta.ID, func(v changeView) bool { return v.Counts["staged"] == 1 })
	r.mu.Lock()
	last = r.commands[len(r.commands)-1]
	r.mu.Unlock()
	of := signed.Header{Kind: "whitelist", Digest: last.Digest, Length: int64(len(last.Content)), Base: last.Base}
	if _, err := verifier.Verify(of, last.Signature); err != nil || last.Base != "sha256:"+strings.Repeat("9", 64) {
		t.Errorf("%q: %v", last.Base, err)
	}
	of.Base = ""
	if _, err := verifier.Verify(of, last.Signature); err == nil {
		t.Error("the base can be taken away")
	}
	if code := c.call("DELETE", policy+"/keys/"+p.Keys[0].KeyID, nil, nil); code != errcode.ParamsError {
		t.Errorf("deleting the key that signs: %d", code)
	}
	if code := c.call("POST", policy+"/keys", nil, &p); code != 0 || len(p.Keys) != 2 || !p.Keys[1].Signs {
		t.Fatalf("%d %+v", code, p)
	}
	second := stage()
	if second.KeyID != p.Keys[1].KeyID || second.Sequence <= first.Sequence {
		t.Errorf("%+v after %+v", second, first)
	}
	if code := c.call("DELETE", policy+"/keys/"+p.Keys[0].KeyID, nil, &p); code != 0 || len(p.Keys) != 1 {
		t.Errorf("%d %+v", code, p)
	}
	if code := c.call("DELETE", policy+"/keys/none", nil, nil); code != errcode.ParamsError {
		t.Errorf("an unknown key: %d", code)
	}
	again, err := c.client().Handshake(t.Context(), r.sn, r.keys)
	if err != nil || len(again.Keys) != 1 || again.Keys[0].KeyID != p.Keys[0].KeyID {
		t.Errorf("%+v %v", again.Keys, err)
	}
	// A board that was away when the policy changed hears it when it comes.
	c.untilDevice(r.sn, func(d map[string]any) bool { return d["policy_revision"] == 3.0 })
}

// A change that a board has refused keeps the reason when it is applied all the
// same: the board answers the apply with "does not exist", which tells nothing.
func TestARefusalKeepsItsReason(t *testing.T) {
	c := startCloud(t, t.TempDir())
	r := c.robot(t, 1, 0)
	defer r.online()()
	r.set("stage", errcode.ParamsError)
	v := c.create(configs, map[string]any{"content": `{"mode":"merge","config":{"camera":{"fps":0}}}`, "targets": map[string]any{"sns": []string{r.sn}}})
	c.until(configs, v.ID, func(v changeView) bool { return v.Counts["failed"] == 1 })
	c.put(configs + "/" + v.ID + "/apply")
	stopped := c.until(configs, v.ID, func(v changeView) bool { return v.Rollout.State == "stopped" && v.Counts["failed"] == 1 })
	want := r.sn + ": 1103 Request params error!"
	if stopped.Failure != want {
		t.Errorf("the failure is %q, want %q", stopped.Failure, want)
	}
	// The stage may be there twice: of the call, and of a birth beside it.
	got := func() bool { return slices.Contains(r.verbs(v.ID), "apply") }
	for deadline := time.Now().Add(time.Minute); !got() && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
	}
	if !got() {
		t.Fatalf("the board got %v", r.verbs(v.ID))
	}
	// A later change is answered after the apply, so that answer has been read.
	r.set("stage", 0)
	later := c.create(configs, map[string]any{"content": `{"mode":"merge","config":{}}`, "targets": map[string]any{"sns": []string{r.sn}}})
	c.until(configs, later.ID, func(v changeView) bool { return v.Counts["staged"] == 1 })
	var list struct {
		Results []struct {
			SN, State string
			Result    wire.ChangeResult
		}
	}
	if c.call("GET", configs+"/"+v.ID+"/devices", nil, &list); len(list.Results) != 1 || list.Results[0].State != "failed" || list.Results[0].Result.ErrorCode != int(errcode.ParamsError) {
		t.Errorf("%+v", list)
	}
	if _, page := c.page("en", ""); !strings.Contains(page, want) {
		t.Errorf("the page does not say %q:\n%s", want, page)
	}
}
