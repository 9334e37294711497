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
	vehicleGone  = 1500 * time.Millisecond
)

// Vehicles tells of large things that pass without a plate being seen. It is
// not safe for concurrent use.
type Vehicles struct {
	begin, at    int64      // of the movement that goes on; 0: none
	low, high    [2]float64 // extremes of its middle
	first, last  [4]float64
	narrow, wide float64
	most         float64
	bestAt       int64
	shot         Shot
	light        bool
	before       struct { // where the last movement ended, and when
		box [4]float64
		at  int64
	}
	same time.Duration
}

// NewVehicles makes a follower; same is how long a vehicle that has stopped is
// not told again when it goes on.
func NewVehicles(same time.Duration) *Vehicles { return &Vehicles{same: same} }

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

func (v *Vehicles) add(b Blob) {
	x, y := (b.Box[0]+b.Box[2])/2, (b.Box[1]+b.Box[3])/2
	width := b.Box[2] - b.Box[0]
	if v.begin == 0 {
		v.begin, v.first, v.low, v.high, v.narrow, v.wide, v.most = b.At, b.Box, [2]float64{x, y}, [2]float64{x, y}, width, width, 0
	}
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

// end judges the movement that is over.
func (v *Vehicles) end(seen func(since int64) bool) (Note, bool) {
	way := math.Hypot(v.high[0]-v.low[0], v.high[1]-v.low[1])
	goesOn := v.before.at != 0 && v.begin-v.before.at < int64(v.same) && overlap(v.before.box, v.first) > .3
	vehicle := v.most >= vehicleShare && v.at-v.begin >= int64(vehicleTime) && (way >= vehicleWay || v.wide > vehicleGrown*v.narrow) &&
		!v.light && !goesOn && v.shot != nil && !seen(v.begin-int64(vehicleGone))
	n := Note{Event: link.EventPassage, Passage: uint64(v.begin), Direction: v.direction(), Begin: v.begin, End: v.at, Shot: v.shot, ShotAt: v.bestAt}
	if !vehicle && v.shot != nil {
		v.shot.Drop()
	}
	v.before.box, v.before.at = v.last, v.at
	v.begin, v.shot, v.most, v.light = 0, nil, 0, false
	return n, vehicle
}

func (v *Vehicles) direction() int {
	var c course
	box := func(b [4]float64) link.Box {
		const k = 1000
		return link.Box{Left: int(b[0] * k), Top: int(b[1] * k), Width: int((b[2] - b[0]) * k), Height: int((b[3] - b[1]) * k)}
	}
	c.start(box(v.first), v.begin)
	c.add(box(v.last), v.at)
	return c.direction()
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
