package faces

import (
	"bufio"
	_ "embed"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
)

// ratesTSV is what `gatehouse-vision faces --rates` measured; its first lines
// say on how many pictures.
//
//go:embed rates.tsv
var ratesTSV string

// rate is how often two pictures of different people are at least so similar,
// and how often two of the same one are.
type rate struct{ falseAccept, similarity, trueAccept float64 }

// rates are the rows of rates.tsv, the most frequent first.
var rates = sync.OnceValue(func() []rate {
	list, err := parseRates(ratesTSV)
	if err != nil {
		panic("agent/faces/rates.tsv: " + err.Error()) // it is part of the program; a test reads it
	}
	return list
})

func parseRates(text string) (list []rate, err error) {
	lines := bufio.NewScanner(strings.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		columns := strings.Split(lines.Text(), "\t")
		if strings.HasPrefix(columns[0], "#") || columns[0] == "false_accept" {
			continue
		}
		if len(columns) < 3 {
			return nil, fmt.Errorf("line %d has too few columns", n)
		}
		f, err1 := strconv.ParseFloat(columns[0], 64)
		s, err2 := strconv.ParseFloat(columns[1], 64)
		same, err3 := strconv.ParseFloat(columns[2], 64)
		last := len(list) - 1
		if errors.Join(err1, err2, err3) != nil || !(f > 0 && f < 1) || !(s >= -1 && s <= 1) || !(same >= 0 && same <= 1) || last >= 0 && (f >= list[last].falseAccept || s < list[last].similarity) {
			return nil, fmt.Errorf("line %d is no rate, or not in order", n)
		}
		list = append(list, rate{f, s, same})
	}
	if len(list) < 2 {
		return nil, fmt.Errorf("there are %d rates", len(list))
	}
	return list, nil
}

// Similarity is the least cosine that somebody who is enrolled must reach, so
// that a stranger who comes by is taken for anybody among the enrolled with at
// most the probability falseAccept (0–1). It grows with the library: n people
// are n chances to be taken for somebody.
func Similarity(falseAccept float64, enrolled int) float64 {
	return at(falseAccept, enrolled).similarity
}

// at is the row of the table for a library of so many people; between two rows
// of the table similarities grow with the logarithm of the rate.
func at(falseAccept float64, enrolled int) rate {
	list := rates()
	each := falseAccept / float64(max(1, enrolled))
	for i, r := range list {
		if each < r.falseAccept {
			continue
		}
		if i == 0 {
			return r
		}
		before := list[i-1]
		t := math.Log(before.falseAccept/each) / math.Log(before.falseAccept/r.falseAccept)
		return rate{each, before.similarity + t*(r.similarity-before.similarity), before.trueAccept + t*(r.trueAccept-before.trueAccept)}
	}
	return list[len(list)-1]
}

// crowded is the similarity from which on a quarter of the right people and
// more are refused.
const crowded = 0.6

// Crowded reports whether a library of so many people costs much: the
// similarity that a face must have, and the fraction of the right people's
// faces that have it.
func Crowded(falseAccept float64, enrolled int) (similarity, right float64, much bool) {
	r := at(falseAccept, enrolled)
	return r.similarity, r.trueAccept, r.similarity > crowded
}
