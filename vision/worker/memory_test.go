package main

import (
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
