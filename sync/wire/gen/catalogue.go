package main

import "gatehouse/sync/wire"

// Directions of a message.
const (
	up   = "board → client"
	down = "client → board"
)

// Where a message's fields stand.
const (
	inPayload = "payload"
	inBody    = "payload.body"
)

// message is one message of the catalogue. Its fields are those of a type of
// package wire, or, where the board reads them by itself, rows.
type message struct {
	name, direction string
	means           string
	in              string // where the fields stand
	of              string // type of package wire; "": none
	rows            []row  // beside or instead of a type
	reply           string // down: what the answer's payload is; "": null
	replyOf         string // its type
}

// row is one field of a table.
type row struct{ name, kind, means string }

// vendorMessages are the vendor's camera protocol, in the order of
// vendor-mqtt.md.
var vendorMessages = []message{
	{name: wire.NameIVSResult, direction: up, in: inPayload, of: "IVSResult", means: "A recognition: once per vehicle that passes, and for each trigger, also when no plate is found; not again where an input or the timer sees what the lane has just told (gate.same_plate). A stored one comes later with isoffline 1. Pictures are in the message (content) or named in it (path), as the board's config says."},
	{name: wire.NameQuickResult, direction: up, in: inPayload, of: "IVSResult", means: "The early notice of a passage, without pictures, with the plateid of the final result. Off by default (lane.early_result)."},
	{name: wire.NameGPIOIn, direction: up, in: inBody, of: "GPIOIn", means: "An input changed."},
	{name: wire.NameSerialData, direction: up, in: inBody, of: "SerialUp", means: "Bytes that a serial port received. Not stored: told live or not at all."},
	{name: wire.NameSnapshot, direction: up, in: inPayload, of: "SnapshotResult", means: "The picture that snapshot asked for."},
	{name: wire.NameOfflineRecord, direction: up, in: inBody, of: "OfflineRecord", means: "How many results wait. Sent after connecting, if there are any, and on check_offline_record."},
	{name: wire.NameBarrierStatus, direction: up, in: inBody, of: "BarrierStatus", means: "The barrier's position changed, where it is known: from end switches (ports.open_input, ports.closed_input) or from the barrier's driver. Or the outputs can no longer be switched, or can again, which is found out when one is switched."},
	{name: wire.NameKeepAlive, direction: up, in: inBody, of: "KeepAlive", means: "The board is connected; every mqtt.keep_alive."},
	{name: wire.NameLaneResult, direction: up, in: inPayload, of: "LaneResult", means: "An event of the lane: a vehicle stays, turns back, passes, tail-gates (config, section lane)."},

	{name: wire.NameIVSTrigger, direction: down, means: "Recognise now. An ivs_result with triggerType 4 follows. 405 where lane.software is off (mqtt.allow: trigger)."},
	{name: wire.NameGPIOOut, direction: down, in: inBody, of: "GPIOOut", means: "Switch an output. delay out of range is clamped, absent it is 500. An output that is locked off is 409 (mqtt.allow: output; for a pulse on output 0 open will do)."},
	{name: wire.NameSerialData, direction: down, in: inBody, of: "SerialData", means: "Send bytes to serial ports, in order. 405 for a port that the board does not have (mqtt.allow: serial)."},
	{name: wire.NameTimestamp, direction: down, means: "What time it is.", reply: "the time, in two places", replyOf: "TimestampReply"},
	{name: wire.NameSetTime, direction: down, in: inBody, of: "SetTime", means: "Set the clock, in the board's local time. 405 unless ports.set_time is on (mqtt.allow: time)."},
	{name: wire.NameSnapshot, direction: down, means: "Take a picture. The answer only acknowledges, the picture follows as snapshot (mqtt.allow: snapshot)."},
	{name: wire.NameReboot, direction: down, means: "Restart the board. No answer where it is done; 405 without ports.reboot, 409 while the barrier moves (mqtt.allow: reboot)."},
	{name: wire.NameWhitelist, direction: down, in: inBody, means: "Change or read rows of the white and black list. 405 where gate.row_commands is off, and for changes while the account's policy asks for signed whitelists, unless mqtt.allow has unsigned_rows (mqtt.allow: rows).",
		rows: []row{
			{"operator_type", "string", "update_or_add (also: add), delete or select"},
			{"dldb_rec", "[WhitelistRecord](#whitelistrecord) or array of them", "update_or_add: the rows, by plate"},
			{"plate", "string or array of string", "delete: the plates; an empty text deletes all, an empty array nothing. select: a part of the plate, empty for all"},
			{"sub_type", "string", "select: plate"},
		}, reply: "of select: body {operator_type, state_code, dldb_rec: array of WhitelistRecord}", replyOf: "WhitelistRecord"},
	{name: wire.NameSetIOLock, direction: down, in: inBody, of: "IOLock", means: "Hold outputs on or off, or free them; one object or an array. Held off, nothing switches the output on. A lock off outlives a restart, a lock on only with ports.keep_locks. io_lock is another name of it (mqtt.allow: lock)."},
	{name: wire.NameSetIOLockOld, direction: down, in: inBody, of: "IOLock", means: "Another name of set_io_lock_status."},
	{name: wire.NameGetIOLock, direction: down, means: "How outputs are held.", reply: "body: an array with one entry for each output", replyOf: "IOLock"},
	{name: wire.NameGetIOStatus, direction: down, in: inBody, of: "IOStatusQuery", means: "The state of an input or output. 405 for an input that the board does not have.", reply: "in body", replyOf: "IOStatus"},
	{name: wire.NameVoice, direction: down, in: inBody, of: "Voice", means: "Speak a text; payload.type is play_voice. 405 without ports.speaker (mqtt.allow: speak).", reply: `{"type":"play_voice"}`},
	{name: wire.NameCheckOffline, direction: down, in: inBody, of: "CheckOffline", means: "How many results wait. They are sent by themselves; nobody has to ask for them.", reply: "in body", replyOf: "CheckOfflineReply"},
	{name: wire.NameGateOpen, direction: down, means: "Open the barrier: a pulse of barrier.pulse on output 0 (mqtt.allow: open)."},
	{name: wire.NameCloudCtrl, direction: down, means: "Refused with 405: there is no motor for lens or pan and tilt."},
	{name: wire.NameLCD, direction: down, means: "Refused with 405: there is no built-in screen; a screen card is sent its frames by serial_data."},
	{name: wire.NameSetOSS, direction: down, means: "Refused with 405: where pictures go is said by the board's config."},
	{name: wire.NameDeviceSet, direction: down, means: "Refused with 405: settings are changed by config."},
	{name: wire.NameEncryption, direction: down, means: "Refused with 405: single plates are not encrypted; use a broker with TLS."},
}

// ourMessages are our extension, in the order of management.md.
var ourMessages = []message{
	{name: "config", direction: down, in: inBody, of: "ChangeCommand", means: "Stage, apply, cancel or ask for a change of the config. content is JSON in a string: {mode: replace or merge, config: {…}}.", reply: "in body; a query without change_id gives {changes: array}", replyOf: "ChangeReport"},
	{name: "upgrade", direction: down, in: inBody, of: "ChangeCommand", means: "The same for an upgrade. content is the release's manifest, JSON in a string.", reply: "as config"},
	{name: "whitelist", direction: down, in: inBody, of: "ChangeCommand", means: "The same for a whole whitelist. content is JSON in a string: {mode: replace or delta, rows: array of WhitelistRecord, remove: array of plates}.", reply: "as config"},
	{name: wire.NameChange, direction: up, in: inBody, of: "ChangeReport", means: "A change took another state; the last one of its results never changes."},
	{name: wire.NameBirth, direction: up, in: inBody, of: "Birth", means: "Sent on every connect."},
	{name: wire.NameOffline, direction: up, in: inBody, of: "Offline", means: "The last will, unless mqtt.last_will is off, and the farewell of a graceful stop."},
	{name: wire.NamePull, direction: up, means: "Asks the cloud for what is pending."},
	{name: wire.NameEventAck, direction: down, in: inBody, of: "EventAck", means: "Lets the board forget events. It is not answered."},
	{name: wire.NameGap, direction: up, in: inBody, of: "Gap", means: "Events that the board had to drop."},
	{name: wire.NameFault, direction: up, in: inBody, of: "Fault", means: "Something is wrong with the board itself, or was: a database that was damaged and set aside, a config that could not be used."},
	{name: wire.NameFaceResult, direction: up, in: inBody, of: "FaceResult", means: "A face, known or not. The vendor has no such message."},
	{name: wire.NameBind, direction: down, in: inBody, means: "The binding is another or its keys are rotated. The message is a hint: the board asks its cloud over HTTP what it is bound to, and answers when it has taken that over. 404 (5003) where it knows no cloud.",
		rows: []row{{"sealed", "string", "hex: a [BindBody](#bindbody), encrypted for the board as in the answer over HTTPS; the board does not read it here"}}},
	{name: wire.NameUnbind, direction: down, means: "The board was taken out of its account. The message is a hint: the board asks its cloud over HTTP, and clears what belongs to the account only if it is told so there; else 409 (1106). 404 (5003) where it knows no cloud."},
}

// pushMessages are the forms for HTTP push.
var pushMessages = []message{
	{name: "plate result", direction: up, in: "the body, JSON", of: "PushResult", means: "POST to push.results. Texts are plain, not base64. isoffline 1: a stored one."},
	{name: "input", direction: up, in: "the body, JSON", of: "GPIOIn", means: "POST to push.inputs. deviceName is plain."},
	{name: "serial", direction: up, in: "the body, JSON", of: "SerialUp", means: "POST to push.serial. deviceName is plain."},
	{name: "heartbeat", direction: up, in: "the body, multipart/form-data", means: "POST to push.register. user_name and pass_wd are empty: the board has no login to tell.",
		rows: []row{{"device_name", "text", "the board's name"}, {"ipaddr", "text", "its address"}, {"port", "text", "80"}, {"user_name", "text", "empty"}, {"pass_wd", "text", "empty"}, {"serialno", "text", "serial number"}, {"channel_num", "text", "0"}}},
	{name: "picture", direction: up, in: "the body, JSON", of: "PushPicture", means: "POST to where TriggerImage wants it, on the server's own host."},
	{name: "rows changed", direction: up, in: "the body, JSON", of: "PushRowsResult", means: "POST to reply_url, on the server's own host."},
	{name: "reply", direction: down, in: "Response_AlarmInfoPlate (or Response_SerialData) of the reply's JSON; every part is optional", means: "What a server has the board do, within push.allow. Replies to stored results, and those later than push.open_within, move nothing.",
		rows: []row{
			{"info", "string", "ok: pulse an output for 500 ms (allow: open)"},
			{"channelNum", "integer", "which, 0–3; absent: 0"},
			{"content", "string", "retransfer_stop: received; any success counts as that anyway"},
			{"serialData", "array of [SerialItem](#serialitem)", "sent in order (allow: serial)"},
			{"TriggerImage", "object", "{port, snapImageRelativeUrl, snapImageAbsolutelyUrl}: take a picture and post it there (allow: snapshot)"},
			{"manualTrigger", "string", `ok: recognise now; {"type":"AVS_TRIGGER"} does the same (allow: trigger)`},
			{"ivs_ioctrl", "object", "{io 0–3, value 0 off, 1 on, 2 pulse, delay ms up to 600000} (allow: output)"},
			{"playserver_json_request", "object", "{type: ps_voice_play, voice base64, voice_volume 1–100, voice_male 0 or 1} (allow: speak)"},
			{"white_list_operate", "object", "{operate_type 0 add, 1 delete, msg_id, reply_url, white_list_data: up to 5 rows}; an empty plate deletes all (allow: rows)"},
			{"ContinuePushOffline", "object", "{plateid, continue}: 1 and the plateid of the stored result that was just sent: send the next one"},
			{"screen and OSD parts", "object", "get_ad_config and the like are refused: there is no built-in screen"},
		}},
}

// tcpCommands are the commands of TCP port 8131.
var tcpCommands = []row{
	{"start_login, login_authentication", "", "challenge {signature}, then base64(HMAC-SHA1(key: challenge, password)); where port8131.password_file is set nothing but getsn goes without, and a client that has not logged in 15 s after it connected is put out"},
	{"getsn", "", "{value}"},
	{"ivsresult", "{enable, format: json, image, image_type 0 full, 1 small, 2 both}", "results are told from now on, as ivs_result {id, timeString, PlateResult, fullImgSize, clipImgSize}, pictures behind a NUL"},
	{"getivsresult", "{image}", "the newest result"},
	{"get_max_rec_id, get_record, get_image", "{record_id, image}", "of the last 32 results, kept in memory"},
	{"trigger", "", "recognise now (allow: trigger)"},
	{"get_snapshot", "", "{imgformat, imgdata base64} (allow: snapshot)"},
	{"ioctl, ioctl_resp", "{io 0–3, value, delay ms up to 600000}", "switch an output (allow: output)"},
	{"get_gpio_value, get_gpio_out_value", "{gpio}", "{gpio, value}; changes of inputs are told as gpio_trigger"},
	{"set_io_lock_status, get_io_lock_status", "body: array of {ioout, status}", "as over MQTT (allow: lock)"},
	{"ttransmission", "{subcmd init, send or uninit, comm rs485-1 or rs485-2, data base64}", "serial data; after init what a port receives is told (allow: serial)"},
	{"reg_offline_check, offline", "{interval s} or {subcmd: cancel}", "the connection ends when the client is silent for that long"},
	{"response_online", "", "a word of the client, nothing more"},
	{"white_list_operator", "as over MQTT, beside cmd", "{state: succeed} (allow: rows)"},
	{"set_time", "{timestring}", "set the clock (allow: time, and ports.set_time)"},
	{"get_device_timestamp", "", "{timestamp}"},
	{"get_product_info", "", "{body: {product_name, sn, soft_ver, board_version}}"},
	{"playserver_json_request", "body: {type: ps_voice_play, voice, voice_volume, voice_male}", "speak (allow: speak)"},
	{"set_led_ctrl_cfg, reboot_dev", "", "refused with 405"},
}
