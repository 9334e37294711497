package main

import (
	"math"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"testing"

	"gocv.io/x/gocv"
)

// Pictures that many threads had leave nothing behind. It takes a process of
// its own: what other tests left behind would be used again.
func TestMemoryOfPicturesGoesBack(t *testing.T) {
	if os.Getenv("GATEHOUSE_TEST_MEMORY") == "" {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestMemoryOfPicturesGoesBack$", "-test.v")
		cmd.Env = append(os.Environ(), "GATEHOUSE_TEST_MEMORY=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
		return
	}
	const width, height = 1280, 720
	picture := func() gocv.Mat {
		return gocv.NewMatWithSizeFromScalar(gocv.NewScalar(1, 2, 3, 0), height, width, gocv.MatTypeCV8UC3)
	}
	first := picture() // from the first one that is freed on, glibc would keep the others
	_ = first.Close()
	before := residentMiB(os.Getpid())
	const threads = 8 // glibc has as many arenas for each core
	var ready, done sync.WaitGroup
	ready.Add(threads)
	for range threads {
		done.Go(func() {
			runtime.LockOSThread()
			m := picture()
			ready.Done()
			ready.Wait()
			_ = m.Close()
		})
	}
	done.Wait()
	const size = width * height * 3 / float64(1<<20) // MiB
	if grown := residentMiB(os.Getpid()) - before; grown > 2*size {
		t.Errorf("resident memory has grown by %.1f MiB, %.1f pictures", grown, grown/size)
	}
}

// What is looked at again and again leaves nothing behind, however little: a
// gate looks some hundred million times a year.
func TestLookingLeaksNothing(t *testing.T) {
	needModels(t)
	e, err := openEyes("")
	if err != nil {
		t.Fatal(err)
	}
	defer e.close()
	m, err := scenes[0].draw(1)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close() //nolint:errcheck // a Mat's Close always returns nil
	look := func(times int) {
		for range times {
			if _, err := e.look(m, wanted{plates: true, faces: true, features: true, far: true, live: true}); err != nil {
				t.Fatal(err)
			}
		}
	}
	const times = 15
	least := math.MaxInt // of three: what is made once and kept is no leak
	for range 3 {
		before := inUse()
		look(times)
		least = min(least, inUse()-before)
	}
	if least > times*32 {
		t.Errorf("each %d looks leave %d bytes behind", times, least)
	}
}
