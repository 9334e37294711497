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

// Whom so many people make it hard to pass is told.
func TestCrowded(t *testing.T) {
	for _, n := range []int{0, 1, 100, 1000} {
		if _, _, much := Crowded(.01, n); much {
			t.Errorf("%d people cost much", n)
		}
	}
	// 0.01 for 50,000 people is 2e-7 for each: between 1e-6 (0.713, 0.424) and 1e-7 (0.829, 0.194).
	if similarity, right, much := Crowded(.01, 50_000); !much || math.Abs(similarity-.79) > .005 || math.Abs(right-.26) > .005 {
		t.Error(similarity, right, much)
	}
	if _, _, much := Crowded(.1, 5000); much { // the way out
		t.Error("a larger false_accept does not help")
	}
	for _, r := range rates() {
		if got := at(r.falseAccept, 1); math.Abs(got.trueAccept-r.trueAccept) > 1e-9 {
			t.Errorf("at %g: %g of the right people, in the table %g", r.falseAccept, got.trueAccept, r.trueAccept)
		}
	}
}

func FuzzParseRates(f *testing.F) {
	f.Add(ratesTSV)
	f.Add("1e-1\t0.1\t0.9\n1e-2\t0.2\t0.8\n")
	f.Fuzz(func(t *testing.T, text string) {
		list, err := parseRates(text)
		if err == nil && len(list) < 2 {
			t.Error("too few rates are no error")
		}
	})
}
