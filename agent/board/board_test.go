package board

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"gatehouse/configs"
	"gatehouse/hal/barrier"
	"gatehouse/sync/binding"
	"gatehouse/sync/errcode"
	"gatehouse/sync/store"
	"gatehouse/sync/wire"
	"gatehouse/vision/link"
)

func TestMain(m *testing.M) {
	store.RunCheckIfAsked()
	if os.Getenv(fakeVisionEnv) != "" {
		fakeVision()
		return
	}
	goleak.VerifyTestMain(m)
}

func open(t *testing.T, dir string) *Board {
	t.Helper()
	b, err := Open(configs.Default(), dir, "gatehouse-vision", "test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// order carries a command out as if it came over MQTT.
func order(t *testing.T, b *Board, name, id, body string) (any, errcode.Code) {
	t.Helper()
	answer, refusal := ask(t, b, name, id, body)
	if refusal != nil {
		return answer, refusal.Code
	}
	return answer, 0
}

// ask is order with the whole refusal.
func ask(t *testing.T, b *Board, name, id, body string) (any, *errcode.Error) {
	t.Helper()
	cmd, err := wire.ParseCommand(name, []byte(`{"id":"`+id+`","payload":{"body":`+body+`}}`))
	if err != nil {
		t.Fatal(err)
	}
	answer, err := b.carryOut(t.Context(), "device/x/message/down/"+name, cmd)
	return answer, errcode.From(err)
}

func TestCommands(t *testing.T) {
	b := open(t, t.TempDir())
	defer b.Close()
	const pulse = `{"io":0,"value":2,"delay":500}`
	for _, c := range []struct {
		name, id, body string
		code           errcode.Code
		opened         int
	}{
		{"gpio_out", "1", pulse, 0, 1},
		{"gpio_out", "1", `{"io":0, "value":2, "delay":500}`, 0, 1}, // delivered again: no second effect
		{"gpio_out", "2", pulse, 0, 2},
		{"gpio_out", "3", `{"value":2}`, errcode.ParamsError, 2},
		{"gpio_out", "4", `{"io":1,"value":2}`, 0, 2},
		{"gate_direct_open", "5", `{}`, 0, 3},
		{"ivs_trigger", "6", `{}`, errcode.RequestFailed, 3}, // no camera
		{"white_list_operator", "7", `{"operator_type":"update_or_add","dldb_rec":{"plate":"A1","enable":1}}`, 0, 3},
		{"white_list_operator", "8", `{"operator_type":"delete"}`, errcode.ParamsError, 3},
		{"whitelist", "9", `{"operator_type":"apply","change_id":"c"}`, errcode.WhitelistNotExist, 3},
		{"config", "10", `{"operator_type":"apply","change_id":"c"}`, errcode.ConfigNotExist, 3},
		{"upgrade", "10", `{"operator_type":"apply","change_id":"c"}`, errcode.NotSupported, 3},
		{"bind", "13", `{}`, errcode.DeviceNotBound, 3},
		{"set_cloud_ctrl", "11", `{}`, errcode.NotSupported, 3},
	} {
		if _, code := order(t, b, c.name, c.id, c.body); code != c.code || b.gate.Status().Opened != c.opened {
			t.Errorf("%s %s: code %d, opened %d times; want %d, %d", c.name, c.body, code, b.gate.Status().Opened, c.code, c.opened)
		}
	}
	if n := b.state.Whitelist.Len(); n != 1 {
		t.Errorf("%d rows", n)
	}
}

// A triggered recognition is looked at, not acted on; a passage opens.
func TestATriggerDoesNotOpen(t *testing.T) {
	b := open(t, t.TempDir())
	defer b.Close()
	if _, code := order(t, b, "white_list_operator", "1", `{"operator_type":"update_or_add","dldb_rec":{"plate":"A1","enable":1}}`); code != 0 {
		t.Fatal(code)
	}
	for _, c := range []struct {
		trigger int
		opened  bool
	}{{wire.TriggerSoftware, false}, {wire.TriggerVideo, true}} {
		b.onResult(&link.Result{Trigger: c.trigger, Plates: []link.Plate{{Text: "A1", Score: 1}}, CaptureMonoNS: monotonic()})
		d := <-b.results
		if d.decision.Opened != c.opened || (b.barrier.Position() == barrier.Opened) != c.opened {
			t.Errorf("trigger %d: %+v", c.trigger, d.decision)
		}
		m := b.message(d)
		if got := len(m.AlarmInfoPlate.Result.PlateResult.GioOuts) == 1; got != c.opened {
			t.Errorf("gioouts %v", m.AlarmInfoPlate.Result.PlateResult.GioOuts)
		}
	}
}

// What an unbound board sees belongs to nobody and is not kept; bound, it is,
// with its pictures and the account's mark.
func TestEventsBelongToAnAccount(t *testing.T) {
	b := open(t, t.TempDir())
	defer b.Close()
	see := func() {
		b.onResult(&link.Result{Trigger: wire.TriggerVideo, Plates: []link.Plate{{Text: "A1", Score: 1}}, Full: []byte("jpeg")})
		b.storeOne(<-b.results)
	}
	see()
	if s := b.outbox.Stats(); s.LastSeq != 0 {
		t.Errorf("%+v", s)
	}
	if err := b.state.setBinding(Binding{Body: &wire.BindBody{AccountID: 7}}); err != nil {
		t.Fatal(err)
	}
	see()
	list, err := b.outbox.List(10)
	if err != nil || len(list) != 1 || list[0].Account != 7 || list[0].ID.Seq != 1 {
		t.Fatalf("%+v %v", list, err)
	}
	up := b.envelope(list[0])
	r, ok := up.Payload.(wire.IVSResult)
	if !ok || r.AlarmInfoPlate.Result.PlateResult.FullImageContent != wire.B64("jpeg") || up.Event.Seq != 1 {
		t.Errorf("%+v", up)
	}
}

// fakeCloud answers bindings and handshakes as the reference cloud does;
// answering decides what it remembers.
type fakeCloud struct {
	id      string       // the cloud's; "": it tells none
	account int64        // 0: nobody has bound the board
	drop    bool         // the answer to a binding is lost after the commit
	refuse  errcode.Code // the answer to a binding; 0: it is agreed to
	asked   int          // handshakes
}

func (f *fakeCloud) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var sealKey string
	if r.URL.Path == binding.HandshakePath {
		var h binding.Hello
		_ = json.NewDecoder(r.Body).Decode(&h)
		sealKey = h.SealKey
		f.asked++
	} else if r.Method == http.MethodDelete {
		if f.account == 0 {
			answer(w, nil, errcode.New(errcode.DeviceNotBound, ""))
			return
		}
		f.account = 0
		answer(w, binding.ItemResults{Successes: []binding.DeviceItem{{}}}, nil)
		return
	} else if f.refuse != 0 {
		answer(w, nil, errcode.New(f.refuse, ""))
		return
	} else {
		var in struct{ Devices []binding.DeviceItem }
		_ = json.NewDecoder(r.Body).Decode(&in)
		sealKey = in.Devices[0].Proof.SealKey
		f.account = 7
		if f.drop {
			panic(http.ErrAbortHandler)
		}
	}
	if f.account == 0 {
		answer(w, nil, errcode.New(errcode.DeviceNotBound, ""))
		return
	}
	body := wire.BindBody{CloudID: f.id, AccountID: f.account}
	body.Broker.URL, body.Broker.Password = "tcp://127.0.0.1:1", "secret"
	sealed, _ := binding.Seal(sealKey, body)
	if r.URL.Path == binding.HandshakePath {
		answer(w, map[string]any{"binding": sealed}, nil)
		return
	}
	answer(w, binding.ItemResults{Successes: []binding.DeviceItem{{Binding: &sealed}}}, nil)
}

// Whatever fails in the middle of a binding, the two sides agree afterwards.
func TestBindingAgrees(t *testing.T) {
	cloud := &fakeCloud{drop: true}
	server := httptest.NewServer(cloud)
	defer server.Close()
	defer http.DefaultClient.CloseIdleConnections()
	dir := t.TempDir()
	s, err := OpenState(dir, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	sn := s.SN()
	client := binding.Client{URL: server.URL, KeyID: "key", Secret: "do-not-keep", HTTP: server.Client()}
	if err := s.Bind(context.Background(), client, 0, ""); err == nil {
		t.Fatal("the answer was lost, and yet it is bound")
	}
	s.Close() // the power fails
	if s, err = OpenState(dir, "", nil); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if s.SN() != sn {
		t.Errorf("the serial number changed from %s to %s", sn, s.SN())
	}
	b, err := s.Binding()
	if err != nil || b.Body != nil || b.Cloud != "" || b.Pending == nil || b.Pending.Cloud != server.URL {
		t.Fatalf("%+v %v", b, err)
	}
	if err := s.Agree(context.Background()); err != nil {
		t.Fatal(err)
	}
	if b, err = s.Binding(); err != nil || b.Body == nil || b.Body.AccountID != 7 || b.Cloud != server.URL || b.Pending != nil {
		t.Fatalf("%+v %v", b, err)
	}
	if text, _ := json.Marshal(b); strings.Contains(string(text), client.Secret) {
		t.Error("the AccessKey's secret was kept")
	}
	// The account unbinds it at the cloud: what belongs to the account goes.
	if _, err := s.Whitelist.Operate(wire.WhitelistOperator{OperatorType: "update_or_add", Records: []wire.WhitelistRecord{{Plate: "A1", Enable: 1}}}); err != nil {
		t.Fatal(err)
	}
	cloud.account = 0
	if err := s.Agree(context.Background()); err != nil {
		t.Fatal(err)
	}
	if b, err = s.Binding(); err != nil || b.Body != nil || s.Whitelist.Len() != 0 || s.SN() != sn {
		t.Errorf("%+v %v, %d rows", b, err, s.Whitelist.Len())
	}
}

// Whoever holds the broker cannot unbind a board: its cloud is asked, and
// nothing is cleared unless that says so.
func TestUnbindIsAHint(t *testing.T) {
	b := open(t, t.TempDir())
	defer b.Close()
	if _, code := order(t, b, "white_list_operator", "row", `{"operator_type":"update_or_add","dldb_rec":{"plate":"A1","enable":1}}`); code != 0 {
		t.Fatal(code)
	}
	cloud := &fakeCloud{account: 7}
	server := httptest.NewServer(cloud)
	defer server.Close()
	defer http.DefaultClient.CloseIdleConnections()
	unbind := func(what string, want errcode.Code, rows int) {
		t.Helper()
		b.asked = time.Time{}
		if _, code := order(t, b, "unbind", what, `{}`); code != want || b.state.Whitelist.Len() != rows {
			t.Errorf("%s: %d, want %d; %d rows", what, code, want, b.state.Whitelist.Len())
		}
	}
	unbind("without a cloud", errcode.DeviceNotBound, 1)
	body, _ := account(7, "a", false)
	if err := b.state.adopt(server.URL, body); err != nil {
		t.Fatal(err)
	}
	unbind("forged", errcode.RequestFailed, 1)
	server.Config.Handler = http.NotFoundHandler()
	unbind("the cloud is not there", errcode.RequestFailed, 1)
	if bindingOf(t, b.state).account() != 7 {
		t.Error("it is unbound")
	}
	server.Config.Handler, cloud.account = cloud, 0
	unbind("true", 0, 0)
	if b.account() != 0 {
		t.Error("it is still bound")
	}
}

// What the protocol says that a board tells, it tells: the customer's text in
// results, the digests of config, list and faces in the birth, and a last will,
// unless the broker is one that refuses it.
func TestWhatTheBoardTells(t *testing.T) {
	b := open(t, t.TempDir())
	defer b.Close()
	b.set(func(c *configs.Config) { c.Device.UserData, c.MQTT.Broker = "东门", "tcp://127.0.0.1:1" })
	if m := b.message(decided{result: &link.Result{}, at: time.Now()}); m.AlarmInfoPlate.UserData != wire.B64("东门") {
		t.Errorf("user_data %q", m.AlarmInfoPlate.UserData)
	}
	digests := b.birth(1).StateDigest
	if digests["config"] != b.settings.Digest() || digests["whitelist"] != b.state.Whitelist.Digest() || digests["faces"] != b.state.Faces.Digest() || digests["faces"] == "" {
		t.Errorf("%v", digests)
	}
	for _, will := range []bool{true, false} {
		b.set(func(c *configs.Config) { c.MQTT.LastWill = will })
		o, err := b.connection(t.Context())
		if err != nil || (o.Will != nil) != will {
			t.Errorf("last will %v: %+v %v", will, o.Will, err)
		}
	}
}

func TestOneAgentAState(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir)
	if _, err := Open(configs.Default(), dir, "", "test", slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "another agent runs") {
		t.Errorf("a second agent: %v", err)
	}
	b.Close()
	b = open(t, dir) // and a restart finds the barrier closed
	defer b.Close()
	if (b.barrier.Position() == barrier.Opened) || b.gate.Status().Opened != 0 {
		t.Error("starting opened the barrier")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	if err := b.Run(ctx); err != nil {
		t.Error(err)
	}
}

// What the vendor's fields have no room for is told in our part of the result.
func TestResultTellsHowPlatesWereRead(t *testing.T) {
	b := open(t, t.TempDir())
	defer b.Close()
	m := b.message(decided{at: time.Now(), result: &link.Result{Event: link.EventPassage, Votes: link.Votes{Frames: 7, Share: .98765},
		Plates: []link.Plate{{Text: "AB", Kind: "overseas", Country: "GB", Score: .95999, CharScores: []float64{.5, .99999}}, {}}}})
	text, err := json.Marshal(m.Gatehouse)
	if err != nil {
		t.Fatal(err)
	}
	const want = `"votes":{"frames":7,"share":0.987},"readings":[{"kind":"overseas","country":"GB","score":0.959,"char_scores":[0.5,0.999]},{"kind":"","score":0}]`
	if !strings.Contains(string(text), want) {
		t.Errorf("%s", text)
	}
}
