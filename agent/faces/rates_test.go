package faces

import (
	"math"
	"testing"
)

func TestSimilarityOfRates(t *testing.T) {
	list := rates()
	for _, r := range list {
		if s := Similarity(r.falseAccept, 1); math.Abs(s-r.similarity) > 1e-9 {
			t.Errorf("at %g: %g, in the table %g", r.falseAccept, s, r.similarity)
		}
	}
	before := -1.0
	for _, n := range []int{0, 1, 10, 100, 1000, 50_000, 1 << 40} {
		s := Similarity(0.001, n)
		if s < before || s > 1 {
			t.Errorf("%d people: %g after %g", n, s, before)
		}
		before = s
	}
	if s := Similarity(0.9, 1); s != list[0].similarity {
		t.Errorf("a rate above the table gives %g", s)
	}
	if a, b := Similarity(0.1, 100), Similarity(0.001, 1); math.Abs(a-b) > 1e-9 {
		t.Errorf("100 people at 0.1 need %g, one at 0.001 %g", a, b)
	}
}

func FuzzParseRates(f *testing.F) {
	f.Add(ratesTSV)
	f.Add("1e-1\t0.1\n1e-2\t0.2\n")
	f.Fuzz(func(t *testing.T, text string) {
		list, err := parseRates(text)
		if err == nil && len(list) < 2 {
			t.Error("too few rates are no error")
		}
	})
}
