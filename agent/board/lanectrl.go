package board

import (
	"strconv"
	"time"

	"gatehouse/sync/wire"
)

// around is the Unix time in s of a moment on the clock of frames, 0 where it
// is not known.
func around(d decided, monoNS int64) int64 {
	if monoNS == 0 || d.result.CaptureMonoNS == 0 {
		return 0
	}
	return d.at.Add(time.Duration(monoNS - d.result.CaptureMonoNS)).Unix()
}

// laneMessage is an event of the lane in the vendor's form (vendor-mqtt.md,
// 4.9); ok is false for one that has none.
func (b *Board) laneMessage(d decided) (m wire.LaneResult, ok bool) {
	event, ok := wire.LaneEvent(d.result.LaneEvent)
	if !ok {
		return m, false
	}
	m = wire.LaneResult{Time: d.at.Format(time.DateTime), ResultID: int64(d.result.Seq), EventType: event,
		GroupID: int64(d.result.Passage), GroupIDStr: strconv.FormatUint(d.result.Passage, 10),
		DeviceInfo: wire.LaneDevice{DevIP: localIP(), DevPort: 80, RuleID: 1, SoftVer: b.version}}
	picture := wire.LanePicture{FullImage: wire.LaneImage{FullImageID: m.ResultID}, SmallImage: wire.LaneImage{FullImageID: m.ResultID, ImageType: 1}}
	if len(d.result.Plates) > 0 {
		p := d.result.Plates[0]
		picture.PlateResult = &wire.LanePlate{License: wire.B64(license(p)), ColorType: wire.B64(strconv.Itoa(p.ColorType)),
			Type: wire.B64(strconv.Itoa(p.Type)), Confidence: percent(p.Score)}
		crop := &picture.SmallImage.FeCropInfo
		crop.Left, crop.Top, crop.Width, crop.Height = p.Box.Left, p.Box.Top, p.Box.Width, p.Box.Height
	}
	m.Result = []wire.LanePicture{picture}
	return m, true
}
