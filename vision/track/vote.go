package track

import (
	"math"

	"gatehouse/vision/link"
)

// maxTexts bounds how many different readings of one plate are kept.
const maxTexts = 48

// votes are the readings of one plate over the frames of its passage.
type votes struct {
	texts  map[string]*ballot
	frames int // with a reading
}

// ballot is what one text got.
type ballot struct {
	sum, best float64
	frames    int
	looks     []link.Box // of frames that read it and are no near-copies of each other
	plate     link.Plate // of the frame with the best score
	chars     []float64  // per character, the sum of score × character score
}

func (v *votes) add(p link.Plate) {
	v.frames++
	b := v.texts[p.Text]
	letters := len([]rune(p.Text))
	if b == nil {
		if len(v.texts) >= maxTexts {
			v.dropWeakest()
		}
		b = &ballot{chars: make([]float64, letters)}
		v.texts[p.Text] = b
	}
	for i := range b.chars {
		c := 1.
		if len(p.CharScores) == letters {
			c = p.CharScores[i]
		}
		b.chars[i] += p.Score * c
	}
	b.sum += p.Score
	b.frames++
	b.look(p)
	if p.Score > b.best {
		b.best, b.plate = p.Score, p
	}
}

// What makes a frame another look at a plate: it reads the text rather rightly
// than wrongly, and the plate is this many sizes away from where it was in each
// look before. Frames of a plate that stands have the same angle, light and
// dirt, so that all of them together are one look, however long it stands.
const (
	ratherRight = 0.5
	anotherLook = 0.5
	maxLooks    = 16
)

func (b *ballot) look(p link.Plate) {
	if p.Score < ratherRight || len(b.looks) >= maxLooks {
		return
	}
	for _, o := range b.looks {
		if apart(o, p.Box)+growth*math.Abs(math.Log(size(o)/size(p.Box))) < anotherLook {
			return
		}
	}
	b.looks = append(b.looks, p.Box)
}

// How far looks that agree lift a score. Chosen by reasoning, since a confident
// wrong reading opens a barrier:
//
// Of the wrong readings, the part lasting comes from what every look has in
// common (a worn or unusual character, a habit of the reader) and is repeated by
// all of them. The rest comes from the moment (blur, glare, the angle), and the
// next look, not much unlike the last one, repeats it with the probability
// repeats. After n looks that agree, lasting + (1-lasting) × repeats^(n-1) of
// the wrong readings are left, so the odds of being right have grown by the
// inverse. That is 0.18 in log-odds for four looks and never more than 0.41:
// 0.886 becomes 0.902 after four, and nothing below 0.857 becomes 0.9.
//
// No score is lifted above liftedMost, the most that vision/plate gives a number
// whose O could be a 0: this no number of looks can tell.
const (
	lasting    = 2. / 3
	repeats    = 0.8
	liftedMost = 0.94
)

// lifted is the score of a text that some looks have read with the best of
// their scores, share of all votes being for it: the lift goes down to nothing
// as the share goes from 1 to agreement, and below that the score goes down too.
func lifted(best float64, looks int, share float64) float64 {
	score := best
	if best > 0 && best < liftedMost && looks > 1 {
		left := lasting + (1-lasting)*math.Pow(repeats, float64(looks-1))
		odds := best / (1 - best) * math.Pow(left, -max(0, share-agreement)/(1-agreement))
		score = max(best, min(liftedMost, math.Floor(1000*odds/(1+odds))/1000))
	}
	return score * min(1, share/agreement)
}

func (v *votes) dropWeakest() {
	weakest, least := "", -1.
	for text, b := range v.texts {
		if least < 0 || b.sum < least || b.sum == least && text < weakest {
			weakest, least = text, b.sum
		}
	}
	delete(v.texts, weakest)
}

// verdict is what the frames say together.
type verdict struct {
	text   string
	plate  link.Plate // of the best frame that read text, or came nearest
	score  float64    // that the whole text is right, 0–1
	sum    float64    // of the scores of the frames that read exactly text
	lead   float64    // by how much sum is above the next text's
	best   float64    // score among those frames
	frames int        // that read exactly text; 0: no single frame did
	share  float64    // of all scores
}

// agreement is the share of the votes from which on the frames that read
// otherwise no longer lower a text's score.
const agreement = 0.8

// elect joins the readings character by character: each is laid beside the
// strongest one, and at each place the character with the most weight wins.
func (v *votes) elect() (verdict, bool) {
	strongest, total := "", 0.
	for text, b := range v.texts {
		total += b.sum
		if s := v.texts[strongest]; strongest == "" || b.sum > s.sum || b.sum == s.sum && text < strongest {
			strongest = text
		}
	}
	if strongest == "" || total <= 0 {
		return verdict{}, false
	}
	text := v.join([]rune(strongest))
	b := v.texts[text]
	if b == nil { // put together from several frames
		near := v.texts[strongest]
		return verdict{text: text, plate: near.plate, score: near.best * min(1, near.sum/total/agreement), share: near.sum / total}, true
	}
	out := verdict{text: text, plate: b.plate, sum: b.sum, lead: b.sum, best: b.best, frames: b.frames, share: b.sum / total}
	for other, o := range v.texts {
		if other != text {
			out.lead = min(out.lead, b.sum-o.sum)
		}
	}
	out.score = lifted(b.best, len(b.looks), out.share)
	return out, true
}

// join is the vote at each place of the strongest text; 0 stands for no
// character there.
func (v *votes) join(strongest []rune) string {
	places := make([]map[rune]float64, len(strongest))
	for i := range places {
		places[i] = map[rune]float64{}
	}
	for text, b := range v.texts {
		other := []rune(text)
		for i, j := range align(strongest, other) {
			if j >= 0 {
				places[i][other[j]] += b.chars[j]
			} else {
				places[i][0] += b.sum
			}
		}
	}
	var out []rune
	for i, place := range places {
		winner := strongest[i]
		for c, weight := range place {
			if weight > place[winner] || weight == place[winner] && winner != strongest[i] && c < winner {
				winner = c
			}
		}
		if winner != 0 {
			out = append(out, winner)
		}
	}
	return string(out)
}

// align lays b beside a with the fewest edits and gives, for each place of a,
// the place of b that stands there, or -1.
func align(a, b []rune) []int {
	cost := make([][]int, len(a)+1)
	for i := range cost {
		cost[i] = make([]int, len(b)+1)
		cost[i][0] = i
	}
	for j := range cost[0] {
		cost[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost[i][j] = min(cost[i-1][j-1]+differ(a[i-1], b[j-1]), cost[i-1][j]+1, cost[i][j-1]+1)
		}
	}
	at := make([]int, len(a))
	for i, j := len(a), len(b); i > 0; {
		switch {
		case j > 0 && cost[i][j] == cost[i-1][j-1]+differ(a[i-1], b[j-1]):
			i, j = i-1, j-1
			at[i] = j
		case cost[i][j] == cost[i-1][j]+1:
			i--
			at[i] = -1
		default:
			j--
		}
	}
	return at
}

func differ(a, b rune) int {
	if a == b {
		return 0
	}
	return 1
}

// unlike reports whether no more than half of two texts' characters agree.
func unlike(a, b string) bool {
	x, y := []rune(a), []rune(b)
	agree := 0
	for i, j := range align(x, y) {
		if j >= 0 && x[i] == y[j] {
			agree++
		}
	}
	return agree*2 <= max(len(x), len(y))
}

// alike reports whether two texts differ by one edit at most.
func alike(a, b string) bool {
	if a == b {
		return true
	}
	x, y := []rune(a), []rune(b)
	if len(x) > len(y) {
		x, y = y, x
	}
	if len(y)-len(x) > 1 || len(y) < 4 {
		return false
	}
	i := 0
	for i < len(x) && x[i] == y[i] {
		i++
	}
	rest, other := x[i:], y[i+1:]
	if len(x) == len(y) {
		rest = x[min(i+1, len(x)):]
	}
	return string(rest) == string(other)
}
