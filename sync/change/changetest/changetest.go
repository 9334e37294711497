// Package changetest is the design's table of commands and states, for the
// tests of each kind of change.
package changetest

import "gatehouse/sync/errcode"

// Cell is what one command does to a change in one state.
type Cell struct {
	Before string       // its state; "": there is none
	Verb   string       // the command
	Other  bool         // it comes with another content than the one staged
	State  string       // the state that the answer tells
	Code   errcode.Code // and its code; 0: none
}

// Codes are what a kind answers for a change that is not there, is used already
// or was cancelled.
type Codes struct{ NotExist, Used, Cancelled errcode.Code }

// Cells is the table, row by row.
func Cells(kind Codes) []Cell {
	return []Cell{
		{"", "stage", false, "staged", 0},
		{"", "apply", false, "", kind.NotExist},
		{"", "cancel", false, "", kind.NotExist},
		{"", "query", false, "", kind.NotExist},
		{"staged", "stage", false, "staged", 0},
		{"staged", "stage", true, "staged", errcode.ParamsError},
		{"staged", "apply", false, "applying", 0},
		{"staged", "cancel", false, "cancelled", 0},
		{"staged", "query", false, "staged", 0},
		{"applying", "stage", false, "applying", errcode.RequestFailed},
		{"applying", "apply", false, "applying", 0},
		{"applying", "cancel", false, "applying", 0},
		{"applying", "query", false, "applying", 0},
		{"used", "stage", false, "used", kind.Used},
		{"used", "apply", false, "used", kind.Used},
		{"used", "cancel", false, "used", kind.Used},
		{"used", "query", false, "used", 0},
		{"cancelled", "stage", false, "cancelled", kind.Cancelled},
		{"cancelled", "apply", false, "cancelled", kind.Cancelled},
		{"cancelled", "cancel", false, "cancelled", kind.Cancelled},
		{"cancelled", "query", false, "cancelled", 0},
	}
}
