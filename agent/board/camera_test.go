package board

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"gatehouse/configs"
	"gatehouse/hal/barrier"
	"gatehouse/sync/errcode"
	"gatehouse/sync/outbox"
	"gatehouse/sync/wire"
	"gatehouse/vision/link"
)

// Every command is documented, and without anything that hangs on the board it
// is refused with a code, not done in silence.
func TestBareBoardRefuses(t *testing.T) {
	b := open(t, t.TempDir())
	defer b.Close()
	for name := range cameraCommands {
		if !strings.Contains(wire.Protocol, "### "+name+", client → board") {
			t.Errorf("gatehouse protocol does not know %s", name)
		}
	}
	for name, body := range map[string]string{
		"serial_data": `{"serialData":[{"serialChannel":0,"data":"YQ=="}]}`, "tts_voice": `{"voice_data":"YQ=="}`, "reboot_dev": `{}`,
		"set_time": `{"year":2026,"month":1,"day":1,"hour":0,"min":0,"sec":0}`, "get_io_status": `{"type":"input","gpio":0}`, "set_cloud_ctrl": `{"type":0}`,
	} {
		if _, code := order(t, b, name, "1", body); code != errcode.NotSupported || code.MQTTCode() != 405 {
			t.Errorf("%s: %d", name, code)
		}
	}
	for name, body := range map[string]string{"serial_data": `{}`, "set_io_lock_status": `{}`, "get_io_status": `{}`, "tts_voice": `{}`, "set_time": `{}`, "gpio_out": `{}`} {
		if _, code := order(t, b, name, "2", body); code != errcode.ParamsError || code.MQTTCode() != 400 {
			t.Errorf("%s: %d", name, code)
		}
	}
	if _, code := order(t, b, "snapshot", "1", `{}`); code != errcode.RequestFailed {
		t.Errorf("a picture without a camera: %d", code)
	}
	if _, code := order(t, b, "dance", "1", `{}`); code.MQTTCode() != 404 {
		t.Errorf("a command that there is not: %d", code.MQTTCode())
	}
	if n := b.gate.Status().Opened; n != 0 {
		t.Errorf("opened %d times", n)
	}
}

// What clients may do over MQTT is listed: all by default, and what is not
// listed is refused with the setting's name. A command that only tells is not
// listed, and always answered.
func TestWhatClientsMayDo(t *testing.T) {
	b := open(t, t.TempDir())
	defer b.Close()
	const pulse, hold = `{"io":0,"value":2}`, `{"io":0,"value":1}`
	n := 0
	for _, c := range []struct {
		allow, name, body string
		refused           bool
	}{
		{"lock", "gate_direct_open", `{}`, true},
		{"open", "gate_direct_open", `{}`, false},
		{"output", "gate_direct_open", `{}`, true},
		{"lock", "gpio_out", pulse, true},
		{"open", "gpio_out", pulse, false},
		{"open", "gpio_out", hold, true},
		{"open", "gpio_out", `{"io":1,"value":2}`, true},
		{"output", "gpio_out", hold, false},
		{"open", "set_io_lock_status", `{"ioout":1,"status":0}`, true},
		{"lock", "set_io_lock_status", `{"ioout":1,"status":0}`, false},
		{"open", "io_lock", `{"ioout":1,"status":0}`, true},
		{"open", "serial_data", `{}`, true},
		{"serial", "serial_data", `{}`, false},
		{"open", "white_list_operator", `{"operator_type":"select","plate":""}`, true},
		{"rows", "white_list_operator", `{"operator_type":"select","plate":""}`, false},
		{"open", "ivs_trigger", `{}`, true},
		{"trigger", "ivs_trigger", `{}`, false},
		{"open", "snapshot", `{}`, true},
		{"snapshot", "snapshot", `{}`, false},
		{"open", "tts_voice", `{}`, true},
		{"speak", "tts_voice", `{}`, false},
		{"open", "set_time", `{}`, true},
		{"time", "set_time", `{}`, false},
		{"open", "reboot_dev", `{}`, true},
		{"open", "get_io_lock_status", `{}`, false},
		{"open", "check_offline_record", `{}`, false},
	} {
		n++
		b.set(func(set *configs.Config) { set.MQTT.Allow = []string{c.allow} })
		cmd, err := wire.ParseCommand(c.name, []byte(fmt.Sprintf(`{"id":"%d","payload":{"body":%s}}`, n, c.body)))
		if err == nil {
			_, err = b.carryOut(t.Context(), "down", cmd)
		}
		refused := err != nil && strings.Contains(err.Error(), "/mqtt/allow")
		if refused != c.refused || refused && errcode.From(err).Code.MQTTCode() != 405 {
			t.Errorf("with %s, %s %s: %v", c.allow, c.name, c.body, err)
		}
	}
}

// Rows are not signed: while the account asks for signed whitelists they are
// only read, unless the config says otherwise.
func TestRowsUnderThePolicy(t *testing.T) {
	b := open(t, t.TempDir())
	defer b.Close()
	const add, look = `{"operator_type":"update_or_add","dldb_rec":{"plate":"A1","enable":1}}`, `{"operator_type":"select","plate":""}`
	body, _ := account(7, "a", false)
	n := 0
	rows := func(what, body string, want errcode.Code) {
		t.Helper()
		n++
		if _, code := order(t, b, "white_list_operator", fmt.Sprint(n), body); code != want {
			t.Errorf("%s: %d, want %d", what, code, want)
		}
	}
	for _, signed := range []bool{false, true} {
		body.Policy.SignWhitelist = signed
		if err := b.state.adopt("http://cloud", body); err != nil {
			t.Fatal(err)
		}
		want := errcode.Code(0)
		if signed {
			want = errcode.NotSupported
		}
		rows(fmt.Sprintf("add, policy %v", signed), add, want)
		rows(fmt.Sprintf("delete, policy %v", signed), `{"operator_type":"delete","plate":"B1"}`, want)
		rows(fmt.Sprintf("select, policy %v", signed), look, 0)
	}
	b.set(func(c *configs.Config) { c.MQTT.Allow = append(c.MQTT.Allow, "unsigned_rows") })
	rows("allowed in so many words", add, 0)
	b.set(func(c *configs.Config) { c.Gate.RowCommands = false })
	rows("switched off", add, errcode.NotSupported)
}

// An output that is locked off is opened neither by a listed plate nor by a
// client; a failure is told again when the command is delivered again.
func TestLockedOff(t *testing.T) {
	b := open(t, t.TempDir())
	defer b.Close()
	for i, c := range []struct{ name, body string }{
		{"white_list_operator", `{"operator_type":"update_or_add","dldb_rec":{"plate":"A1","enable":1}}`},
		{"set_io_lock_status", `{"ioout":0,"status":2}`},
	} {
		if _, code := order(t, b, c.name, fmt.Sprint(i), c.body); code != 0 {
			t.Fatal(code)
		}
	}
	b.onResult(&link.Result{Event: link.EventPassage, Trigger: link.TriggerVideo, Plates: []link.Plate{{Text: "A1", Score: 1}}})
	if d := <-b.results; d.decision.Opened || d.decision.Reason != "locked" {
		t.Errorf("%+v", d.decision)
	}
	for range 2 {
		if _, err := ask(t, b, "gate_direct_open", "open", `{}`); err == nil || err.MQTTCode() != 409 {
			t.Errorf("%v", err)
		}
	}
	if _, err := ask(t, b, "ivs_trigger", "no camera", `{}`); err == nil || err.Code != errcode.RequestFailed || err.MQTTCode() != 500 {
		t.Errorf("%v", err)
	}
	if b.barrier.Position() != barrier.Closed {
		t.Error("it is open")
	}
	if locks := b.Status().Ports.Locks; len(locks) == 0 || locks[0].IOOut != 0 || locks[0].Status != 2 {
		t.Errorf("%+v", locks)
	}
	if !errors.Is(b.barrier.Pulse(0, 1), barrier.ErrLocked) {
		t.Error("it is not locked")
	}
}

// What a client has triggered is answered, also with a face and no plate.
func TestATriggerIsAnswered(t *testing.T) {
	for _, c := range []struct {
		r    link.Result
		want bool
	}{
		{link.Result{Event: link.EventTrigger, Trigger: link.TriggerSoftware, Faces: []link.Face{{}}}, true},
		{link.Result{Event: link.EventTrigger, Trigger: link.TriggerVideo, Faces: []link.Face{{}}}, false},
		{link.Result{Event: link.EventPassage, Faces: []link.Face{{}}}, false},
		{link.Result{Event: link.EventPassage}, true},
		{link.Result{Event: link.EventQuick, Plates: []link.Plate{{}}}, false},
		{link.Result{Event: link.EventLane, Plates: []link.Plate{{}}}, false},
	} {
		if got := vendorResult(&c.r); got != c.want {
			t.Errorf("%+v: %v", c.r, got)
		}
	}
}

// What waits is counted with its oldest record, also from before a restart;
// what is on its way live is none of it.
func TestCheckOffline(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir)
	if err := b.state.setBinding(Binding{Body: &wire.BindBody{AccountID: 7}}); err != nil {
		t.Fatal(err)
	}
	see := func() int64 {
		b.onResult(&link.Result{Event: link.EventPassage, Trigger: link.TriggerVideo, Plates: []link.Plate{{Text: "A1", Score: 1}}})
		b.storeOne(<-b.results)
		return b.plateIDs.last
	}
	look := func(when, id string, count int, oldest int64) {
		t.Helper()
		answer, code := order(t, b, "check_offline_record", id, `{"enable":"get"}`)
		if want := (wire.CheckOfflineReply{Enable: "get", MaxCount: count, MinID: oldest}); code != 0 || answer != want {
			t.Errorf("%s: %d %+v, want %+v", when, code, answer, want)
		}
	}
	look("nothing waits", "1", 0, 0)
	first := see()
	b.Close()
	b = open(t, dir)
	defer b.Close()
	see()
	look("after a restart", "2", 2, first)
	defer b.outbox.Feed(7, outbox.FeedOptions{}).Close()
	see()
	look("with a live one", "3", 2, first)
}

// A parking system's number of a result does not begin anew, and is the same
// for early and final result.
func TestPlateIDs(t *testing.T) {
	c := configs.Default()
	b, err := Open(c, t.TempDir(), "gatehouse-vision", "test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	id := func(event string, passage uint64) int64 {
		b.onResult(&link.Result{Event: event, Passage: passage, Trigger: link.TriggerVideo, Plates: []link.Plate{{Text: "A1", Score: 1}}, CaptureMonoNS: monotonic()})
		return b.message(<-b.results).AlarmInfoPlate.Result.PlateResult.PlateID
	}
	quick1, quick2 := id(link.EventQuick, 1), id(link.EventQuick, 2)
	final2, final1, other := id(link.EventPassage, 2), id(link.EventPassage, 1), id(link.EventPassage, 3)
	again := id(link.EventQuick, 1) // the vision process began anew
	if quick1 != final1 || quick2 != final2 || !(quick1 < quick2 && quick2 < other && other < again) || quick1 < 1_700_000_000 {
		t.Error(quick1, quick2, final2, final1, other, again)
	}
}
