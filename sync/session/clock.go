package session

import (
	"sync"
	"time"
)

// Clock is the time that certificates are checked at by a board whose own clock
// may be wrong: never before its program was built, nor before a time that was
// once known to be good.
//
// A clock that lags (a board without a battery begins at 1970) is corrected by
// this far enough to reach the broker, unless the broker's certificate is
// younger than both. One that runs ahead is believed: taking the floor instead
// would accept certificates that have expired, and it is for the time service
// to set it right. What a wrong clock can do is thus to refuse, not to trust:
// with one exception. After a long time without power, a certificate that
// expired meanwhile is accepted until the clock is set.
type Clock struct {
	Built time.Time        // of the program
	Wall  func() time.Time // nil: time.Now

	mu   sync.Mutex
	good time.Time
}

// Good notes a time that is known to be right: of a synchronised clock, or kept
// from before the power cut.
func (c *Clock) Good(at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if at.After(c.good) {
		c.good = at
	}
}

// LastGood is the latest time that was noted.
func (c *Clock) LastGood() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.good
}

// Now is the latest of the build time, the last good time and the clock's.
func (c *Clock) Now() time.Time {
	now := time.Now()
	if c.Wall != nil {
		now = c.Wall()
	}
	for _, floor := range []time.Time{c.Built, c.LastGood()} {
		if floor.After(now) {
			now = floor
		}
	}
	return now
}
