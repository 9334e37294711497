package main

import (
	"fmt"
	"image"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"gocv.io/x/gocv"

	"gatehouse/hal/camera"
	"gatehouse/hal/camera/cameratest"
	"gatehouse/vision/link"
)

const soakFPS = 15

// TestSoak runs the vision process against a camera that misbehaves, for as
// long as SOAK says ("20000 frames 30m"), over the transport of SOAK_CAMERA
// (http or rtsp). It prints what make soak is asked for: memory, lag, frames,
// reconnects and results.
func TestSoak(t *testing.T) {
	spec := os.Getenv("SOAK")
	if spec == "" {
		t.Skip("make soak runs this")
	}
	needModels(t)
	var most int
	var text string
	if _, err := fmt.Sscanf(spec, "%d frames %s", &most, &text); err != nil {
		t.Fatalf("SOAK=%q must look like \"20000 frames 30m\": %v", spec, err)
	}
	least, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	r := newRoadside(t)
	fake := cameratest.New(r.picture, soakFPS)
	var address string
	if os.Getenv("SOAK_CAMERA") == "rtsp" {
		s, err := fake.RTSP()
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		address = s.URL
	} else {
		s := fake.HTTP()
		defer s.Close()
		defer s.CloseClientConnections()
		address = s.URL
	}
	s := settings(address)
	s.FPS, s.StallMS = soakFPS, 3000
	s.Capture.FrameAgeMS = 1000
	s.Lane = link.Lane{Sensitivity: 50, SettleMS: 400, MinPlateWidth: .02, Unreadable: true}
	v := startSoak(t, s)
	o := &observer{t: t, v: v, road: r, begin: time.Now()}
	go o.listen()
	moods := []cameratest.Mood{cameratest.Stalls, cameratest.Drops, cameratest.Garbage, cameratest.Torn, cameratest.Refuses}
	end := time.Now().Add(least)
	small := false
	for n := 0; time.Now().Before(end) || o.frames() < most; n++ {
		if time.Since(o.begin) > 3*least+time.Minute {
			t.Errorf("only %d frames in %s", o.frames(), time.Since(o.begin))
			break
		}
		fake.Behave(cameratest.Fine)
		o.watch(5*time.Second, false) // it comes back
		o.watch(20*time.Second, !small)
		mood := moods[n%len(moods)]
		fake.Behave(mood)
		if mood == cameratest.Refuses { // each connection has one size: camera.Open's RTSP takes no other
			small = n/len(moods)%2 == 0
			r.resize(small)
		}
		o.watch(6*time.Second, false)
	}
	o.report(fake)
}

// startSoak is startVision without its time limit.
func startSoak(t *testing.T, s link.Settings) vision {
	v := startVision(t, s)
	if err := v.conn.SetDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	return v
}

// roadside draws cars that come and go, with the frame's number in the corner.
type roadside struct {
	mu    sync.Mutex
	scene []gocv.Mat
	small bool
	made  map[int]int64 // CLOCK_MONOTONIC ns of the newest frames
	out   gocv.Mat
}

const (
	carFrames   = 45 // of each car in the picture, at 15 frames/s
	pauseFrames = 75 // of the empty lane behind it
	markBits    = 16
	markSize    = 8 // pixels of a bit's side
)

func newRoadside(t testing.TB) *roadside {
	r := &roadside{made: map[int]int64{}, out: gocv.NewMat()}
	add := func(s scene, seed int) {
		m, err := s.draw(uint64(seed))
		if err != nil {
			t.Fatal(err)
		}
		r.scene = append(r.scene, m)
	}
	add(scenes[1], 0)
	for _, n := range []int{0, 2, 4} {
		for i := range carFrames / 3 {
			s := scenes[n]
			s.size = .6 + .06*float64(i)
			add(s, n*100+i)
		}
	}
	t.Cleanup(func() {
		for i := range r.scene {
			_ = r.scene[i].Close()
		}
		_ = r.out.Close()
	})
	return r
}

func (r *roadside) resize(small bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.small = small
}

// picture is frame n as a JPEG.
func (r *roadside) picture(n int) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := 0
	if at := n % (carFrames + pauseFrames); at < carFrames {
		car := n / (carFrames + pauseFrames) % 3
		i = 1 + car*(carFrames/3) + at/3
	}
	r.scene[i].CopyTo(&r.out)
	if r.small {
		gocv.Resize(r.out, &r.out, image.Pt(896, 504), 0, 0, gocv.InterpolationArea)
	}
	for bit := range markBits {
		c := black
		if n>>bit&1 == 1 {
			c = white
		}
		gocv.Rectangle(&r.out, image.Rect(bit*markSize, 0, (bit+1)*markSize-1, markSize-1), c, -1)
	}
	b, err := gocv.IMEncodeWithParams(gocv.JPEGFileExt, r.out, []int{gocv.IMWriteJpegQuality, 85})
	if err != nil {
		return nil
	}
	defer b.Close()
	r.made[n&(1<<markBits-1)] = camera.Monotonic()
	delete(r.made, (n-2000)&(1<<markBits-1))
	return append([]byte(nil), b.GetBytes()...)
}

// number reads the frame's number from a result's picture and tells when it
// was made.
func (r *roadside) number(t *testing.T, res *link.Result) (made int64, ok bool) {
	m, err := camera.Decode(res.Full)
	if err != nil {
		t.Errorf("a result's picture: %v", err)
		return 0, false
	}
	defer m.Close() //nolint:errcheck // a Mat's Close always returns nil
	scale := float64(m.Cols()) / float64(max(1, res.Width))
	n := 0
	for bit := range markBits {
		x, y := int((float64(bit)+.5)*markSize*scale), int(.4*markSize*scale)
		if m.GetVecbAt(y, x)[1] > 128 {
			n |= 1 << bit
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	made, ok = r.made[n]
	return made, ok
}

// observer collects what the vision process says and how it does.
type observer struct {
	t     *testing.T
	v     vision
	road  *roadside
	begin time.Time

	mu       sync.Mutex
	alive    link.Alive
	seconds  int
	rss      []float64 // MiB, one a second while all is well and pictures are large: like is compared with like
	lag      []float64 // ms, from the frame's making to its arrival
	taken    []float64 // ms, of the newest frame when it was taken
	answer   []float64 // ms, from a frame's arrival to the early notice
	faults   map[string]int
	quick    int
	passages map[string]int
	ended    bool
}

func (o *observer) listen() {
	for {
		m, err := o.v.Receive()
		o.mu.Lock()
		switch {
		case err != nil:
			o.ended = true
		case m.Alive != nil:
			if m.Alive.Frames < o.alive.Frames {
				o.t.Error("the process has begun anew")
			}
			o.alive = *m.Alive
			if m.Alive.CameraOK {
				o.taken = append(o.taken, m.Alive.LagMS)
			}
		case m.Fault != nil:
			if o.faults == nil {
				o.faults = map[string]int{}
			}
			o.faults[strings.SplitN(m.Fault.Message, " for ", 2)[0]]++
		case m.Result != nil:
			o.result(m.Result)
		}
		o.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (o *observer) result(r *link.Result) {
	switch r.Event {
	case link.EventQuick:
		o.quick++
		o.answer = append(o.answer, float64(camera.Monotonic()-r.CaptureMonoNS)/1e6)
	case link.EventPassage:
		if o.passages == nil {
			o.passages = map[string]int{}
		}
		if len(r.Plates) == 1 {
			o.passages[r.Plates[0].Text]++
		}
	case link.EventTrigger:
		if len(r.Full) == 0 {
			return
		}
		if made, ok := o.road.number(o.t, r); ok {
			o.lag = append(o.lag, float64(r.CaptureMonoNS-made)/1e6)
		}
	}
}

func (o *observer) frames() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return int(o.alive.Frames)
}

// watch notes memory every second, if wanted, and asks for a picture every third.
func (o *observer) watch(d time.Duration, memory bool) {
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Second) {
		rss := residentMiB(o.v.cmd.Process.Pid)
		o.mu.Lock()
		ended := o.ended
		if memory {
			o.rss = append(o.rss, rss)
		}
		o.seconds++
		n := o.seconds
		o.mu.Unlock()
		if ended {
			o.t.Fatal("the vision process has ended")
		}
		if n%3 == 0 {
			if err := o.v.Send(link.Message{Trigger: &link.Trigger{ID: strconv.Itoa(n)}}); err != nil {
				o.t.Fatal(err)
			}
		}
	}
}

func residentMiB(pid int) float64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	f := strings.Fields(string(b))
	if len(f) < 2 {
		return 0
	}
	pages, _ := strconv.ParseFloat(f[1], 64)
	return pages * float64(os.Getpagesize()) / (1 << 20)
}

func (o *observer) report(fake *cameratest.Camera) {
	o.mu.Lock()
	defer o.mu.Unlock()
	tenth := max(1, len(o.rss)/10)
	middle := func(v []float64) float64 {
		v = slices.Sorted(slices.Values(v))
		return v[len(v)/2]
	}
	first, last := middle(o.rss[:tenth]), middle(o.rss[len(o.rss)-tenth:])
	second := middle(o.rss[tenth : 2*tenth])
	line := func(what string, v []float64) {
		if len(v) == 0 {
			fmt.Printf("%-34s none\n", what)
			return
		}
		p50, p95 := quantiles(v)
		fmt.Printf("%-34s p50 %.0f ms, p95 %.0f ms, most %.0f ms (%d)\n", what, p50, p95, slices.Max(v), len(v))
	}
	fmt.Printf("%-34s %s\n", "time", time.Since(o.begin).Round(time.Second))
	fmt.Printf("%-34s %d made, %d looked at, %d dropped, %d garbage\n", "frames", fake.Frames(), o.alive.Frames, o.alive.Dropped, o.alive.Garbage)
	fmt.Printf("%-34s %d\n", "camera opened again", o.alive.Reconnects)
	fmt.Printf("%-34s %.1f MiB, %.1f, %.1f (%+.2f %% since the second tenth)\n", "resident, 1st, 2nd, last tenth", first, second, last, 100*(last/second-1))
	fmt.Printf("%-34s", "resident, tenth by tenth, MiB")
	for i := range 10 {
		fmt.Printf(" %.1f", middle(o.rss[i*len(o.rss)/10:max((i+1)*len(o.rss)/10, i*len(o.rss)/10+1)]))
	}
	fmt.Println()
	line("lag: frame made to arrived", o.lag)
	line("lag: arrived to taken", o.taken)
	line("arrived to early notice", o.answer)
	fmt.Printf("%-34s %d early notices, passages %v\n", "results", o.quick, o.passages)
	fmt.Printf("%-34s %v\n", "faults told", o.faults)
	if len(o.lag) == 0 || o.quick == 0 {
		o.t.Error("nothing was seen")
	}
	if len(o.rss) >= 400 && last > second*1.01 {
		o.t.Errorf("memory has grown by %.2f %%", 100*(last/second-1))
	}
	for what, v := range map[string][]float64{"made to arrived": o.lag, "arrived to taken": o.taken} {
		if second, last, grown := lagGrown(v, soakFPS); grown {
			o.t.Errorf("lag has grown, frame %s: p95 %.0f ms in the second tenth, %.0f ms in the last", what, second, last)
		}
	}
}

// lagGrown compares the p95 of a lag in the last tenth of a run with that in the
// second one, in ms. It has grown where it is three times as long and more than
// the time of a frame: what is less is no lag. Less than 20 values in a tenth
// tell nothing.
func lagGrown(lag []float64, fps float64) (second, last float64, grown bool) {
	tenth := len(lag) / 10
	if tenth < 20 {
		return 0, 0, false
	}
	_, second = quantiles(lag[tenth : 2*tenth])
	_, last = quantiles(lag[len(lag)-tenth:])
	return second, last, last > 3*second && last > 1000/fps
}

func TestLagThatGrowsIsTold(t *testing.T) {
	lag := func(at func(i int) float64) (v []float64) {
		for i := range 1000 {
			v = append(v, at(i))
		}
		return v
	}
	for name, c := range map[string]struct {
		lag  []float64
		want bool
	}{
		"a machine that is slow all the time":    {lag(func(i int) float64 { return 900 + float64(i%7) }), false},
		"a slow start":                           {lag(func(i int) float64 { return 5000 / float64(i+1) }), false},
		"a little more of next to nothing":       {lag(func(i int) float64 { return 1 + float64(i)/50 }), false},
		"a few frames that come late":            {lag(func(i int) float64 { return 10 + float64(i/999)*500 }), false},
		"a queue that grows":                     {lag(func(i int) float64 { return 20 + float64(i) }), true},
		"a queue that grows, in a run too short": {lag(func(i int) float64 { return 20 + float64(i) })[:150], false},
	} {
		if second, last, grown := lagGrown(c.lag, 15); grown != c.want {
			t.Errorf("%s: grown %v, from %.0f to %.0f ms", name, grown, second, last)
		}
	}
}
