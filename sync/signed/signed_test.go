package signed

import (
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"gatehouse/sync/errcode"
	"gatehouse/sync/wire"
)

const (
	sn     = "265e1040-85e01fb7"
	digest = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
)

func newKey(t testing.TB, seed byte) (string, ed25519.PrivateKey) {
	t.Helper()
	k := ed25519.NewKeyFromSeed([]byte(strings.Repeat(string(rune('a'+seed)), ed25519.SeedSize)))
	return hex.EncodeToString(k.Public().(ed25519.PublicKey)), k
}

var now = time.Unix(1_795_400_000, 0)

func verifier(t testing.TB, last uint64, list ...wire.Key) Verifier {
	t.Helper()
	keys, err := ParseKeys(list)
	if err != nil {
		t.Fatal(err)
	}
	return Verifier{Keys: keys, Scopes: []string{sn, GroupScope(7)}, Now: func() time.Time { return now },
		Last: func(string, string) (uint64, error) { return last, nil }}
}

// The bytes are fixed: other implementations sign the same ones.
func TestTextIsFixed(t *testing.T) {
	h := Header{Kind: "config", Scope: sn, Sequence: 5, Digest: digest, Length: 2, KeyID: "k1", NotBefore: 9}
	text, err := h.Text()
	want := "gatehouse/config/v1\n" + `{"digest":"` + digest + `","key_id":"k1","kind":"config","length":2,"not_before":9,"scope":"` + sn + `","sequence":5}`
	if err != nil || string(text) != want {
		t.Errorf("%s %v", text, err)
	}
	h.Base = digest
	if text, err := h.Text(); err != nil || string(text) != strings.Replace(want, "{", `{"base":"`+digest+`",`, 1) {
		t.Errorf("with a base: %s %v", text, err)
	}
	_, body, _ := strings.Cut(string(text), "\n")
	var m map[string]any
	if err := json.Unmarshal([]byte(body), &m); err != nil || len(m) != 7 {
		t.Errorf("%v %v", m, err)
	}
}

func TestVerify(t *testing.T) {
	public, private := newKey(t, 0)
	otherPublic, other := newKey(t, 1)
	key := wire.Key{KeyID: "k1", PublicKey: public}
	good := Header{Kind: "config", Scope: sn, Sequence: 5, Digest: digest, Length: 2, KeyID: "k1"}
	type verdict struct {
		code errcode.Code
		why  Refusal
	}
	for _, c := range []struct {
		name   string
		change func(*Header)
		key    ed25519.PrivateKey
		edit   func(*wire.Signature)
		kind   string
		base   string
		last   uint64
		want   verdict
	}{
		{name: "good", last: 4},
		{name: "for its group", change: func(h *Header) { h.Scope = GroupScope(7) }, last: 4},
		{name: "scope left out", edit: func(s *wire.Signature) { s.Scope = "" }, last: 4},
		{name: "another kind", kind: "whitelist", want: verdict{1004, Wrong}},
		{name: "another content", change: func(h *Header) { h.Digest = strings.Replace(h.Digest, "4", "5", 1) }, want: verdict{1004, Wrong}},
		{name: "another length", change: func(h *Header) { h.Length++ }, want: verdict{1004, Wrong}},
		{name: "another board's", change: func(h *Header) { h.Scope = "265e1040-85e01fb8" }, want: verdict{1004, Foreign}},
		{name: "another group's", change: func(h *Header) { h.Scope = GroupScope(8) }, want: verdict{1004, Foreign}},
		{name: "moved to the board", change: func(h *Header) { h.Scope = GroupScope(8) }, edit: func(s *wire.Signature) { s.Scope = sn }, want: verdict{1004, Wrong}},
		{name: "a delta on its base", change: func(h *Header) { h.Base = digest }, base: digest, last: 4},
		{name: "a base taken away", change: func(h *Header) { h.Base = digest }, want: verdict{1004, Wrong}},
		{name: "a base put to it", base: digest, want: verdict{1004, Wrong}},
		{name: "another base", change: func(h *Header) { h.Base = digest }, base: strings.Replace(digest, "4", "5", 1), want: verdict{1004, Wrong}},
		{name: "a base that is none", base: `","x":"`, want: verdict{1103, ""}},
		{name: "another key", key: other, want: verdict{1004, Wrong}},
		{name: "an unknown key", change: func(h *Header) { h.KeyID = "k9" }, want: verdict{1004, UnknownKey}},
		{name: "a raised sequence", edit: func(s *wire.Signature) { s.Sequence++ }, want: verdict{1004, Wrong}},
		{name: "an equal sequence", last: 5, want: verdict{1004, Stale}},
		{name: "an older sequence", last: 6, want: verdict{1004, Stale}},
		{name: "wrong and old", key: other, last: 6, want: verdict{1004, Wrong}}, // the signature is looked at first
		{name: "too early", change: func(h *Header) { h.NotBefore = now.Unix() + 1 }, want: verdict{1004, Early}},
		{name: "old and early", change: func(h *Header) { h.NotBefore = now.Unix() + 1 }, last: 5, want: verdict{1004, Stale}},
		{name: "no hex", edit: func(s *wire.Signature) { s.Sig = "zz" }, want: verdict{1004, Wrong}},
		{name: "no sequence", edit: func(s *wire.Signature) { s.Sequence = 0 }, want: verdict{1103, ""}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, k := good, private
			if c.change != nil {
				c.change(&h)
			}
			if c.key != nil {
				k = c.key
			}
			s, err := Sign(h, k)
			if err != nil {
				t.Fatal(err)
			}
			if c.edit != nil {
				c.edit(s)
			}
			kind := "config"
			if c.kind != "" {
				kind = c.kind
			}
			got, err := verifier(t, c.last, key).Verify(Header{Kind: kind, Digest: digest, Length: 2, Base: c.base}, s)
			if c.want.code == 0 {
				if err != nil || got.Sequence != 5 {
					t.Errorf("%+v %v", got, err)
				}
				return
			}
			if e := errcode.From(err); e == nil || e.Code != c.want.code || !strings.Contains(e.Detail, string(c.want.why)) {
				t.Errorf("%v, want %d %s", err, c.want.code, c.want.why)
			}
		})
	}
	// Rotation: with both keys both count, then the old one no more.
	for id, k := range map[string]ed25519.PrivateKey{"k1": private, "k2": other} {
		h := good
		h.KeyID = id
		s, err := Sign(h, k)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := verifier(t, 4, key, wire.Key{KeyID: "k2", PublicKey: otherPublic, Use: UseChanges}).Verify(Header{Kind: "config", Digest: digest, Length: 2}, s); err != nil {
			t.Error(err)
		}
		_, err = verifier(t, 4, wire.Key{KeyID: "k2", PublicKey: otherPublic}).Verify(Header{Kind: "config", Digest: digest, Length: 2}, s)
		if (err == nil) != (id == "k2") {
			t.Errorf("%s after the rotation: %v", id, err)
		}
	}
	if _, err := verifier(t, 0, key).Verify(Header{Kind: "config", Digest: digest, Length: 2}, nil); errcode.From(err).Code != errcode.AuthSignatureError {
		t.Errorf("no signature: %v", err)
	}
}

func TestParseKeys(t *testing.T) {
	public, _ := newKey(t, 0)
	for _, c := range []struct {
		list []wire.Key
		n    int // -1: an error
	}{
		{nil, 0},
		{[]wire.Key{{KeyID: "a", PublicKey: public}, {KeyID: "r", PublicKey: "release", Use: "upgrade"}}, 1},
		{[]wire.Key{{KeyID: "a", PublicKey: public[2:]}}, -1},
		{[]wire.Key{{KeyID: "a", PublicKey: public}, {KeyID: "a", PublicKey: public}}, -1},
		{[]wire.Key{{PublicKey: public}}, -1},
	} {
		keys, err := ParseKeys(c.list)
		if (err != nil) != (c.n < 0) || err == nil && len(keys) != c.n {
			t.Errorf("%+v: %v %v", c.list, keys, err)
		}
	}
}

// Whatever comes, nothing but what was signed passes.
func FuzzVerify(f *testing.F) {
	public, private := newKey(f, 0)
	s, err := Sign(Header{Kind: "config", Scope: sn, Sequence: 5, Digest: digest, Length: 2, KeyID: "k1"}, private)
	if err != nil {
		f.Fatal(err)
	}
	good, _ := json.Marshal(s)
	f.Add(good, "config", digest, int64(2), "")
	f.Add([]byte(`{"key_id":"k1","sequence":6,"sig":""}`), "config", digest, int64(2), digest)
	f.Add([]byte(`[]`), "config\n", "sha256:", int64(-1), `"`)
	v := verifier(f, 4, wire.Key{KeyID: "k1", PublicKey: public})
	f.Fuzz(func(t *testing.T, text []byte, kind, of string, length int64, base string) {
		got, err := ParseSignature(text)
		if err != nil {
			return
		}
		h, err := v.Verify(Header{Kind: kind, Digest: of, Length: length, Base: base}, got)
		if err == nil && (h != Header{Kind: "config", Scope: sn, Sequence: 5, Digest: digest, Length: 2, KeyID: "k1"}) {
			t.Errorf("%+v was taken", h)
		}
	})
}
