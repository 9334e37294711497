package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"gatehouse/sync/errcode"
)

// Names of the messages.
const (
	NameIVSResult  = "ivs_result"
	NameKeepAlive  = "keep_alive"
	NameGPIOOut    = "gpio_out"
	NameWhitelist  = "white_list_operator" // the vendor's row commands
	NameIVSTrigger = "ivs_trigger"
	NameGateOpen   = "gate_direct_open"
	NameFaceResult = "face_result"
	NameGap        = "gap"
	NameBirth      = "birth"
	NameOffline    = "offline"
	NamePull       = "pull"
	NameChange     = "change"
	NameEventAck   = "event_ack"
	NameFault      = "fault"
	NameBind       = "bind"
	NameUnbind     = "unbind"
)

// GPIOOut drives a relay (vendor-mqtt.md, 5.2).
type GPIOOut struct {
	IO    int `json:"io"`    // output 0–3
	Value int `json:"value"` // 0 off, 1 on, 2 pulse
	Delay int `json:"delay"` // ms of a pulse, 500–5000 after parsing
}

// Range of a pulse in ms; values outside are clamped, as clients differ.
const (
	MinPulseMS = 500
	MaxPulseMS = 5000
)

// ParseGPIOOut reads the body of gpio_out. Output and value out of range are
// 1103; a pulse out of range is clamped, an absent one is 500 ms.
func ParseGPIOOut(body []byte) (GPIOOut, error) {
	g := struct {
		IO, Value, Delay *int
	}{}
	if err := unmarshal(body, &g); err != nil {
		return GPIOOut{}, err
	}
	if g.IO == nil || *g.IO < 0 || *g.IO > 3 {
		return GPIOOut{}, errcode.Param("io", "must be 0 to 3")
	}
	if g.Value == nil || *g.Value < 0 || *g.Value > 2 {
		return GPIOOut{}, errcode.Param("value", "must be 0, 1 or 2")
	}
	out := GPIOOut{IO: *g.IO, Value: *g.Value, Delay: MinPulseMS}
	if g.Delay != nil {
		out.Delay = min(max(*g.Delay, MinPulseMS), MaxPulseMS)
	}
	return out, nil
}

// WhitelistRecord is one row of black and white list (vendor-mqtt.md, 5.8).
type WhitelistRecord struct {
	Plate          string `json:"plate"`                     // plain UTF-8; the key
	Enable         int    `json:"enable"`                    // 1 in force
	EnableTime     string `json:"enable_time,omitempty"`     // local "YYYY-MM-DD HH:MM:SS"
	OverdueTime    string `json:"overdue_time,omitempty"`    // same form
	CreateTime     string `json:"create_time,omitempty"`     // same form
	NeedAlarm      int    `json:"need_alarm"`                // 1 black list
	TimeSegEnable  int    `json:"time_seg_enable"`           // 1 only within the daily segment, whose two times must then be given and differ
	SegTimeStart   string `json:"seg_time_start,omitempty"`  // "HH:MM:SS"
	SegTimeEnd     string `json:"seg_time_end,omitempty"`    // "HH:MM:SS"
	VehicleCode    string `json:"vehicle_code,omitempty"`    // ≤ 32 characters
	VehicleComment string `json:"vehicle_comment,omitempty"` // ≤ 64 bytes
	CustomerID     int    `json:"customer_id,omitempty"`

	// Ours; vendor clients neither send nor read them.
	Group  string       `json:"group,omitempty"`  // a WhitelistGroup's name
	Weekly []WeekWindow `json:"weekly,omitempty"` // valid within any of them; none: the whole week
}

// Row operations of white_list_operator.
const (
	OperateUpdateOrAdd = "update_or_add"
	OperateDelete      = "delete"
	OperateSelect      = "select"
)

// WhitelistOperator is the body of white_list_operator.
type WhitelistOperator struct {
	OperatorType string
	Records      []WhitelistRecord // update_or_add
	Plates       []string          // delete; select: one, "" for all
	DeleteAll    bool              // delete with an empty plate text
}

// ParseWhitelistOperator reads the body of white_list_operator. Records come
// as one object or an array; plates as a text or an array. An empty text
// deletes all, an empty array nothing, an absent plate is refused.
func ParseWhitelistOperator(body []byte) (WhitelistOperator, error) {
	var raw struct {
		OperatorType string          `json:"operator_type"`
		Records      json.RawMessage `json:"dldb_rec"`
		Plate        json.RawMessage `json:"plate"`
	}
	if err := unmarshal(body, &raw); err != nil {
		return WhitelistOperator{}, err
	}
	w := WhitelistOperator{OperatorType: raw.OperatorType}
	switch raw.OperatorType {
	case OperateUpdateOrAdd, "add":
		w.OperatorType = OperateUpdateOrAdd
		if len(raw.Records) == 0 || string(raw.Records) == "null" {
			return w, errcode.Param("dldb_rec", "is missing")
		}
		if raw.Records[0] == '[' {
			return w, unmarshal(raw.Records, &w.Records)
		}
		w.Records = make([]WhitelistRecord, 1)
		return w, unmarshal(raw.Records, &w.Records[0])
	case OperateDelete:
		if len(raw.Plate) == 0 || string(raw.Plate) == "null" {
			return w, errcode.Param("plate", "is missing")
		}
		if raw.Plate[0] == '[' {
			return w, unmarshal(raw.Plate, &w.Plates)
		}
		w.Plates = make([]string, 1)
		if err := unmarshal(raw.Plate, &w.Plates[0]); err != nil {
			return w, err
		}
		if w.Plates[0] == "" {
			w.DeleteAll, w.Plates = true, nil
		}
		return w, nil
	case OperateSelect:
		w.Plates = make([]string, 1)
		if len(raw.Plate) > 0 {
			return w, unmarshal(raw.Plate, &w.Plates[0])
		}
		return w, nil
	}
	return w, errcode.Param("operator_type", "must be update_or_add, delete or select")
}

// Signature signs a change's content (management.md): Ed25519 over
// "gatehouse/{kind}/v1\n" and the header {base, digest, key_id, kind, length,
// not_before, scope, sequence} as JSON, its keys in this order and no spaces; base
// is left out where the command has none.
type Signature struct {
	KeyID     string `json:"key_id"`          // whose key
	Scope     string `json:"scope,omitempty"` // a serial number or "group:{id}"; empty: the board
	Sequence  uint64 `json:"sequence"`        // newer than the last one of kind and scope
	NotBefore int64  `json:"not_before"`      // Unix s
	Sig       string `json:"sig"`             // hex Ed25519 over the header
}

// Verbs of a change command.
const (
	VerbStage  = "stage"
	VerbApply  = "apply"
	VerbCancel = "cancel"
	VerbQuery  = "query"
)

// ChangeCommand stages, applies, cancels or asks for a change.
type ChangeCommand struct {
	OperatorType string     `json:"operator_type"`          // stage, apply, cancel or query
	ChangeID     string     `json:"change_id"`              // the cloud's: 1–64 letters, digits, - and _; query: empty for all
	Digest       string     `json:"digest,omitempty"`       // "sha256:" and hex, over the bytes of content
	Content      string     `json:"content,omitempty"`      // JSON text as a string, so that its bytes are exact
	URL          string     `json:"url,omitempty"`          // HTTP(S) address of the content, instead of it
	Length       int64      `json:"length,omitempty"`       // of what is behind url, in bytes
	Base         string     `json:"base,omitempty"`         // whitelist delta: digest of the set it starts from
	Signature    *Signature `json:"signature,omitempty"`    // by policy
	ApplyAfter   int64      `json:"apply_after,omitempty"`  // apply: Unix s
	ApplyBefore  int64      `json:"apply_before,omitempty"` // apply: Unix s
}

// ValidChangeID reports whether id is 1–64 of letters, digits, "-" and "_".
func ValidChangeID(id string) bool {
	return len(id) >= 1 && len(id) <= 64 && strings.IndexFunc(id, func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_')
	}) < 0
}

// ParseChangeCommand reads the body of config, upgrade or whitelist and checks
// its form: known verb, id (a query may go without), digest where one is due.
func ParseChangeCommand(body []byte) (ChangeCommand, error) {
	var c ChangeCommand
	if err := unmarshal(body, &c); err != nil {
		return c, err
	}
	switch c.OperatorType {
	case VerbStage, VerbApply, VerbCancel, VerbQuery:
	default:
		return c, errcode.Param("operator_type", "must be stage, apply, cancel or query")
	}
	if !ValidChangeID(c.ChangeID) && !(c.OperatorType == VerbQuery && c.ChangeID == "") {
		return c, errcode.Param("change_id", "must be 1 to 64 letters, digits, - or _")
	}
	if c.OperatorType != VerbStage {
		return c, nil
	}
	if hex, ok := strings.CutPrefix(c.Digest, "sha256:"); !ok || len(hex) != 64 || strings.Trim(hex, "0123456789abcdef") != "" {
		return c, errcode.Param("digest", "must be sha256: and 64 lower-case hex digits")
	}
	if (c.Content == "") == (c.URL == "") {
		return c, errcode.Param("content", "or url must be given, one of the two")
	}
	return c, nil
}

// States of a change.
const (
	StateStaged    = "staged"
	StateApplying  = "applying"
	StateUsed      = "used"
	StateCancelled = "cancelled"
)

// ChangeResult is how a change ended, or why its last command failed.
type ChangeResult struct {
	ErrorCode    int    `json:"error_code"`    // 0: success
	ErrorMessage string `json:"error_message"` // empty: success
	At           int64  `json:"at"`            // Unix s
}

// ChangeReport is the state of a change, as reply and as up/change. While the
// content is being fetched by url the state is empty and the step "download"; a
// report with an empty state and a result says that the change could not be
// staged and is not kept. While an apply waits the step is "waiting".
type ChangeReport struct {
	ChangeID string        `json:"change_id"`        // as in the command
	Kind     string        `json:"kind"`             // config, upgrade or whitelist
	State    string        `json:"state"`            // staged, applying, used or cancelled; empty while it is fetched
	Step     string        `json:"step"`             // what is being done
	Reason   string        `json:"reason,omitempty"` // why it waits
	Progress int           `json:"progress"`         // 0–100
	Result   *ChangeResult `json:"result"`           // how it ended, or why the last command failed
	Digest   string        `json:"digest"`           // of the content
	// The whole whitelist or config that the board has after the
	// change was used; its birth tells the same, so that drift shows.
	SetDigest string `json:"set_digest,omitempty"`
}

// ChangeList answers a query without a change_id: all changes of the kind.
type ChangeList struct {
	Changes []ChangeReport `json:"changes"`
}

// EventAck lets the board forget the events of ranges, both ends included.
type EventAck struct {
	Boot   string      `json:"boot"`   // whose events
	Ranges [][2]uint64 `json:"ranges"` // [from, to], both included
}

// ParseEventAck reads the body of event_ack.
func ParseEventAck(body []byte) (EventAck, error) {
	var a EventAck
	if err := unmarshal(body, &a); err != nil {
		return a, err
	}
	if a.Boot == "" {
		return a, errcode.Param("boot", "is missing")
	}
	for i, r := range a.Ranges {
		if r[0] == 0 || r[0] > r[1] {
			return a, errcode.Param(fmt.Sprintf("ranges/%d", i), "must run from 1 or more upwards")
		}
	}
	return a, nil
}

// Gap says that events were dropped.
type Gap struct {
	Boot  string `json:"boot"`  // whose events
	From  uint64 `json:"from"`  // first sequence
	To    uint64 `json:"to"`    // last sequence
	Cause string `json:"cause"` // bytes, count, age, damage or disk_full
}

// ChangeState is one line of a birth's changes.
type ChangeState struct {
	Kind     string `json:"kind"`      // config, upgrade or whitelist
	ChangeID string `json:"change_id"` // the cloud's
	State    string `json:"state"`     // staged, applying, used or cancelled
	// Result is why a staged change could not be applied: its report may still wait, and the same apply must not overtake it.
	Result *ChangeResult `json:"result,omitempty"`
}

// Birth is sent on every connect.
type Birth struct {
	Boot         string            `json:"boot"`          // names this start of the agent
	Epoch        int64             `json:"epoch"`         // counts the board's connections, for the last will
	AgentVersion string            `json:"agent_version"` // of the agent
	BoardVersion int               `json:"board_version"` // board type
	Models       map[string]string `json:"models"`        // name → beginning of its SHA-256
	StateDigest  map[string]string `json:"state_digest"`  // config, whitelist, faces → sha256: and hex
	Changes      []ChangeState     `json:"changes"`       // those that are kept
	LastSeq      uint64            `json:"last_seq"`      // of the events
	OldestSeq    uint64            `json:"oldest_seq"`    // of the events that wait
	Clock        struct {
		Trusted bool   `json:"trusted"` // whether the clock is synchronised
		Source  string `json:"source"`  // who says so
	} `json:"clock"`
}

// Offline is the last will, and the farewell of a graceful stop.
type Offline struct {
	Boot   string `json:"boot"`   // as in birth
	Epoch  int64  `json:"epoch"`  // as in birth
	Reason string `json:"reason"` // lost, stopped
}

// Fault says what is wrong with the board itself, or was: a database that was
// damaged, a config that could not be used.
type Fault struct {
	ErrorCode    int    `json:"error_code"`    // of the error table
	ErrorMessage string `json:"error_message"` // of the error table
	Component    string `json:"component"`     // state, events, config, vision
	At           int64  `json:"at"`            // Unix s
}

// FaceResult is a recognised or unknown face; ours, the vendor has none.
type FaceResult struct {
	UserID       string         `json:"user_id"`       // empty: nobody who is enrolled
	GroupID      string         `json:"group_id"`      // of the person
	UserName     string         `json:"user_name"`     // of the person
	Similarity   float64        `json:"similarity"`    // cosine
	Threshold    float64        `json:"threshold"`     // similarity from which on it is that person
	Liveness     *float64       `json:"liveness"`      // null: not judged
	Location     Rect           `json:"location"`      // the face
	Decision     DecisionReport `json:"decision"`      // what the gate did
	GioOuts      []RelayAction  `json:"gioouts"`       // relays that the board drove
	ImageContent string         `json:"image_content"` // base64 of JPEG
	ImagePath    string         `json:"image_path"`    // base64 of the picture's address, where it is not in the message
}

// Key is a public key the board trusts after binding.
type Key struct {
	KeyID     string `json:"key_id"`     // names it
	PublicKey string `json:"public_key"` // hex Ed25519
	Use       string `json:"use"`        // what it may sign
}

// BindBody makes a board part of an account. It holds a password: never log it.
type BindBody struct {
	CloudID   string `json:"cloud_id,omitempty"` // which cloud this is, wherever it moves: random, and told to its boards only; left out: known by its address
	AccountID int64  `json:"account_id"`         // whose the board is there
	GroupID   int64  `json:"group_id"`           // device group, 0 for none
	Broker    struct {
		URL      string `json:"url"`      // tcp://host:port or ssl://host:port
		Username string `json:"username"` // for the broker
		Password string `json:"password"` // for the broker; a secret
		CA       string `json:"ca"`       // PEM; empty: the system's
	} `json:"broker"`
	Keys   []Key `json:"keys"` // whose signatures count
	Policy struct {
		SignConfig    bool `json:"sign_config"`    // configs must be signed
		SignWhitelist bool `json:"sign_whitelist"` // whitelists must be signed
	} `json:"policy"`
}

// ParseBindBody reads a bind message and checks that it names account and broker.
func ParseBindBody(body []byte) (BindBody, error) {
	var b BindBody
	if err := unmarshal(body, &b); err != nil {
		return b, err
	}
	if b.AccountID <= 0 {
		return b, errcode.Param("account_id", "must be above 0")
	}
	if !strings.HasPrefix(b.Broker.URL, "tcp://") && !strings.HasPrefix(b.Broker.URL, "ssl://") {
		return b, errcode.Param("broker/url", "must begin with tcp:// or ssl://")
	}
	return b, nil
}

// unmarshal reads JSON; a value of the wrong kind is 1103 naming the field, anything else 1101.
func unmarshal(b []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	err := dec.Decode(v)
	if err == nil {
		return nil
	}
	if t, ok := err.(*json.UnmarshalTypeError); ok {
		return errcode.Param(t.Field, "must be of type "+t.Type.String())
	}
	return errcode.New(errcode.ParseJSONFailed, "")
}
