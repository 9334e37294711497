package plate

import "gatehouse/vision/plate/text"

// kind is what the evaluation and the vendor's protocol call a plate.
type kind struct {
	name       string
	color      string // of the ground
	vendorType int    // vendor-mqtt.md, 6.2
}

// vendorColors are the codes of vendor-mqtt.md, 6.1.
var vendorColors = map[string]int{"unknown": 0, "blue": 1, "yellow": 2, "white": 3, "black": 4, "green": 5, "yellow-green": 6}

// layout is a kind for plates of one row and for those of two; a zero one is
// like the other.
type layout struct{ one, two kind }

// unknownKind is a standard number on a ground that no such plate has.
const unknownKind = "cn_unknown"

// layouts of the forms that tell the kind by themselves.
var layouts = map[text.Form]layout{
	text.GreenSmall: {one: kind{"cn_green_small", "green", 19}},
	text.GreenBig:   {one: kind{"cn_green_big", "yellow-green", 20}},
	text.Police:     {one: kind{"cn_police", "white", 5}},
	text.Coach:      {one: kind{"cn_coach", "yellow", 13}},
	text.Trailer:    {two: kind{"cn_trailer", "yellow", 4}},
	text.HongKong:   {one: kind{"cn_hk", "black", 11}},
	text.Macao:      {one: kind{"cn_macao", "black", 14}},
	text.Embassy:    {one: kind{"cn_embassy", "black", 10}},
	text.Consulate:  {one: kind{"cn_consulate", "black", 22}},
	text.WJ:         {kind{"cn_wj", "white", 6}, kind{"cn_wj_double", "white", 15}},
	text.Military:   {kind{"cn_military", "white", 8}, kind{"cn_military_double", "white", 9}},
	text.Aviation:   {one: kind{"cn_aviation", "green", 18}},
	text.Agri:       {two: kind{"cn_agri_double", "green", 12}},
	text.Emergency:  {one: kind{"cn_emergency", "white", 21}},
	text.Temporary:  {one: kind{"cn_temporary", "unknown", 0}},
}

// standard are the kinds of plates whose number is a standard one: their ground
// tells the kind.
var standard = map[string]layout{
	"blue":   {kind{"cn_blue", "blue", 1}, kind{"cn_blue_double", "blue", 1}},
	"yellow": {kind{"cn_yellow", "yellow", 3}, kind{"cn_yellow_double", "yellow", 4}},
	"black":  {kind{"cn_black", "black", 2}, kind{"cn_black_double", "black", 2}},
}

// kindOf joins what the number and the plate's look say.
func kindOf(form text.Form, g ground, rows int) kind {
	if form == text.Overseas {
		return kind{"overseas", g.color, 26}
	}
	l, ok := layouts[form]
	if !ok {
		l, ok = standard[g.likely(rows)]
	}
	switch {
	case !ok:
		return kind{unknownKind, g.color, 0}
	case l.one == kind{} || rows == 2 && l.two != kind{}:
		return l.two
	}
	return l.one
}

// likely is the ground's colour, or, where there is none to see (infrared, or a
// standard number on what looks green or white), what it can only be: standard
// numbers in two rows are on yellow plates, light ones on blue (which some
// cameras show as a bluish green), dark ones on yellow.
func (g ground) likely(rows int) string {
	switch {
	case standard[g.color] != (layout{}):
		return g.color
	case g.color == "green" && !g.dark:
		return "blue"
	case g.color != "unknown":
		return ""
	case rows == 2 || g.dark:
		return "yellow"
	}
	return "blue"
}

// plausible is how much rarer a form is on this ground than on its own.
func plausible(form text.Form, g ground) float64 {
	const rare, seldom = 0.1, 0.3
	switch form {
	case text.Overseas:
		return 1 // see foreign
	case text.Standard:
		if g.color == "green" {
			return rare
		}
		if g.color == "white" || g.color == "blue" && g.dark {
			return seldom // of a blue or yellow plate in glaring light
		}
	case text.GreenSmall, text.GreenBig, text.Military, text.WJ, text.Police, text.Emergency, text.Agri, text.Aviation:
		if g.color == "blue" && !g.dark {
			return rare
		}
	}
	return 1
}
