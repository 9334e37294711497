package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"gatehouse/sync/binding"
	"gatehouse/sync/errcode"
	"gatehouse/sync/session"
	"gatehouse/sync/signature"
	"gatehouse/sync/store"
	"gatehouse/sync/wire"
)

func TestMain(m *testing.M) {
	if os.Getenv(asCloud) != "" { // started by a trial of a fleet
		main()
		os.Exit(0)
	}
	store.RunCheckIfAsked()
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server.(*Server).shutdownEventing"),
		goleak.IgnoreAnyFunction("github.com/nats-io/nats-server/v2/server.init.0.func1"))
}

// cloud is a running gatehouse-cloud in this process.
type cloud struct {
	t          *testing.T
	s          settings
	keyID, key string
	stop       func()
}

func free(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func startCloud(t *testing.T, dir string) *cloud {
	t.Helper()
	return startCloudAt(t, dir, "")
}

// startCloudAt starts a cloud at a broker; "": the embedded one.
func startCloudAt(t *testing.T, dir, broker string) *cloud {
	t.Helper()
	c := &cloud{t: t, s: settings{data: dir, http: free(t), mqtt: free(t), broker: broker}}
	c.start()
	t.Cleanup(func() { c.stop() })
	return c
}

func (c *cloud) start() {
	c.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- serve(ctx, c.s, slog.New(slog.DiscardHandler)) }()
	var once sync.Once
	c.stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				c.t.Errorf("the cloud ended with %v", err)
			}
			http.DefaultClient.CloseIdleConnections()
		})
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if conn, err := net.Dial("tcp", c.s.http); err == nil {
			conn.Close()
			break
		}
		select {
		case err := <-done:
			c.t.Fatalf("the cloud did not start: %v", err)
		default:
		}
		if time.Now().After(deadline) {
			c.t.Fatal("the cloud did not start")
		}
	}
	b, err := os.ReadFile(filepath.Join(c.s.data, "admin.accesskey"))
	if err != nil {
		c.t.Fatal(err)
	}
	f := strings.Fields(string(b))
	c.keyID, c.key = f[0], f[1]
}

// call makes a signed call with the admin's key.
func (c *cloud) call(method, path string, in, out any) errcode.Code {
	c.t.Helper()
	return c.callAs(c.keyID, c.key, method, path, in, out)
}

func (c *cloud) callAs(id, key, method, path string, in, out any) errcode.Code {
	c.t.Helper()
	var body []byte
	if in != nil {
		body, _ = json.Marshal(in)
	}
	r, err := http.NewRequest(method, "http://"+c.s.http+path, bytes.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	if id != "" {
		signature.SignRequest(r, body, id, key, time.Now().Add(time.Minute))
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	var e struct {
		Code    int    `json:"error_code"`
		Message string `json:"error_message"`
	}
	if answer.StatusCode != http.StatusOK {
		if err := json.Unmarshal(text, &e); err != nil || !strings.HasPrefix(e.Message, errcode.Code(e.Code).Message()) {
			c.t.Fatalf("%s %s: %s %s", method, path, answer.Status, text)
		}
		return errcode.Code(e.Code)
	}
	if b, ok := out.(*[]byte); ok {
		*b = text
	} else if out != nil {
		if err := json.Unmarshal(text, out); err != nil {
			c.t.Fatalf("%s: %v", text, err)
		}
	}
	return 0
}

// page fetches the overview page as a visitor who asks for host.
func (c *cloud) page(language, host string) (int, string) {
	c.t.Helper()
	r, err := http.NewRequest(http.MethodGet, "http://"+c.s.http+"/", nil)
	if err != nil {
		c.t.Fatal(err)
	}
	r.Header.Set("Accept-Language", language)
	if host != "" {
		r.Host = host
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

const sn = "265e1040-85e01fb7"

// board is a board reduced to its keys and its connection.
type board struct {
	keys binding.Keys
	body wire.BindBody
}

func newBoard(t *testing.T, c *cloud, sn string) *board {
	t.Helper()
	keys, err := binding.NewKeys()
	if err != nil {
		t.Fatal(err)
	}
	sign, _ := keys.Public()
	if err := command(context.Background(), []string{"device", "add", sn, sign, "--data", c.s.data}, io.Discard); err != nil {
		t.Fatal(err)
	}
	return &board{keys: keys}
}

func (c *cloud) client() binding.Client {
	return binding.Client{URL: "http://" + c.s.http, KeyID: c.keyID, Secret: c.key, HTTP: http.DefaultClient}
}

func (b *board) bind(t *testing.T, c *cloud, bindID string) {
	t.Helper()
	var err error
	if b.body, err = c.client().Bind(context.Background(), sn, 0, "gate 1", b.keys, bindID); err != nil {
		t.Fatal(err)
	}
}

// online connects the board; each message it is sent goes to the channel.
func (b *board) online(t *testing.T, subscriptions ...string) (publish func(topic string, v any) error, down chan wire.Command, states chan error, stop func()) {
	t.Helper()
	topics, err := wire.NewTopics(wire.LayoutNew, sn, nil)
	if err != nil {
		t.Fatal(err)
	}
	if subscriptions == nil {
		subscriptions = topics.DownFilter()
	}
	ctx, cancel := context.WithCancel(context.Background())
	down, states = make(chan wire.Command, 100), make(chan error, 100)
	conns := make(chan *session.Conn, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = session.Run(ctx, session.Backoff{First: 50 * time.Millisecond, Max: 200 * time.Millisecond, Auth: 100 * time.Millisecond, StableFor: time.Minute},
			func() (session.Options, error) {
				return session.Options{URL: b.body.Broker.URL, ClientID: sn, Username: b.body.Broker.Username, Password: b.body.Broker.Password,
					Subscriptions: subscriptions,
					OnMessage: func(topic string, payload []byte) {
						if name, ok := topics.ParseDown(topic); ok {
							if cmd, err := wire.ParseCommand(name, payload); err == nil {
								down <- cmd
							}
						}
					},
					OnUp: func(ctx context.Context, c *session.Conn) {
						select {
						case conns <- c:
						default:
						}
						<-ctx.Done()
					}}, nil
			}, func(err error) {
				select {
				case states <- err:
				default:
				}
			})
	}()
	publish = func(topic string, v any) error {
		text, err := json.Marshal(v)
		if err != nil {
			return err
		}
		select {
		case c := <-conns:
			defer func() {
				select {
				case conns <- c:
				default:
				}
			}()
			return c.Publish(ctx, topic, 1, text)
		case <-time.After(10 * time.Second):
			return fmt.Errorf("not connected")
		}
	}
	return publish, down, states, func() { cancel(); <-done }
}

func up(name string, payload any, event *wire.EventID) wire.Up {
	return wire.Up{ID: wire.NewID(), SN: sn, Name: name, Version: wire.Version, Timestamp: time.Now().Unix(), Payload: payload, Event: event}
}

// expect waits for a command of the name.
func expect(t *testing.T, down chan wire.Command, name string) wire.Command {
	t.Helper()
	for {
		select {
		case c := <-down:
			if c.Name == name {
				return c
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("no %s came", name)
		}
	}
}

func TestBinding(t *testing.T) {
	c := startCloud(t, t.TempDir())
	b := newBoard(t, c, sn)
	unknown := c.client()
	if _, err := unknown.Bind(context.Background(), "00000000-00000001", 0, "", b.keys, "x"); errcode.From(err).Code != errcode.DeviceNotExist {
		t.Errorf("an unknown board: %v", err)
	}
	if _, err := c.client().Bind(context.Background(), "nonsense", 0, "", b.keys, "x"); errcode.From(err).Error() != "Request params error!Param [sn] format error!" {
		t.Errorf("a malformed number: %v", err)
	}
	if _, err := c.client().Bind(context.Background(), sn, 77, "", b.keys, "x"); errcode.From(err).Code != errcode.GroupNotExist {
		t.Errorf("an unknown group: %v", err)
	}
	stranger, err := binding.NewKeys()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.client().Bind(context.Background(), sn, 0, "", stranger, "x"); errcode.From(err).Code != errcode.AuthSignatureError {
		t.Errorf("a board with another key: %v", err)
	}
	if _, err := c.client().Handshake(context.Background(), sn, b.keys); errcode.From(err).Code != errcode.DeviceNotBound {
		t.Errorf("handshake of an unbound board: %v", err)
	}
	if err := c.client().Unbind(context.Background(), sn); errcode.From(err).Code != errcode.DeviceNotBound {
		t.Errorf("unbinding an unbound board: %v", err)
	}

	// Another account's claim without the board's proof gives way to a proof.
	var out strings.Builder
	if err := command(context.Background(), []string{"account", "add", "other", "--data", c.s.data}, &out); err != nil {
		t.Fatal(err)
	}
	other := strings.Fields(out.String())
	var results binding.ItemResults
	claim := map[string]any{"devices": []map[string]any{{"sn": sn}}}
	if code := c.callAs(other[0], other[1], "POST", binding.DevicesPath, claim, &results); code != 0 || len(results.Successes) != 1 {
		t.Errorf("a claim: %d %+v", code, results)
	}
	if code := c.call("POST", binding.DevicesPath, claim, &results); code != 0 || len(results.Failures) != 1 || results.Failures[0].Error.Code != 5001 {
		t.Errorf("a second claim: %d %+v", code, results)
	}
	b.bind(t, c, "bind-1")
	first := b.body.Broker.Password
	if code := c.callAs(other[0], other[1], "POST", binding.DevicesPath, claim, &results); code != 0 || len(results.Failures) != 1 || results.Failures[0].Error.Code != 5001 {
		t.Errorf("claiming a bound board: %d %+v", code, results)
	}
	if code := c.callAs(other[0], other[1], "GET", binding.DevicesPath+"/"+sn, nil, nil); code != errcode.DeviceNotBound {
		t.Errorf("another account sees the board: %d", code)
	}

	// The power fails between the cloud's commit and the board's: both agree afterwards.
	b.bind(t, c, "bind-1")
	again, err := c.client().Handshake(context.Background(), sn, b.keys)
	if err != nil || b.body.Broker.Password != first || again.Broker.Password != first {
		t.Errorf("a repeated binding has other credentials: %v", err)
	}
	var list struct {
		Results []map[string]any
		Total   int
	}
	where := base64.StdEncoding.EncodeToString([]byte(`[{"name":"sn","value":"265e*","oper":"regex"}]`))
	if code := c.call("GET", binding.DevicesPath+"?offset=0&limit=5&where="+strings.ReplaceAll(where, "=", "%3D"), nil, &list); code != 0 || list.Total != 1 || list.Results[0]["remark"] != "gate 1" {
		t.Errorf("%d %+v", code, list)
	}
	for _, secret := range []string{"password", "seal_key", "password_hash", "bind_id"} {
		if _, shown := list.Results[0][secret]; shown {
			t.Errorf("the list shows %s", secret)
		}
	}

	_, down, states, stop := b.online(t)
	defer stop()
	if err := <-states; err != nil {
		t.Fatal(err)
	}
	if err := c.client().Unbind(context.Background(), sn); err != nil {
		t.Fatal(err)
	}
	expect(t, down, wire.NameUnbind)
	for err := range states { // the session ends, and the credentials do
		if errors.Is(err, session.ErrAuth) {
			break
		}
	}
	if _, err := c.client().Handshake(context.Background(), sn, b.keys); errcode.From(err).Code != errcode.DeviceNotBound {
		t.Errorf("handshake after unbinding: %v", err)
	}
}

func result(plate string, opened bool) wire.IVSResult {
	r := wire.NewResult(sn, "GATE", "127.0.0.1", time.Now())
	r.AlarmInfoPlate.Result.PlateResult.AddPlate(plate, 98, 1, 1, wire.Rect{})
	r.AlarmInfoPlate.Result.PlateResult.FullImageContent = wire.B64("jpeg")
	r.Gatehouse = &wire.DecisionReport{Opened: opened, Reason: "listed"}
	return r
}

func TestEventsCountOnceAndAreAcknowledged(t *testing.T) {
	c := startCloud(t, t.TempDir())
	b := newBoard(t, c, sn)
	b.bind(t, c, "bind-1")
	topics, _ := wire.NewTopics(wire.LayoutNew, sn, nil)
	publish, down, _, stop := b.online(t)
	defer stop()
	for range 2 { // delivered twice
		for seq := uint64(1); seq <= 3; seq++ {
			if err := publish(topics.Up("ivs_result"), up("ivs_result", result("川A12345", seq == 2), &wire.EventID{Boot: "00000001-0", Seq: seq})); err != nil {
				t.Fatal(err)
			}
		}
	}
	acked := map[uint64]int{}
	for len(acked) < 3 || acked[3] < 2 {
		ack, err := wire.ParseEventAck(expect(t, down, wire.NameEventAck).Body)
		if err != nil || ack.Boot != "00000001-0" {
			t.Fatalf("%+v %v", ack, err)
		}
		for _, r := range ack.Ranges {
			for s := r[0]; s <= r[1]; s++ {
				acked[s]++
			}
		}
		if len(acked) == 3 { // repeats may share an acknowledgement
			break
		}
	}
	// The cloud is restarted; what it acknowledged it still has, once.
	c.stop()
	c.start()
	var list struct {
		Results []struct {
			Seq        uint64
			Plate      string
			Confidence int
			Opened     bool
			Image      bool
		}
		Total int
	}
	if code := c.call("GET", binding.DevicesPath+"/"+sn+"/events", nil, &list); code != 0 || list.Total != 3 {
		t.Fatalf("%d %+v", code, list)
	}
	if e := list.Results[1]; e.Seq != 2 || e.Plate != "川A12345" || e.Confidence != 98 || !e.Opened || !e.Image || list.Results[0].Opened {
		t.Errorf("%+v", list.Results)
	}
	var jpeg []byte
	if code := c.call("GET", binding.DevicesPath+"/"+sn+"/events/00000001-0/2/image", nil, &jpeg); code != 0 || string(jpeg) != "jpeg" {
		t.Errorf("%d %q", code, jpeg)
	}
	if code := c.call("GET", binding.DevicesPath+"/"+sn+"/events/00000001-0/9/image", nil, nil); code != errcode.ViewImageFailed {
		t.Errorf("a missing picture: %d", code)
	}
}

// The overview page shows devices and events in the reader's language, to this
// machine only, and no secret.
func TestOverview(t *testing.T) {
	c := startCloud(t, t.TempDir())
	b := newBoard(t, c, sn)
	b.bind(t, c, "bind-1")
	topics, _ := wire.NewTopics(wire.LayoutNew, sn, nil)
	publish, down, _, stop := b.online(t)
	defer stop()
	if err := publish(topics.Up("ivs_result"), up("ivs_result", result("<川A12345>", true), &wire.EventID{Boot: "1-0", Seq: 1})); err != nil {
		t.Fatal(err)
	}
	expect(t, down, wire.NameEventAck)
	if code := c.call("POST", "/v2/stp/user/whitelists", map[string]any{"content": `{"mode":"replace","rows":[]}`, "targets": map[string]any{"sns": []string{sn}}, "remark": "<winter>"}, nil); code != 0 {
		t.Fatal(code)
	}
	for language, word := range map[string][2]string{"en": {"opened", "not heard from"}, "zh-CN": {"打开", "未响应"}} {
		status, page := c.page(language, "")
		if status != http.StatusOK || !strings.Contains(page, word[0]) || !strings.Contains(page, word[1]) || !strings.Contains(page, sn) || !strings.Contains(page, "&lt;川A12345&gt;") || !strings.Contains(page, "&lt;winter&gt;") || !strings.HasSuffix(strings.TrimSpace(page), "</table>") {
			t.Errorf("%s: %d %s", language, status, page)
		}
		if language == "zh-CN" && (!strings.Contains(page, "<td>白名单<td>") || !strings.Contains(page, "打开 (在白名单中)")) {
			t.Errorf("the page is not all Chinese: %s", page)
		}
		if strings.Contains(page, b.body.Broker.Password) || strings.Contains(page, c.key) {
			t.Error("the page shows a secret")
		}
	}
	for language, word := range map[string]string{"en": "own machine only", "zh-CN": "只能在云平台"} {
		if status, page := c.page(language, "evil.example"); status != http.StatusForbidden || !strings.Contains(page, word) {
			t.Errorf("asked for under a foreign name: %d %s", status, page)
		}
	}
}

func TestForeignTopicsAreClosed(t *testing.T) {
	c := startCloud(t, t.TempDir())
	b := newBoard(t, c, sn)
	b.bind(t, c, "bind-1")
	for _, filter := range []string{"#", "device/+/message/up/+", "device/00000000-00000001/message/down/+"} {
		_, _, states, stop := b.online(t, filter)
		// The broker holds off a client that comes again within a second: such a
		// failure to connect says nothing about the filter.
		late := time.After(20 * time.Second)
		for forbidden := false; !forbidden; {
			select {
			case err := <-states:
				if err == nil {
					t.Fatalf("subscribing to %s is accepted", filter)
				}
				forbidden = strings.Contains(err.Error(), "forbids")
			case <-late:
				t.Fatalf("subscribing to %s is not refused", filter)
			}
		}
		stop()
	}
}

func TestWhitelist(t *testing.T) {
	c := startCloud(t, t.TempDir())
	b := newBoard(t, c, sn)
	b.bind(t, c, "bind-1")
	topics, _ := wire.NewTopics(wire.LayoutNew, sn, nil)
	const content = `{"mode":"replace","rows":[{"plate":"川A12345","enable":1}]}`
	var w struct{ ID, Digest string }
	create := map[string]any{"content": content, "targets": map[string]any{"group_ids": []int{0}}}
	if code := c.call("POST", "/v2/stp/user/whitelists", create, &w); code != 0 {
		t.Fatal(code)
	}
	// Created while the board was away; it is sent after the birth.
	publish, down, _, stop := b.online(t)
	defer stop()
	if err := publish(topics.Up("birth"), up("birth", wire.Body{Body: wire.Birth{Boot: "00000001-0", Epoch: 1, AgentVersion: "v1"}}, nil)); err != nil {
		t.Fatal(err)
	}
	cmd, err := wire.ParseChangeCommand(expect(t, down, "whitelist").Body)
	if err != nil || cmd.OperatorType != wire.VerbStage || cmd.ChangeID != w.ID || cmd.Content != content || cmd.Digest != w.Digest {
		t.Fatalf("%+v %v", cmd, err)
	}
	answer := func(state string, code errcode.Code) {
		t.Helper()
		r := wire.Reply{ID: wire.NewID(), SN: sn, Name: "whitelist", Version: wire.Version, Code: 200,
			Payload: wire.Typed{Type: "whitelist", Body: wire.ChangeReport{ChangeID: w.ID, Kind: "whitelist", State: state}}}
		if code != 0 {
			r.Code, r.ErrorCode, r.ErrorMessage = code.MQTTCode(), int(code), code.Message()
		}
		if err := publish(topics.Reply("whitelist"), r); err != nil {
			t.Fatal(err)
		}
	}
	state := func(want string) {
		t.Helper()
		var list struct{ Results []struct{ SN, State string } }
		for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
			if c.call("GET", "/v2/stp/user/whitelists/"+w.ID+"/devices", nil, &list); len(list.Results) == 1 && list.Results[0].State == want {
				return
			}
		}
		t.Fatalf("%+v, want %s", list, want)
	}
	answer("staged", 0)
	state("staged")
	if code := c.call("PUT", "/v2/stp/user/whitelists/"+w.ID+"/apply", nil, nil); code != 0 {
		t.Fatal(code)
	}
	for cmd.OperatorType != wire.VerbApply {
		if cmd, err = wire.ParseChangeCommand(expect(t, down, "whitelist").Body); err != nil {
			t.Fatal(err)
		}
	}
	answer("used", 0)
	state("used")
	for _, verb := range []string{"apply", "cancel"} {
		var results binding.ItemResults
		if code := c.call("PUT", "/v2/stp/user/whitelists/"+w.ID+"/"+verb, nil, &results); code != 0 || len(results.Failures) != 1 || results.Failures[0].Error.Code != int(errcode.WhitelistUsed) {
			t.Errorf("%s after it was applied: %d %+v", verb, code, results)
		}
	}
	if code := c.call("PUT", "/v2/stp/user/whitelists/nonesuch/apply", nil, nil); code != errcode.WhitelistNotExist {
		t.Errorf("an unknown whitelist: %d", code)
	}
	create["targets"] = map[string]any{"group_ids": []int{9}}
	if code := c.call("POST", "/v2/stp/user/whitelists", create, nil); code != errcode.GroupNotExist {
		t.Errorf("an unknown group: %d", code)
	}
}

func TestRefusals(t *testing.T) {
	c := startCloud(t, t.TempDir())
	if code := c.callAs("", "", "GET", "/v2/nothing", nil, nil); code != errcode.URLNotExist {
		t.Errorf("an unknown address: %d", code)
	}
	if code := c.callAs("", "", "GET", binding.DevicesPath, nil, nil); code != errcode.AuthParamsMissing {
		t.Errorf("unsigned: %d", code)
	}
	if code := c.callAs(c.keyID, "wrong", "GET", binding.DevicesPath, nil, nil); code != errcode.AuthSignatureError {
		t.Errorf("a wrong secret: %d", code)
	}
	if code := c.callAs("nobody", "x", "GET", binding.DevicesPath, nil, nil); code != errcode.AuthKeyError {
		t.Errorf("an unknown key: %d", code)
	}
	for path, want := range map[string]errcode.Code{
		"?offset=0": errcode.ParamsError, "?limit=-1": errcode.ParamsError, "?where=%21": errcode.DecodeBase64Failed, "?where=e30%3D": errcode.ParamsError,
	} {
		if code := c.call("GET", binding.DevicesPath+path, nil, nil); code != want {
			t.Errorf("%s: %d, want %d", path, code, want)
		}
	}
	if code := c.callAs("", "", "POST", "/v2/pms/users/login", map[string]string{"username": "admin", "password": "x"}, nil); code != errcode.LoginFailed {
		t.Errorf("a wrong password: %d", code)
	}
	if code := c.call("GET", "/v2/pms/users/refresh_accesskey", nil, nil); code != errcode.AccessKeyRefreshFailed {
		t.Errorf("refreshing a long-lived key: %d", code)
	}
	var g struct{ ID int64 }
	if code := c.call("POST", "/v2/stp/user/groups", map[string]any{"name": "north"}, &g); code != 0 || g.ID == 0 {
		t.Errorf("%d %+v", code, g)
	}
	if code := c.call("PUT", fmt.Sprintf("/v2/stp/user/groups/%d", g.ID), map[string]any{"parent_id": g.ID}, nil); code != errcode.ParamsError {
		t.Errorf("a group below itself: %d", code)
	}
	if code := c.call("DELETE", fmt.Sprintf("/v2/stp/user/groups/%d", g.ID), nil, nil); code != 0 {
		t.Errorf("%d", code)
	}
	if code := c.call("GET", fmt.Sprintf("/v2/stp/user/groups/%d", g.ID), nil, nil); code != errcode.GroupNotExist {
		t.Errorf("%d", code)
	}
}
