package board

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"

	"gatehouse/sync/binding"
	"gatehouse/sync/outbox"
	"gatehouse/sync/upload"
	"gatehouse/sync/wire"
)

// envelope is a stored event as it is sent: with its pictures, as far as they
// are still there and the message stays within its size, or with their addresses.
func (b *Board) envelope(s outbox.Stored) wire.Up {
	id := s.ID
	m := b.up(s.Name, s.Payload, &id)
	if !s.Live && s.ID.WallMS > 0 {
		m.Timestamp = s.ID.WallMS / 1000 // of the event, not of its sending
	}
	p := b.picturesOf(s)
	switch s.Name {
	case wire.NameFaceResult:
		var r struct {
			Body wire.FaceResult `json:"body"`
		}
		if json.Unmarshal(s.Payload, &r) == nil {
			r.Body.ImageContent, r.Body.ImagePath = p.content("full_image_content"), p.path("full_image_content")
			m.Payload = r
		}
	case wire.NameLaneResult:
		var r wire.LaneResult
		if !s.Live && json.Unmarshal(s.Payload, &r) == nil {
			r.IsOffline = 1
			m.Payload = r
		}
	case wire.NameIVSResult:
		var r wire.IVSResult
		if json.Unmarshal(s.Payload, &r) != nil {
			return m
		}
		t := &r.AlarmInfoPlate.Result.PlateResult
		if !s.Live {
			t.IsOffline = 1
		}
		// The plate first: where both have no room, it says more.
		t.SmallImageContent, t.ImageFragmentPath = p.content("small_image_content"), p.path("small_image_content")
		t.FullImageContent, t.ImagePath = p.content("full_image_content"), p.path("full_image_content")
		m.Payload = r
	}
	return m
}

// sentPictures says how an event's pictures are sent.
type sentPictures struct {
	b     *Board
	files map[string]outbox.File // by field
	room  int                    // bytes of base64 that still fit; 0: nothing goes into the message
	base  string                 // address of the event at the cloud; empty: no addresses
}

func (b *Board) picturesOf(s outbox.Stored) *sentPictures {
	p := &sentPictures{b: b, files: map[string]outbox.File{}}
	for _, f := range s.Files {
		p.files[f.Field] = f
	}
	c := b.config()
	bound, err := b.state.Binding()
	switch {
	case len(p.files) == 0 || c.Pictures.Mode == "none" || err != nil:
	case pathMode(c, bound):
		p.base = fmt.Sprintf("%s%s/%s/events/%s/%d/image", strings.TrimSuffix(bound.Cloud, "/"), binding.DevicesPath, b.state.SN(), s.ID.Boot, s.ID.Seq)
	default:
		const envelope = 1024 // what is around the payload
		p.room = min(wire.MaxMessage-len(s.Payload)-envelope, c.Pictures.ContentMaxKiB<<10)
	}
	return p
}

// content is a picture in base64, "" where it does not fit or is not there.
func (p *sentPictures) content(field string) string {
	f, has := p.files[field]
	if !has || base64.StdEncoding.EncodedLen(int(f.Size)) > p.room {
		return ""
	}
	jpeg, err := p.b.outbox.Picture(f)
	if err != nil {
		return ""
	}
	text := base64.StdEncoding.EncodeToString(jpeg)
	p.room -= len(text)
	return text
}

// path is the base64 of a picture's address at the cloud.
func (p *sentPictures) path(field string) string {
	if _, has := p.files[field]; !has || p.base == "" {
		return ""
	}
	if pictureKinds[field] == upload.Small {
		return wire.B64(p.base + "?kind=" + upload.Small)
	}
	return wire.B64(p.base)
}
