package plate

import (
	"testing"

	"gatehouse/vision/plate/text"
)

// One row per kind: a number of its grammar, its look, and the vendor's codes
// (vendor-mqtt.md, 6.1 and 6.2).
func TestKinds(t *testing.T) {
	light := func(color string) ground { return ground{color: color} }
	dark := func(color string) ground { return ground{color: color, dark: true} }
	for _, c := range []struct {
		number    string
		ground    ground
		rows      int
		kind      string
		color     string
		typ, code int
	}{
		{"川A12345", light("blue"), 1, "cn_blue", "blue", 1, 1},
		{"川A12345", dark("yellow"), 1, "cn_yellow", "yellow", 3, 2},
		{"川A12345", dark("yellow"), 2, "cn_yellow_double", "yellow", 4, 2},
		{"苏ED12345", dark("green"), 1, "cn_green_small", "green", 19, 5},
		{"京A12345F", dark("green"), 1, "cn_green_big", "yellow-green", 20, 6},
		{"京A12345F", dark("yellow"), 1, "cn_green_big", "yellow-green", 20, 6},
		{"粤B1234警", dark("white"), 1, "cn_police", "white", 5, 3},
		{"WJ京1234X", dark("white"), 1, "cn_wj", "white", 6, 3},
		{"WJ京1234X", dark("white"), 2, "cn_wj_double", "white", 15, 3},
		{"VA01234", dark("white"), 1, "cn_military", "white", 8, 3},
		{"VA01234", dark("white"), 2, "cn_military_double", "white", 9, 3},
		{"使014578", light("black"), 1, "cn_embassy", "black", 10, 4},
		{"224123使", light("black"), 1, "cn_embassy", "black", 10, 4},
		{"沪A0023领", light("black"), 1, "cn_consulate", "black", 22, 4},
		{"粤ZF23S港", light("black"), 1, "cn_hk", "black", 11, 4},
		{"粤ZF234澳", light("black"), 1, "cn_macao", "black", 14, 4},
		{"京A12345", light("black"), 1, "cn_black", "black", 2, 4},
		{"皖A3997学", dark("yellow"), 1, "cn_coach", "yellow", 13, 2},
		{"皖1149885", light("green"), 2, "cn_agri_double", "green", 12, 5},
		{"民航A1234", light("green"), 1, "cn_aviation", "green", 18, 5},
		{"京X1234应急", dark("white"), 1, "cn_emergency", "white", 21, 3},
		{"苏E8S52临", dark("white"), 1, "cn_temporary", "unknown", 0, 0},
		{"鲁B1234挂", dark("yellow"), 2, "cn_trailer", "yellow", 4, 2},
		{"LS15EBC", dark("yellow"), 1, "overseas", "yellow", 26, 2},
		{"ABC1D23", dark("white"), 2, "overseas", "white", 26, 3},
		// Without colour, as at night, the characters tell.
		{"川A12345", light("unknown"), 1, "cn_blue", "blue", 1, 1},
		{"川A12345", dark("unknown"), 1, "cn_yellow", "yellow", 3, 2},
		{"川A12345", light("unknown"), 2, "cn_yellow_double", "yellow", 4, 2},
		{"苏ED12345", dark("unknown"), 1, "cn_green_small", "green", 19, 5},
		{"粤B1234警", dark("unknown"), 1, "cn_police", "white", 5, 3},
		{"川A12345", light("green"), 1, "cn_blue", "blue", 1, 1},
		// A standard number on a ground that it cannot have.
		{"川A12345", dark("green"), 1, "cn_unknown", "green", 0, 5},
	} {
		form, ok := text.FormOf(c.number)
		if !ok {
			form = text.Overseas
		}
		k := kindOf(form, c.ground, c.rows)
		if k.name != c.kind || k.color != c.color || k.vendorType != c.typ || vendorColors[k.color] != c.code {
			t.Errorf("%s on %+v in %d rows is %+v, colour code %d, want %s %s %d %d", c.number, c.ground, c.rows, k, vendorColors[k.color], c.kind, c.color, c.typ, c.code)
		}
	}
}
