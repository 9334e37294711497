package board

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/configs"
	"gatehouse/sync/audit"
	"gatehouse/sync/change"
	"gatehouse/sync/errcode"
	"gatehouse/sync/outbox"
	"gatehouse/sync/signed"
	"gatehouse/sync/wire"
)

// account is one whose policy asks for signatures, with a key.
func account(id int64, seed string, policy bool) (wire.BindBody, ed25519.PrivateKey) {
	k := ed25519.NewKeyFromSeed([]byte(strings.Repeat(seed, ed25519.SeedSize)))
	b := wire.BindBody{AccountID: id, GroupID: 3, Keys: []wire.Key{{KeyID: seed, PublicKey: hex.EncodeToString(k.Public().(ed25519.PublicKey)), Use: signed.UseChanges}}}
	b.Broker.URL = "tcp://127.0.0.1:1"
	b.Policy.SignConfig = policy
	return b, k
}

const rename = `{"mode":"merge","config":{"device":{"name":"%s"}}}`

// stage makes the body of a stage command, signed where there is a key.
func stage(t *testing.T, id, kind, content, keyID string, key ed25519.PrivateKey, scope string, sequence uint64) string {
	t.Helper()
	c := wire.ChangeCommand{OperatorType: wire.VerbStage, ChangeID: id, Content: content, Digest: change.Digest([]byte(content))}
	if key != nil {
		var err error
		c.Signature, err = signed.Sign(signed.Header{Kind: kind, Scope: scope, Sequence: sequence, Digest: c.Digest, Length: int64(len(content)), KeyID: keyID}, key)
		if err != nil {
			t.Fatal(err)
		}
	}
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The account's policy of the binding decides; a rotation takes the old key
// away; an account that could not change anything any more is not taken over.
func TestThePolicyOfTheBinding(t *testing.T) {
	b := open(t, t.TempDir())
	defer b.Close()
	expect := func(what, body string, want errcode.Code) {
		t.Helper()
		if _, code := order(t, b, "config", what, body); code != want {
			t.Errorf("%s: %d, want %d", what, code, want)
		}
	}
	body, key := account(7, "a", true)
	if err := b.state.adopt("http://cloud", body); err != nil {
		t.Fatal(err)
	}
	sn, group := b.state.SN(), signed.GroupScope(3)
	expect("unsigned", stage(t, "c1", "config", fmt.Sprintf(rename, "x"), "", nil, "", 0), errcode.AuthSignatureError)
	expect("signed", stage(t, "c2", "config", fmt.Sprintf(rename, "x"), "a", key, sn, 1), 0)
	expect("for the group", stage(t, "c3", "config", fmt.Sprintf(rename, "y"), "a", key, group, 1), 0)
	expect("for another group", stage(t, "c4", "config", fmt.Sprintf(rename, "y"), "a", key, signed.GroupScope(4), 9), errcode.AuthSignatureError)
	if _, code := order(t, b, "whitelist", "w", stage(t, "w1", "whitelist", `{"mode":"replace","rows":[{"plate":"A1","enable":1}]}`, "", nil, "", 0)); code != 0 {
		t.Errorf("a whitelist, for which the policy is off: %d", code)
	}
	rotated, newKey := account(7, "b", true)
	if err := b.state.adopt("http://cloud", rotated); err != nil {
		t.Fatal(err)
	}
	expect("the old key", stage(t, "c5", "config", fmt.Sprintf(rename, "z"), "a", key, sn, 5), errcode.AuthSignatureError)
	expect("the new key", stage(t, "c6", "config", fmt.Sprintf(rename, "z"), "b", newKey, sn, 6), 0)
	list, err := audit.List(b.state.db, 100)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for _, e := range list {
		seen[e.What]++
	}
	if seen["refused"] != 3 || seen["bound"] != 1 || seen["keys"] != 1 {
		t.Errorf("the audit: %v", seen)
	}
	locked, _ := account(7, "b", true)
	locked.Keys = nil
	if err := b.state.adopt("http://cloud", locked); errcode.From(err).Code != errcode.ParamsError {
		t.Errorf("a policy without keys: %v", err)
	}
	// Another account takes nothing over, the old one's staged changes least of all.
	other, _ := account(8, "c", false)
	if err := b.state.adopt("http://cloud", other); err != nil {
		t.Fatal(err)
	}
	if states, err := b.engine.States(); err != nil || len(states) != 0 {
		t.Errorf("%+v %v", states, err)
	}
}

// A board whose state database is gone knows who it is, where it was bound and
// whose events it has.
func TestIdentitySurvivesTheDatabase(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir)
	body, _ := account(7, "a", false)
	if err := b.state.adopt("http://127.0.0.1:1", body); err != nil {
		t.Fatal(err)
	}
	sn, key, before := b.state.SN(), b.state.PublicKey(), b.account()
	b.Close()
	if err := os.WriteFile(filepath.Join(dir, "state.db"), []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	b = open(t, dir)
	bound, err := b.state.Binding()
	if err != nil || b.state.SN() != sn || b.state.PublicKey() != key || bound.asks() != "http://127.0.0.1:1" || bound.Body != nil || bound.account() != 7 || b.account() != before {
		t.Errorf("%s, %+v %v", b.state.SN(), bound, err)
	}
	list, err := b.outbox.List(10)
	if err != nil || len(list) != 1 || list[0].Name != wire.NameFault || !strings.Contains(string(list[0].Payload), "set aside") {
		t.Errorf("%+v %v", list, err)
	}
	b.Close()
	// Both gone: somebody new, and no crash loop.
	for _, name := range []string{"state.db", identityName} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("garbage"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b = open(t, dir)
	defer b.Close()
	if b.state.SN() == sn || len(b.state.Damages()) == 0 {
		t.Errorf("%s %v", b.state.SN(), b.state.Damages())
	}
}

// Changes wait for a maintenance window, whitelists not unless it says so.
func TestMaintenanceWindow(t *testing.T) {
	c := configs.Default()
	at := time.Now().Add(2 * time.Hour)
	c.Maintenance.Windows = []configs.Window{{From: at.Format("15:04"), To: at.Add(time.Hour).Format("15:04")}}
	b, err := Open(c, t.TempDir(), "gatehouse-vision", "test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for kind, content := range map[string]string{"config": fmt.Sprintf(rename, "x"), "whitelist": `{"mode":"replace","rows":[{"plate":"A1","enable":1}]}`} {
		if answer, code := order(t, b, kind, "1", stage(t, "c1", kind, content, "", nil, "", 0)); code != 0 {
			t.Fatalf("%s: %d %+v", kind, code, answer)
		}
		answer, code := order(t, b, kind, "2", `{"operator_type":"apply","change_id":"c1"}`)
		r, ok := answer.(wire.ChangeReport)
		if !ok || code != 0 || (r.Step == change.StepWaiting) != (kind == "config") {
			t.Errorf("%s: %d %+v", kind, code, answer)
		}
	}
	answer, code := order(t, b, "config", "3", `{"operator_type":"query","change_id":""}`)
	if list, ok := answer.(wire.ChangeList); !ok || code != 0 || len(list.Changes) != 1 || list.Changes[0].Reason != "no maintenance window is open" {
		t.Errorf("%d %+v", code, answer)
	}
}

// What was acknowledged over the connection before is no proof for a config on trial.
func TestReachedOverTheNewConnectionOnly(t *testing.T) {
	c := configs.Default()
	c.MQTT.Broker = "tcp://127.0.0.1:1"
	b, err := Open(c, t.TempDir(), "gatehouse-vision", "test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	dial := func() {
		b.mu.Lock()
		b.dialled = b.config()
		b.mu.Unlock()
	}
	acknowledged := func() {
		t.Helper()
		id, err := b.outbox.Put(t.Context(), outbox.Event{Name: "x", Payload: []byte(`{}`)})
		if err == nil {
			_, err = b.outbox.Ack(id.Boot, [][2]uint64{{id.Seq, id.Seq}}, false)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	reached := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		return b.Reached(ctx)
	}
	dial()
	b.onState(nil)
	next := c
	next.MQTT.Layout = "old"
	b.PutInForce(next)
	acknowledged()
	if reached() == nil {
		t.Error("the connection before counts")
	}
	dial()
	acknowledged()
	if reached() == nil {
		t.Error("a connection that is being made counts")
	}
	b.onState(nil)
	if reached() == nil {
		t.Error("nothing was acknowledged over the new one")
	}
	acknowledged()
	if err := reached(); err != nil {
		t.Error(err)
	}
}
