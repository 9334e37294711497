package text

import (
	"math"
	"strings"
	"testing"
)

// keys is a small key file with everything that plates need.
var keys = strings.Join(strings.Split(Provinces+latin+"警学挂港澳使领应急民航·", ""), "\n") + "\n"

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
	d, err := NewDecoder(keys)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestNumbersOfEveryForm(t *testing.T) {
	d := decoder(t)
	for number, form := range map[string]Form{
		"川A12345": Standard, "苏ED12345": GreenSmall, "京A12345F": GreenBig, "粤B1234警": Police, "皖A3997学": Coach, "鲁B1234挂": Trailer,
	} {
		r, ok := d.Mainland(spell(t, number, .999))
		if !ok || r.Number != number || r.Form != form || r.Log > 0 || r.Log < -1.5 {
			t.Errorf("%s is read as %+v %v", number, r, ok)
		}
		if f, ok := FormOf(number); !ok || f != form {
			t.Errorf("%s has the form %q", number, f)
		}
	}
	if r, ok := d.Overseas(spell(t, "LS15EBC", .999)); !ok || r.Number != "LS15EBC" || r.Form != Overseas {
		t.Errorf("%+v %v", r, ok)
	}
}

// The dot behind the letter and doubled characters are CTC's everyday life.
func TestDotsAndDoubles(t *testing.T) {
	r, ok := decoder(t).Mainland(spell(t, "川A·11222", .999))
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
	if r, ok := decoder(t).Mainland(steps); !ok || r.Number != "川A12340" {
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
		if r, ok := d.Mainland(steps); ok && math.Exp(r.Log) > .01 {
			t.Errorf("%d values are read as %+v", len(steps), r)
		}
	}
}

// Every row of the data file is a pattern of known classes that its example
// follows, and the search's bit sets have room for all of them.
func TestOverseasTemplates(t *testing.T) {
	if len(overseas) > 64 || len(templates) > 64 {
		t.Fatalf("%d and %d templates", len(overseas), len(templates))
	}
	d := decoder(t)
	for line := range strings.Lines(overseasFile) {
		c := strings.Fields(line)
		if len(c) == 0 || c[0] == "#" {
			continue
		}
		if len(c) != 3 || len(c[0]) != 2 || strings.Trim(c[1], "LDA") != "" || len(c[1]) != len(c[2]) {
			if !strings.HasPrefix(line, "#") {
				t.Errorf("%q", line)
			}
			continue
		}
		if r, ok := d.Overseas(spell(t, c[2], .999)); !ok || r.Number != c[2] {
			t.Errorf("%s is read as %+v", c[2], r)
		}
	}
	// I and 1 in one step, about as likely.
	steps := spell(t, "LSI5EBC", .5)
	one := strings.Index(keys, "1")
	steps[4*d.keys+strings.Count(keys[:one], "\n")+1] = .4
	if r, _ := d.Overseas(steps); r.Number != "LS15EBC" {
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
	if _, err := NewDecoder("a\nb\n"); err == nil {
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
		for _, read := range []func([]float32) (Reading, bool){d.Mainland, d.Overseas} {
			if r, ok := read(steps); ok && (r.Number == "" || !(r.Log <= 1e-6)) {
				t.Fatalf("%+v", r)
			}
		}
	})
}

func BenchmarkMainland(b *testing.B) {
	d, steps := decoder(b), spell(b, "川A12345", .9)
	b.ReportAllocs()
	for b.Loop() {
		d.Mainland(steps)
	}
}
