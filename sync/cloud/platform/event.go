package platform

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
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
	Passage    string          `json:"passage,omitempty"`   // the board's name of it, the same in all events of it
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

// checkEventID refuses what cannot name an event.
func checkEventID(id wire.EventID) error {
	if !validBoot(id.Boot) || id.Seq == 0 {
		return errcode.Param("event", "must have boot and seq")
	}
	return nil
}

// parseEvent reads an event message. Where it cannot be understood, e is the
// event with its payload as it came.
func parseEvent(sn, name string, up upEnvelope) (e event, jpeg pictures, err error) {
	id := up.Event
	e = event{SN: sn, Boot: id.Boot, Seq: id.Seq, Name: name, Time: id.WallMS, Trusted: id.Trusted}
	bare := e
	bare.Payload = up.Payload
	var full, small string
	switch name {
	case wire.NameIVSResult:
		var r wire.IVSResult
		if err := json.Unmarshal(up.Payload, &r); err != nil {
			return bare, pictures{}, errcode.New(errcode.ParseJSONFailed, "")
		}
		result := r.AlarmInfoPlate.Result.PlateResult
		license, err := base64.StdEncoding.DecodeString(result.License)
		if err != nil {
			return bare, pictures{}, errcode.New(errcode.DecodeBase64Failed, "")
		}
		if e.Plate = strings.TrimRight(string(license), "\x00"); e.Plate == wire.PlateNone {
			e.Plate = ""
		}
		e.Confidence, e.Opened, full, small = result.Confidence, len(result.GioOuts) > 0, result.FullImageContent, result.SmallImageContent
		if r.Gatehouse != nil {
			e.Opened, e.Reason = r.Gatehouse.Opened, r.Gatehouse.Reason
			e.Listed, e.Tolerated, e.Alarm, e.Passage = r.Gatehouse.Listed, r.Gatehouse.Tolerated, r.Gatehouse.Alarm, r.Gatehouse.Passage
		}
	case wire.NameFaceResult:
		var b struct{ Body wire.FaceResult }
		if err := json.Unmarshal(up.Payload, &b); err != nil {
			return bare, pictures{}, errcode.New(errcode.ParseJSONFailed, "")
		}
		e.UserID, e.Opened, e.Reason, full = b.Body.UserID, b.Body.Decision.Opened, b.Body.Decision.Reason, b.Body.ImageContent
		e.Passage = b.Body.Decision.Passage
		e.Confidence = int(b.Body.Similarity * 100)
	case wire.NameGap:
		var b struct{ Body wire.Gap }
		if err := json.Unmarshal(up.Payload, &b); err != nil {
			return bare, pictures{}, errcode.New(errcode.ParseJSONFailed, "")
		}
		g := b.Body
		if !validBoot(g.Boot) || g.From == 0 || g.To < g.From {
			return bare, pictures{}, errcode.Param("gap", "must run from 1 or more upwards within a boot")
		}
		e.Gap = &g
	default:
		e.Payload = up.Payload
	}
	for _, c := range []struct {
		text string
		to   *[]byte
	}{{full, &jpeg.full}, {small, &jpeg.small}} {
		if c.text == "" {
			continue
		}
		if *c.to, err = base64.StdEncoding.DecodeString(c.text); err != nil {
			return bare, pictures{}, errcode.New(errcode.DecodeBase64Failed, "")
		}
	}
	e.Image = jpeg.full != nil
	return e, jpeg, nil
}

// pictures are those that came within an event's message.
type pictures struct{ full, small []byte }

// keep stores an event once; again is true for one that came before.
func (p *Platform) keep(tx *bolt.Tx, e event, jpeg pictures) (again bool, err error) {
	k := eventKey(e.SN, e.Boot, e.Seq)
	b := tx.Bucket(eventsBucket)
	if b.Get(k) != nil {
		return true, nil
	}
	for kind, content := range map[string][]byte{fullPicture: jpeg.full, smallPicture: jpeg.small} {
		if content != nil {
			if err := p.writePicture(p.picturePath(e.SN, e.Boot, e.Seq, kind), content); err != nil {
				return false, err
			}
		}
	}
	if err := tx.Bucket(receivedBucket).Put(receivedKey(e.Received, k), nil); err != nil {
		return false, err
	}
	return false, store.PutJSON(b, k, e)
}

// listEvents lists a device's events, newest first by default.
func (p *Platform) listEvents(q *request) (any, error) {
	var found page
	err := p.db.View(func(tx *bolt.Tx) error {
		d, err := p.own(tx, q.PathValue("sn"), q.account.ID)
		if err != nil {
			return err
		}
		s, err := newSelection[event](q.query)
		if err != nil {
			return err
		}
		b := tx.Bucket(eventsBucket)
		prefix := d.SN + "\x00"
		c := b.Cursor()
		k, _ := c.Seek([]byte(d.SN + "\x01"))
		if k == nil { // nothing behind the device's
			k, _ = c.Last()
		} else {
			k, _ = c.Prev()
		}
		for ; k != nil && strings.HasPrefix(string(k), prefix); k, _ = c.Prev() {
			var e event
			if _, err := store.GetJSON(b, k, &e); err != nil {
				p.o.Log.Error("a record is damaged and left out", "bucket", string(eventsBucket), "err", err)
				continue
			}
			if e.AccountID != q.account.ID {
				continue
			}
			if err := s.take(e); err != nil {
				return err
			}
		}
		found = s.page()
		return nil
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// eventImage gives an event's picture; the query's kind=small the plate's or face's alone.
func (p *Platform) eventImage(q *request) (any, error) {
	seq, err := strconv.ParseUint(q.PathValue("seq"), 10, 64)
	if err != nil {
		return nil, errcode.Param("seq", "must be a number")
	}
	kind := q.query.Get("kind")
	if kind == "" {
		kind = fullPicture
	}
	if kind != fullPicture && kind != smallPicture {
		return nil, errcode.Param("kind", "must be full or small")
	}
	var e event
	err = p.db.View(func(tx *bolt.Tx) error {
		d, err := p.own(tx, q.PathValue("sn"), q.account.ID)
		if err != nil {
			return err
		}
		ok, err := store.GetJSON(tx.Bucket(eventsBucket), eventKey(d.SN, q.PathValue("boot"), seq), &e)
		if err == nil && (!ok || e.AccountID != q.account.ID) {
			return errcode.New(errcode.ViewImageFailed, "There is no such picture!")
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile(p.picturePath(e.SN, e.Boot, e.Seq, kind))
	if errors.Is(err, os.ErrNotExist) {
		return nil, errcode.New(errcode.ViewImageFailed, "There is no such picture!")
	}
	return picture(b), err
}

// when writes an event's time for people.
func (e event) when() string { return time.UnixMilli(e.Time).Format(time.DateTime) }
