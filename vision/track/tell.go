package track

import (
	"slices"
	"time"

	"gatehouse/vision/link"
)

// tell goes through the passages after a frame.
func (l *Lane) tell(v View) []Note {
	var notes []Note
	kept := l.paths[:0]
	for _, p := range l.paths {
		if v.At-p.at > int64(l.o.Lost) {
			notes = append(notes, l.end(p)...)
			continue
		}
		kept = append(kept, p)
		if p.told == 0 && !p.silent && p.at == v.At {
			notes = append(notes, l.judge(p)...)
		}
		if p.told != 0 && !p.finished && !l.waits(p, v.At) {
			notes = append(notes, l.final(p))
		}
		if p.given && p.told != 0 && !p.opens && p.finished && p.at == v.At {
			notes = append(notes, l.better(p, v)...)
		}
		notes = append(notes, l.conduct(p, v)...)
	}
	clear(l.paths[len(kept):])
	l.paths = kept
	return notes
}

// patience is how long a vehicle stands until its passage no longer waits for
// the direction or a better reading; impatience is how long one moves.
const (
	patience   = 2 * time.Second
	impatience = 10 * time.Second
)

// judge gives the early notice once the plate is sure and the vehicle is where
// it counts.
func (l *Lane) judge(p *passage) []Note {
	w, ok := p.votes.elect()
	sure := ok && w.frames > 0 && p.frames >= l.o.Frames && w.sum >= l.o.Need && w.lead >= l.o.Lead
	if sure && w.score < l.o.MinScore { // a nearer look may be better, until it stands
		sure = w.sum >= 2*l.o.Need && (p.at-p.course.restAt >= int64(patience) || p.at-p.begin >= int64(impatience))
	}
	if !sure || !p.triggered {
		return nil
	}
	if !l.direct(p) {
		return nil
	}
	if l.again(p, w) {
		return nil
	}
	p.told, p.known, p.text, p.opens = p.at, true, w.text, w.score >= l.o.MinScore
	l.seen[w.text] = telling{p.at, p.opens}
	notes := []Note{l.note(p, link.EventQuick, w)}
	if gap := l.o.TailGatingMS * int64(time.Millisecond); gap > 0 && l.last.at != 0 && p.at-l.last.at <= gap && l.last.id != p.id && l.last.text != w.text &&
		p.course.direction() != link.DirectionUnknown && p.course.direction() == l.last.direction {
		n := l.note(p, link.EventLane, w)
		n.LaneEvent = link.LaneTailGating
		notes = append(notes, l.with(n, p))
	}
	l.last.at, l.last.id, l.last.text, l.last.direction = p.at, p.id, w.text, p.course.direction()
	return notes
}

// direct reports whether the vehicle comes the way that counts. One that stands
// before its way can be told has come for the barrier.
func (l *Lane) direct(p *passage) bool {
	d := p.course.direction()
	return l.o.Direction == 0 || d == l.o.Direction || d == link.DirectionUnknown && p.at-p.course.restAt >= int64(patience)
}

// How long a final result waits for a better picture at most, after the early
// notice, and how old the best one is when no better is expected: the plate
// stands, goes away, or has left the picture. One that comes at walking pace
// from 20 m away is by 5 % larger, as a better picture must be, in a second.
const (
	longestWait = 3 * time.Second
	growing     = time.Second
)

// waits reports whether the final result waits for a better picture. All wait
// for SettleMS. What opens on the early notice does not mind a longer wait; it
// ends at once where the frames have come to another text than the early
// notice's, since the gate then decides anew.
func (l *Lane) waits(p *passage, at int64) bool {
	since := at - p.told
	if since < l.o.SettleMS*int64(time.Millisecond) {
		return true
	}
	if !l.o.FinalMayWait && !p.mayWait || since >= int64(longestWait) || at-p.shotAt >= int64(growing) {
		return false
	}
	w, _ := p.votes.elect()
	return w.text == p.text && (p.opens || w.score < l.o.MinScore)
}

// better tells a vehicle once more, as a passage of its own, that was told below
// what the gate asks for and then comes near enough to be read surely: one that
// has waited in a queue must not stay before the barrier.
func (l *Lane) better(p *passage, v View) []Note {
	w, ok := p.votes.elect()
	if !ok || w.frames < l.o.Frames || w.score < l.o.MinScore || w.lead < l.o.Lead {
		return nil
	}
	l.ids = max(l.ids+1, uint64(v.At))
	p.id, p.told, p.text, p.opens, p.finished, p.best = l.ids, v.At, w.text, true, false, 0
	l.seen[w.text] = telling{v.At, true}
	if v.Shot != nil { // the frame that made it sure, if no better one comes
		v.Shot.Keep()
		p.shot, p.shotAt, p.shotPlate = v.Shot, v.At, w.plate
		p.shotPlate.Box = p.course.last
	}
	return []Note{l.note(p, link.EventQuick, w)}
}

// again silences a passage whose plate was told a short time ago.
func (l *Lane) again(p *passage, w verdict) bool {
	if !l.known(p, w) {
		return false
	}
	p.known, p.text = true, w.text
	l.silence(p)
	return true
}

// known reports whether the plate was told a short time ago. One that was told
// below what the gate asks for is not known to a reading that is surer.
func (l *Lane) known(p *passage, w verdict) bool {
	sure := w.score >= l.o.MinScore
	for text, t := range l.seen {
		if l.same(text, w) && (t.opens || !sure) {
			return true
		}
	}
	in := func(r *passage) bool { return r.known && l.inPlace(r.text, w) && (r.opens || !sure) }
	return in(p) || slices.ContainsFunc(l.rested, func(r *passage) bool {
		return in(r) && r.course.last.Overlap(p.course.first) > sameBox
	})
}

// same reports whether a reading is of the plate with the given text. One that
// differs in one character is held to be the same plate only where it is unsure.
func (l *Lane) same(text string, w verdict) bool {
	return text == w.text || w.score < l.o.MinScore && alike(text, w.text)
}

// inPlace is same for a vehicle in the place where one stood with the given text:
// an unsure reading must be quite another one.
func (l *Lane) inPlace(text string, w verdict) bool {
	return text == w.text || w.score < l.o.MinScore && !unlike(text, w.text)
}

// resume decides whether the passage goes on the one of the vehicle that stood
// in its place, whose plate was out of sight for a while: it does unless it
// reads otherwise.
func (l *Lane) resume(p *passage) {
	r := p.before
	p.before = nil
	if w, read := p.votes.elect(); r == nil || read && r.text != "" && !l.inPlace(r.text, w) {
		return
	}
	if p.course.restAt == p.begin {
		p.course.restAt = r.course.restAt
	}
	p.begin, p.staying, p.triggered = r.begin, r.staying, p.triggered || r.triggered
	if r.known && p.told == 0 {
		p.known, p.opens = true, r.opens
		if r.text != "" {
			p.text = r.text
		}
	}
	l.rested = slices.DeleteFunc(l.rested, func(o *passage) bool { return o == r })
}

func (l *Lane) silence(p *passage) {
	p.silent, p.finished = true, true
	if p.shot != nil {
		p.shot.Drop()
		p.shot = nil
	}
}

// note describes the passage as it stands.
func (l *Lane) note(p *passage, event string, w verdict) Note {
	plate := w.plate
	plate.Text, plate.Score = w.text, w.score
	if w.frames == 0 || p.told == 0 {
		plate.Score = min(plate.Score, max(0, l.o.MinScore-.01)) // told, but nothing opens for it
	}
	if len(plate.CharScores) != len([]rune(plate.Text)) {
		plate.CharScores = nil
	}
	if p.shot != nil {
		plate.Box, plate.Corners = p.shotPlate.Box, p.shotPlate.Corners
	}
	return Note{Event: event, Passage: p.id, Plate: plate, Votes: link.Votes{Frames: p.votes.frames, Share: w.share},
		Direction: p.course.direction(), Begin: p.begin, End: p.at, ShotAt: p.shotAt}
}

// with gives the note the passage's best picture.
func (l *Lane) with(n Note, p *passage) Note {
	if p.shot != nil {
		p.shot.Keep()
		n.Shot, n.ShotAt = p.shot, p.shotAt
	}
	return n
}

// final gives the passage's result with its best picture.
func (l *Lane) final(p *passage) Note {
	w, ok := p.votes.elect()
	if !ok {
		w = verdict{plate: p.shotPlate}
		w.plate.CharScores = nil
	} else {
		p.opens = p.opens || p.told != 0 && w.score >= l.o.MinScore
		l.seen[w.text] = telling{p.at, p.opens}
	}
	n := l.note(p, link.EventPassage, w)
	n.Shot, n.ShotAt = p.shot, p.shotAt
	p.shot, p.finished, p.given, p.known, p.text = nil, true, true, true, w.text
	return n
}

// Floors for telling a passage that is over before its plate was sure.
const (
	leastSum        = 0.8 // of the scores of all its readings
	leastUnreadable = 4   // frames that show a plate nobody can read
)

// end gives what remains to be told of a vehicle that is out of sight.
func (l *Lane) end(p *passage) []Note {
	var notes []Note
	l.resume(p)
	w, read := p.votes.elect()
	if !p.finished {
		var sum float64
		for _, b := range p.votes.texts {
			sum += b.sum
		}
		switch {
		case p.told != 0:
			notes = append(notes, l.final(p))
		case !p.triggered || !l.direct(p), p.known && (!read || p.text == "" || l.inPlace(p.text, w)):
			l.silence(p)
		case read && sum >= leastSum && l.again(p, w):
		case read && sum >= leastSum:
			notes = append(notes, l.final(p))
		case l.o.Unreadable && p.frames >= leastUnreadable:
			p.votes = votes{}
			notes = append(notes, l.final(p))
		default:
			l.silence(p)
		}
	}
	if stood := p.at-p.course.restAt >= int64(patience); stood {
		l.rested = append(l.rested, p)
	} else {
		notes = append(notes, l.left(p)...)
	}
	if l.o.Passing && p.given && p.course.direction() != link.DirectionUnknown {
		n := l.note(p, link.EventLane, w)
		n.LaneEvent = link.LanePassing
		notes = append(notes, n)
	}
	return notes
}

// left gives the end of staying of a vehicle that is gone.
func (l *Lane) left(p *passage) []Note {
	if !p.staying {
		return nil
	}
	p.staying = false
	w, _ := p.votes.elect()
	n := l.note(p, link.EventLane, w)
	n.LaneEvent = link.LaneStayingEnded
	return []Note{n}
}

// conduct tells of staying and turning.
func (l *Lane) conduct(p *passage, v View) []Note {
	var notes []Note
	happened := func(code int) {
		w, _ := p.votes.elect()
		if w.plate.Box == (link.Box{}) {
			w.plate.Box = p.course.last
		}
		n := l.note(p, link.EventLane, w)
		n.Plate.Box, n.Plate.Corners = p.course.last, [4]link.Point{}
		n.LaneEvent = code
		if v.Shot != nil {
			v.Shot.Keep()
			n.Shot, n.ShotAt = v.Shot, v.At
		}
		notes = append(notes, n)
	}
	if p.before != nil && v.At-p.begin >= int64(patience) {
		l.resume(p)
	}
	if after := l.o.StayingMS * int64(time.Millisecond); after > 0 && !p.staying && p.before == nil && v.At-p.begin >= after {
		p.staying = true
		happened(link.LaneStaying)
	}
	if l.o.UTurn && !p.turned && p.course.turned() {
		p.turned = true
		happened(link.LaneUTurn)
	}
	return notes
}
