package wire

import (
	"encoding/json"

	"gatehouse/sync/errcode"
)

// ParseBirth reads the payload of a birth. Errors: 1101, and 1103 for a boot
// that cannot name one.
func ParseBirth(payload []byte) (Birth, error) {
	var p struct{ Body Birth }
	if err := json.Unmarshal(payload, &p); err != nil {
		return Birth{}, errcode.New(errcode.ParseJSONFailed, "")
	}
	if p.Body.Boot == "" || len(p.Body.Boot) > 64 {
		return Birth{}, errcode.Param("boot", "must be 1 to 64 characters")
	}
	return p.Body, nil
}

// ParseOffline reads the payload of a last will or farewell, as ParseBirth does.
func ParseOffline(payload []byte) (Offline, error) {
	var p struct{ Body Offline }
	if err := json.Unmarshal(payload, &p); err != nil {
		return Offline{}, errcode.New(errcode.ParseJSONFailed, "")
	}
	if p.Body.Boot == "" || len(p.Body.Boot) > 64 {
		return Offline{}, errcode.Param("boot", "must be 1 to 64 characters")
	}
	return p.Body, nil
}

// Causes of a gap: why a range of events was dropped.
const (
	GapBytes    = "bytes"     // the outbox was as large as it may be
	GapCount    = "count"     // more events than may wait
	GapAge      = "age"       // they were older than events are kept
	GapDamage   = "damage"    // their records were damaged
	GapDiskFull = "disk_full" // the disk had no room for them
)
