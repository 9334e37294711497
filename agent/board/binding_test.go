package board

import (
	"net/http"
	"net/http/httptest"
	"strings"
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

// An account of another cloud is another owner, though its number is the same:
// it takes neither rows nor waiting events over. The same cloud at another
// address is the same owner.
func TestTheOwnerIsCloudAndAccount(t *testing.T) {
	for _, c := range []struct {
		name, id, otherID string
		kept              bool
	}{
		{"another cloud", "a", "b", false},
		{"one cloud at two addresses", "a", "a", true},
		{"clouds that tell no id", "", "", false},
		{"a cloud that tells none any more, elsewhere", "a", "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := open(t, t.TempDir())
			defer b.Close()
			first, second := &fakeCloud{id: c.id}, &fakeCloud{id: c.otherID}
			_, one := newCloud(t, first)
			_, two := newCloud(t, second)
			bind := func(client binding.Client) {
				t.Helper()
				if err := b.Bind(t.Context(), client, 0, ""); err != nil {
					t.Fatal(err)
				}
			}
			bind(one)
			list(t, b.state, "A1")
			before := b.account()
			bind(two)
			if rows := b.state.Whitelist.Len(); (rows == 1) != c.kept || (b.account() == before) != c.kept || b.account() == 0 {
				t.Errorf("%d rows, events of %d are marked %d", rows, before, b.account())
			}
			if bound := bindingOf(t, b.state); bound.Cloud != two.URL || bound.account() != 7 {
				t.Errorf("%+v", bound)
			}
			bind(one) // and back: what waited for the first is its own again
			if b.account() != before {
				t.Errorf("the mark was %d and is %d", before, b.account())
			}
		})
	}
}

// A board that was bound before clouds told an id keeps what it has, and the
// mark of its waiting events, when its cloud tells one; then it knows the cloud
// elsewhere too, also when its database is lost.
func TestAnOldBindingLearnsItsCloud(t *testing.T) {
	dir := t.TempDir()
	s, err := OpenState(dir, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { s.Close() }()
	cloud := &fakeCloud{id: "a", account: 7}
	url, _ := newCloud(t, cloud)
	_, moved := newCloud(t, cloud)
	if err := s.setBinding(Binding{Cloud: url, Body: &wire.BindBody{AccountID: 7}}); err != nil {
		t.Fatal(err)
	}
	list(t, s, "A1")
	check := func(when string) {
		t.Helper()
		if b := bindingOf(t, s); b.mark() != 7 || b.Body == nil || b.Body.CloudID != "a" || s.Whitelist.Len() != 1 {
			t.Errorf("%s: %+v, %d rows", when, b, s.Whitelist.Len())
		}
	}
	if err := s.Agree(t.Context()); err != nil {
		t.Fatal(err)
	}
	check("asked")
	if err := s.db.Update(func(tx *bolt.Tx) error { return tx.Bucket(boardBucket).Put(bindingKey, []byte("damaged")) }); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if s, err = OpenState(dir, "", nil); err != nil {
		t.Fatal(err)
	}
	if b := bindingOf(t, s); b.Body != nil || b.mark() != 7 {
		t.Errorf("%+v", b)
	}
	if err := s.Bind(t.Context(), moved, 0, ""); err != nil {
		t.Fatal(err)
	}
	check("bound elsewhere")
}

// Only the cloud that a board is bound to can take it out of its account; a
// board that belongs to nobody loses nothing.
func TestUnbindAtAnotherCloud(t *testing.T) {
	b := open(t, t.TempDir())
	defer b.Close()
	home := &fakeCloud{}
	url, client := newCloud(t, home)
	stranger := &fakeCloud{}
	_, other := newCloud(t, stranger)
	list(t, b.state, "A1")
	if err := b.Unbind(t.Context(), other); err != nil || b.state.Whitelist.Len() != 1 {
		t.Errorf("not bound: %v, %d rows", err, b.state.Whitelist.Len())
	}
	if err := b.Bind(t.Context(), client, 0, ""); err != nil {
		t.Fatal(err)
	}
	for _, stranger.account = range []int64{0, 7} { // "not bound", and "done"
		err := b.Unbind(t.Context(), other)
		if errcode.From(err) == nil || errcode.From(err).Code != errcode.ParamsError || !strings.Contains(err.Error(), "the board is bound to "+url) {
			t.Errorf("%v", err)
		}
		if bindingOf(t, b.state).account() != 7 || b.state.Whitelist.Len() != 1 {
			t.Error("it is cleared")
		}
	}
	client.URL += "/" // the same address
	if err := b.Unbind(t.Context(), client); err != nil || home.account != 0 || b.account() != 0 || b.state.Whitelist.Len() != 0 {
		t.Errorf("%v, at the cloud account %d, here %d", err, home.account, b.account())
	}
	if err := b.Unbind(t.Context(), client); err != nil {
		t.Errorf("unbound twice: %v", err)
	}
}
