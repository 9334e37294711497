package camtcp

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"gatehouse/sync/errcode"
	"gatehouse/sync/wire"
)

// command carries out a request and gives the fields of its answer beside cmd,
// id and state_code, and the pictures behind it.
type command struct {
	run   func(c *client, ctx context.Context, r request) (map[string]any, [][]byte, error)
	allow string // what Options.Allow must have for it; "": nothing
	open  bool   // also before the login
}

// commands are those of section 8 by name. Others are 404.
var commands = map[string]command{
	"start_login":             {startLogin, "", true},
	"login_authentication":    {authenticate, "", true},
	"getsn":                   {getSN, "", true},
	"ivsresult":               {subscribe, "", false},
	"getivsresult":            {lastResult, "", false},
	"trigger":                 {trigger, AllowTrigger, false},
	"get_snapshot":            {snapshot, AllowSnapshot, false},
	"get_max_rec_id":          {maxRecord, "", false},
	"get_record":              {getRecord, "", false},
	"get_image":               {getImage, "", false},
	"ioctl":                   {ioctl, AllowOutput, false},
	"ioctl_resp":              {ioctl, AllowOutput, false},
	"get_gpio_value":          {inputValue, "", false},
	"get_gpio_out_value":      {outputValue, "", false},
	"set_io_lock_status":      {setLocks, AllowLock, false},
	"get_io_lock_status":      {getLocks, "", false},
	"ttransmission":           {transmission, AllowSerial, false},
	"reg_offline_check":       {offlineCheck, "", false},
	"offline":                 {offlineCheck, "", false},
	"response_online":         {nothing, "", false},
	"white_list_operator":     {rows, AllowRows, false},
	"set_time":                {setTime, AllowTime, false},
	"get_device_timestamp":    {timestamp, "", false},
	"get_product_info":        {productInfo, "", false},
	"playserver_json_request": {play, AllowSpeak, false},
	"set_led_ctrl_cfg":        {lacks("built-in screen; send the screen card's frames by ttransmission"), "", false},
	"reboot_dev":              {lacks("restart over TCP; use reboot_dev over MQTT"), "", false},
}

func lacks(what string) func(*client, context.Context, request) (map[string]any, [][]byte, error) {
	return func(*client, context.Context, request) (map[string]any, [][]byte, error) {
		return nil, nil, errcode.New(errcode.NotSupported, "This board has no "+what+"!")
	}
}

func nothing(*client, context.Context, request) (map[string]any, [][]byte, error) {
	return nil, nil, nil
}

// fields reads a request's fields, which stand beside cmd.
func fields(r request, v any) error {
	if err := json.Unmarshal(r.Body, v); err != nil {
		if t, ok := err.(*json.UnmarshalTypeError); ok {
			return errcode.Param(t.Field, "must be of type "+t.Type.String())
		}
		return errcode.New(errcode.ParseJSONFailed, "")
	}
	return nil
}

func getSN(c *client, _ context.Context, _ request) (map[string]any, [][]byte, error) {
	return map[string]any{"value": c.s.o.SN}, nil, nil
}

// subscribe begins or ends telling results. Pictures go along unless image is
// false; image_type 0 full, 1 small, 2 both.
func subscribe(c *client, _ context.Context, r request) (map[string]any, [][]byte, error) {
	in := struct {
		Enable    bool        `json:"enable"`
		Format    string      `json:"format"`
		Image     *bool       `json:"image"`
		ImageType wire.Number `json:"image_type"`
	}{}
	if err := fields(r, &in); err != nil {
		return nil, nil, err
	}
	if in.Format != "" && in.Format != "json" {
		return nil, nil, errcode.New(errcode.NotSupported, "The format of results is json!")
	}
	if in.ImageType < 0 || in.ImageType > 2 {
		return nil, nil, errcode.Param("image_type", "must be 0, 1 or 2")
	}
	image := in.Image == nil || *in.Image
	c.mu.Lock()
	defer c.mu.Unlock()
	c.enabled, c.full, c.small = in.Enable, image && in.ImageType != 1, image && in.ImageType != 0
	return nil, nil, nil
}

// wanted reads which record, and whether with pictures, a client asks for.
func wanted(r request) (id int64, image bool, err error) {
	in := struct {
		RecordID *wire.Number    `json:"record_id"`
		ID       json.RawMessage `json:"id"`
		Image    bool            `json:"image"`
	}{}
	if err := fields(r, &in); err != nil {
		return 0, false, err
	}
	if in.RecordID != nil {
		return int64(*in.RecordID), in.Image, nil
	}
	var n wire.Number // older clients name the record by id
	if json.Unmarshal(in.ID, &n) != nil {
		return 0, false, errcode.Param("record_id", "is missing")
	}
	return int64(n), in.Image, nil
}

var errNoRecord = errcode.New(errcode.PlateNotDetected, "There is no such record (any more)!")

// lastResult answers with the newest result.
func lastResult(c *client, _ context.Context, r request) (map[string]any, [][]byte, error) {
	var in struct {
		Image bool `json:"image"`
	}
	if err := fields(r, &in); err != nil {
		return nil, nil, err
	}
	rec, ok := c.s.last()
	if !ok {
		return nil, nil, errNoRecord
	}
	m, pictures := resultMessage(rec, in.Image, in.Image)
	return m, pictures, nil // as ivs_result, which it is
}

func maxRecord(c *client, _ context.Context, _ request) (map[string]any, [][]byte, error) {
	rec, _ := c.s.last()
	return map[string]any{"max_id": rec.id}, nil, nil
}

func getRecord(c *client, _ context.Context, r request) (map[string]any, [][]byte, error) {
	id, image, err := wanted(r)
	if err != nil {
		return nil, nil, err
	}
	rec, ok := c.s.find(id)
	if !ok {
		return nil, nil, errNoRecord
	}
	m, pictures := resultMessage(rec, image, image)
	delete(m, "cmd")
	return m, pictures, nil
}

func getImage(c *client, _ context.Context, r request) (map[string]any, [][]byte, error) {
	id, _, err := wanted(r)
	if err != nil {
		return nil, nil, err
	}
	rec, ok := c.s.find(id)
	if !ok || len(rec.full) == 0 {
		return nil, nil, errNoRecord
	}
	return map[string]any{"size": len(rec.full)}, [][]byte{rec.full}, nil
}

func trigger(c *client, _ context.Context, _ request) (map[string]any, [][]byte, error) {
	return nil, nil, c.s.board.Trigger(wire.NewID())
}

func snapshot(c *client, ctx context.Context, _ request) (map[string]any, [][]byte, error) {
	jpeg, err := c.s.board.Snapshot(ctx)
	if err != nil {
		return nil, nil, err
	}
	return map[string]any{"imgformat": "jpg", "imgdata": base64.StdEncoding.EncodeToString(jpeg)}, nil, nil
}

func ioctl(c *client, _ context.Context, r request) (map[string]any, [][]byte, error) {
	out, err := wire.ParseIOControl(r.Body)
	if err != nil {
		return nil, nil, err
	}
	return nil, nil, c.s.board.Output(out.IO, out.Value, time.Duration(out.Delay)*time.Millisecond)
}

// gpio reads the number of an input or output below n.
func gpio(r request, n int) (int, error) {
	var in struct {
		GPIO *wire.Number `json:"gpio"`
	}
	if err := fields(r, &in); err != nil {
		return 0, err
	}
	if in.GPIO == nil || *in.GPIO < 0 || int(*in.GPIO) >= n {
		return 0, errcode.Param("gpio", fmt.Sprintf("must be 0 to %d", n-1))
	}
	return int(*in.GPIO), nil
}

func inputValue(c *client, _ context.Context, r request) (map[string]any, [][]byte, error) {
	n, err := gpio(r, 8)
	if err != nil {
		return nil, nil, err
	}
	closed, known := c.s.board.InputClosed(n)
	if !known {
		return nil, nil, errcode.New(errcode.NotSupported, fmt.Sprintf("This board has no input %d!", n))
	}
	return map[string]any{"gpio": n, "value": bit(closed)}, nil, nil
}

func outputValue(c *client, _ context.Context, r request) (map[string]any, [][]byte, error) {
	n, err := gpio(r, 4)
	if err != nil {
		return nil, nil, err
	}
	return map[string]any{"gpio": n, "value": bit(c.s.board.OutputOn(n))}, nil, nil
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

func setLocks(c *client, _ context.Context, r request) (map[string]any, [][]byte, error) {
	locks, err := wire.ParseIOLocks(r.In)
	if err != nil {
		return nil, nil, err
	}
	return nil, nil, c.s.board.Lock(locks)
}

func getLocks(c *client, _ context.Context, _ request) (map[string]any, [][]byte, error) {
	return map[string]any{"body": c.s.board.Locks()}, nil, nil
}

// comms are the names of the serial channels.
var comms = []string{"rs485-1", "rs485-2"}

// transmission sends bytes to a serial port, and begins or ends telling what
// the ports receive.
func transmission(c *client, ctx context.Context, r request) (map[string]any, [][]byte, error) {
	var in struct {
		Subcmd string `json:"subcmd"`
		Comm   string `json:"comm"`
		Data   string `json:"data"` // init: the port's name, or all
	}
	if err := fields(r, &in); err != nil {
		return nil, nil, err
	}
	answer := map[string]any{"subcmd": in.Subcmd, "response": "ok"}
	switch in.Subcmd {
	case "init", "uninit":
		port := in.Comm
		if port == "" && in.Subcmd == "init" {
			port = in.Data
		}
		channel := slices.Index(comms, port)
		if channel < 0 && port != "" && port != "all" {
			return nil, nil, errcode.Param("comm", "must be rs485-1 or rs485-2")
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		for i := range c.serial {
			if channel < 0 || channel == i {
				c.serial[i] = in.Subcmd == "init"
			}
		}
		return answer, nil, nil
	case "send":
		channel := slices.Index(comms, in.Comm)
		if channel < 0 {
			return nil, nil, errcode.Param("comm", "must be rs485-1 or rs485-2")
		}
		item, err := json.Marshal(map[string]any{"serialChannel": channel, "data": in.Data})
		if err != nil {
			return nil, nil, err
		}
		items, err := wire.ParseSerialItems(item)
		if err != nil {
			return nil, nil, err
		}
		return answer, nil, c.s.board.Serial(ctx, wire.SerialData{SerialData: items})
	}
	return nil, nil, errcode.Param("subcmd", "must be init, send or uninit")
}

// offlineCheck has the board take the client for gone after interval seconds
// without a word from it.
func offlineCheck(c *client, _ context.Context, r request) (map[string]any, [][]byte, error) {
	var in struct {
		Interval *wire.Number `json:"interval"`
		Subcmd   string       `json:"subcmd"`
		Sucmd    string       `json:"sucmd"` // as one client spells it
	}
	if err := fields(r, &in); err != nil {
		return nil, nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if in.Subcmd == "cancel" || in.Sucmd == "cancel" {
		c.silence = 0
		return map[string]any{"response": "ok"}, nil, nil
	}
	if in.Interval == nil || *in.Interval < 1 || *in.Interval > 3600 {
		return nil, nil, errcode.Param("interval", "must be 1 to 3600 seconds")
	}
	c.silence = max(time.Duration(*in.Interval)*time.Second, beat)
	return map[string]any{"response": "ok"}, nil, nil
}

// rows carries out a row command, whose fields stand beside cmd.
func rows(c *client, _ context.Context, r request) (map[string]any, [][]byte, error) {
	w, err := wire.ParseWhitelistOperator(r.Body)
	if err != nil {
		return nil, nil, err
	}
	selection, err := c.s.board.Rows(w)
	if err != nil {
		return nil, nil, err
	}
	answer := map[string]any{"operator_type": w.OperatorType, "state": "succeed"}
	if selection != nil {
		answer["dldb_rec"] = selection.Records
	}
	return answer, nil, nil
}

func setTime(c *client, _ context.Context, r request) (map[string]any, [][]byte, error) {
	var in struct {
		TimeString string `json:"timestring"`
	}
	if err := fields(r, &in); err != nil {
		return nil, nil, err
	}
	at, err := wire.ParseTimeString(in.TimeString, time.Local)
	if err != nil {
		return nil, nil, err
	}
	return nil, nil, c.s.board.SetTime(at)
}

func timestamp(*client, context.Context, request) (map[string]any, [][]byte, error) {
	return map[string]any{"timestamp": time.Now().Unix()}, nil, nil
}

func productInfo(c *client, _ context.Context, _ request) (map[string]any, [][]byte, error) {
	return map[string]any{"body": map[string]any{"product_name": "Gatehouse", "sn": c.s.o.SN, "soft_ver": c.s.o.Version, "board_version": c.s.o.BoardVersion}}, nil, nil
}

func play(c *client, _ context.Context, r request) (map[string]any, [][]byte, error) {
	v, err := wire.ParsePlayRequest(r.In)
	if err != nil {
		return nil, nil, err
	}
	return nil, nil, c.s.board.Speak(v)
}
