package plate

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"gatehouse/vision/plate/text"
)

func TestShippedConfidences(t *testing.T) {
	for _, readers := range []string{ReadBoth, ReadSmall, ReadPPOCR} {
		c, err := parseConfidence(confidenceFile, readers)
		if err != nil {
			t.Fatal(err)
		}
		clear := evidence{reading: text.Reading{Number: "川A12345", Form: text.Standard, Chars: []float64{.99, .99, .99, .99, .99, .99, .99}}, rows: 1, lead: 1e6}
		for e, who := range []string{ReadSmall, ReadPPOCR} {
			if readers == ReadBoth || readers == who {
				clear.read[e], clear.shares[e], clear.tops[e] = true, .995, 1
			}
		}
		blue := ground{color: "blue"}
		large := Candidate{Score: .999}
		large.Quad[1].X, large.Quad[2].X, large.Quad[2].Y, large.Quad[3].Y = 160, 160, 50, 50
		doubtful := clear
		doubtful.lead = 1.3
		for e := range engines {
			doubtful.shares[e] *= .2
			doubtful.tops[e] *= .34
		}
		sure, unsure := c.Of(features(large, clear, blue)), c.Of(features(large, doubtful, blue))
		if sure < .95 || sure > 1 || unsure > .9 {
			t.Errorf("%s: a clear reading has %.3f, a doubtful one %.3f", readers, sure, unsure)
		}
	}
	for name, file := range map[string]string{
		"no JSON":           "{",
		"no such reader":    `{"pp": {}}`,
		"a missing weight":  `{"both": {"bias": 1, "weights": {"small": 1}}}`,
		"a negative weight": strings.Replace(string(confidenceFile), `"small": `, `"small": -1, "x": `, 3),
	} {
		if _, err := parseConfidence([]byte(file), ReadBoth); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

// What is fitted to readings that follow a known map gives that map's
// probabilities.
func TestFit(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	truth := func(f Features) float64 { return 1 / (1 + math.Exp(-(-1 + f[1] + .5*f[4]))) }
	draw := func() (f Features) {
		f[1], f[4], f[6] = random.NormFloat64()*2, random.Float64()*8, random.NormFloat64()
		return f
	}
	var samples []Sample
	for range 4000 {
		f := draw()
		samples = append(samples, Sample{f, random.Float64() < truth(f)})
	}
	c, err := Fit(samples)
	if err != nil {
		t.Fatal(err)
	}
	for range 200 {
		f := draw()
		if got, want := c.Of(f), truth(f); math.Abs(got-want) > .08 {
			t.Errorf("%v has %.3f, want %.3f", f, got, want)
		}
	}
	if _, err := Fit(samples[:5]); err == nil {
		t.Error("five readings are enough for it")
	}
}

// More evidence for a reading never makes it less sure.
func TestConfidenceRises(t *testing.T) {
	c, err := parseConfidence(confidenceFile, DefaultReader)
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(5, 6))
	for range 1000 {
		var f Features
		for i := range f {
			f[i] = random.NormFloat64()
		}
		more := f
		more[random.IntN(rising)] += random.Float64()
		if c.Of(more) < c.Of(f) {
			t.Fatalf("%v has %v, %v %v", f, c.Of(f), more, c.Of(more))
		}
	}
}
