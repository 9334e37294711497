package binding

import (
	"testing"
	"time"

	"gatehouse/sync/errcode"
	"gatehouse/sync/wire"
)

const sn = "265e1040-85e01fb7"

func newKeys(t testing.TB) Keys {
	t.Helper()
	k, err := NewKeys()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestProof(t *testing.T) {
	k := newKeys(t)
	factory, _ := k.Public()
	now := time.Now()
	good := k.Proof(sn, "key", "bind-1", now)
	if err := good.Verify(sn, "key", factory, now); err != nil {
		t.Fatal(err)
	}
	stranger := newKeys(t).Proof(sn, "key", "bind-1", now)
	old := k.Proof(sn, "key", "bind-1", now.Add(-2*MaxSkew))
	changed := good
	_, changed.SealKey = newKeys(t).Public()
	for name, c := range map[string]struct {
		p       Proof
		sn, key string
	}{
		"another board's key": {stranger, sn, "key"},
		"another number":      {good, "265e1040-85e01fb8", "key"},
		"another AccessKey":   {good, sn, "other"},
		"an old proof":        {old, sn, "key"},
		"another seal key":    {changed, sn, "key"},
		"nothing":             {Proof{BindID: "x"}, sn, "key"},
	} {
		if err := c.p.Verify(c.sn, c.key, factory, now); errcode.From(err) == nil || errcode.From(err).Code != errcode.AuthSignatureError {
			t.Errorf("%s: %v, want 1004", name, err)
		}
	}
	h := k.Hello(sn, now)
	if err := h.Verify(factory, now); err != nil {
		t.Error(err)
	}
	h.SN = "265e1040-85e01fb8"
	if h.Verify(factory, now) == nil {
		t.Error("a hello for another number is taken")
	}
}

func TestSealedIsForThisBoardOnly(t *testing.T) {
	k := newKeys(t)
	_, sealKey := k.Public()
	body := wire.BindBody{AccountID: 7}
	body.Broker.URL, body.Broker.Password = "tcp://broker:1883", "secret"
	s, err := Seal(sealKey, body)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := k.Open(s); err != nil || got.AccountID != 7 || got.Broker != body.Broker {
		t.Errorf("%+v %v", got, err)
	}
	if _, err := newKeys(t).Open(s); err == nil {
		t.Error("another board can read it")
	}
	if _, err := Seal("00", body); err == nil {
		t.Error("sealed for no key")
	}
}

func TestAddress(t *testing.T) {
	for _, same := range [][2]string{{"http://Cloud:80/", "http://cloud"}, {"https://cloud:443", "https://cloud/"}, {"http://[::1]:8080", "http://[::1]:8080/"}} {
		if Address(same[0]) != Address(same[1]) {
			t.Errorf("%q: %s, %s", same, Address(same[0]), Address(same[1]))
		}
	}
	for _, other := range [][2]string{{"http://cloud", "https://cloud"}, {"http://cloud:8080", "http://cloud:8081"}, {"http://cloud/a", "http://cloud/b"}} {
		if Address(other[0]) == Address(other[1]) {
			t.Errorf("%q are the same", other)
		}
	}
}

func FuzzOpen(f *testing.F) {
	k := newKeys(f)
	f.Add("00")
	f.Add("zz")
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := k.Open(Sealed{text}); err == nil {
			t.Error("nonsense was opened")
		}
	})
}
