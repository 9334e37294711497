package configs

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Maintenance is when changes may be applied. Outside its windows they wait,
// which the cloud sees, and are applied by themselves when a window opens.
type Maintenance struct {
	Windows []Window `json:"windows" doc:"weekly windows in the board's local time; none: at any time" maxitems:"28" restart:"none"`
	Kinds   []string `json:"kinds" doc:"the sorts of change that wait for a window" enum:"config|upgrade|whitelist" maxitems:"3" restart:"none"`
}

// Window is a part of some days of the week. One that ends before it begins
// ends on the next day.
type Window struct {
	Days []string `json:"days,omitempty" doc:"the days on which it begins; none: every day" enum:"mon|tue|wed|thu|fri|sat|sun" maxitems:"7"`
	From string   `json:"from" doc:"beginning, HH:MM" pattern:"^([01][0-9]|2[0-3]):[0-5][0-9]$"`
	To   string   `json:"to" doc:"end, HH:MM, not included" pattern:"^([01][0-9]|2[0-3]):[0-5][0-9]$"`
}

func defaultMaintenance() Maintenance {
	return Maintenance{Windows: []Window{}, Kinds: []string{"config", "upgrade"}}
}

func (m Maintenance) validate() error {
	for i, w := range m.Windows {
		if w.From == "" || w.To == "" || w.From == w.To {
			return &ParamError{fmt.Sprintf("/maintenance/windows/%d/to", i), "and from must be given and differ"}
		}
	}
	return nil
}

// Open reports whether a change of a kind may be applied at a local time.
func (m Maintenance) Open(kind string, at time.Time) bool {
	return len(m.Windows) == 0 || !slices.Contains(m.Kinds, kind) ||
		slices.ContainsFunc(m.Windows, func(w Window) bool { return w.holds(at) })
}

func (w Window) holds(at time.Time) bool {
	now := at.Format("15:04")
	if w.From < w.To {
		return w.on(at) && w.From <= now && now < w.To
	}
	return w.on(at) && now >= w.From || w.on(at.AddDate(0, 0, -1)) && now < w.To
}

func (w Window) on(day time.Time) bool {
	name := strings.ToLower(day.Weekday().String()[:3])
	return len(w.Days) == 0 || slices.Contains(w.Days, name)
}
