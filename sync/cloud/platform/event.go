package platform

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"

	"gatehouse/sync/errcode"
	"gatehouse/sync/store"
	"gatehouse/sync/wire"
)

// event is one event of a board as it is kept and listed.
type event struct {
	SN         string          `json:"sn"`
	Boot       string          `json:"boot"`
	Seq        uint64          `json:"seq"`
	Name       string          `json:"name"`
	Time       int64           `json:"time"`         // Unix ms by the board's clock
	Trusted    bool            `json:"time_trusted"` // whether that clock was synchronised
	Received   int64           `json:"receive_time"` // Unix ms by the cloud's
	Plate      string          `json:"plate"`
	Confidence int             `json:"confidence"` // 0–100
	UserID     string          `json:"user_id"`
	Opened     bool            `json:"opened"`
	Reason     string          `json:"reason"`
	Listed     string          `json:"listed,omitempty"`    // the whitelist's row that the plate was taken for
	Tolerated  bool            `json:"tolerated,omitempty"` // the plate, as it was read, differs from it by confusable characters
	Alarm      bool            `json:"alarm,omitempty"`     // the plate is on the black list
	Image      bool            `json:"image"`
	AccountID  int64           `json:"account_id"`
	Gap        *wire.Gap       `json:"gap,omitempty"`
	Payload    json.RawMessage `json:"payload,omitempty"` // of other names than results
}

func eventKey(sn, boot string, seq uint64) []byte {
	return fmt.Appendf(nil, "%s\x00%s\x00%020d", sn, boot, seq)
}

// upEnvelope is an up message as the cloud reads it.
type upEnvelope struct {
	Payload json.RawMessage `json:"payload"`
	Event   *wire.EventID   `json:"event"`
}

// parseEvent reads an event message; full is its picture, or nil.
func parseEvent(sn, name string, up upEnvelope) (e event, full []byte, err error) {
	id := up.Event
	if id.Boot == "" || len(id.Boot) > 64 || strings.ContainsAny(id.Boot, "\x00/\\") || id.Seq == 0 {
		return e, nil, errcode.Param("event", "must have boot and seq")
	}
	e = event{SN: sn, Boot: id.Boot, Seq: id.Seq, Name: name, Time: id.WallMS, Trusted: id.Trusted}
	var content string
	switch name {
	case wire.NameIVSResult:
		var r wire.IVSResult
		if err := json.Unmarshal(up.Payload, &r); err != nil {
			return e, nil, errcode.New(errcode.ParseJSONFailed, "")
		}
		result := r.AlarmInfoPlate.Result.PlateResult
		license, err := base64.StdEncoding.DecodeString(result.License)
		if err != nil {
			return e, nil, errcode.New(errcode.DecodeBase64Failed, "")
		}
		if e.Plate = strings.TrimRight(string(license), "\x00"); e.Plate == wire.PlateNone {
			e.Plate = ""
		}
		e.Confidence, e.Opened, content = result.Confidence, len(result.GioOuts) > 0, result.FullImageContent
		if r.Gatehouse != nil {
			e.Opened, e.Reason = r.Gatehouse.Opened, r.Gatehouse.Reason
			e.Listed, e.Tolerated, e.Alarm = r.Gatehouse.Listed, r.Gatehouse.Tolerated, r.Gatehouse.Alarm
		}
	case wire.NameFaceResult:
		var b struct{ Body wire.FaceResult }
		if err := json.Unmarshal(up.Payload, &b); err != nil {
			return e, nil, errcode.New(errcode.ParseJSONFailed, "")
		}
		e.UserID, e.Opened, e.Reason, content = b.Body.UserID, b.Body.Decision.Opened, b.Body.Decision.Reason, b.Body.ImageContent
		e.Confidence = int(b.Body.Similarity * 100)
	case wire.NameGap:
		var b struct{ Body wire.Gap }
		if err := json.Unmarshal(up.Payload, &b); err != nil {
			return e, nil, errcode.New(errcode.ParseJSONFailed, "")
		}
		e.Gap = &b.Body
	default:
		e.Payload = up.Payload
	}
	if content != "" {
		if full, err = base64.StdEncoding.DecodeString(content); err != nil {
			return e, nil, errcode.New(errcode.DecodeBase64Failed, "")
		}
		e.Image = true
	}
	return e, full, nil
}

func (p *Platform) picturePath(sn, boot string, seq uint64) string {
	return filepath.Join(p.dir, "pictures", fmt.Sprintf("%s-%s-%020d.jpg", sn, boot, seq))
}

// keep stores an event once; again is true for one that came before.
func (p *Platform) keep(tx *bolt.Tx, e event, full []byte) (again bool, err error) {
	k := eventKey(e.SN, e.Boot, e.Seq)
	b := tx.Bucket(eventsBucket)
	// A gap covers events that may have come before: it takes no one's place.
	if known := b.Get(k); known != nil {
		return true, nil
	}
	if full != nil { // before the commit: a listed picture is there
		if err := store.WriteFileAtomic(p.picturePath(e.SN, e.Boot, e.Seq), full, 0o600); err != nil {
			return false, err
		}
	}
	e.Received = p.o.Now().UnixMilli()
	return false, store.PutJSON(b, k, e)
}

// listEvents lists a device's events, newest first by default.
func (p *Platform) listEvents(q *request) (any, error) {
	var list []event
	err := p.db.View(func(tx *bolt.Tx) error {
		d, err := p.own(tx, q.PathValue("sn"), q.account.ID)
		if err != nil {
			return err
		}
		return eachWithPrefix(p, tx, eventsBucket, d.SN+"\x00", func(_ string, e event) error {
			if e.AccountID == q.account.ID {
				list = append(list, e)
			}
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	slices.Reverse(list)
	return scan(q.query, list)
}

func (p *Platform) eventImage(q *request) (any, error) {
	seq, err := strconv.ParseUint(q.PathValue("seq"), 10, 64)
	if err != nil {
		return nil, errcode.Param("seq", "must be a number")
	}
	var e event
	err = p.db.View(func(tx *bolt.Tx) error {
		d, err := p.own(tx, q.PathValue("sn"), q.account.ID)
		if err != nil {
			return err
		}
		ok, err := store.GetJSON(tx.Bucket(eventsBucket), eventKey(d.SN, q.PathValue("boot"), seq), &e)
		if err == nil && (!ok || !e.Image || e.AccountID != q.account.ID) {
			return errcode.New(errcode.ViewImageFailed, "There is no such picture!")
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile(p.picturePath(e.SN, e.Boot, e.Seq))
	if errors.Is(err, os.ErrNotExist) {
		return nil, errcode.New(errcode.ViewImageFailed, "There is no such picture!")
	}
	return picture(b), err
}

// when writes an event's time for people.
func (e event) when() string { return time.UnixMilli(e.Time).Format(time.DateTime) }
