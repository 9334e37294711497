package change

import (
	"crypto/ed25519"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/sync/audit"
	"gatehouse/sync/errcode"
	"gatehouse/sync/signed"
	"gatehouse/sync/wire"
)

func signingKey(seed string) (wire.Key, ed25519.PrivateKey) {
	k := ed25519.NewKeyFromSeed([]byte(strings.Repeat(seed, ed25519.SeedSize)))
	return wire.Key{KeyID: seed, PublicKey: hex.EncodeToString(k.Public().(ed25519.PublicKey)), Use: signed.UseChanges}, k
}

// With the policy on, what is not signed, not newer or not meant for this board
// is refused with 1004, put into the audit and reported; older contents cannot
// be applied over newer ones.
func TestSignaturePolicy(t *testing.T) {
	public, private := signingKey("a")
	keys, err := signed.ParseKeys([]wire.Key{public})
	if err != nil {
		t.Fatal(err)
	}
	trust := Trust{Keys: keys, Scopes: []string{"sn", signed.GroupScope(7)}}
	k := &fake{name: "fake", steps: []Step{inside(nil)}}
	path := filepath.Join(t.TempDir(), "db")
	now := time.Unix(1_795_400_000, 0)
	o := Options{Trust: func(string) Trust { return trust }, Now: func() time.Time { return now }}
	b := startWith(t, path, o, k)
	stage := func(id, scope string, sequence uint64) errcode.Code {
		t.Helper()
		c := wire.ChangeCommand{OperatorType: wire.VerbStage, ChangeID: id, Content: content, Digest: Digest([]byte(content))}
		if sequence > 0 {
			s, err := signed.Sign(signed.Header{Kind: "fake", Scope: scope, Sequence: sequence, Digest: c.Digest, Length: int64(len(content)), KeyID: "a"}, private)
			if err != nil {
				t.Fatal(err)
			}
			c.Signature = s
		}
		_, code := b.send("fake", c)
		return code
	}
	expect := func(what string, got, want errcode.Code) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %d, want %d", what, got, want)
		}
	}
	const refused = errcode.AuthSignatureError
	expect("unsigned, policy off", stage("u1", "", 0), 0)
	expect("signed, policy off", stage("s5", "sn", 5), 0)
	expect("older, policy off", stage("s4", "sn", 4), refused)
	trust.Required = true
	expect("unsigned", stage("u2", "", 0), refused)
	expect("equal", stage("e5", "sn", 5), refused)
	expect("another's", stage("x", "other", 9), refused)
	expect("newer", stage("s6", "sn", 6), 0)
	expect("the group has its own count", stage("g1", signed.GroupScope(7), 1), 0)
	// Reported up, but not as often as somebody likes.
	n := 0
	for _, r := range b.reports {
		if r.Result != nil && r.Result.ErrorCode == int(refused) {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d refusals reported", n)
	}
	b.close() // the count survives
	b = startWith(t, path, o, k)
	defer b.close()
	delta := wire.ChangeCommand{OperatorType: wire.VerbStage, ChangeID: "d", Content: content, Digest: Digest([]byte(content)), Base: Digest([]byte("a set"))}
	delta.Signature, err = signed.Sign(signed.Header{Kind: "fake", Scope: "sn", Sequence: 7, Digest: delta.Digest, Length: int64(len(content)), Base: delta.Base, KeyID: "a"}, private)
	if err != nil {
		t.Fatal(err)
	}
	stripped := delta
	stripped.Base = ""
	_, code := b.send("fake", stripped)
	expect("a delta without its base", code, refused)
	_, code = b.send("fake", delta)
	expect("a delta as it was signed", code, 0)
	expect("again after a restart", stage("e6", "sn", 6), refused)
	apply := func(id string) errcode.Code {
		_, code := b.send("fake", wire.ChangeCommand{OperatorType: wire.VerbApply, ChangeID: id})
		return code
	}
	expect("apply the newer one", apply("s6"), 0)
	expect("then the older one", apply("s5"), refused)
	expect("staged unsigned before the policy came", apply("u1"), refused)
	expect("the group's", apply("g1"), 0)

	list, err := audit.List(b.db, 100)
	if err != nil || len(list) != 8 {
		t.Errorf("%d entries in the audit, %v: %+v", len(list), err, list)
	}
	if e := list[len(list)-1]; e.What != "refused" || e.ChangeID != "s4" || e.Code != int(refused) || !strings.Contains(e.Detail, "not newer") {
		t.Errorf("%+v", e)
	}
}

// A signed change that was not kept, for want of room or because it cannot be
// fetched, may come again as it was; nothing else with its sequence may, and
// nothing may twice.
func TestASignedChangeThatWasNotKeptMayComeAgain(t *testing.T) {
	public, private := signingKey("a")
	keys, err := signed.ParseKeys([]wire.Key{public})
	if err != nil {
		t.Fatal(err)
	}
	var there atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !there.Load() {
			w.WriteHeader(http.StatusGone)
			return
		}
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(content))
	}))
	defer server.Close()
	k := &fake{name: "fake", steps: []Step{inside(nil)}}
	o := Options{Trust: func(string) Trust { return Trust{Required: true, Keys: keys, Scopes: []string{"sn"}} }, Client: server.Client()}
	b := startWith(t, filepath.Join(t.TempDir(), "db"), o, k)
	defer b.close()
	stage := func(id, url, text string, sequence uint64) errcode.Code {
		t.Helper()
		c := wire.ChangeCommand{OperatorType: wire.VerbStage, ChangeID: id, Digest: Digest([]byte(text))}
		if c.URL, c.Length = url, int64(len(text)); url == "" {
			c.Content = text
		}
		c.Signature, err = signed.Sign(signed.Header{Kind: "fake", Scope: "sn", Sequence: sequence, Digest: c.Digest, Length: int64(len(text)), KeyID: "a"}, private)
		if err != nil {
			t.Fatal(err)
		}
		_, code := b.send("fake", c)
		return code
	}
	expect := func(what string, got, want errcode.Code) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %d, want %d", what, got, want)
		}
	}
	const refused = errcode.AuthSignatureError
	gone := func(id string) {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
			if _, code := b.send("fake", wire.ChangeCommand{OperatorType: wire.VerbQuery, ChangeID: id}); code == errcode.WhitelistNotExist {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s is still there", id)
			}
		}
	}
	expect("to be fetched", stage("f", server.URL, content, 5), 0)
	gone("f")
	expect("another content with its sequence", stage("f", "", `{"x":2}`, 5), refused)
	expect("an older one", stage("f", "", content, 4), refused)
	there.Store(true)
	expect("again", stage("f", server.URL, content, 5), 0)
	expect("once more under another id", stage("g", server.URL, content, 5), refused)
	b.until("f", wire.StateStaged)
	there.Store(false)
	expect("one that is overtaken", stage("o", server.URL, content, 6), 0)
	expect("by this one", stage("n", "", content, 7), 0)
	gone("o")
	expect("the overtaken one again", stage("o", "", content, 6), refused)

	for i := range maxStaged - 2 {
		expect("fill", stage(fmt.Sprint("n", i), "", content, uint64(10+i)), 0)
	}
	expect("without room", stage("r", "", content, 100), errcode.RequestFailed)
	b.do("cancel", "n", "")
	expect("with room", stage("r", "", content, 100), 0)
	b.do("cancel", "r", "")
	expect("a cancelled one under another id", stage("s", "", content, 100), refused)
	k.check = errcode.Param("/rows/0", "is wrong")
	expect("a wrong content", stage("w", "", content, 101), errcode.ParamsError)
	k.check = nil
	expect("the same once the board takes it", stage("w", "", content, 101), 0)
}

// An apply that waited and is refused then, since the policy came on meanwhile,
// says so with its code and stands in the audit.
func TestARefusalAfterAWaitIsAudited(t *testing.T) {
	var busy, required atomic.Bool
	busy.Store(true)
	k := &fake{name: "fake", steps: []Step{inside(nil)}}
	b := startWith(t, filepath.Join(t.TempDir(), "db"), Options{
		Trust: func(string) Trust { return Trust{Required: required.Load(), Scopes: []string{"sn"}} },
		Hold: func() string {
			if busy.Load() {
				return "a vehicle is under the barrier"
			}
			return ""
		}}, k)
	defer b.close()
	b.do("stage", "c1", content)
	if r, code := b.send("fake", wire.ChangeCommand{OperatorType: wire.VerbApply, ChangeID: "c1"}); code != 0 || r.Step != StepWaiting {
		t.Fatalf("%d %+v", code, r)
	}
	required.Store(true)
	busy.Store(false)
	var r wire.ChangeReport
	for deadline := time.Now().Add(30 * time.Second); r.Result == nil; time.Sleep(time.Millisecond) {
		if r = b.until("c1", wire.StateStaged); time.Now().After(deadline) {
			t.Fatalf("%+v", r)
		}
	}
	if r.Result.ErrorCode != int(errcode.AuthSignatureError) || !strings.HasPrefix(r.Result.ErrorMessage, errcode.AuthSignatureError.Message()) {
		t.Errorf("%+v", r.Result)
	}
	list, err := audit.List(b.db, 10)
	if err != nil || len(list) != 1 || list[0].ChangeID != "c1" || list[0].Kind != "fake" || list[0].Code != int(errcode.AuthSignatureError) {
		t.Errorf("%+v %v", list, err)
	}
}
