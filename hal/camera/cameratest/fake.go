// Package cameratest is a camera that behaves as told: it gives frames over
// HTTP (JPEGs in multipart/x-mixed-replace) and RTSP (M-JPEG), stalls, drops
// connections, sends garbage, tears pictures, refuses, and comes back. It
// stands in for real cameras in tests and in the soak run; it checks no
// passwords, and listens on this machine only.
package cameratest

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"sync"
	"time"
)

// Mood is how the camera behaves.
type Mood int

// The moods.
const (
	Fine    Mood = iota
	Stalls       // connections stay open, nothing comes
	Drops        // each connection is closed after a few frames
	Garbage      // bytes that are no picture, some with a JPEG's beginning
	Torn         // pictures that end half way
	Refuses      // connections are closed and new ones answered with an error
)

var names = [...]string{"fine", "stalls", "drops", "garbage", "torn", "refuses"}

func (m Mood) String() string { return names[m] }

// beforeDrop is how many frames a connection gives in the mood Drops.
const beforeDrop = 5

// Camera is the fake. Its methods may be called from any goroutine.
type Camera struct {
	picture func(n int) []byte
	period  time.Duration

	mu      sync.Mutex
	mood    Mood
	frames  int               // made
	changed chan struct{}     // closed when the mood changes
	made    map[int]time.Time // when the newest frames were
	clients int
}

// New makes a camera whose frame n is the JPEG that picture gives.
func New(picture func(n int) []byte, fps float64) *Camera {
	return &Camera{picture: picture, period: time.Duration(float64(time.Second) / fps), changed: make(chan struct{}), made: map[int]time.Time{}}
}

// Behave changes the camera's mood, of running connections too.
func (c *Camera) Behave(m Mood) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mood = m
	close(c.changed)
	c.changed = make(chan struct{})
}

// Frames is how many frames were made.
func (c *Camera) Frames() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.frames
}

// Clients is how many HTTP connections have come.
func (c *Camera) Clients() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.clients
}

// Made is when frame n was made, for the newest thousand.
func (c *Camera) Made(n int) (time.Time, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at, ok := c.made[n]
	return at, ok
}

func (c *Camera) now() (Mood, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mood, c.changed
}

// frame makes the next frame as the mood has it; nil is none.
func (c *Camera) frame(m Mood) []byte {
	if m == Stalls || m == Refuses {
		return nil
	}
	c.mu.Lock()
	n := c.frames
	c.frames++
	c.mu.Unlock()
	b := c.picture(n)
	c.mu.Lock()
	c.made[n] = time.Now()
	delete(c.made, n-1000)
	c.mu.Unlock()
	switch m {
	case Garbage:
		b = make([]byte, 2000)
		for i := range b {
			b[i] = byte(rand.Uint32())
		}
		if n%2 == 0 {
			copy(b, "\xff\xd8\xff\xe0\x00\x10JFIF")
		}
	case Torn:
		b = b[:len(b)/2]
	}
	return b
}

// HTTP starts the camera as an HTTP stream.
func (c *Camera) HTTP() *httptest.Server { return httptest.NewServer(c) }

// ServeHTTP streams frames until the client goes or the mood ends it.
func (c *Camera) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	c.clients++
	c.mu.Unlock()
	if m, _ := c.now(); m == Refuses {
		http.Error(w, "busy", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "multipart/x-mixed-replace; boundary=frame")
	w.(http.Flusher).Flush()
	tick := time.NewTicker(c.period)
	defer tick.Stop()
	for n := 0; ; {
		m, changed := c.now()
		if m == Refuses || m == Drops && n >= beforeDrop {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-changed:
			continue
		case <-tick.C:
		}
		b := c.frame(m)
		if b == nil {
			continue
		}
		n++
		if _, err := fmt.Fprintf(w, "--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n", len(b), b); err != nil {
			return
		}
		w.(http.Flusher).Flush()
	}
}
