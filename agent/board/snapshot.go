package board

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"gatehouse/sync/wire"
	"gatehouse/vision/link"
)

// snapshotWait is how long a picture may take to come from the camera.
const snapshotWait = 10 * time.Second

// snapshotMark begins the ids of triggers that ask for a picture only.
const snapshotMark = "snapshot "

// snapshots are the pictures that are being waited for. A picture is the
// result of a trigger that nobody else is told about.
type snapshots struct {
	mu      sync.Mutex
	waiting map[string]chan []byte
}

// take hands a result to who waits for its picture, and reports whether it was
// one of these.
func (s *snapshots) take(r *link.Result) bool {
	if !strings.HasPrefix(r.TriggerID, snapshotMark) {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.waiting[r.TriggerID]; c != nil {
		delete(s.waiting, r.TriggerID)
		c <- r.Full
	}
	return true
}

// Snapshot takes a picture, a JPEG.
func (a actions) Snapshot(ctx context.Context) ([]byte, error) {
	id := snapshotMark + wire.NewID()
	c := make(chan []byte, 1)
	s := &a.snapshots
	s.mu.Lock()
	if s.waiting == nil {
		s.waiting = map[string]chan []byte{}
	}
	s.waiting[id] = c
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.waiting, id)
		s.mu.Unlock()
	}()
	if err := a.vision.TriggerBy(id, link.TriggerSoftware); err != nil {
		return nil, errNoVision
	}
	ctx, cancel := context.WithTimeout(ctx, snapshotWait)
	defer cancel()
	select {
	case jpeg := <-c:
		if len(jpeg) == 0 {
			return nil, errors.New("the camera gives no picture")
		}
		return jpeg, nil
	case <-ctx.Done():
		return nil, errors.New("the camera gave no picture in time")
	}
}
