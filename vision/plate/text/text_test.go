package text

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"unicode/utf8"
)

// keys is a small key file with everything that plates need.
var keys = strings.Join(strings.Split(Provinces+latin+"警学挂港澳使领应急民航临军空海北沈兰济南广成·", ""), "\n") + "\n"

// spell makes a recogniser's output that spells each character for one step
// with probability p, blanks in between.
func spell(t testing.TB, number string, p float64) []float32 {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(keys), "\n")
	width := len(lines) + 2
	var steps []float32
	step := func(index int) {
		row := make([]float32, width)
		for i := range row {
			row[i] = float32((1 - p) / float64(width-1))
		}
		row[index] = float32(p)
		steps = append(steps, row...)
	}
	for _, c := range number {
		found := false
		for i, line := range lines {
			if line == string(c) {
				step(i + 1)
				found = true
				break
			}
		}
		if !found {
			t.Fatalf("no key %c", c)
		}
		step(0)
	}
	return steps
}

func decoder(t testing.TB) *Decoder {
	t.Helper()
	d, err := NewDecoder(keys, BuiltIn(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// mainlandBest and overseasBest are the likeliest readings.
func mainlandBest(d *Decoder, steps []float32) (Reading, bool) { return first(d.Mainland(steps, 1)) }
func overseasBest(d *Decoder, steps []float32) (Reading, bool) { return first(d.Overseas(steps, 1)) }

func first(all []Reading) (Reading, bool) {
	if len(all) == 0 {
		return Reading{}, false
	}
	return all[0], true
}

func TestNumbersOfEveryForm(t *testing.T) {
	d := decoder(t)
	for number, form := range map[string]Form{
		"川A12345": Standard, "苏ED12345": GreenSmall, "京A12345F": GreenBig, "粤B1234警": Police, "皖A3997学": Coach, "鲁B1234挂": Trailer,
		"粤ZF23S港": HongKong, "粤ZF234澳": Macao, "使014578": Embassy, "224123使": Embassy, "沪A0023领": Consulate, "领224123": Consulate,
		"WJ京1234X": WJ, "WJ0112345": WJ, "VA01234": Military, "海A01234": Military, "民航A1234": Aviation, "民航1234B": Aviation,
		"皖1149885": Agri, "京X1234应急": Emergency, "苏E8S52临": Temporary, "京A12345临": Temporary, "川AD12345": GreenSmall,
	} {
		r, ok := mainlandBest(d, spell(t, number, .999))
		if !ok || r.Number != number || r.Form != form || r.Log > 0 || r.Log < -1.5 {
			t.Errorf("%s is read as %+v %v", number, r, ok)
		}
		if f, ok := FormOf(number); !ok || f != form {
			t.Errorf("%s has the form %q", number, f)
		}
	}
	if r, ok := overseasBest(d, spell(t, "LS15EBC", .999)); !ok || r.Number != "LS15EBC" || r.Form != Overseas {
		t.Errorf("%+v %v", r, ok)
	}
}

// The dot behind the letter and doubled characters are CTC's everyday life.
func TestDotsAndDoubles(t *testing.T) {
	r, ok := mainlandBest(decoder(t), spell(t, "川A·11222", .999))
	if !ok || r.Number != "川A11222" {
		t.Errorf("%+v %v", r, ok)
	}
}

// A letter O where the grammar allows none is read as the likeliest that it allows.
func TestGrammarRepairs(t *testing.T) {
	steps := spell(t, "川A1234O", .6)
	lines := strings.Split(strings.TrimSpace(keys), "\n")
	zero := 0
	for i, line := range lines {
		if line == "0" {
			zero = i + 1
		}
	}
	steps[len(steps)-2*(len(lines)+2)+zero] = .3
	if r, ok := mainlandBest(decoder(t), steps); !ok || r.Number != "川A12340" {
		t.Errorf("%+v %v", r, ok)
	}
}

func TestNothingIsRead(t *testing.T) {
	d := decoder(t)
	blank := make([]float32, 20*(len(strings.Split(strings.TrimSpace(keys), "\n"))+2))
	for i := 0; i < len(blank); i += len(blank) / 20 {
		blank[i] = 1
	}
	for _, steps := range [][]float32{nil, {}, {1}, blank} {
		if r, ok := mainlandBest(d, steps); ok && math.Exp(r.Log) > .01 {
			t.Errorf("%d values are read as %+v", len(steps), r)
		}
	}
}

// Every row of the data file has an example that is read as such.
func TestOverseasExamples(t *testing.T) {
	d := decoder(t)
	thai := 0
	for line := range strings.Lines(overseasFile) {
		c := strings.Fields(line)
		if len(c) < 3 || strings.HasPrefix(c[0], "#") || c[0] == "=" {
			continue
		}
		if c[0] == "TH" {
			thai++ // these keys have no Thai letters
			continue
		}
		if r, ok := overseasBest(d, spell(t, c[2], .999)); !ok || r.Number != c[2] || r.Prior != 0 {
			t.Errorf("%s of %s is read as %+v", c[2], c[0], r)
		}
	}
	if thai == 0 {
		t.Error("there is no Thai template")
	}
}

// Of two characters that are printed alike the template's is taken.
func TestOverseasTemplateDecides(t *testing.T) {
	d := decoder(t)
	steps := spell(t, "LSI5EBC", .5)
	one := strings.Index(keys, "1")
	steps[4*d.keys+strings.Count(keys[:one], "\n")+1] = .4
	british, err := NewDecoder(keys, BuiltIn(), Regions{"gb"})
	if err != nil {
		t.Fatal(err)
	}
	if r, _ := overseasBest(d, steps); r.Number != "LS15EBC" {
		t.Errorf("a British number is read as %+v", r)
	}
	// However sure the recogniser is that it is an I.
	steps = spell(t, "LSI5EBC", .999)
	r, _ := overseasBest(british, steps)
	if r.Number != "LS15EBC" || r.Country != "GB" {
		t.Errorf("a British number is read as %+v", r)
	}
}

func TestTail(t *testing.T) {
	for number, want := range map[string]bool{"12345": true, "A12345": true, "AD12345": true, "LS15EBC": false, "AB023IG": false, "123456": false, "1234": false} {
		if Tail(number) != want {
			t.Errorf("Tail(%s) is not %v", number, want)
		}
	}
}

func TestKeyFileWithoutPlateCharacters(t *testing.T) {
	if _, err := NewDecoder("a\nb\n", BuiltIn(), nil); err == nil {
		t.Error("it is taken")
	}
}

func FuzzDecode(f *testing.F) {
	d := decoder(f)
	f.Add([]byte("川A12345"))
	f.Fuzz(func(t *testing.T, b []byte) {
		steps := make([]float32, 12*d.keys)
		for i, v := range b {
			steps[(i*7919+int(v))%len(steps)] = float32(v) / 255
		}
		for _, read := range []func([]float32, int) []Reading{d.Mainland, d.Overseas} {
			for _, r := range read(steps, 4) {
				if r.Number == "" || !(r.Log <= 0) || len(r.Chars) != utf8.RuneCountInString(r.Number) {
					t.Fatalf("%+v", r)
				}
			}
		}
	})
}

// noisy is an output of about the difficulty that a blurred plate has.
func noisy(t testing.TB) []float32 {
	number := "川A12345"
	steps := spell(t, number, .7)
	width := len(steps) / (2 * utf8.RuneCountInString(number))
	for i := 0; i+width <= len(steps); i += width {
		for k := range 12 {
			steps[i+(i/width*31+k*17)%width] += .02
		}
	}
	return steps
}

func BenchmarkMainland(b *testing.B) {
	d, steps := decoder(b), noisy(b)
	b.ReportAllocs()
	for b.Loop() {
		d.Mainland(steps, 1)
	}
}

func BenchmarkOverseas(b *testing.B) {
	d, steps := decoder(b), noisy(b)
	b.ReportAllocs()
	for b.Loop() {
		d.Overseas(steps, 1)
	}
}

func BenchmarkNewDecoder(b *testing.B) {
	for b.Loop() {
		if _, err := NewDecoder(keys, BuiltIn(), nil); err != nil {
			b.Fatal(err)
		}
	}
}

func TestRegions(t *testing.T) {
	number := "LS15EBC"
	for name, c := range map[string]struct {
		regions            Regions
		mainland, overseas bool
		country            Country
		prior              float64
	}{
		"nothing said":            {nil, true, true, "", 0},
		"the mainland only":       {Regions{"cn"}, true, false, "", 0},
		"Great Britain only":      {Regions{"gb"}, false, true, "GB", 0},
		"by its group":            {Regions{"uk"}, false, true, "GB", 0},
		"Malaysia only":           {Regions{"my"}, false, false, "", 0},
		"Malaysia before others":  {Regions{"my", "*"}, true, true, "", unnamedPrior},
		"the mainland and Europe": {Regions{"CN", " eu"}, true, true, "AT", 0},
	} {
		d, err := NewDecoder(keys, BuiltIn(), c.regions)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := mainlandBest(d, spell(t, "川A12345", .999)); ok != c.mainland {
			t.Errorf("%s: a mainland number is read: %v", name, ok)
		}
		r, ok := overseasBest(d, spell(t, number, .999))
		right := ok && r.Number == number
		if right != c.overseas || right && (r.Country != c.country || r.Prior != c.prior) {
			t.Errorf("%s: %s is read as %+v", name, number, r)
		}
	}
	if err := BuiltIn().Check(Regions{"cn", "atlantis"}); err == nil || !strings.Contains(err.Error(), "atlantis") {
		t.Errorf("a region that does not exist: %v", err)
	}
}

// A region that is named and cannot be read is told; one of a group is not.
func TestRegionsThatCannotBeSpelt(t *testing.T) {
	for _, regions := range []Regions{nil, {"cn", "*", "gb"}, {"south-east-asia"}, {"th", "cn"}, {" TH", "*"}} {
		d, err := NewDecoder(keys, BuiltIn(), regions)
		if err != nil {
			t.Fatal(err)
		}
		thai := len(regions) == 2
		if got := d.Unspelt(); len(got) > 0 != thai || thai && strings.ToLower(strings.TrimSpace(got[0])) != "th" {
			t.Errorf("of %v cannot be spelt: %v", regions, got)
		}
	}
}

func TestAddFile(t *testing.T) {
	a := BuiltIn()
	if err := a.AddFile(strings.NewReader("# ours\n= north NO QQ\nQQ\t[QX]D{3}L{1,2}\tQ123AB\r\n")); err != nil {
		t.Fatal(err)
	}
	d, err := NewDecoder(keys, a, Regions{"qq"})
	if err != nil {
		t.Fatal(err)
	}
	if r, ok := overseasBest(d, spell(t, "X123AB", .999)); !ok || r.Number != "X123AB" || r.Country != "QQ" {
		t.Errorf("%+v %v", r, ok)
	}
	if err := a.Check(Regions{"north"}); err != nil {
		t.Error(err)
	}
	before := len(a.templates)
	for name, file := range map[string]string{
		"an example that does not follow": "QQ LLLDDDD ABC123",
		"too few columns":                 "QQ LLLDDDD",
		"no country":                      "Norway LLDDDDD AB12345",
		"an unknown letter":               "QQ LLX? AB12",
		"an open set":                     "QQ [ABDDD A123",
		"an empty set":                    "QQ []DDDD 1234",
		"a set of signs":                  "QQ [-]DDDD -1234",
		"a count that is none":            "QQ L{x}DDD A123",
		"a count backwards":               "QQ L{3,1}DDD A123",
		"a count that does not end":       "QQ L{3DDD A123",
		"too many lengths":                "QQ A{0,9}A{0,9}A{0,9} A123",
		"too long":                        "QQ A{13} ABCDEFGHIJKLM",
		"too short":                       "QQ DDD 123",
		"far too long":                    "QQ " + strings.Repeat("L{12}", 4000) + " ABC",
		"a group without countries":       "= north",
		"a group named as a region is":    "= cn NO",
		"a group of no countries":         "= north Norway",
	} {
		err := a.AddFile(strings.NewReader("QQ DDDDDL 12345A\n" + file))
		if err == nil || !strings.Contains(err.Error(), "line 2") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(a.templates) != before {
		t.Error("a wrong file has left something")
	}
}

// More characters than a search tells apart are refused, not mixed up.
func TestTooManyCharacters(t *testing.T) {
	var set, lines strings.Builder
	for c := rune(0x4e00); c < 0x4e00+300; c++ {
		set.WriteRune(c)
		fmt.Fprintf(&lines, "%c\n", c)
	}
	a := &Abroad{}
	if err := a.AddFile(strings.NewReader("QQ [" + set.String() + "]DDDD 一1234")); err != nil {
		t.Fatal(err)
	}
	if _, err := NewDecoder(lines.String()+keys, a, nil); err == nil || !strings.Contains(err.Error(), "different characters") {
		t.Error(err)
	}
}

func FuzzTemplates(f *testing.F) {
	f.Add(overseasFile)
	f.Add("QQ [QX]D{3}L{1,2} Q123AB\n= north NO QQ\n")
	f.Add("QQ A{0,9}A{0,9}A{0,9} A123")
	f.Add("QQ [ก-]{2}DDDD กก1234")
	f.Fuzz(func(t *testing.T, file string) {
		a := &Abroad{}
		if err := a.AddFile(strings.NewReader(file)); err != nil {
			return
		}
		for _, tpl := range a.templates {
			if len(tpl.slots) < minNumber || len(tpl.slots) > maxNumber || len(tpl.countries) == 0 {
				t.Fatalf("%+v", tpl)
			}
		}
		for _, c := range a.Countries() {
			if err := a.Check(Regions{strings.ToLower(c)}); err != nil {
				t.Fatal(err)
			}
		}
		// Building may be refused, but neither hang nor panic.
		if d, err := NewDecoder(keys, a, nil); err == nil {
			d.Overseas(spell(t, "AB1234", .9), 3)
		}
	})
}

// Where O and 0 would both make a number, nobody can tell which it is.
func TestAmbiguous(t *testing.T) {
	everywhere := decoder(t)
	brazil, err := NewDecoder(keys, BuiltIn(), Regions{"br"})
	if err != nil {
		t.Fatal(err)
	}
	britain, err := NewDecoder(keys, BuiltIn(), Regions{"gb"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		d      *Decoder
		number string
		want   bool
	}{
		{brazil, "ABC1O23", true}, {brazil, "ABC1023", true}, {brazil, "ABC1234", false}, {brazil, "ABO1234", false},
		{britain, "LS10EBC", false}, {everywhere, "ABC1023", true}, {everywhere, "ABC2345", false}, {everywhere, "?", false}, {everywhere, "", false},
	} {
		if c.d.Ambiguous(c.number) != c.want {
			t.Errorf("%s is ambiguous: %v", c.number, !c.want)
		}
	}
}
