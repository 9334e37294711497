// Package text turns a recogniser's character probabilities into plate numbers
// that exist: a beam search over CTC outputs that follows only the number
// grammars of the plate kinds. Mainland grammars are code, because kinds,
// colours and the vendor's codes hang on them; those of other countries are
// data (Abroad).
//
// It is pure Go and knows no pictures. It does not promise that a number is
// right: that is what the confidence of vision/plate is for.
package text

import "strings"

// Provinces are the one-character names on mainland plates (GA 36-2018).
const Provinces = "京沪津渝冀晋蒙辽吉黑苏浙皖闽赣鲁豫鄂湘粤桂琼川贵云藏陕甘青宁新"

const (
	letters = "ABCDEFGHJKLMNPQRSTUVWXYZ" // without I and O, which plates do not use
	digits  = "0123456789"
	latin   = "ABCDEFGHIJKLMNOPQRSTUVWXYZ" + digits
)

// Form is what a number's grammar tells about its plate.
type Form string

// The forms of mainland numbers; Overseas is any row of Latin letters and digits.
const (
	Standard   Form = "standard"
	GreenSmall Form = "green_small"
	GreenBig   Form = "green_big"
	Police     Form = "police"
	Coach      Form = "coach"
	Trailer    Form = "trailer"
	HongKong   Form = "hk"
	Macao      Form = "macao"
	Embassy    Form = "embassy"
	Consulate  Form = "consulate"
	WJ         Form = "wj"
	Military   Form = "military"
	Aviation   Form = "aviation"
	Agri       Form = "agri"
	Emergency  Form = "emergency"
	Temporary  Form = "temporary"
	Overseas   Form = "overseas"
)

// template is one number grammar: per position the characters allowed.
type template struct {
	form      Form
	slots     []string
	prior     float64 // log; rare forms need better evidence
	countries []Country
}

// mainland are the templates of mainland numbers (GA 36-2018; WJ, army and
// embassy plates as they are seen on the road). In a pattern P is a province,
// L a letter, A a letter or digit, D a digit, N a letter of a new-energy
// plate, C one of the army's old signs; the rest is itself.
//
// Standard numbers have at most two letters after the authority's (GA 36-2018);
// none of the 6,019 of ../shared/train has more.
var mainland = build([]struct {
	form    Form
	pattern string
	prior   float64
}{
	{Standard, "P L AADDD", 0},
	{Standard, "P L ADADD", 0},
	{Standard, "P L ADDAD", 0},
	{Standard, "P L ADDDA", 0},
	{Standard, "P L DAADD", 0},
	{Standard, "P L DADAD", 0},
	{Standard, "P L DADDA", 0},
	{Standard, "P L DDAAD", 0},
	{Standard, "P L DDADA", 0},
	{Standard, "P L DDDAA", 0},
	{Standard, "P L AAAAA", -3}, // trial plates of 2002, with letters of the owner's choice
	{GreenSmall, "P L NADDDD", -0.5},
	{GreenBig, "P L DDDDDN", -0.5},
	{Police, "P L AAAA警", -1},
	{Coach, "P L AAAA学", -1},
	{Trailer, "P L AAAA挂", -1},
	{HongKong, "粤Z AAAA港", -1},
	{Macao, "粤Z AAAA澳", -1},
	{Embassy, "使DDDDDD", -1},
	{Embassy, "DDDDDD使", -1},
	{Consulate, "P L AAAA领", -1},
	{Consulate, "领DDDDDD", -2},
	{WJ, "WJ P DDDDA", -1},
	{WJ, "WJDDDDDA", -2},
	{WJ, "WJDDDDDDD", -2},
	{Military, "L L DDDDD", -1},
	{Military, "C L DDDDD", -2},
	{Aviation, "民航 A DDDD", -1},
	{Aviation, "民航DDDDA", -1},
	{Agri, "P DDDDDDD", -2},
	{Emergency, "P L DDDD应急", -2},
	{Temporary, "P L AAAA临", -2},
	{Temporary, "P L AAAAA临", -2},
})

func build(rows []struct {
	form    Form
	pattern string
	prior   float64
}) []template {
	classes := map[rune]string{'P': Provinces, 'L': letters, 'A': letters + digits, 'D': digits,
		'N': "ABCDEFGHJK", 'C': "军空海北沈兰济南广成"}
	var out []template
	for _, row := range rows {
		t := template{form: row.form, prior: row.prior}
		pattern := strings.ReplaceAll(row.pattern, " ", "")
		if rest, ok := strings.CutPrefix(pattern, "WJ"); ok {
			t.slots, pattern = []string{"W", "J"}, rest
		}
		if rest, ok := strings.CutPrefix(pattern, "粤Z"); ok {
			t.slots, pattern = []string{"粤", "Z"}, rest
		}
		for _, c := range pattern {
			if class := classes[c]; class != "" {
				t.slots = append(t.slots, class)
			} else {
				t.slots = append(t.slots, string(c))
			}
		}
		out = append(out, t)
	}
	return out
}

// FormOf tells which mainland grammar a number follows; ok is false for none.
func FormOf(number string) (form Form, ok bool) {
	runes := []rune(number)
	for _, t := range mainland {
		if fits(t.slots, runes) {
			return t.form, true
		}
	}
	return "", false
}

// Tail reports whether a number is what remains of a mainland one whose
// province, or province and letter, could not be read.
func Tail(number string) bool {
	if len(number) == 5 {
		return true
	}
	if len(number) != 6 && len(number) != 7 {
		return false
	}
	form, ok := FormOf("京" + number)
	return ok && (form == Standard || form == GreenSmall || form == GreenBig)
}
