package track

import (
	"math"
	"time"

	"gatehouse/vision/link"
)

// Blob is the largest thing that moves in a frame.
type Blob struct {
	At    int64      // CLOCK_MONOTONIC, ns
	Box   [4]float64 // left, top, right, bottom in fractions of the picture
	Share float64    // of the region, 0 where nothing moves
	Light bool       // it is a change of light
	Shot  Shot
}

// What a thing that moves must do to be taken for a vehicle. A person close to
// the camera can do so too; one camera without a net for vehicles cannot tell.
const (
	vehicleShare = 0.06                   // of the region, at its largest
	vehicleWay   = 0.12                   // of the picture, between the farthest places of its middle
	vehicleGrown = 1.5                    // or how many times as wide it becomes
	vehicleTime  = 500 * time.Millisecond // the least time it moves
	vehiclePlate = 3                      // plates' widths that it is wide at least
	vehicleGone  = 1500 * time.Millisecond
)

// Vehicles tells of large things that pass without a plate being seen. It is
// not safe for concurrent use.
type Vehicles struct {
	lane         link.Lane
	edge         [4]float64 // of the region
	begin, at    int64      // of the movement that goes on; 0: none
	low, high    [2]float64 // extremes of its middle
	first, last  [4]float64
	course       course // its way only
	narrow, wide float64
	most         float64
	bestAt       int64
	shot         Shot
	light        bool
	triggered    bool     // over the line or in the loop, where there is one
	before       struct { // where the last vehicle's movement ended, and when
		box [4]float64
		at  int64
	}
	same time.Duration
}

// NewVehicles makes a follower; same is how long a vehicle that has stopped is
// not told again when it goes on. Of the lane count region, direction, line and
// loop, and the least width of a plate as a part of the vehicle's.
func NewVehicles(lane link.Lane, same time.Duration) *Vehicles {
	v := &Vehicles{lane: lane, same: same, edge: [4]float64{0, 0, 1, 1}}
	if len(lane.Region) >= 3 {
		v.edge = [4]float64{1, 1, 0, 0}
	}
	for _, p := range lane.Region {
		v.edge = [4]float64{min(v.edge[0], p.X), min(v.edge[1], p.Y), max(v.edge[2], p.X), max(v.edge[3], p.Y)}
	}
	return v
}

// Frame takes what moves in the next frame. Seen says whether a plate was in
// sight since the given time. It gives the note of a vehicle without plate
// once that is gone or stands still.
func (v *Vehicles) Frame(b Blob, seen func(since int64) bool) (Note, bool) {
	if b.Share > 0 {
		v.add(b)
		return Note{}, false
	}
	if v.begin == 0 || b.At-v.at < int64(vehicleGone) {
		return Note{}, false
	}
	return v.end(seen)
}

// End gives the note of a vehicle that still moves when no more frames come.
func (v *Vehicles) End(seen func(since int64) bool) (Note, bool) {
	if v.begin == 0 {
		return Note{}, false
	}
	return v.end(seen)
}

func (v *Vehicles) add(b Blob) {
	x, y := (b.Box[0]+b.Box[2])/2, (b.Box[1]+b.Box[3])/2
	width := b.Box[2] - b.Box[0]
	if v.begin == 0 {
		v.begin, v.first, v.low, v.high, v.narrow, v.wide, v.most = b.At, b.Box, [2]float64{x, y}, [2]float64{x, y}, width, width, 0
		v.last, v.course = b.Box, course{}
	}
	v.triggered = v.triggered || v.trigger(v.last, b.Box)
	v.step(v.last, b.Box)
	v.at, v.last = b.At, b.Box
	v.light = v.light || b.Light
	v.low = [2]float64{min(v.low[0], x), min(v.low[1], y)}
	v.high = [2]float64{max(v.high[0], x), max(v.high[1], y)}
	v.narrow, v.wide = min(v.narrow, width), max(v.wide, width)
	if b.Share > v.most && b.Shot != nil {
		b.Shot.Keep()
		if v.shot != nil {
			v.shot.Drop()
		}
		v.most, v.shot, v.bestAt = b.Share, b.Shot, b.At
	}
}

// trigger reports whether the vehicle's foot, the middle of its lower edge, is
// where the lane tells vehicles.
func (v *Vehicles) trigger(before, now [4]float64) bool {
	foot := func(b [4]float64) link.Fraction { return link.Fraction{X: (b[0] + b[2]) / 2, Y: b[3]} }
	switch line := v.lane.TriggerLine; {
	case len(v.lane.Loop) >= 3:
		return link.Within(v.lane.Loop, foot(now))
	case len(line) >= 2:
		return crosses(line[0], line[1], foot(before), foot(now))
	}
	return true
}

// step adds to the vehicle's way how its box has moved, by those sides that the
// region's edge does not cut: as a vehicle comes in from below, its box grows
// though it goes away.
func (v *Vehicles) step(before, now [4]float64) {
	const margin = 0.06 // of the picture, a block of the motion detector
	free := func(side int) bool {
		b, e := [2]float64{before[side], now[side]}, v.edge[side]
		if side < 2 {
			return min(b[0], b[1]) > e+margin
		}
		return max(b[0], b[1]) < e-margin
	}
	size := func(b [4]float64) float64 { return max(.01, (b[2]-b[0]+b[3]-b[1])/2) }
	s := (size(before) + size(now)) / 2
	var way [2]float64
	cut := false
	for axis := range way {
		sides := 0.
		for _, side := range []int{axis, axis + 2} {
			if free(side) {
				way[axis] += (now[side] - before[side]) / s
				sides++
			}
		}
		way[axis] /= max(1, sides)
		cut = cut || sides < 2
	}
	if !cut {
		way[1] += growth * math.Log(size(now)/size(before))
	}
	v.course.right += way[0]
	v.course.down += way[1]
}

// end judges the movement that is over.
func (v *Vehicles) end(seen func(since int64) bool) (Note, bool) {
	way := math.Hypot(v.high[0]-v.low[0], v.high[1]-v.low[1])
	// It was told, or shows its plate; where it stops it may go on without.
	known := seen(v.begin-int64(vehicleGone)) ||
		v.before.at != 0 && v.begin-v.before.at < int64(v.same) && overlap(v.before.box, v.first) > .3
	d := v.course.direction()
	counts := v.triggered && v.wide >= vehiclePlate*v.lane.MinPlateWidth &&
		(v.lane.Direction == 0 || d == v.lane.Direction || d == link.DirectionUnknown) // as with plates: it may have come only to stand
	vehicle := v.most >= vehicleShare && v.at-v.begin >= int64(vehicleTime) && (way >= vehicleWay || v.wide > vehicleGrown*v.narrow) &&
		!v.light && v.shot != nil && counts && !known
	n := Note{Event: link.EventPassage, Passage: uint64(v.begin), Direction: d, Begin: v.begin, End: v.at, Shot: v.shot, ShotAt: v.bestAt}
	if !vehicle && v.shot != nil {
		v.shot.Drop()
	}
	if vehicle || known {
		v.before.box, v.before.at = v.last, v.at
	}
	v.begin, v.shot, v.most, v.light, v.triggered = 0, nil, 0, false, false
	return n, vehicle
}

// overlap is the intersection of two boxes over the smaller one.
func overlap(a, b [4]float64) float64 {
	w, h := min(a[2], b[2])-max(a[0], b[0]), min(a[3], b[3])-max(a[1], b[1])
	least := min((a[2]-a[0])*(a[3]-a[1]), (b[2]-b[0])*(b[3]-b[1]))
	if w <= 0 || h <= 0 || least <= 0 {
		return 0
	}
	return w * h / least
}
