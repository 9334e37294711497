package site_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"gatehouse/agent/demo"
	"gatehouse/agent/site"
	"gatehouse/agent/site/sitetest"
	"gatehouse/configs"
	"gatehouse/sync/binding"
	"gatehouse/vision/link"
)

const seen = "川A12345"

// TestMain is the stand-in for the vision process too: a camera that sees the
// same car every 100 ms. The other programs are the real ones.
func TestMain(m *testing.M) {
	if sitetest.Vision(func(trigger string) []link.Result {
		r := link.Result{Trigger: 1, Plates: []link.Plate{{Text: seen, Score: 0.98, Kind: "cn_blue", Type: 1, ColorType: 1}}, Full: []byte("\xff\xd8full"), Crop: []byte("\xff\xd8crop")}
		if trigger != "" {
			r.Trigger, r.Plates = 4, nil
		}
		return []link.Result{r}
	}) {
		return
	}
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
}

// programs are the real ones with the stand-in beside them.
func programs(t *testing.T) string {
	t.Helper()
	bin := t.TempDir()
	sitetest.Build(t, bin)
	return bin
}

// The whole loop with real cloud and agent: the demonstration's own steps.
func TestLoop(t *testing.T) {
	var out strings.Builder
	err := demo.Run(t.Context(), demo.Options{Dir: filepath.Join(t.TempDir(), "site"), Bin: programs(t), Once: true, Lang: "en", Out: &out, Wait: 2 * time.Minute})
	t.Log("\n" + out.String())
	if err != nil {
		t.Fatal(err)
	}
}

func board(t *testing.T, s *site.Site, change func(*configs.Config)) *site.Board {
	t.Helper()
	c := configs.Default()
	c.Camera.Source = t.TempDir()
	c.MQTT.BackoffMax = configs.Duration(2 * time.Second)
	c.Delivery.EventsPerSecond = 200
	if change != nil {
		change(&c)
	}
	b, err := s.Board("board", c)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func must[T any](t *testing.T) func(T, error) T {
	t.Helper()
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

type boardStatus struct {
	Bound struct {
		Account int64 `json:"account_id"`
	} `json:"bound"`
	Whitelist struct {
		Rows int `json:"rows"`
	} `json:"whitelist"`
	Outbox struct {
		Boot    string `json:"boot"`
		LastSeq uint64 `json:"last_seq"`
		Waiting int    `json:"waiting"`
	} `json:"outbox"`
	Vision struct {
		PID      int `json:"pid"`
		Restarts int `json:"restarts"`
	} `json:"vision"`
	Barrier struct {
		State  string `json:"state"`
		Opened int    `json:"opened"`
	} `json:"barrier"`
}

func status(t *testing.T, b *site.Board) (s boardStatus) {
	t.Helper()
	out := must[[]byte](t)(b.Command(t.Context(), "status", "--json"))
	if err := json.Unmarshal(out, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// until waits up to two minutes.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !done(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not happen within two minutes", what)
		}
	}
}

// realVision puts the built gatehouse-vision into bin and gives a directory of
// rendered scenes and one of models; ok is false where they are not built.
func realVision(t *testing.T, bin string) (scenes, models string, ok bool) {
	t.Helper()
	program, err := os.ReadFile("../../bin/gatehouse-vision")
	models, absErr := filepath.Abs("../../models")
	if _, statErr := os.Stat(filepath.Join(models, "plate_read.onnx")); err != nil || absErr != nil || statErr != nil {
		return "", "", false
	}
	path := filepath.Join(bin, "gatehouse-vision")
	if err := os.WriteFile(path, program, 0o755); err != nil {
		t.Fatal(err)
	}
	scenes = t.TempDir()
	if out, err := exec.Command(path, "render-demo", scenes).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return scenes, models, true
}

// mosquitto is a real broker that can be killed and started again.
type mosquitto struct {
	address string // host:port
	conf    string
	cmd     *exec.Cmd
}

func startMosquitto(t *testing.T) *mosquitto {
	t.Helper()
	if _, err := exec.LookPath("mosquitto"); err != nil {
		t.Skip("mosquitto is not installed; `make deps` installs it")
	}
	l := must[net.Listener](t)(net.Listen("tcp", "127.0.0.1:0"))
	m := &mosquitto{address: l.Addr().String(), conf: filepath.Join(t.TempDir(), "mosquitto.conf")}
	_ = l.Close()
	_, port, _ := net.SplitHostPort(m.address)
	if err := os.WriteFile(m.conf, []byte("listener "+port+" 127.0.0.1\nallow_anonymous true\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	m.start(t)
	t.Cleanup(m.kill)
	return m
}

func (m *mosquitto) start(t *testing.T) {
	t.Helper()
	m.cmd = exec.Command("mosquitto", "-c", m.conf)
	if err := m.cmd.Start(); err != nil {
		t.Fatal(err)
	}
}

func (m *mosquitto) kill() {
	_ = m.cmd.Process.Kill()
	_ = m.cmd.Wait()
}

// SIGKILL of vision, agent, broker and cloud, each in the middle of the run:
// all comes back; of each boot the cloud has every event, once.
func TestKilledProcessesLoseNothing(t *testing.T) {
	t.Run("embedded broker", func(t *testing.T) { killAll(t, nil) })
	t.Run("mosquitto", func(t *testing.T) { killAll(t, startMosquitto(t)) })
}

func killAll(t *testing.T, broker *mosquitto) {
	bin := programs(t)
	scenes, models, real := realVision(t, bin)
	if !real {
		t.Log("gatehouse-vision is not built here; its stand-in is killed instead")
	}
	s := must[*site.Site](t)(site.Open(t.TempDir(), bin))
	url := ""
	if broker != nil {
		url = "tcp://" + broker.address
	}
	cloud := must[*site.Process](t)(s.StartCloud(t.Context(), url))
	b := board(t, s, func(c *configs.Config) {
		if real {
			c.Camera.Source, c.Camera.FPS, c.Vision.Models = scenes, 5, models
		}
	})
	agent := must[*site.Process](t)(b.Start(t.Context()))
	defer func() { _ = agent.Stop(); _ = cloud.Stop(); http.DefaultClient.CloseIdleConnections() }()
	sn := must[string](t)(b.Bind(t.Context()))
	last := map[string]uint64{} // boot → the highest sequence the board had stored for certain
	note := func() {
		st := status(t, b)
		last[st.Outbox.Boot] = max(last[st.Outbox.Boot], st.Outbox.LastSeq)
	}
	more := func() { // events go on into the outbox
		t.Helper()
		before := status(t, b).Outbox.LastSeq
		until(t, "further events", func() bool { note(); return status(t, b).Outbox.LastSeq > before+5 })
	}
	until(t, "the first events", func() bool { note(); return status(t, b).Outbox.LastSeq > 10 })

	vision := status(t, b).Vision.PID
	if err := exec.Command("kill", "-9", fmt.Sprint(vision)).Run(); err != nil {
		t.Fatal(err)
	}
	until(t, "the restart of vision", func() bool { st := status(t, b); return st.Vision.Restarts == 1 && st.Vision.PID != vision })
	note()
	if broker != nil {
		broker.kill()
		more()
		broker.start(t)
	}
	cloud.Kill()
	more()
	agent.Kill() // with the cloud gone, what it had is on disk only
	cloud = must[*site.Process](t)(s.StartCloud(t.Context(), url))
	agent = must[*site.Process](t)(b.Start(t.Context()))
	until(t, "the next events", func() bool { note(); return status(t, b).Outbox.LastSeq > 10 })
	note()
	if len(last) != 2 {
		t.Fatalf("%d boots, want 2", len(last))
	}
	type id struct {
		Boot string `json:"boot"`
		Seq  uint64 `json:"seq"`
	}
	var have map[id]int
	until(t, "the delivery of all", func() bool {
		var list struct {
			Results []id `json:"results"`
		}
		if err := s.API(t.Context(), http.MethodGet, "/v2/stp/user/devices/"+sn+"/events", nil, &list); err != nil {
			t.Fatal(err)
		}
		have = map[id]int{}
		for _, e := range list.Results {
			have[e]++
		}
		for boot, n := range last {
			for seq := uint64(1); seq <= n; seq++ {
				if have[id{boot, seq}] == 0 {
					return false
				}
			}
		}
		return true
	})
	for e, n := range have {
		if n != 1 {
			t.Errorf("event %+v is listed %d times", e, n)
		}
	}
	t.Logf("%d events, 0 missing, 0 doubled", len(have))
}

// A real mosquitto, and the vendor's messages seen with its own clients.
func TestMosquitto(t *testing.T) {
	address := startMosquitto(t).address
	_, port, _ := net.SplitHostPort(address)
	s := must[*site.Site](t)(site.Open(t.TempDir(), programs(t)))
	cloud := must[*site.Process](t)(s.StartCloud(t.Context(), "tcp://"+address))
	b := board(t, s, nil)
	agent := must[*site.Process](t)(b.Start(t.Context()))
	defer func() { _ = agent.Stop(); _ = cloud.Stop(); http.DefaultClient.CloseIdleConnections() }()
	sn := must[string](t)(b.Bind(t.Context()))

	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	sub := exec.CommandContext(ctx, "mosquitto_sub", "-p", port, "-t", "device/"+sn+"/message/#", "-F", "%t %p")
	stream := must[*bufio.Scanner](t)(func() (*bufio.Scanner, error) {
		p, err := sub.StdoutPipe()
		if err != nil {
			return nil, err
		}
		sc := bufio.NewScanner(p)
		sc.Buffer(nil, 1<<20)
		return sc, sub.Start()
	}())
	defer func() { cancel(); _ = sub.Wait() }()
	next := func(topic string) (payload []byte) {
		t.Helper()
		for stream.Scan() {
			at, text, _ := strings.Cut(stream.Text(), " ")
			if at == "device/"+sn+"/message/"+topic {
				return []byte(text)
			}
		}
		t.Fatalf("nothing came on %s", topic)
		return nil
	}
	var result struct {
		SN, Name string
		Payload  struct {
			AlarmInfoPlate struct {
				SerialNo string `json:"serialno"`
				Result   struct {
					PlateResult struct {
						License   string `json:"license"`
						ColorType int    `json:"colorType"`
						Full      string `json:"full_image_content"`
					}
				} `json:"result"`
			}
		}
	}
	if err := json.Unmarshal(next("up/ivs_result"), &result); err != nil {
		t.Fatal(err)
	}
	plate := result.Payload.AlarmInfoPlate.Result.PlateResult
	if plate.License != "5bedQTEyMzQ1" || plate.ColorType != 1 || plate.Full == "" || result.Payload.AlarmInfoPlate.SerialNo != sn {
		t.Errorf("%+v", result)
	}

	publish := func(name, message string) {
		t.Helper()
		if out, err := exec.CommandContext(ctx, "mosquitto_pub", "-p", port, "-q", "1", "-t", "device/"+sn+"/message/down/"+name, "-m", message).CombinedOutput(); err != nil {
			t.Fatalf("%v %s", err, out)
		}
	}
	reply := func(name string) (r struct {
		ID      string
		Code    int
		Payload json.RawMessage
	}) {
		t.Helper()
		if err := json.Unmarshal(next("down/"+name+"/reply"), &r); err != nil {
			t.Fatal(err)
		}
		return r
	}
	const open = `{"id":"k3Jx0Qm81ZtPa9Vd","sn":"","name":"gpio_out","version":"1.0","timestamp":1795400000000,"payload":{"type":"gpio_out","body":{"io":0,"value":2,"delay":500}}}`
	for range 2 { // the broker may deliver a command twice
		publish("gpio_out", open)
		if r := reply("gpio_out"); r.ID != "k3Jx0Qm81ZtPa9Vd" || r.Code != 200 || string(r.Payload) != "null" {
			t.Errorf("%+v", r)
		}
	}
	if st := status(t, b); st.Barrier.Opened != 1 || st.Barrier.State != "open" {
		t.Errorf("the barrier: %+v; want opened once", st.Barrier)
	}
	publish("ivs_trigger", `{"id":"t1","payload":{"type":"ivs_trigger","body":[]}}`)
	if r := reply("ivs_trigger"); r.ID != "t1" || r.Code != 200 {
		t.Errorf("%+v", r)
	}
	until(t, "a result without a plate", func() bool { return strings.Contains(string(next("up/ivs_result")), `"license":"X+aXoF8="`) })
	publish("white_list_operator", `{"id":"w1","payload":{"type":"white_list_operator","body":{"operator_type":"update_or_add","dldb_rec":{"plate":"`+seen+`","enable":1,"need_alarm":0}}}}`)
	if r := reply("white_list_operator"); r.Code != 200 {
		t.Errorf("%+v", r)
	}
	until(t, "the opening by the new row", func() bool { return status(t, b).Barrier.Opened > 1 })
	publish("white_list_operator", `{"id":"w2","payload":{"body":{"operator_type":"select","sub_type":"plate","plate":""}}}`)
	if r := reply("white_list_operator"); !strings.Contains(string(r.Payload), seen) {
		t.Errorf("%s", r.Payload)
	}
	publish("make_coffee", `{"id":"x"}`)
	if r := reply("make_coffee"); r.Code == 200 || r.ID != "x" {
		t.Errorf("an unknown command: %+v", r)
	}
	// A forged unbind changes nothing; behind it the cloud's own one does.
	publish("unbind", `{"id":"forged","payload":{"body":{}}}`)
	if r := reply("unbind"); r.Code != 409 || status(t, b).Bound.Account == 0 {
		t.Errorf("a forged unbind: %+v", r)
	}
	devices := map[string]any{"devices": []binding.DeviceItem{{SN: sn}}}
	if err := s.API(t.Context(), http.MethodDelete, binding.DevicesPath, devices, nil); err != nil {
		t.Fatal(err)
	}
	until(t, "the unbinding", func() bool { st := status(t, b); return st.Bound.Account == 0 && st.Whitelist.Rows == 0 })
}
