package wire

// WeekWindow is a span of the week in which a whitelist row or group holds. An
// end before the start runs over midnight and belongs to the day it began on;
// equal ones are the whole day.
type WeekWindow struct {
	Days  []int  `json:"days"`  // 1 Monday to 7 Sunday
	Start string `json:"start"` // "HH:MM:SS", local
	End   string `json:"end"`   // "HH:MM:SS", local
}

// WhitelistGroup is what holds for all rows that name it, beside their own
// times: a row passes when both do.
type WhitelistGroup struct {
	Name        string       `json:"name"`                   // 1 to 32 bytes
	Enable      int          `json:"enable"`                 // 1 in force, 0: its rows are suspended
	EnableTime  string       `json:"enable_time,omitempty"`  // local "YYYY-MM-DD HH:MM:SS"
	OverdueTime string       `json:"overdue_time,omitempty"` // same form
	Weekly      []WeekWindow `json:"weekly,omitempty"`
}
