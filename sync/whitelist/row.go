package whitelist

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"gatehouse/sync/errcode"
	"gatehouse/sync/wire"
)

// Limits of a row's texts (vendor-mqtt.md, 5.8). The vendor's plate is 32
// bytes; its comment is 32 characters in one source and 64 bytes in another.
const (
	maxPlate   = 32 // bytes
	maxCode    = 32 // characters
	maxComment = 64 // characters
	maxGroup   = 32 // bytes
	maxWindows = 32 // weekly windows of a row or group
)

// rule is when a row or group holds. Rules are compared and shared: most rows
// of a set have one of few.
type rule struct {
	from, until int64 // Unix s, both included; 0: open
	start, end  int32 // s of the day; used if daily
	daily       bool
	weekly      string // packed windows, empty: the whole week
}

// check reads a row's times. Errors are 1103 naming the field.
func check(r *wire.WhitelistRecord, zone *time.Location) (rule, error) {
	if err := checkPlate(r.Plate); err != nil {
		return rule{}, err
	}
	for _, f := range []struct {
		name  string
		value int
	}{{"enable", r.Enable}, {"need_alarm", r.NeedAlarm}, {"time_seg_enable", r.TimeSegEnable}} {
		if f.value != 0 && f.value != 1 {
			return rule{}, errcode.Param(f.name, "must be 0 or 1")
		}
	}
	if utf8.RuneCountInString(r.VehicleCode) > maxCode {
		return rule{}, errcode.Param("vehicle_code", fmt.Sprintf("must be at most %d characters", maxCode))
	}
	if utf8.RuneCountInString(r.VehicleComment) > maxComment {
		return rule{}, errcode.Param("vehicle_comment", fmt.Sprintf("must be at most %d characters", maxComment))
	}
	if len(r.Group) > maxGroup {
		return rule{}, errcode.Param("group", fmt.Sprintf("must be at most %d bytes", maxGroup))
	}
	if _, err := moment(r.CreateTime, time.UTC); err != nil {
		return rule{}, errcode.Param("create_time", "must look like 2026-11-23 00:00:00")
	}
	u, err := span(r.EnableTime, r.OverdueTime, zone)
	if err != nil {
		return rule{}, err
	}
	if u.start, err = clock(r.SegTimeStart); err != nil {
		return rule{}, errcode.Param("seg_time_start", "must look like 08:00:00")
	}
	if u.end, err = clock(r.SegTimeEnd); err != nil {
		return rule{}, errcode.Param("seg_time_end", "must look like 18:00:00")
	}
	if u.daily = r.TimeSegEnable == 1; !u.daily {
		u.start, u.end = 0, 0
	}
	u.weekly, err = packWeekly(r.Weekly)
	return u, err
}

// checkNew is check for a row that somebody sends: its daily segment needs both
// times, and two of them. The vendor says nothing of a segment without; a row
// that was stored with one, before they were refused, holds for one second of
// the day.
func checkNew(r *wire.WhitelistRecord, zone *time.Location) error {
	u, err := check(r, zone)
	switch {
	case err != nil:
		return err
	case !u.daily:
		return nil
	case r.SegTimeStart == "":
		return errcode.Param("seg_time_start", "is missing, with time_seg_enable 1")
	case r.SegTimeEnd == "":
		return errcode.Param("seg_time_end", "is missing, with time_seg_enable 1")
	case u.start == u.end:
		return errcode.Param("seg_time_end", "must not be seg_time_start, with time_seg_enable 1")
	}
	return nil
}

// checkGroup reads a group's times. Errors are 1103 naming the field.
func checkGroup(g *wire.WhitelistGroup, zone *time.Location) (rule, error) {
	if g.Name == "" || len(g.Name) > maxGroup {
		return rule{}, errcode.Param("name", fmt.Sprintf("must be 1 to %d bytes", maxGroup))
	}
	if g.Enable != 0 && g.Enable != 1 {
		return rule{}, errcode.Param("enable", "must be 0 or 1")
	}
	u, err := span(g.EnableTime, g.OverdueTime, zone)
	if err != nil {
		return rule{}, err
	}
	u.weekly, err = packWeekly(g.Weekly)
	return u, err
}

func checkPlate(plate string) error {
	if plate == "" || len(plate) > maxPlate {
		return errcode.Param("plate", fmt.Sprintf("must be 1 to %d bytes", maxPlate))
	}
	if strings.ContainsFunc(plate, func(c rune) bool { return c < ' ' || c == 0x7f || c == utf8.RuneError }) {
		return errcode.Param("plate", "must be plain UTF-8 text")
	}
	return nil
}

func span(from, until string, zone *time.Location) (u rule, err error) {
	if u.from, err = moment(from, zone); err != nil {
		return u, errcode.Param("enable_time", "must look like 2026-11-23 00:00:00")
	}
	if u.until, err = moment(until, zone); err != nil {
		return u, errcode.Param("overdue_time", "must look like 2026-12-23 00:00:00")
	}
	return u, nil
}

// moment reads a local time; only an empty one is 0. What PHP makes of no time,
// "1970-01-01 08:00:00" in China, is a second later: it is a time long ago, and
// not an open end.
func moment(s string, zone *time.Location) (int64, error) {
	if s == "" {
		return 0, nil
	}
	t, err := time.ParseInLocation(time.DateTime, s, zone)
	if t.Unix() == 0 {
		return 1, err
	}
	return t.Unix(), err
}

// clock reads a time of the day as its second; an empty one is 0.
func clock(s string) (int32, error) {
	if s == "" {
		return 0, nil
	}
	t, err := time.Parse(time.TimeOnly, s)
	return int32(t.Hour()*3600 + t.Minute()*60 + t.Second()), err
}

// windowSize is the bytes of a packed window: days as bits from Monday, start
// and end in seconds of the day, three bytes each.
const windowSize = 7

// packWeekly makes the windows comparable and quick to look at.
func packWeekly(list []wire.WeekWindow) (string, error) {
	if len(list) > maxWindows {
		return "", errcode.Param("weekly", fmt.Sprintf("must be at most %d windows", maxWindows))
	}
	packed := make([]byte, 0, len(list)*windowSize)
	for i, w := range list {
		if len(w.Days) > 7 {
			return "", errcode.Param(fmt.Sprintf("weekly/%d/days", i), "must be at most 7")
		}
		var days byte
		for _, d := range w.Days {
			if d < 1 || d > 7 {
				return "", errcode.Param(fmt.Sprintf("weekly/%d/days", i), "must be 1 (Monday) to 7 (Sunday)")
			}
			days |= 1 << (d - 1)
		}
		if days == 0 {
			return "", errcode.Param(fmt.Sprintf("weekly/%d/days", i), "must name at least one day, 1 (Monday) to 7 (Sunday)")
		}
		start, err := clock(w.Start)
		if err != nil {
			return "", errcode.Param(fmt.Sprintf("weekly/%d/start", i), "must look like 08:00:00")
		}
		end, err := clock(w.End)
		if err != nil {
			return "", errcode.Param(fmt.Sprintf("weekly/%d/end", i), "must look like 18:00:00")
		}
		packed = append(packed, days, byte(start>>16), byte(start>>8), byte(start), byte(end>>16), byte(end>>8), byte(end))
	}
	return string(packed), nil
}

// holds reports whether days, daily segment and weekly windows hold at a
// moment, which must be in the rows' zone. A segment that ends before it starts
// runs over midnight.
func (u *rule) holds(at time.Time) bool {
	if u.from != 0 || u.until != 0 {
		now := at.Unix()
		if u.from != 0 && now < u.from || u.until != 0 && now > u.until {
			return false
		}
	}
	if !u.daily && u.weekly == "" {
		return true
	}
	hour, minute, second := at.Clock()
	now := int32(hour*3600 + minute*60 + second)
	if u.daily && !within(now, u.start, u.end) {
		return false
	}
	return u.weekly == "" || inWeek(u.weekly, (int(at.Weekday())+6)%7, now)
}

func within(now, start, end int32) bool {
	if start <= end {
		return start <= now && now <= end
	}
	return now >= start || now <= end
}

// inWeek looks at the windows; day is 0 for Monday.
func inWeek(packed string, day int, now int32) bool {
	yesterday := (day + 6) % 7
	for ; len(packed) >= windowSize; packed = packed[windowSize:] {
		days := packed[0]
		start := int32(packed[1])<<16 | int32(packed[2])<<8 | int32(packed[3])
		end := int32(packed[4])<<16 | int32(packed[5])<<8 | int32(packed[6])
		today, before := days>>day&1 == 1, days>>yesterday&1 == 1
		switch {
		case start == end && today:
			return true
		case start < end && today && start <= now && now <= end:
			return true
		case start > end && (today && now >= start || before && now <= end):
			return true
		}
	}
	return false
}

// Normalize writes a plate the way it is compared: full-width letters and
// digits as plain ones, upper case, no spaces, dots, dashes or NULs. In a
// number with a Chinese character the letters O and I do not occur (GA 36-2018
// leaves them out, since they look like digits), so there O is 0 and I is 1;
// the letter behind the province stays, where no digit may stand. Numbers of
// Latin letters only keep both: abroad O and 0 are two characters.
func Normalize(plate string) string {
	plate = strings.Map(func(c rune) rune {
		if c >= '！' && c <= '～' { // full-width forms
			c -= '！' - '!'
		}
		switch {
		case c >= 'a' && c <= 'z':
			return c - 'a' + 'A'
		case c <= ' ', strings.ContainsRune(ignored, c):
			return -1
		}
		return c
	}, plate)
	if !strings.ContainsAny(plate, "OI") || !strings.ContainsFunc(plate, chinese) {
		return plate
	}
	i := -1
	return strings.Map(func(c rune) rune {
		i++
		switch {
		case i < 2:
		case c == 'O':
			return '0'
		case c == 'I':
			return '1'
		}
		return c
	}, plate)
}

// ignored are the separators that people and systems write between the parts
// of a number.
const ignored = "\u3000\u00a0.·•・･‧∙-–—_"

func chinese(c rune) bool { return c >= 0x4e00 && c <= 0x9fff }
