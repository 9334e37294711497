package camera

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"gocv.io/x/gocv"
)

// feed is an opened live source, used by one goroutine.
type feed interface {
	// next waits for a frame and puts it into b. Where it need not be had, it
	// may be dropped before it costs anything: b then stays as it is. An error
	// other than errGarbage ends the feed.
	next(b *buffer, needed bool) error
	// clock is the newest frame's time by the source's own clock in ms;
	// negative where it has none.
	clock() float64
	fps() float64
	close()
}

// opener opens a live source, until ctx ends at the latest. Its error must not
// show the source's address.
type opener func(ctx context.Context) (feed, error)

// buffer holds one frame, decoded or as JPEG.
type buffer struct {
	mat  gocv.Mat
	jpeg []byte // empty: it is in mat
	full bool
}

// errGarbage is a frame that cannot be decoded; the next one may.
var errGarbage = errors.New("the camera sends what is no picture")

// Times and limits of a live source.
const (
	frameWait  = 200 * time.Millisecond // how long Next waits
	waitLeast  = 250 * time.Millisecond // before the source is opened again, doubled each time
	waitMost   = 5 * time.Second
	stallUsual = 10 * time.Second
	openMost   = 20 * time.Second       // an opening that takes longer hangs
	lateMost   = 3 * time.Second        // of late frames only; then the source is opened again
	mostHung   = 8                      // reads that hang; then it is ErrStuck
	mostBad    = 50                     // frames in a row that are garbage; then the source is opened again
	idleApart  = 300 * time.Millisecond // where nothing moves, further frames are left out
)

// live reads a source that goes on by itself.
type live struct {
	open opener
	o    Options
	wake chan struct{} // a frame or a failure has come

	mu      sync.Mutex
	reader  *reader
	newest  buffer
	at      int64 // CLOCK_MONOTONIC ns when newest came; 0: it was taken
	err     error // why there is no frame; nil while frames come
	idle    bool
	ownFPS  float64
	hanging int
	stats   Stats
}

// reader is the goroutine that reads. One that hangs is left behind and
// another one takes its place.
type reader struct {
	cancel context.CancelFunc
	done   chan struct{}
	busy   int64 // CLOCK_MONOTONIC ns since when it waits for the source; 0: it does not. Guarded by live.mu.
	most   time.Duration
}

func startLive(open opener, o Options) *live {
	if o.Stall <= 0 {
		o.Stall = stallUsual
	}
	l := &live{open: open, o: o, wake: make(chan struct{}, 1), newest: buffer{mat: gocv.NewMat()}}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.start()
	return l
}

// start starts a reader; l.mu is held.
func (l *live) start() {
	ctx, cancel := context.WithCancel(context.Background())
	r := &reader{cancel: cancel, done: make(chan struct{})}
	l.reader = r
	go l.read(ctx, r)
}

func (l *live) Still() bool { return false }
func (l *live) Live() bool  { return true }

func (l *live) FPS() float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ownFPS
}

func (l *live) Idle(idle bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.idle = idle
}

func (l *live) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stats
}

// Close ends the reading. A read that hangs is left behind after a second.
func (l *live) Close() {
	l.mu.Lock()
	r := l.reader
	l.mu.Unlock()
	r.cancel()
	select {
	case <-r.done:
		_ = l.newest.mat.Close()
	case <-time.After(time.Second):
	}
}

// read opens the source and keeps its newest frame, again and again.
func (l *live) read(ctx context.Context, r *reader) {
	b := buffer{mat: gocv.NewMat()}
	defer func() {
		_ = b.mat.Close()
		l.mu.Lock()
		if l.reader != r { // it was left behind, and has come to itself
			l.hanging--
		}
		l.mu.Unlock()
		close(r.done)
	}()
	for wait := waitLeast; ctx.Err() == nil; wait = min(2*wait, waitMost) {
		l.waits(r, openMost)
		f, err := l.open(ctx)
		l.waits(r, 0)
		if err == nil {
			var came bool
			came, err = l.feed(ctx, r, f, &b)
			f.close()
			if came {
				wait = waitLeast
			}
		}
		if !l.fail(r, err) {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// feed takes frames until there are no more; came tells whether there was one.
func (l *live) feed(ctx context.Context, r *reader, f feed, b *buffer) (came bool, err error) {
	l.mu.Lock()
	l.ownFPS = f.fps()
	l.stats.Opened++
	l.mu.Unlock()
	var age ageing
	bad := 0
	intime := Monotonic() // when a frame came that was not late
	needed := intime      // from when on a frame is needed where nothing moves
	for ctx.Err() == nil {
		l.waits(r, l.o.Stall)
		b.full = false
		err := f.next(b, l.needs(needed))
		l.waits(r, 0)
		switch {
		case errors.Is(err, errGarbage):
			if bad++; bad >= mostBad {
				return came, err
			}
			l.count(func(s *Stats) { s.Garbage++ })
			continue
		case err != nil:
			return came, err
		}
		bad, came = 0, true
		now := Monotonic()
		if b.full {
			needed = now + int64(idleApart)
		}
		old := age.of(now, f.clock())
		late := l.o.FrameAge > 0 && old > int64(l.o.FrameAge)
		switch {
		case !late:
			intime = now
		case time.Duration(now-intime) > lateMost: // a new connection begins with the present
			return came, errors.New("the camera's frames come too late")
		}
		if !l.put(r, b, now-old, late) {
			return came, ctx.Err()
		}
	}
	return came, ctx.Err()
}

// needs reports whether the next frame is needed; where nothing moves one is from then on.
func (l *live) needs(then int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.idle || Monotonic() >= then
}

// waits notes that the reader waits for the source, most so long; 0: it no
// longer does.
func (l *live) waits(r *reader, most time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r.busy, r.most = 0, most
	if most > 0 {
		r.busy = Monotonic()
	}
}

func (l *live) count(add func(*Stats)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	add(&l.stats)
}

// put makes b's frame the newest one and gives it the old one's memory. It is
// false for a reader that was left behind.
func (l *live) put(r *reader, b *buffer, at int64, late bool) (goOn bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.reader != r {
		return false
	}
	l.stats.Frames++
	switch {
	case late:
		l.stats.Late++
		l.stats.Dropped++
		return true
	case !b.full:
		l.stats.Dropped++
		return true
	case l.at != 0:
		l.stats.Dropped++
	}
	l.newest, *b = *b, l.newest
	l.at, l.err = at, nil
	l.signal()
	return true
}

func (l *live) fail(r *reader, err error) (goOn bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.reader != r {
		return false
	}
	l.err = err
	l.signal()
	return true
}

func (l *live) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (l *live) Next(m *gocv.Mat) (Frame, error) {
	late := time.NewTimer(frameWait)
	defer late.Stop()
	for {
		frame, ok, err := l.take(m)
		if ok || err != nil {
			return frame, err
		}
		select {
		case <-l.wake:
		case <-late.C:
			if err := l.replace(); err != nil {
				return Frame{}, err
			}
			l.mu.Lock()
			err := l.err
			l.mu.Unlock()
			if err != nil {
				return Frame{}, fmt.Errorf("%w: %w", ErrNoFrame, err)
			}
			return Frame{}, ErrNoFrame
		}
	}
}

// take gives the newest frame, once, unless it has waited too long. Decoding is
// left to here, so that a frame that nobody takes is not decoded.
func (l *live) take(m *gocv.Mat) (frame Frame, ok bool, err error) {
	l.mu.Lock()
	if l.at == 0 {
		l.mu.Unlock()
		return Frame{}, false, nil
	}
	frame.MonoNS = l.at
	l.at = 0
	old := Monotonic() - frame.MonoNS
	if l.o.FrameAge > 0 && old > int64(l.o.FrameAge) {
		l.stats.Late++
		l.stats.Dropped++
		l.mu.Unlock()
		return Frame{}, false, nil
	}
	l.stats.LagNS = old
	if len(l.newest.jpeg) == 0 {
		l.newest.mat, *m = *m, l.newest.mat
		l.mu.Unlock()
		return frame, true, nil
	}
	b := l.newest.jpeg
	l.newest.jpeg = nil
	l.mu.Unlock()
	picture, err := Decode(b)
	if err != nil {
		l.count(func(s *Stats) { s.Garbage++ })
		return Frame{}, false, nil
	}
	_ = m.Close()
	*m = picture
	return frame, true, nil
}

// replace leaves a reader behind that hangs, and starts another one.
func (l *live) replace() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.reader
	if r.busy == 0 || time.Duration(Monotonic()-r.busy) <= r.most {
		return nil
	}
	if l.hanging >= mostHung {
		return ErrStuck
	}
	r.cancel()
	l.hanging++
	l.stats.Hung++
	l.err = errors.New("the camera hangs")
	l.start()
	return nil
}

// ageing tells how old frames are, from the source's clock: the least
// difference between its clock and ours is that of a frame that came at once.
type ageing struct {
	least float64 // ms
	known bool
	last  float64
}

// drift is how much faster, in ms a frame, our clock may seem to run.
const drift = 0.05

// of is the age in ns of a frame that came now.
func (a *ageing) of(now int64, clock float64) int64 {
	if clock < 0 || math.IsNaN(clock) || math.IsInf(clock, 0) {
		return 0
	}
	gone := float64(now)/1e6 - clock
	if !a.known || clock <= a.last || gone < a.least || clock-a.last > 10_000 { // also for a clock that stands
		a.least, a.known = gone, true
	}
	a.last = clock
	a.least += drift
	return int64(max(0, gone-a.least) * 1e6)
}
