package plate

import (
	_ "embed" // the fitted weights
	"encoding/json"
	"fmt"
	"math"
	"strings"

	"gatehouse/vision/plate/text"
)

// Feature names, in the order of Features. All but the last ones say more for a
// reading the larger they are, so their weights are never negative.
var featureNames = []string{"small", "pp", "both", "weakest", "rival", "votes", "plate", "size", "overseas", "two_rows", "uniform", "misfit"}

// Features describe one reading by numbers of about the same size.
type Features [12]float64

// The features before rising may only add to the confidence, those from falling
// on only take from it.
const (
	rising  = 8
	falling = 10
)

// logit of a probability, within ±7.
func logit(p float64) float64 {
	const least = 0.001
	p = min(1-least, max(least, p))
	return math.Log(p / (1 - p))
}

// features are what the confidence is calculated from.
func features(c Candidate, e evidence, g ground) Features {
	var f Features
	flag := func(i int, on bool) {
		if on {
			f[i] = 1
		}
	}
	both, votes, n := 1.0, 0.0, 0.0
	for i := range engines {
		if !e.read[i] {
			continue
		}
		f[i] = logit(e.shares[i])
		both = min(both, e.shares[i])
		votes += e.tops[i]
		n++
	}
	f[2] = logit(both)
	weakest := 1.0
	for _, p := range e.reading.Chars {
		weakest = min(weakest, p)
	}
	f[3] = logit(weakest)
	f[4] = min(8, math.Log(e.lead))
	f[5] = votes / max(1, n)
	f[6] = logit(c.Score)
	_, height := c.Quad.Size()
	f[7] = math.Log2(min(64, max(6, height/float64(max(1, e.rows)))) / 24)
	flag(8, e.reading.Form == text.Overseas)
	flag(9, e.rows == 2)
	flag(10, uniform(e.reading))
	flag(11, kindOf(e.reading.Form, g, e.rows).name == unknownKind)
	return f
}

// uniform reports whether a number from abroad is of digits or of letters alone:
// most such texts are no plates but dates, telephone numbers and names of makers.
func uniform(r text.Reading) bool {
	const digits = "0123456789"
	return r.Form == text.Overseas && (strings.Trim(r.Number, digits) == "" || !strings.ContainsAny(r.Number, digits))
}

// Confidence is a fitted map from features to the probability that the whole
// number is right: a logistic one, which rises with every feature that speaks
// for the reading. `gatehouse-vision calibrate` fits it on training pictures.
type Confidence struct {
	Bias    float64            `json:"bias"`
	Weights map[string]float64 `json:"weights"`
	// Fitted says on what, for people.
	Fitted  string `json:"fitted"`
	weights Features
}

//go:embed weights/confidence.json
var confidenceFile []byte

// parseConfidence reads the map for one way to read (a Read… constant).
func parseConfidence(b []byte, readers string) (c Confidence, err error) {
	var all map[string]Confidence
	if err := json.Unmarshal(b, &all); err != nil {
		return c, fmt.Errorf("cannot read the confidence's weights: %w", err)
	}
	c, known := all[readers]
	if !known {
		return c, fmt.Errorf("cannot read the confidence's weights: there are none for %s", readers)
	}
	for i, name := range featureNames {
		w, known := c.Weights[name]
		if !known || i < rising && w < 0 || i >= falling && w > 0 {
			return c, fmt.Errorf("cannot read the confidence's weights: %s of %s is missing or of the wrong sign", name, readers)
		}
		c.weights[i] = w
	}
	return c, nil
}

// Of is the probability that a reading is right, rounded down to thousandths: a
// confidence may be too low, never too high.
func (c *Confidence) Of(f Features) float64 {
	z := c.Bias
	for i, w := range c.weights {
		z += w * f[i]
	}
	return math.Floor(1000/(1+math.Exp(-z))) / 1000
}
