package push

import (
	"context"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"gatehouse/sync/store"
	"gatehouse/sync/whitelist"
	"gatehouse/sync/wire"
)

func TestMain(m *testing.M) {
	store.RunCheckIfAsked()
	goleak.VerifyTestMain(m)
}

// board notes what it is to do.
type board struct {
	mu   sync.Mutex
	done []string
}

func (b *board) note(format string, args ...any) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.done = append(b.done, fmt.Sprintf(format, args...))
	return nil
}
func (b *board) did() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string{}, b.done...)
}
func (b *board) Output(output, value int, pulse time.Duration) error {
	return b.note("output %d %d %s", output, value, pulse)
}
func (b *board) Serial(_ context.Context, d wire.SerialData) error {
	for _, i := range d.SerialData {
		_ = b.note("serial %d %s", i.SerialChannel, i.Data)
	}
	return nil
}
func (b *board) Trigger(string) error                     { return b.note("trigger") }
func (b *board) Snapshot(context.Context) ([]byte, error) { return []byte("jpeg"), b.note("snapshot") }
func (b *board) Speak(v wire.Voice) error                 { return b.note("speak %s", v.VoiceData) }
func (b *board) Rows(w wire.WhitelistOperator) (*whitelist.Selection, error) {
	if len(w.Records) == 1 && w.Records[0].Plate == "bad" {
		return nil, errors.New("no such plate")
	}
	return nil, b.note("rows %s %d %v %v", w.OperatorType, len(w.Records), w.Plates, w.DeleteAll)
}

var everything = []string{AllowOpen, AllowOutput, AllowSerial, AllowTrigger, AllowSnapshot, AllowRows, AllowSpeak}

func options(t *testing.T, servers ...string) Options {
	return Options{Servers: servers, Mode: Failover, Timeout: 30 * time.Second, Results: "/plate", Inputs: "/gio", SerialData: "/serial", Devices: "/register",
		Heartbeat: HeartbeatOff, Pictures: "both", Offline: 9000, OpenWithin: 10 * time.Second, Dir: filepath.Join(t.TempDir(), "push"),
		SN: "265e1040-85e01fb7", Name: func() string { return "门岗1" }, Address: func() string { return "192.0.2.10" }, Log: slog.New(slog.DiscardHandler)}
}

// start runs a pusher; stop ends it.
func start(t *testing.T, o Options, b Board) (p *Pusher, stop func()) {
	t.Helper()
	p, err := New(o, b)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	wait.Go(func() { p.Run(ctx) })
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			wait.Wait()
			p.Close()
		})
	}
	t.Cleanup(stop)
	return p, stop
}

func seen(plate string, id int64) wire.IVSResult {
	r := wire.NewResult("265e1040-85e01fb7", "门岗1", "192.0.2.10", time.Now())
	r.AlarmInfoPlate.Result.PlateResult.AddPlate(plate, 98, 1, 1, wire.Rect{})
	r.AlarmInfoPlate.Result.PlateResult.PlateID = id
	return r
}

func TestWhatIsTold(t *testing.T) {
	k := newParking(t)
	p, _ := start(t, options(t, k.URL), &board{})
	p.Result(seen("川A12345", 7), []byte("full"), []byte("crop"), time.Now())
	p.Input(wire.NewGPIOIn("265e1040-85e01fb7", "门岗1", "192.0.2.10", 1, 1))
	p.Received(wire.NewSerialUp("265e1040-85e01fb7", "门岗1", "192.0.2.10", 0, []byte{1, 2}))
	eventually(t, "three posts", func() bool { return len(k.got("/plate"))+len(k.got("/gio"))+len(k.got("/serial")) == 3 })
	r := k.got("/plate")[0].plate()
	for key, want := range map[string]any{"license": "川A12345", "plateid": 7.0, "isoffline": 0.0, "imageFile": base64.StdEncoding.EncodeToString([]byte("full")),
		"imageFileLen": 4.0, "imageFragmentFile": base64.StdEncoding.EncodeToString([]byte("crop")), "imageFragmentFileLen": 4.0} {
		if r[key] != want {
			t.Errorf("%s is %v, want %v", key, r[key], want)
		}
	}
	if _, twice := r["full_image_content"]; twice || r["carlocation"] == nil || r["plates"].([]any)[0].(map[string]any)["license"] != "川A12345" {
		t.Errorf("%v", r)
	}
	a := k.got("/plate")[0].body["AlarmInfoPlate"].(map[string]any)
	if a["deviceName"] != "门岗1" || a["serialno"] != "265e1040-85e01fb7" {
		t.Errorf("%v", a)
	}
	if in := k.got("/gio")[0].body["AlarmGioIn"].(map[string]any); in["deviceName"] != "门岗1" || fmt.Sprint(in["result"]) != "map[TriggerResult:map[source:1 value:1]]" {
		t.Errorf("%v", in)
	}
	if in := k.got("/serial")[0].body["SerialData"].(map[string]any); in["data"] != "AQI=" || in["dataLen"] != 2.0 {
		t.Errorf("%v", in)
	}
}

const wholeReply = `{"Response_AlarmInfoPlate":{"info":"ok","channelNum":1,"content":"retransfer_stop","is_pay":"true","plateid":7,
 "serialData":[{"serialChannel":0,"data":"YQ==","dataLen":4},{"serialChannel":1,"data":"Yg==","dataLen":1}],
 "TriggerImage":{"port":%s,"snapImageRelativeUrl":"/receivepic.php","snapImageAbsolutelyUrl":""},"manualTrigger":"ok",
 "ivs_ioctrl":{"io":2,"value":2,"delay":700},"playserver_json_request":{"type":"ps_voice_play","voice":"aGVsbG8=","voice_interval":1,"voice_volume":50,"voice_male":1},
 "white_list_operate":{"operate_type":0,"msg_id":"m1","reply_url":"/rows.php","white_list_data":[{"plate":"川A12345","enable":1,"need_alarm":0,"enable_time":"2026-11-23 00:00:00","overdue_time":"2027-11-23 00:00:00"}]}}}`

// All of a reply is done, as far as it is allowed; a reply that comes too late
// moves nothing.
func TestReplies(t *testing.T) {
	for name, c := range map[string]struct {
		allow []string
		age   time.Duration
		want  []string
	}{
		"everything":    {everything, 0, []string{"output 1 2 500ms", "output 2 2 700ms", "serial 0 a", "serial 1 b", "speak hello", "trigger", "snapshot", "rows update_or_add 1 [] false"}},
		"nothing":       {nil, 0, []string{}},
		"opening":       {[]string{AllowOpen}, 0, []string{"output 1 2 500ms"}},
		"rows too late": {everything, time.Minute, []string{"snapshot", "rows update_or_add 1 [] false"}},
	} {
		t.Run(name, func(t *testing.T) {
			k, b := newParking(t), &board{}
			port := k.URL[strings.LastIndex(k.URL, ":")+1:]
			k.set(false, func(p post) (int, string) {
				if p.path == "/plate" {
					return 200, fmt.Sprintf(wholeReply, port)
				}
				return 200, ""
			})
			o := options(t, k.URL)
			o.Allow = c.allow
			p, stop := start(t, o, b)
			p.Result(seen("川A12345", 7), nil, nil, time.Now().Add(-c.age))
			eventually(t, "the post", func() bool { return len(k.got("/plate")) == 1 })
			if len(c.want) > 1 {
				eventually(t, "the answers", func() bool { return len(k.got("/rows.php")) == 1 && len(k.got("/receivepic.php")) == 1 })
				if m := k.got("/rows.php")[0].body["white_list_replay_operate"].(map[string]any); m["msg_id"] != "m1" || m["state"] != "succeed" {
					t.Errorf("%v", m)
				}
				if m := k.got("/receivepic.php")[0].body["TriggerImage"].(map[string]any); m["imageFile"] != "anBlZw==" || m["imageFileLen"] != 4.0 {
					t.Errorf("%v", m)
				}
			}
			if len(c.want) == 1 {
				eventually(t, "opening", func() bool { return len(b.did()) > 0 })
			}
			stop()
			if got := b.did(); !reflect.DeepEqual(got, c.want) {
				t.Errorf("%v\nwant %v", got, c.want)
			}
		})
	}
}

// Results that nobody took come later, one at a time, marked and oldest first;
// the next only if the reply says so; none of their replies opens.
func TestOfflineHandshake(t *testing.T) {
	k, b := newParking(t), &board{}
	k.set(true, nil)
	o := options(t, k.URL)
	o.Allow = everything
	p, stop := start(t, o, b)
	for id := range int64(3) {
		p.Result(seen("A", id), []byte("full"), nil, time.Now())
	}
	eventually(t, "three are stored", func() bool { return p.Waiting() == 3 })
	stop() // and a restart does not lose them
	// Only the second reply asks for more. It is set before the start: servers
	// that were lost and are reached again are sent more without being asked.
	k.set(false, func(q post) (int, string) {
		id := int64(q.plate()["plateid"].(float64))
		return 200, fmt.Sprintf(`{"Response_AlarmInfoPlate":{"info":"ok","ContinuePushOffline":{"plateid":%d,"continue":%d}}}`, id, id%2)
	})
	p, stop = start(t, o, b)
	eventually(t, "the first stored result", func() bool { return len(k.got("/plate")) == 1 })
	p.Result(seen("B", 10), nil, nil, time.Now()) // live; its reply says no more
	eventually(t, "the live result", func() bool { return len(k.got("/plate")) == 2 && len(b.did()) == 1 })
	if p.Waiting() != 2 {
		t.Errorf("%d wait", p.Waiting())
	}
	p.Result(seen("B", 11), nil, nil, time.Now()) // says go on
	eventually(t, "the others", func() bool { return p.Waiting() == 0 })
	stop()
	var order []string
	for _, q := range k.got("/plate") {
		r := q.plate()
		order = append(order, fmt.Sprintf("%v/%v", r["plateid"], r["isoffline"]))
		if r["isoffline"] == 1.0 && r["imageFileLen"] != 4.0 {
			t.Errorf("a stored result lost its picture")
		}
	}
	if want := []string{"0/1", "10/0", "11/0", "1/1", "2/1"}; !reflect.DeepEqual(order, want) {
		t.Errorf("%v, want %v", order, want)
	}
	if got := b.did(); len(got) != 2 { // the two live ones
		t.Errorf("%v", got)
	}
}

// What a board that is stopping tells after the sending has ended is not lost.
func TestWhatComesAfterTheEndIsStored(t *testing.T) {
	k := newParking(t)
	o := options(t, k.URL)
	p, err := New(o, &board{})
	if err != nil {
		t.Fatal(err)
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	p.Run(ended)
	p.Result(seen("A", 1), nil, nil, time.Now())
	p.Close()
	p, stop := start(t, o, &board{})
	eventually(t, "it is told", func() bool { return len(k.got("/plate")) == 1 && p.Waiting() == 0 })
	stop()
}

func TestSwitchingTheStoreOffEmptiesIt(t *testing.T) {
	k := newParking(t)
	k.set(true, nil)
	o := options(t, k.URL)
	p, stop := start(t, o, &board{})
	p.Result(seen("A", 1), nil, nil, time.Now())
	eventually(t, "it is stored", func() bool { return p.Waiting() == 1 })
	stop()
	o.Offline = 0
	_, stop = start(t, o, &board{})
	stop()
	if _, err := os.Stat(o.Dir); err == nil {
		t.Error("the store is still there")
	}
}

// The back-up is told only while the main server is down; with All both are.
func TestSeveralServers(t *testing.T) {
	main, backup := newParking(t), newParking(t)
	p, stop := start(t, options(t, main.URL, backup.URL), &board{})
	p.Result(seen("A", 1), nil, nil, time.Now())
	eventually(t, "main", func() bool { return len(main.got("/plate")) == 1 })
	main.set(true, nil)
	p.Result(seen("A", 2), nil, nil, time.Now())
	eventually(t, "backup", func() bool { return len(backup.got("/plate")) == 1 })
	if p.Waiting() != 0 {
		t.Error("what the back-up took is stored")
	}
	stop()
	main.set(false, nil)
	o := options(t, main.URL, backup.URL)
	o.Mode = All
	p, _ = start(t, o, &board{})
	p.Result(seen("A", 3), nil, nil, time.Now())
	eventually(t, "both", func() bool { return len(main.got("/plate")) == 2 && len(backup.got("/plate")) == 2 })
}

// The heartbeat carries no login; with polling its reply opens, and each reply
// once.
func TestHeartbeat(t *testing.T) {
	k, b := newParking(t), &board{}
	var mu sync.Mutex
	polls := 0
	k.set(false, func(q post) (int, string) {
		mu.Lock()
		defer mu.Unlock()
		if polls++; polls == 2 {
			return 200, `{"Response_AlarmInfoPlate":{"info":"ok"}}`
		}
		return 200, `{}`
	})
	o := options(t, k.URL)
	o.Heartbeat, o.Allow = HeartbeatPolling, []string{AllowOpen}
	_, stop := start(t, o, b)
	eventually(t, "four polls", func() bool { return len(k.got("/register")) >= 4 })
	stop()
	if got := b.did(); !reflect.DeepEqual(got, []string{"output 0 2 500ms"}) {
		t.Errorf("%v", got)
	}
	form := k.got("/register")[0].form
	want := map[string][]string{"device_name": {"门岗1"}, "ipaddr": {"192.0.2.10"}, "port": {"80"}, "user_name": {""}, "pass_wd": {""}, "serialno": {"265e1040-85e01fb7"}, "channel_num": {"0"}}
	if !reflect.DeepEqual(form, want) {
		t.Errorf("%v", form)
	}
	// Normal: the reply is ignored.
	b2 := &board{}
	k.set(false, func(post) (int, string) { return 200, `{"Response_AlarmInfoPlate":{"info":"ok"}}` })
	before := len(k.got("/register"))
	o.Heartbeat = HeartbeatNormal
	_, stop = start(t, o, b2)
	eventually(t, "a heartbeat", func() bool { return len(k.got("/register")) > before })
	stop()
	if got := b2.did(); len(got) != 0 {
		t.Errorf("%v", got)
	}
}

// An https server is checked with the certificates of the config, and one that
// they do not know is not told anything.
func TestHTTPS(t *testing.T) {
	told := make(chan struct{}, 8)
	server := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { told <- struct{}{} }))
	defer server.Close()
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	o := options(t, server.URL)
	o.CA = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(o.CA, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	p, stop := start(t, o, &board{})
	p.Result(seen("A", 1), nil, nil, time.Now())
	select {
	case <-told:
	case <-time.After(20 * time.Second):
		t.Fatal("nothing was told")
	}
	stop()
	o.CA, o.Retries, o.Dir = "", 0, t.TempDir()
	p, stop = start(t, o, &board{})
	p.Result(seen("A", 2), nil, nil, time.Now())
	eventually(t, "it is stored", func() bool { return p.Waiting() == 1 })
	stop()
	if len(told) != 0 {
		t.Error("a server that nobody vouches for was told")
	}
	o.CA = filepath.Join(o.Dir, "none.pem")
	if _, err := New(o, &board{}); err == nil {
		t.Error("certificates that are not there are taken")
	}
}

// Pictures and answers go to the server that asks, and nowhere else.
func TestResolve(t *testing.T) {
	p, err := New(options(t, "http://192.0.2.1:8080"), &board{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	s := p.groups[0].servers[0]
	for where, want := range map[string]string{
		"/pic.php":                "http://192.0.2.1:8080/pic.php",
		"pic.php?a=1":             "http://192.0.2.1:8080/pic.php?a=1",
		"/../../x":                "http://192.0.2.1:8080/x",
		"http://192.0.2.1:9/a":    "http://192.0.2.1:9/a",
		"http://192.0.2.2/a":      "",
		"http://x@192.0.2.1/a":    "",
		"//evil.example/a":        "",
		"file:///etc/passwd":      "",
		"http://192.0.2.1.evil/a": "",
		"gopher://192.0.2.1/a":    "",
		"http://%zz":              "",
	} {
		got, err := s.resolve(where, 0)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v; want %q", where, got, err, want)
		}
	}
	if got, err := s.resolve("/a", 81); err != nil || got != "http://192.0.2.1:81/a" {
		t.Errorf("%q, %v", got, err)
	}
}
