package board

import (
	"net/http"
	"net/http/httptest"
	"testing"

	bolt "go.etcd.io/bbolt"

	"gatehouse/sync/binding"
	"gatehouse/sync/errcode"
	"gatehouse/sync/store"
	"gatehouse/sync/wire"
)

// newCloud serves a fake cloud.
func newCloud(t *testing.T, c *fakeCloud) (url string, client binding.Client) {
	t.Helper()
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	return server.URL, binding.Client{URL: server.URL, KeyID: "key", Secret: "secret", HTTP: server.Client()}
}

func newState(t *testing.T) *State {
	t.Helper()
	s, err := OpenState(t.TempDir(), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func bindingOf(t *testing.T, s *State) Binding {
	t.Helper()
	b, err := s.Binding()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// list puts a plate into the whitelist.
func list(t *testing.T, s *State, plate string) {
	t.Helper()
	if _, err := s.Whitelist.Operate(wire.WhitelistOperator{OperatorType: "update_or_add", Records: []wire.WhitelistRecord{{Plate: plate, Enable: 1}}}); err != nil {
		t.Fatal(err)
	}
}

// A bind that another cloud refuses, or that finds none, leaves a bound board as
// it is: it goes on asking its own cloud, which keeps it.
func TestAFailedBindLeavesTheBinding(t *testing.T) {
	s := newState(t)
	home := &fakeCloud{}
	url, client := newCloud(t, home)
	if err := s.Bind(t.Context(), client, 0, ""); err != nil {
		t.Fatal(err)
	}
	list(t, s, "A1")
	other := &fakeCloud{refuse: errcode.DeviceNotExist}
	_, refusing := newCloud(t, other)
	gone := httptest.NewServer(nil)
	gone.Close()
	losing := &fakeCloud{drop: true}
	_, lost := newCloud(t, losing)
	for _, c := range []struct {
		name    string
		client  binding.Client
		pending bool // it is not known how it ended
	}{
		{"refused", refusing, false},
		{"not there", binding.Client{URL: gone.URL}, false},
		{"answer lost", lost, true},
	} {
		if err := s.Bind(t.Context(), c.client, 0, ""); err == nil {
			t.Fatalf("%s: it is bound", c.name)
		}
		b := bindingOf(t, s)
		if b.Cloud != url || b.Body == nil || b.asks() != url || (b.Pending != nil) != c.pending {
			t.Errorf("%s: %+v", c.name, b)
		}
		home.asked = 0
		if err := s.Agree(t.Context()); err != nil || home.asked != 1 || other.asked+losing.asked != 0 {
			t.Errorf("%s: %v, %d questions to its cloud, %d to others", c.name, err, home.asked, other.asked+losing.asked)
		}
		if b := bindingOf(t, s); b.account() != 7 || s.Whitelist.Len() != 1 {
			t.Errorf("%s: %+v, %d rows", c.name, b, s.Whitelist.Len())
		}
	}
}

// A first bind that fails leaves nothing to ask about, and what an earlier one
// left to be asked stays.
func TestAFailedFirstBind(t *testing.T) {
	s := newState(t)
	_, refusing := newCloud(t, &fakeCloud{refuse: errcode.AuthSignatureError})
	odd := httptest.NewServer(http.NotFoundHandler())
	defer odd.Close()
	gone := httptest.NewServer(nil)
	gone.Close()
	for _, c := range []binding.Client{refusing, {URL: odd.URL}, {URL: gone.URL}, {URL: "://"}} {
		if err := s.Bind(t.Context(), c, 0, ""); err == nil {
			t.Fatal("it is bound")
		}
		if b := bindingOf(t, s); b.asks() != "" {
			t.Errorf("%s: %+v", c.URL, b)
		}
	}
	url, lost := newCloud(t, &fakeCloud{drop: true})
	if err := s.Bind(t.Context(), lost, 0, ""); err == nil {
		t.Fatal("the answer was lost, and yet it is bound")
	}
	id := bindingOf(t, s).Pending.ID
	if err := s.Bind(t.Context(), refusing, 0, ""); err == nil {
		t.Fatal("it is bound")
	}
	if b := bindingOf(t, s); b.asks() != url || b.Pending.ID != id {
		t.Errorf("%+v", b)
	}
	if err := s.Agree(t.Context()); err != nil || bindingOf(t, s).Cloud != url {
		t.Errorf("%+v %v", bindingOf(t, s), err)
	}
}

// What the version before wrote of a binding under way is read as it was meant.
func TestAnOldPendingBinding(t *testing.T) {
	s := newState(t)
	for _, c := range []struct{ text, cloud, asks string }{
		{`{"cloud":"http://a","body":null,"pending":"p1"}`, "", "http://a"},
		{`{"cloud":"http://a","body":null,"pending":"restored","account":7}`, "http://a", "http://a"},
		{`{"cloud":"http://a","body":{"account_id":7}}`, "http://a", "http://a"},
	} {
		err := s.db.Update(func(tx *bolt.Tx) error { return store.Put(tx.Bucket(boardBucket), bindingKey, []byte(c.text)) })
		if err != nil {
			t.Fatal(err)
		}
		if b := bindingOf(t, s); b.Cloud != c.cloud || b.asks() != c.asks {
			t.Errorf("%s: %+v", c.text, b)
		}
	}
}
