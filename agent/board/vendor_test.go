package board

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
	mqtt "github.com/eclipse/paho.mqtt.golang"

	"gatehouse/configs"
	"gatehouse/hal/barrier"
	"gatehouse/hal/input"
	"gatehouse/hal/input/inputtest"
	"gatehouse/sync/errcode"
	"gatehouse/sync/outbox"
	"gatehouse/sync/wire"
	"gatehouse/vision/link"
)

const fakeVisionEnv = "GATEHOUSE_FAKE_VISION"

// fakeVision is a vision process that sees the plate A1 whenever it is triggered.
func fakeVision() {
	c := link.NewConn(os.NewFile(3, "agent"))
	for {
		m, err := c.Receive()
		if err != nil {
			return
		}
		if m.Settings != nil {
			_ = c.Send(link.Message{Hello: &link.Hello{PID: os.Getpid()}})
		}
		if m.Trigger != nil {
			_ = c.Send(link.Message{Result: &link.Result{Event: link.EventTrigger, Trigger: m.Trigger.By, TriggerID: m.Trigger.ID,
				Plates: []link.Plate{{Text: "A1", Score: 1}}, Full: []byte("full picture"), Crop: []byte("crop")}})
		}
	}
}

// broker starts a mosquitto and gives its address.
func broker(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("mosquitto"); err != nil {
		t.Skip("mosquitto is not installed; `make deps` installs it")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	_, port, _ := net.SplitHostPort(address)
	conf := filepath.Join(t.TempDir(), "mosquitto.conf")
	if err := os.WriteFile(conf, []byte("listener "+port+" 127.0.0.1\nallow_anonymous true\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("mosquitto", "-c", conf)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return address
}

// said is a message of the board.
type said struct {
	topic string
	m     map[string]any
}

// parking is a parking system on the broker, written from the fact sheet.
type parking struct {
	t      *testing.T
	client mqtt.Client
	mu     sync.Mutex
	heard  []said
}

func connectParking(t *testing.T, address string) *parking {
	t.Helper()
	p := &parking{t: t}
	o := mqtt.NewClientOptions().AddBroker("tcp://" + address).SetClientID("parking").SetAutoReconnect(false)
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		p.client = mqtt.NewClient(o)
		if token := p.client.Connect(); token.WaitTimeout(5*time.Second) && token.Error() == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the broker does not come up")
		}
	}
	t.Cleanup(func() { p.client.Disconnect(100) })
	token := p.client.Subscribe("#", 1, func(_ mqtt.Client, m mqtt.Message) {
		var v map[string]any
		if json.Unmarshal(m.Payload(), &v) != nil {
			v = map[string]any{"not": "JSON"}
		}
		p.mu.Lock()
		p.heard = append(p.heard, said{m.Topic(), v})
		p.mu.Unlock()
	})
	if token.Wait(); token.Error() != nil {
		t.Fatal(token.Error())
	}
	return p
}

// wait waits for a message on topic after the first n, and gives it.
func (p *parking) wait(topic string, match func(map[string]any) bool) map[string]any {
	p.t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		p.mu.Lock()
		for _, s := range p.heard {
			if s.topic == topic && (match == nil || match(s.m)) {
				p.mu.Unlock()
				return s.m
			}
		}
		p.mu.Unlock()
	}
	p.t.Fatalf("nothing came on %s", topic)
	return nil
}

func (p *parking) count(topic string) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.heard {
		if s.topic == topic {
			n++
		}
	}
	return n
}

func (p *parking) command(topic string, qos byte, text string) {
	p.t.Helper()
	if token := p.client.Publish(topic, qos, false, text); token.Wait() && token.Error() != nil {
		p.t.Fatal(token.Error())
	}
}

func byID(id string) func(map[string]any) bool {
	return func(m map[string]any) bool { return m["id"] == id }
}

// at takes a value out of nested objects and arrays.
func at(v any, path ...any) any {
	for _, p := range path {
		switch key := p.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[key]
		case int:
			a, _ := v.([]any)
			if key >= len(a) {
				return nil
			}
			v = a[key]
		}
	}
	return v
}

// site is a board on a broker with everything that can hang on one.
type vendorSite struct {
	*Board
	*parking
	up, down func(name string) string
	inputs   [2]*inputtest.Line
	serial   *os.File // the device's end of serial channel 0
	spoken   string   // file of what was spoken
	rebooted string   // file that a restart makes
	clock    chan time.Time
}

func openSite(t *testing.T, layout string) *vendorSite {
	t.Helper()
	address := broker(t)
	s := &vendorSite{parking: connectParking(t, address), clock: make(chan time.Time, 1)}
	device, tty, err := pty.Open()
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	t.Cleanup(func() { device.Close(); tty.Close() })
	s.serial = device
	dir := t.TempDir()
	s.spoken, s.rebooted = filepath.Join(dir, "spoken"), filepath.Join(dir, "rebooted")
	c := configs.Default()
	c.Device.SN, c.Device.Name = "265e1040-85e01fb7", "门岗1"
	c.Camera.Source = "fake"
	c.MQTT.Broker, c.MQTT.Layout = "tcp://"+address, layout
	c.MQTT.Topics = map[string]string{"down/gate_direct_open": "custom/{sn}/open", "keep_alive": "/device/message/up/keep_alive"}
	c.Ports.Serial = []configs.SerialPort{{Path: tty.Name(), Baud: 9600, DataBits: 8, Parity: "none", StopBits: 1}}
	c.Ports.Speaker, c.Ports.Reboot, c.Ports.SetTime = []string{"tee", s.spoken}, []string{"touch", s.rebooted}, true
	c.Lane.TriggerInputs, c.Lane.EarlyResult = []int{1}, true
	c.Barrier.Pulse, c.Barrier.CloseAfter = configs.Duration(5*time.Second), configs.Duration(time.Minute) // a test looks at it meanwhile
	t.Setenv(fakeVisionEnv, "1")
	if s.Board, err = Open(c, filepath.Join(dir, "state"), os.Args[0], "test", slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	s.inputs = [2]*inputtest.Line{{}, {}}
	inputs, err := input.New([]input.Line{s.inputs[0], s.inputs[1]}, s.inputOptions(c.Ports))
	if err != nil {
		t.Fatal(err)
	}
	s.Board.inputs.Store(inputs)
	s.wired = []part{{"inputs", nil, s.runInputs}}
	s.setClock = func(at time.Time) error { s.clock <- at; return nil }
	base := "device/265e1040-85e01fb7/message"
	if layout == "old" {
		base = "265e1040-85e01fb7/device/message"
	}
	s.up = func(name string) string { return base + "/up/" + name }
	s.down = func(name string) string { return base + "/down/" + name }
	return s
}

// run runs the board to the end of the test.
func (s *vendorSite) run(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	wait.Go(func() { _ = s.Board.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		wait.Wait()
		s.Board.Close()
	})
	s.wait(s.up("birth"), nil)
	for end := time.Now().Add(20 * time.Second); !s.vision.Status().Running; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the fake vision process does not run")
		}
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if _, known := s.Board.inputs.Closed(1); known {
			return
		} else if time.Now().After(end) {
			t.Fatal("the inputs are not read")
		}
	}
}

// sent gives the next n bytes that the device on serial channel 0 is sent.
func (s *vendorSite) sent(n int) string {
	s.t.Helper()
	if err := s.serial.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		s.t.Fatal(err)
	}
	got := make([]byte, n)
	if k, err := io.ReadFull(s.serial, got); err != nil {
		s.t.Fatalf("only %q was sent: %v", got[:k], err)
	}
	return string(got)
}

// Every command of the vendor's is answered, in both layouts, however clients
// write it: what the board has is done, the rest refused with a code.
func TestVendorCommands(t *testing.T) {
	for _, layout := range []string{"new", "old"} {
		t.Run(layout, func(t *testing.T) {
			s := openSite(t, layout)
			s.run(t)
			opened := func(n int) func() error {
				return func() error {
					if got := s.gate.Status().Opened; got != n {
						return fmt.Errorf("opened %d times, want %d", got, n)
					}
					return nil
				}
			}
			body := func(name, b string) string { return `"payload":{"type":"` + name + `","body":` + b + `}` }
			for i, c := range []struct {
				name, rest string // of the message, beside its id
				qos        byte
				code       float64
				payload    string // of the reply
				after      func() error
			}{
				{"gpio_out", body("gpio_out", `{"io":0,"value":2,"delay":500}`), 0, 200, `null`, opened(1)},
				{"gpio_out", `"timestamp":1795400000123,` + body("gpio_out", `{"io":0,"value":2}`), 1, 200, `null`, opened(2)},
				{"gpio_out", body("gpio_out", `{"io":0,"value":2,"delay":99999}`), 2, 200, `null`, opened(3)},
				{"gpio_out", body("gpio_out", `{"value":2}`), 1, 400, `null`, opened(3)},
				{"gpio_out", body("gpio_out", `{"io":1,"value":2}`), 1, 200, `null`, opened(3)},
				{"gate_direct_open", `"payload":{}`, 1, 200, `null`, opened(4)},
				{"gate_direct_open", `"sn":"x"`, 0, 200, `null`, opened(5)},
				{"get_io_status", body("get_io_status", `{"type":"output","gpio":0}`), 1, 200, `{"type":"get_io_status","body":{"gpio":0,"status":1}}`, nil},
				{"get_io_status", body("get_io_status", `{"type":"input","gpio":0}`), 1, 200, `{"type":"get_io_status","body":{"gpio":0,"status":0}}`, nil},
				{"get_io_status", body("get_io_status", `{"type":"input","gpio":5}`), 1, 405, `null`, nil},
				{"set_io_lock_status", body("set_io_lock_status", `[{"ioout":0,"status":2}]`), 1, 200, `null`, nil},
				{"gpio_out", body("gpio_out", `{"io":0,"value":2,"delay":501}`), 1, 409, `null`, opened(5)},
				{"get_io_lock_status", body("get_io_lock_status", `[]`), 1, 200, `{"type":"get_io_lock_status","body":[{"ioout":0,"status":2},{"ioout":1,"status":0},{"ioout":2,"status":0},{"ioout":3,"status":0}]}`, nil},
				{"io_lock", body("io_lock", `{"ioout":0,"status":0}`), 1, 200, `null`, nil},
				{"set_io_lock_status", body("set_io_lock_status", `{"ioout":7,"status":0}`), 1, 400, `null`, nil},
				{"serial_data", body("serial_data", `{"serialData":[{"serialChannel":0,"data":"AGT/","dataLen":8},{"serialChannel":0,"data":"Cg==","dataLen":1}],"interval":10}`), 1, 200, `null`, func() error {
					if got := s.sent(4); got != "\x00\x64\xff\n" {
						return fmt.Errorf("% x was sent", got)
					}
					return nil
				}},
				{"serial_data", body("serial_data", `{"serialData":[{"serialChannel":1,"data":"YQ=="}]}`), 1, 405, `null`, nil},
				{"serial_data", body("serial_data", `{"serialData":[{"serialChannel":0,"data":"?"}]}`), 1, 400, `null`, nil},
				{"set_time", body("set_time", `{"year":"2026","month":"11","day":"23","hour":"08","min":"00","sec":"00"}`), 1, 200, `null`, func() error {
					if at := <-s.clock; at.Format(time.DateTime) != "2026-11-23 08:00:00" {
						return fmt.Errorf("set to %s", at)
					}
					return nil
				}},
				{"set_time", body("set_time", `{"year":"1900"}`), 1, 400, `null`, nil},
				{"tts_voice", `"payload":{"type":"play_voice","body":{"voice_male":1,"voice_volume":80,"voice_data":"5qyi6L+O"}}`, 1, 200, `{"type":"play_voice"}`, func() error {
					for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
						if b, _ := os.ReadFile(s.spoken); string(b) == "欢迎" {
							return nil
						}
					}
					return fmt.Errorf("nothing was spoken")
				}},
				{"white_list_operator", body("white_list_operator", `{"operator_type":"update_or_add","dldb_rec":{"plate":"川A12345","enable":1,"enable_time":"2026-11-23 00:00:00","overdue_time":"2036-12-23 00:00:00","need_alarm":0}}`), 1, 200, `null`, nil},
				{"white_list_operator", body("white_list_operator", `{"operator_type":"add","dldb_rec":[{"plate":"B1","enable":1},{"plate":"B2","enable":0,"index":4}]}`), 1, 200, `null`, nil},
				{"white_list_operator", body("white_list_operator", `{"operator_type":"delete","plate":["B1","B9"]}`), 1, 200, `null`, func() error {
					if n := s.state.Whitelist.Len(); n != 2 {
						return fmt.Errorf("%d rows", n)
					}
					return nil
				}},
				{"white_list_operator", body("white_list_operator", `{"operator_type":"delete"}`), 1, 400, `null`, nil},
				{"white_list_operator", body("white_list_operator", `{"operator_type":"delete","plate":[]}`), 1, 200, `null`, nil},
				{"white_list_operator", body("white_list_operator", `{"operator_type":"delete","plate":""}`), 1, 200, `null`, func() error {
					if n := s.state.Whitelist.Len(); n != 0 {
						return fmt.Errorf("%d rows", n)
					}
					return nil
				}},
				{"check_offline_record", body("check_offline_record", `{"enable":"get"}`), 1, 200, `{"type":"check_offline_record","body":{"enable":"get","max_count":0,"min_id":0}}`, nil},
				{"ivs_trigger", body("ivs_trigger", `[]`), 1, 200, `null`, nil},
				{"snapshot", body("snapshot", `[]`), 1, 200, `null`, nil},
				{"set_cloud_ctrl", body("set_cloud_ctrl", `{"type":2,"value":-1}`), 1, 405, `null`, nil},
				{"lcd_cfg", body("lcd_cfg", `{}`), 1, 405, `null`, nil},
				{"set_oss_cfg", body("set_oss_cfg", `{}`), 1, 405, `null`, nil},
				{"device_set", body("device_set", `{}`), 1, 405, `null`, nil},
				{"set_plate_encryption_cfg", body("set_plate_encryption_cfg", `{}`), 1, 405, `null`, nil},
				{"dance", body("dance", `{}`), 1, 404, `null`, nil},
				{"gpio_out", `"payload":3`, 1, 400, `null`, nil},
				{"gpio_out", `"padding":"` + strings.Repeat("x", wire.MaxMessage) + `"`, 1, 400, `null`, nil},
			} {
				topic, id := s.down(c.name), fmt.Sprintf("%s-%d", c.name, i)
				if c.name == "gate_direct_open" { // overridden
					topic = "custom/265e1040-85e01fb7/open"
				}
				s.command(topic, c.qos, `{"id":"`+id+`",`+c.rest+`}`)
				r := s.wait(topic+"/reply", byID(id))
				payload, present := r["payload"]
				var want any
				if err := json.Unmarshal([]byte(c.payload), &want); err != nil {
					t.Fatal(err)
				}
				if r["code"] != c.code || !present || !reflect.DeepEqual(payload, want) || r["name"] != c.name || r["sn"] != "265e1040-85e01fb7" || r["version"] != "1.0" {
					t.Errorf("%s %.120s: %v", c.name, c.rest, r)
				}
				if c.code != 200 && r["error_code"] == nil {
					t.Errorf("%s: a refusal without a code: %v", c.name, r)
				}
				if c.after != nil {
					if err := c.after(); err != nil {
						t.Errorf("%s: %v", c.name, err)
					}
				}
			}
			// What follows a trigger and a request for a picture.
			m := s.wait(s.up("ivs_result"), nil)
			if r := at(m, "payload", "AlarmInfoPlate", "result", "PlateResult"); at(r, "triggerType") != 4.0 || at(r, "license") != "QTE=" || at(r, "full_image_content") == "" {
				t.Errorf("%v", r)
			}
			shot := s.wait(s.up("snapshot"), nil)
			if at(shot, "payload", "state_code") != 200.0 || at(shot, "payload", "image_content") != "ZnVsbCBwaWN0dXJl" || !strings.HasPrefix(fmt.Sprint(at(shot, "payload", "msg_id")), "snapshot-") {
				t.Errorf("%v", shot)
			}
			// The time stands in both places.
			s.command(s.down("get_device_timestamp"), 1, `{"id":"time","payload":{"body":{}}}`)
			r := s.wait(s.down("get_device_timestamp")+"/reply", byID("time"))
			if now, ok := at(r, "payload", "timestamp").(float64); !ok || now != at(r, "payload", "body", "timestamp") || time.Since(time.Unix(int64(now), 0)) > time.Minute {
				t.Errorf("%v", r)
			}
			// One command on the other layout's topic, or delivered twice, acts not at all, or once.
			before := s.gate.Status().Opened
			for _, topic := range []string{"device/265e1040-85e01fb7/message/down/gpio_out", "265e1040-85e01fb7/device/message/down/gpio_out", s.down("gate_direct_open")} {
				s.command(topic, 1, `{"id":"both","payload":{"body":{"io":0,"value":2,"delay":500}}}`)
				s.command(topic, 1, `{"id":"both","payload":{"body":{"io":0,"value":2,"delay":500}}}`)
			}
			s.command(s.down("get_device_timestamp"), 1, `{"id":"behind","payload":{"body":{}}}`)
			s.wait(s.down("get_device_timestamp")+"/reply", byID("behind"))
			if got := s.gate.Status().Opened; got != before+1 {
				t.Errorf("opened %d times for one command", got-before)
			}
			// A restart is not answered.
			s.command(s.down("reboot_dev"), 1, `{"id":"reboot","payload":{"body":{}}}`)
			for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) { // the barrier may be moving
				if _, err := os.Stat(s.rebooted); err == nil {
					break
				} else if time.Now().After(end) {
					t.Fatal("the board was not restarted")
				}
				s.command(s.down("reboot_dev"), 1, fmt.Sprintf(`{"id":"reboot-%d","payload":{"body":{}}}`, time.Now().UnixNano()))
			}
		})
	}
}

// mute is a cloud that answers nobody until it is let go.
type mute struct {
	asked   chan struct{} // holds one where it was asked
	release chan struct{}
}

func (m mute) RoundTrip(*http.Request) (*http.Response, error) {
	select {
	case m.asked <- struct{}{}:
	default:
	}
	<-m.release
	return nil, errors.New("it does not answer")
}

// Commands that take their time hold up neither an opening nor the
// acknowledgement of an event; bytes for a serial port stay in order; more than
// can wait are refused.
func TestSlowCommandsHoldUpNothing(t *testing.T) {
	s := openSite(t, "new")
	cloud := mute{make(chan struct{}, 1), make(chan struct{})}
	release := sync.OnceFunc(func() { close(cloud.release) })
	defer release()
	s.state.http = &http.Client{Transport: cloud} // its waiting is no matter of time
	body, _ := account(7, "a", false)
	if err := s.state.adopt("http://cloud.invalid", body); err != nil {
		t.Fatal(err)
	}
	s.run(t)
	id, err := s.outbox.Put(t.Context(), outbox.Event{Name: "x", Payload: []byte(`{}`), Account: 7})
	if err != nil {
		t.Fatal(err)
	}
	s.command(s.down("serial_data"), 1, `{"id":"first","payload":{"body":{"serialData":[{"serialChannel":0,"data":"YQ=="},{"serialChannel":0,"data":"Yg=="}],"interval":1000}}}`)
	s.command(s.down("serial_data"), 1, `{"id":"second","payload":{"body":{"serialData":[{"serialChannel":0,"data":"Yw=="}]}}}`)
	if got := s.sent(3); got != "abc" {
		t.Errorf("%q was sent", got)
	}

	// From here on both queues are held up: the ports' for minutes, the cloud's until it is let go.
	item := `{"serialChannel":0,"data":"ZA=="}`
	s.command(s.down("serial_data"), 1, `{"id":"long","payload":{"body":{"serialData":[`+item+strings.Repeat(","+item, 60)+`],"interval":5000}}}`)
	s.wait(s.down("serial_data")+"/reply", byID("long"))
	s.command(s.down("serial_data"), 1, `{"id":"waiting","payload":{"body":{"serialData":[`+item+`]}}}`)
	s.command(s.down("bind"), 1, `{"id":"bind","payload":{"body":{}}}`)
	<-cloud.asked
	for i := range mostQueued + 1 {
		s.command(s.down("unbind"), 1, fmt.Sprintf(`{"id":"unbind-%d","payload":{"body":{}}}`, i))
	}
	s.command("custom/265e1040-85e01fb7/open", 1, `{"id":"open","payload":{"body":{}}}`)
	s.wait("custom/265e1040-85e01fb7/open/reply", byID("open"))
	if n := s.gate.Status().Opened; n != 1 {
		t.Errorf("opened %d times", n)
	}
	s.command(s.down("event_ack"), 1, fmt.Sprintf(`{"id":"ack","payload":{"body":{"boot":%q,"ranges":[[1,%d]]}}}`, id.Boot, id.Seq))
	for end := time.Now().Add(30 * time.Second); s.outbox.Stats().Acknowledged == 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the event is not acknowledged")
		}
	}
	if r := s.wait(s.down("unbind")+"/reply", byID(fmt.Sprintf("unbind-%d", mostQueued))); r["error_code"] != float64(errcode.RateExceeded) {
		t.Errorf("%v", r)
	}
	if bind, unbind, serial := s.count(s.down("bind")+"/reply"), s.count(s.down("unbind")+"/reply"), s.count(s.down("serial_data")+"/reply"); bind != 0 || unbind != 1 || serial != 3 {
		t.Errorf("of those held up, %d, %d and %d are answered", bind, unbind-1, serial-3)
	}
	release()
	if r := s.wait(s.down("bind")+"/reply", byID("bind")); r["code"] == 200.0 {
		t.Errorf("%v", r)
	}
}

// Inputs, serial data, barrier, lane and early results are told; a loop coil
// triggers a recognition that may open.
func TestVendorReports(t *testing.T) {
	s := openSite(t, "new")
	s.run(t)
	beat := s.wait("/device/message/up/keep_alive", nil)
	if now, ok := at(beat, "payload", "body", "timestamp").(float64); !ok || time.Since(time.Unix(int64(now), 0)) > time.Minute || beat["bv"] != 12378.0 {
		t.Errorf("%v", beat)
	}
	if _, code := order(t, s.Board, "white_list_operator", "1", `{"operator_type":"update_or_add","dldb_rec":{"plate":"A1","enable":1}}`); code != 0 {
		t.Fatal(code)
	}
	s.inputs[1].Set(true) // the coil
	in := s.wait(s.up("gpio_in"), nil)
	if r := at(in, "payload", "body", "AlarmGioIn"); at(r, "result", "TriggerResult", "source") != 1.0 || at(r, "result", "TriggerResult", "value") != 1.0 ||
		at(r, "deviceName") != wire.B64("门岗1") || at(r, "serialno") != "265e1040-85e01fb7" || at(in, "payload", "type") != nil {
		t.Errorf("%v", in)
	}
	m := s.wait(s.up("ivs_result"), nil)
	if r := at(m, "payload", "AlarmInfoPlate", "result", "PlateResult"); at(r, "triggerType") != 2.0 || at(r, "gioouts", 0, "ctrltype") != 2.0 || at(r, "isoffline") != 0.0 {
		t.Errorf("%v", r)
	}
	open := s.wait(s.up("barr_gate_status"), func(m map[string]any) bool { return at(m, "payload", "body", "gate_status") == 1.0 })
	if at(open, "payload", "body", "connect_status") != 1.0 || at(open, "payload", "body", "enable") != 1.0 {
		t.Errorf("%v", open)
	}
	if _, err := s.serial.Write([]byte{2, 'k', 3}); err != nil {
		t.Fatal(err)
	}
	bytes := s.wait(s.up("serial_data"), nil)
	if r := at(bytes, "payload", "body", "SerialData"); at(r, "data") != "AmsD" || at(r, "dataLen") != 3.0 || at(r, "serialChannel") != 0.0 {
		t.Errorf("%v", bytes)
	}
	plates := []link.Plate{{Text: "川B00001", Score: 0.987, ColorType: 1, Type: 1, Box: link.Box{Left: 10, Top: 20, Width: 30, Height: 10}}}
	now := monotonic()
	s.onResult(&link.Result{Event: link.EventQuick, Trigger: link.TriggerVideo, Passage: 9, Plates: plates, CaptureMonoNS: now, BeginMonoNS: now - int64(2*time.Second), EndMonoNS: now})
	s.onResult(&link.Result{Event: link.EventPassage, Trigger: link.TriggerVideo, Passage: 9, Direction: 4, Plates: plates, CaptureMonoNS: now, BeginMonoNS: now - int64(2*time.Second), EndMonoNS: now, Full: []byte("f"), Crop: []byte("c")})
	s.onResult(&link.Result{Event: link.EventLane, LaneEvent: 66, Passage: 9, Plates: plates, CaptureMonoNS: now})
	quick := at(s.wait(s.up("quick_ivs_result"), nil), "payload", "AlarmInfoPlate", "result", "PlateResult")
	final := at(s.wait(s.up("ivs_result"), func(m map[string]any) bool {
		return at(m, "payload", "AlarmInfoPlate", "result", "PlateResult", "license") == wire.B64("川B00001")
	}), "payload", "AlarmInfoPlate", "result", "PlateResult")
	if at(quick, "plateid") != at(final, "plateid") || at(quick, "full_image_content") != "" || at(final, "full_image_content") != "Zg==" || at(final, "confidence") != 98.0 ||
		at(final, "plates", 0, "clipImgSize") != 1.0 || at(final, "direction") != 4.0 {
		t.Errorf("%v\n%v", quick, final)
	}
	if begin, end := at(final, "begin_time"), at(final, "end_time"); begin == nil || end == nil || end.(float64)-begin.(float64) < 1 || end.(float64)-begin.(float64) > 3 {
		t.Errorf("%v to %v", begin, end)
	}
	lane := at(s.wait(s.up("lanectrl_result"), nil), "payload")
	if at(lane, "event_type") != 84.0 || at(lane, "isoffline") != 0.0 || at(lane, "result", 0, "plate_result", "license") != wire.B64("川B00001") ||
		at(lane, "result", 0, "plate_result", "color_type") != wire.B64("1") || at(lane, "group_id") != 9.0 {
		t.Errorf("%v", lane)
	}
}

// What happened while the broker was away comes later, marked, with its own
// time; how many there are is told first, and on request.
func TestOfflineRecords(t *testing.T) {
	s := openSite(t, "new")
	s.onResult(&link.Result{Trigger: link.TriggerVideo, Plates: []link.Plate{{Text: "A1", Score: 1}}, CaptureMonoNS: monotonic() - int64(3*time.Second)})
	long := time.Now().Add(-3 * time.Second) // it was seen before
	s.storeOne(<-s.results)
	s.onResult(&link.Result{Event: link.EventLane, LaneEvent: 64, CaptureMonoNS: monotonic()})
	s.storeOne(<-s.results)
	s.tellInput(0, 1) // nobody is told of an old input
	s.run(t)
	m := s.wait(s.up("ivs_result"), nil)
	r := at(m, "payload", "AlarmInfoPlate", "result", "PlateResult")
	if at(r, "isoffline") != 1.0 || at(r, "timeStamp", "Timeval", "sec").(float64) > float64(long.Unix()+1) {
		t.Errorf("%v", r)
	}
	if lane := s.wait(s.up("lanectrl_result"), nil); at(lane, "payload", "isoffline") != 1.0 {
		t.Errorf("%v", lane)
	}
	if n := s.wait(s.up("offline_record"), nil); at(n, "payload", "body", "offline_record") != 1.0 {
		t.Errorf("%v", n)
	}
	for end := time.Now().Add(20 * time.Second); s.outbox.Stats().Waiting > 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the outbox does not drain")
		}
	}
	s.command(s.down("check_offline_record"), 1, `{"id":"ask","payload":{"body":{"enable":"push"}}}`)
	reply := s.wait(s.down("check_offline_record")+"/reply", byID("ask"))
	if at(reply, "payload", "body", "max_count") != 0.0 || at(reply, "payload", "body", "enable") != "push" {
		t.Errorf("%v", reply)
	}
	s.wait(s.up("offline_record"), func(m map[string]any) bool { return at(m, "payload", "body", "offline_record") == 0.0 })
	if n := s.count(s.up("gpio_in")); n != 0 {
		t.Errorf("%d old inputs were told", n)
	}
}

// A lock off outlives a restart; a lock on only where the config says so, and
// else the output is switched off.
func TestLocksOutliveARestart(t *testing.T) {
	for _, keep := range []bool{false, true} {
		dir := t.TempDir()
		c := configs.Default()
		c.Ports.KeepLocks = keep
		start := func() *Board {
			b, err := Open(c, dir, "gatehouse-vision", "test", slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		b := start()
		if err := (actions{b, "test"}).Lock([]wire.IOLock{{IOOut: 0, Status: 1}, {IOOut: 1, Status: 2}, {IOOut: 2, Status: 1}}); err != nil {
			t.Fatal(err)
		}
		if err := (actions{b, "test"}).Lock([]wire.IOLock{{IOOut: 2, Status: 0}}); err != nil {
			t.Fatal(err)
		}
		if b.barrier.Position() != barrier.Opened {
			t.Error("locked on, it is not open")
		}
		for range 2 { // the second restart finds what the first left
			b.Close()
			b = start()
			want := [barrier.Outputs]barrier.Lock{barrier.Free, barrier.HeldOff}
			position := barrier.Closed
			if keep {
				want[0], position = barrier.HeldOn, barrier.Opened
			}
			if got := b.barrier.Locks(); got != want || b.barrier.Position() != position {
				t.Errorf("keep %v: locks %v, %s", keep, got, b.barrier.Position())
			}
			if err := (actions{b, "test"}).Output(1, 1, 0); err == nil {
				t.Error("an output that is locked off can be switched on")
			}
		}
		b.Close()
	}
}
