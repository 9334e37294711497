package faces

import (
	"bufio"
	_ "embed"
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

// rate is how often two pictures of different people are at least so similar.
type rate struct{ falseAccept, similarity float64 }

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
		if len(columns) < 2 {
			return nil, fmt.Errorf("line %d has too few columns", n)
		}
		f, err1 := strconv.ParseFloat(columns[0], 64)
		s, err2 := strconv.ParseFloat(columns[1], 64)
		last := len(list) - 1
		if err1 != nil || err2 != nil || !(f > 0 && f < 1) || !(s >= -1 && s <= 1) || last >= 0 && (f >= list[last].falseAccept || s < list[last].similarity) {
			return nil, fmt.Errorf("line %d is no rate, or not in order", n)
		}
		list = append(list, rate{f, s})
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
	list := rates()
	each := falseAccept / float64(max(1, enrolled))
	for i, r := range list {
		if each < r.falseAccept {
			continue
		}
		if i == 0 {
			return r.similarity
		}
		// Between two rows the similarity grows with the logarithm.
		before := list[i-1]
		t := math.Log(before.falseAccept/each) / math.Log(before.falseAccept/r.falseAccept)
		return before.similarity + t*(r.similarity-before.similarity)
	}
	return list[len(list)-1].similarity
}
