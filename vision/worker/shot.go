package main

import "gocv.io/x/gocv"

// shot is a picture in memory of the pool that is used again once nobody needs
// it any more. Whoever keeps a shot drops it. Shots belong to one goroutine.
type shot struct {
	picture gocv.Mat
	at      int64 // CLOCK_MONOTONIC ns when it came
	name    string
	users   int
	pool    *pool
}

// pool hands out shots.
type pool struct {
	free []*shot
	out  int // shots in use
}

// maxFree is how many pictures are held ready.
const maxFree = 4

// take gives a shot that is kept once; its picture is any old one.
func (p *pool) take() *shot {
	p.out++
	if n := len(p.free); n > 0 {
		s := p.free[n-1]
		p.free = p.free[:n-1]
		s.users, s.at, s.name = 1, 0, ""
		return s
	}
	return &shot{picture: gocv.NewMat(), users: 1, pool: p}
}

func (p *pool) close() {
	for _, s := range p.free {
		_ = s.picture.Close()
	}
	p.free = nil
}

// Keep says that one more needs the shot.
func (s *shot) Keep() { s.users++ }

// Drop says that one no longer does.
func (s *shot) Drop() {
	if s.users--; s.users > 0 {
		return
	}
	s.pool.out--
	if len(s.pool.free) >= maxFree {
		_ = s.picture.Close()
		return
	}
	s.pool.free = append(s.pool.free, s)
}
