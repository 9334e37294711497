package camtcp

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/text/encoding/simplifiedchinese"

	"gatehouse/sync/errcode"
	"gatehouse/sync/whitelist"
	"gatehouse/sync/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// board notes what it is to do.
type board struct {
	mu   sync.Mutex
	done []string
	rows []wire.WhitelistRecord
}

func (b *board) note(format string, args ...any) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.done = append(b.done, fmt.Sprintf(format, args...))
	return nil
}
func (b *board) did() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := strings.Join(b.done, "; ")
	b.done = nil
	return all
}
func (b *board) Output(output, value int, pulse time.Duration) error {
	return b.note("output %d %d %s", output, value, pulse)
}
func (b *board) OutputOn(n int) bool { return n == 1 }
func (b *board) InputClosed(n int) (closed, known bool) {
	return n == 0, n < 2
}
func (b *board) Lock(l []wire.IOLock) error { return b.note("lock %v", l) }
func (b *board) Locks() []wire.IOLock       { return []wire.IOLock{{IOOut: 0, Status: 2}} }
func (b *board) Serial(_ context.Context, d wire.SerialData) error {
	return b.note("serial %d %x", d.SerialData[0].SerialChannel, d.SerialData[0].Data)
}
func (b *board) Trigger(string) error                     { return b.note("trigger") }
func (b *board) Snapshot(context.Context) ([]byte, error) { return []byte("jpeg"), nil }
func (b *board) Speak(v wire.Voice) error                 { return b.note("speak %s", v.VoiceData) }
func (b *board) SetTime(at time.Time) error               { return b.note("time %s", at.Format(time.DateTime)) }
func (b *board) Rows(w wire.WhitelistOperator) (*whitelist.Selection, error) {
	if w.OperatorType == wire.OperateSelect {
		return &whitelist.Selection{Records: b.rows}, nil
	}
	return nil, b.note("rows %s %+v %v", w.OperatorType, w.Records, w.Plates)
}

// serve runs a server and gives its address.
func serve(t *testing.T, o Options, b Board) (*Server, string) {
	t.Helper()
	o.SN, o.Version, o.Log = "265e1040-85e01fb7", "test", slog.New(slog.DiscardHandler)
	if o.Connections == 0 {
		o.Connections = 8
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := New(o, b)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s, l.Addr().String()
}

// pipes is a listener whose clients come through it.
type pipes struct {
	net.Listener
	in     chan net.Conn
	closed context.Context
	close  context.CancelFunc
}

func (p pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.in:
		return conn, nil
	case <-p.closed.Done():
		return nil, net.ErrClosed
	}
}
func (p pipes) Close() error { p.close(); return nil }

// Clients that send heartbeats and never log in are put out after a while, so
// that there is room for one that does; that one stays.
func TestStrangersDoNotStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{Password: "geheim", Connections: 2, Log: slog.New(slog.DiscardHandler)}, &board{})
		ctx, cancel := context.WithCancel(t.Context())
		l := pipes{in: make(chan net.Conn)}
		l.closed, l.close = context.WithCancel(t.Context())
		var wait sync.WaitGroup
		wait.Go(func() { _ = s.Serve(ctx, l) })
		// connect gives a connection that sends a heartbeat every 5 s until it is closed.
		connect := func() (conn net.Conn, gone chan struct{}) {
			conn, far := net.Pipe()
			l.in <- far
			gone = make(chan struct{})
			wait.Go(func() { _, _ = io.Copy(io.Discard, conn) })
			wait.Go(func() {
				defer close(gone)
				for {
					if _, err := conn.Write(frame{kind: kindHeartbeat}.bytes()); err != nil {
						return
					}
					time.Sleep(5 * time.Second)
				}
			})
			return conn, gone
		}
		_, gone1 := connect()
		_, gone2 := connect()
		time.Sleep(14 * time.Second)
		for _, gone := range []chan struct{}{gone1, gone2} {
			select {
			case <-gone:
				t.Error("a client was put out at once")
			default:
			}
		}
		time.Sleep(10 * time.Second)
		for _, gone := range []chan struct{}{gone1, gone2} {
			select {
			case <-gone:
			default:
				t.Error("a client that never logs in stays")
			}
		}
		friend, gone := connect()
		synctest.Wait()
		s.each(func(c *client) { c.login.done.Store(true) })
		time.Sleep(10 * time.Minute)
		select {
		case <-gone:
			t.Error("a client that has logged in was put out")
		default:
		}
		friend.Close()
		cancel()
		wait.Wait()
	})
}

// parking is a client of the protocol, written from the fact sheet.
type parking struct {
	t    *testing.T
	conn net.Conn
}

func dial(t *testing.T, address string) *parking {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &parking{t, conn}
}

func (p *parking) send(kind byte, data []byte) {
	p.t.Helper()
	b := append([]byte{'V', 'Z', kind, 7}, binary.BigEndian.AppendUint32(nil, uint32(len(data)))...)
	if _, err := p.conn.Write(append(b, data...)); err != nil {
		p.t.Fatal(err)
	}
}

// receive gives the next message that is no heartbeat, and what follows its NUL.
func (p *parking) receive() (map[string]any, []byte) {
	p.t.Helper()
	for {
		_ = p.conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		head := make([]byte, 8)
		if _, err := io.ReadFull(p.conn, head); err != nil {
			p.t.Fatal(err)
		}
		data := make([]byte, binary.BigEndian.Uint32(head[4:]))
		if _, err := io.ReadFull(p.conn, data); err != nil {
			p.t.Fatal(err)
		}
		if head[2] == kindHeartbeat {
			continue
		}
		text, pictures, _ := bytes.Cut(data, []byte{0})
		utf, err := simplifiedchinese.GBK.NewDecoder().Bytes(text)
		if err != nil {
			p.t.Fatal(err)
		}
		var m map[string]any
		if err := json.Unmarshal(utf, &m); err != nil {
			p.t.Fatalf("%s: %v", utf, err)
		}
		return m, pictures
	}
}

func (p *parking) ask(request string) (map[string]any, []byte) {
	p.t.Helper()
	gbk, err := simplifiedchinese.GBK.NewEncoder().Bytes([]byte(request))
	if err != nil {
		p.t.Fatal(err)
	}
	p.send(kindData, gbk)
	return p.receive()
}

var everything = []string{AllowOutput, AllowSerial, AllowTrigger, AllowSnapshot, AllowRows, AllowSpeak, AllowLock, AllowTime}

func TestCommands(t *testing.T) {
	b := &board{rows: []wire.WhitelistRecord{{Plate: "川A12345", Enable: 1}}}
	_, address := serve(t, Options{Allow: everything}, b)
	p := dial(t, address)
	p.send(kindHeartbeat, nil)
	for _, c := range []struct {
		request string
		code    float64
		fields  string // of the answer, as JSON
		done    string
	}{
		{`{"cmd":"getsn","id":"a1"}`, 200, `{"value":"265e1040-85e01fb7","id":"a1"}`, ""},
		{`{"cmd":"ioctl","id":5,"io":0,"value":2,"delay":500}`, 200, `{"id":5}`, "output 0 2 500ms"},
		{`{"cmd":"ioctl_resp","io":1,"value":1}`, 200, `{}`, "output 1 1 500ms"},
		{`{"cmd":"ioctl","io":4,"value":2}`, 400, `{"error_code":1103}`, ""},
		{`{"cmd":"get_gpio_value","gpio":0}`, 200, `{"gpio":0,"value":1}`, ""},
		{`{"cmd":"get_gpio_value","gpio":3}`, 405, `{}`, ""},
		{`{"cmd":"get_gpio_out_value","gpio":1}`, 200, `{"gpio":1,"value":1}`, ""},
		{`{"cmd":"set_io_lock_status","body":[{"ioout":0,"status":2}]}`, 200, `{}`, "lock [{0 2}]"},
		{`{"cmd":"get_io_lock_status"}`, 200, `{"body":[{"ioout":0,"status":2}]}`, ""},
		{`{"cmd":"ttransmission","subcmd":"send","comm":"rs485-2","data":"AGT/","datalen":3}`, 200, `{"subcmd":"send","response":"ok"}`, "serial 1 0064ff"},
		{`{"cmd":"ttransmission","subcmd":"send","comm":"rs485-9","data":"AGT/"}`, 400, `{}`, ""},
		{`{"cmd":"ttransmission","subcmd":"dance"}`, 400, `{}`, ""},
		{`{"cmd":"reg_offline_check","interval":10}`, 200, `{"response":"ok"}`, ""},
		{`{"cmd":"reg_offline_check","sucmd":"cancel"}`, 200, `{"response":"ok"}`, ""},
		{`{"cmd":"response_online"}`, 200, `{}`, ""},
		{`{"cmd":"white_list_operator","operator_type":"update_or_add","dldb_rec":{"plate":"川B5","enable":1}}`, 200, `{"state":"succeed"}`, "rows update_or_add [{Plate:川B5 Enable:1 EnableTime: OverdueTime: CreateTime: NeedAlarm:0 TimeSegEnable:0 SegTimeStart: SegTimeEnd: VehicleCode: VehicleComment: CustomerID:0"},
		{`{"cmd":"white_list_operator","operator_type":"update_or_add","dldb_rec":{"plate":"鲁A12345","enable":1}}`, 200, `{"state":"succeed"}`, "rows update_or_add [{Plate:鲁A12345 "},
		{`{"cmd":"white_list_operator","operator_type":"delete","plate":"川B5"}`, 200, `{"state":"succeed"}`, "rows delete [] [川B5]"},
		{`{"cmd":"white_list_operator","operator_type":"delete"}`, 400, `{}`, ""},
		{`{"cmd":"set_time","timestring":"2026-11-23 08:00:00"}`, 200, `{}`, "time 2026-11-23 08:00:00"},
		{`{"cmd":"set_time","timestring":"now"}`, 400, `{}`, ""},
		{`{"cmd":"get_snapshot"}`, 200, `{"imgformat":"jpg","imgdata":"anBlZw=="}`, ""},
		{`{"cmd":"trigger"}`, 200, `{}`, "trigger"},
		{`{"cmd":"playserver_json_request","body":{"type":"ps_voice_play","voice":"u7bTrQ=="}}`, 200, `{}`, "speak 欢迎"},
		{`{"cmd":"get_max_rec_id"}`, 200, `{"max_id":0}`, ""},
		{`{"cmd":"get_record","id":9}`, 404, `{}`, ""},
		{`{"cmd":"getivsresult"}`, 404, `{}`, ""},
		{`{"cmd":"set_led_ctrl_cfg"}`, 405, `{}`, ""},
		{`{"cmd":"dance"}`, 404, `{"cmd":"dance"}`, ""},
		{`{"id":"x"}`, 400, `{}`, ""},
		{`{`, 400, `{}`, ""},
	} {
		m, _ := p.ask(c.request)
		var want map[string]any
		if err := json.Unmarshal([]byte(c.fields), &want); err != nil {
			t.Fatal(err)
		}
		for k, v := range want {
			if !reflect.DeepEqual(m[k], v) {
				t.Errorf("%s: %s is %v, want %v", c.request, k, m[k], v)
			}
		}
		if done := b.did(); m["state_code"] != c.code || !strings.HasPrefix(done, c.done) || c.done == "" && done != "" {
			t.Errorf("%s: code %v %v, did %q; want %v, %q", c.request, m["state_code"], m["error_msg"], done, c.code, c.done)
		}
	}
	m, _ := p.ask(`{"cmd":"white_list_operator","operator_type":"select","sub_type":"plate","plate":""}`)
	if rows := m["dldb_rec"].([]any); rows[0].(map[string]any)["plate"] != "川A12345" {
		t.Errorf("%v", m)
	}
	// A list that does not fit into a frame is refused, not sent in part.
	for range 20000 {
		b.rows = append(b.rows, b.rows[0])
	}
	if m, _ := p.ask(`{"cmd":"white_list_operator","operator_type":"select","plate":""}`); m["state_code"] != 500.0 {
		t.Errorf("%v", m)
	}
}

// Without leave nothing moves, is written or taken.
func TestNothingIsAllowedByDefault(t *testing.T) {
	b := &board{}
	_, address := serve(t, Options{}, b)
	p := dial(t, address)
	for name, c := range commands {
		if c.allow == "" {
			continue
		}
		if m, _ := p.ask(`{"cmd":"` + name + `"}`); m["state_code"] != 405.0 {
			t.Errorf("%s: %v", name, m)
		}
	}
	if did := b.did(); did != "" {
		t.Error(did)
	}
}

func TestResultsAndEvents(t *testing.T) {
	s, address := serve(t, Options{Allow: everything}, &board{})
	p, quiet := dial(t, address), dial(t, address)
	quiet.ask(`{"cmd":"getsn"}`)
	p.ask(`{"cmd":"ivsresult","enable":true,"format":"json","image":true,"image_type":2}`)
	p.ask(`{"cmd":"ttransmission","subcmd":"init","data":"rs485-1","datalen":7}`)
	at := time.Date(2026, 11, 23, 8, 0, 0, 0, time.Local)
	r := wire.NewResult("265e1040-85e01fb7", "gate", "192.0.2.10", at)
	r.AlarmInfoPlate.Result.PlateResult.AddPlate("川A12345", 98, 1, 1, wire.Rect{})
	r.AlarmInfoPlate.Result.PlateResult.PlateID = 42
	s.Result(r, []byte("FULL"), []byte("small"), at)
	m, pictures := p.receive()
	plate := m["PlateResult"].(map[string]any)
	if m["cmd"] != "ivs_result" || m["id"] != 42.0 || plate["license"] != "川A12345" || m["fullImgSize"] != 4.0 || m["clipImgSize"] != 5.0 ||
		m["timeString"] != "2026-11-23 08:00:00" || string(pictures) != "FULLsmall" {
		t.Errorf("%v %q", m, pictures)
	}
	if m, pictures := p.ask(`{"cmd":"get_image","record_id":42}`); m["size"] != 4.0 || string(pictures) != "FULL" {
		t.Errorf("%v %q", m, pictures)
	}
	if m, pictures := p.ask(`{"cmd":"get_record","id":42,"image":false}`); m["state_code"] != 200.0 || m["cmd"] != "ivs_result" && m["cmd"] != "get_record" || len(pictures) != 0 {
		t.Errorf("%v %q", m, pictures)
	}
	if m, _ := p.ask(`{"cmd":"getivsresult","image":false}`); m["PlateResult"] == nil {
		t.Errorf("%v", m)
	}
	s.Received(1, []byte("not wanted"))
	s.Received(0, []byte{1, 2})
	if m, _ := p.receive(); m["cmd"] != "ttransmission" || m["data"] != "AQI=" || m["comm"] != "rs485-1" {
		t.Errorf("%v", m)
	}
	s.Input(1, 1)
	if m, _ := p.receive(); m["cmd"] != "gpio_trigger" || m["gpio"] != 1.0 {
		t.Errorf("%v", m)
	}
	if m, _ := quiet.receive(); m["cmd"] != "gpio_trigger" { // and no result before it
		t.Errorf("%v", m)
	}
}

func TestLogin(t *testing.T) {
	b := &board{}
	s, address := serve(t, Options{Allow: everything, Password: "geheim"}, b)
	p := dial(t, address)
	if m, _ := p.ask(`{"cmd":"getsn"}`); m["state_code"] != 200.0 {
		t.Errorf("%v", m)
	}
	if m, _ := p.ask(`{"cmd":"ioctl","io":0,"value":2}`); m["state_code"] != 401.0 || b.did() != "" {
		t.Errorf("%v", m)
	}
	s.Input(0, 1) // is not told before the login
	m, _ := p.ask(`{"cmd":"start_login"}`)
	challenge, _ := m["signature"].(string)
	if len(challenge) != 16 || m["device_sn"] != "265e1040-85e01fb7" {
		t.Fatalf("%v", m)
	}
	proof := base64.StdEncoding.EncodeToString(response(challenge, "geheim"))
	if m, _ := p.ask(`{"cmd":"login_authentication","authentication":"` + proof + `"}`); m["state_code"] != 200.0 {
		t.Errorf("%v", m)
	}
	if m, _ := p.ask(`{"cmd":"ioctl","io":0,"value":2}`); m["state_code"] != 200.0 || b.did() == "" {
		t.Errorf("%v", m)
	}
	// A proof is good for one challenge, and guessing ends soon.
	other := dial(t, address)
	for i := range mostFailures {
		if m, _ := other.ask(`{"cmd":"login_authentication","authentication":"` + proof + `"}`); m["state_code"] != 401.0 {
			t.Errorf("%d: %v", i, m)
		}
	}
	_ = other.conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.Copy(io.Discard, other.conn); err != nil && !errors.Is(err, io.EOF) && !strings.Contains(err.Error(), "reset") {
		t.Errorf("after %d failures: %v", mostFailures, err)
	}
}

// Clients that speak nonsense are disconnected, and only so many are served.
func TestBadClients(t *testing.T) {
	_, address := serve(t, Options{Connections: 2}, &board{})
	for _, nonsense := range []string{"GET / HTTP/1.1\r\n\r\n", "VZ\x09\x00\x00\x00\x00\x00", "VZ\x00\x00\x7f\xff\xff\xff"} {
		p := dial(t, address)
		if _, err := io.WriteString(p.conn, nonsense); err != nil {
			t.Fatal(err)
		}
		gone(t, p)
	}
	var first *parking
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) { // until the last one's place is free
		first = dial(t, address)
		if _, err := first.conn.Write([]byte("VZ\x00\x01\x00\x00\x00\x0f{\"cmd\":\"getsn\"}")); err == nil {
			_ = first.conn.SetReadDeadline(time.Now().Add(20 * time.Second))
			if _, err := io.ReadFull(first.conn, make([]byte, 8)); err == nil {
				break
			}
		}
		if time.Now().After(end) {
			t.Fatal("no place is free")
		}
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		second, third := dial(t, address), dial(t, address)
		_ = second
		_ = third.conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		if _, err := third.conn.Read(make([]byte, 1)); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			var timeout net.Error
			if !errors.As(err, &timeout) || !timeout.Timeout() {
				break
			}
		}
		if time.Now().After(end) {
			t.Fatal("a third client is served")
		}
	}
}

func gone(t *testing.T, p *parking) {
	t.Helper()
	_ = p.conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.Copy(io.Discard, p.conn); err != nil {
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			t.Error("nonsense keeps the connection")
		}
	}
}

// Every command is documented.
func TestCommandsAreDocumented(t *testing.T) {
	_, section, _ := strings.Cut(wire.Protocol, "## TCP port 8131")
	for name := range commands {
		if !strings.Contains(section, name) {
			t.Errorf("gatehouse protocol does not know %s", name)
		}
	}
}

func FuzzFrames(f *testing.F) {
	f.Add([]byte("VZ\x00\x01\x00\x00\x00\x0f{\"cmd\":\"getsn\"}VZ\x01\x02\x00\x00\x00\x00"))
	f.Add([]byte("VZ\x00\x01\x00\x00\x00\x14{\"cmd\":\"x\",\"id\":\"\xb4\xa8\"}"))
	f.Add([]byte("VZ\x00\x01\x7f\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		in := bytes.NewReader(b)
		for {
			fr, err := readFrame(in)
			if err != nil {
				return
			}
			if len(fr.data) > maxRequest || fr.kind > kindBinary {
				t.Fatalf("%d bytes of kind %d", len(fr.data), fr.kind)
			}
			r, err := parseRequest(fr.data)
			var e *errcode.Error
			if err != nil && !errors.As(err, &e) {
				t.Errorf("%v has no code", err)
			}
			if err == nil && (r.Cmd == "" || !json.Valid(r.In)) {
				t.Errorf("%+v", r)
			}
			if _, err := text(reply(r, nil, err)); err != nil {
				t.Errorf("the answer cannot be written: %v", err)
			}
		}
	})
}
