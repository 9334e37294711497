package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"image"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"gocv.io/x/gocv"

	"gatehouse/hal/camera"
	"gatehouse/hal/camera/cameratest"
	"gatehouse/vision/link"
	"gatehouse/vision/models"
	"gatehouse/vision/motion"
	"gatehouse/vision/nn"
	"gatehouse/vision/plate/quad"
	"gatehouse/vision/plate/text"
	"gatehouse/vision/track"
	"gatehouse/vision/warp"
)

// straight is the straightforward pipeline that ours is measured against: on
// every frame a text detector (PP-OCRv4 DB at 640×384) over the whole picture,
// and the reader on each piece of text. It is for the benchmark alone.
type straight struct {
	detect gocv.Net
	read   *nn.Net
	words  *text.Decoder
	cut    *warp.Cutter
	small  gocv.Mat
	canvas gocv.Mat
	line   gocv.Mat
}

const (
	textWidth, textHeight = 640, 384
	textInk               = 0.3 // probability of a pixel to be text
	textBox               = 0.5 // mean probability within a box
	textUnclip            = 1.6 // DB's shrinking of boxes, undone
)

func openStraight(b *testing.B) *straight {
	b.Helper()
	all, err := models.Catalogue()
	if err != nil {
		b.Fatal(err)
	}
	for _, m := range all {
		if m.Bench && errors.Join(m.Check(modelDir)) != nil {
			b.Skip("make bench fetches the model to compare with:", m.Check(modelDir))
		}
	}
	s := &straight{cut: warp.NewCutter(), small: gocv.NewMat(), line: gocv.NewMat(),
		canvas: gocv.NewMatWithSizeFromScalar(gocv.Scalar{}, textHeight, textWidth, gocv.MatTypeCV8UC3)}
	if s.detect = gocv.ReadNetFromONNX(filepath.Join(modelDir, "text_detect.onnx")); s.detect.Empty() {
		b.Fatal("the text detector has no layers")
	}
	if s.read, err = nn.Load(modelDir, "plate_read.onnx", nn.Input{Size: image.Pt(160, 48), Mean: 127.5, Scale: 1 / 127.5}); err != nil {
		b.Fatal(err)
	}
	keys, err := os.ReadFile(filepath.Join(modelDir, "plate_keys.txt"))
	if err != nil {
		b.Fatal(err)
	}
	if s.words, err = text.NewDecoder(string(keys), text.BuiltIn(), nil); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = s.detect.Close()
		s.read.Close()
		s.cut.Close()
		_, _, _ = s.small.Close(), s.canvas.Close(), s.line.Close()
	})
	return s
}

// look returns the best plate number of a picture, empty for none.
func (s *straight) look(picture gocv.Mat) (string, error) {
	scale := min(textWidth/float64(picture.Cols()), textHeight/float64(picture.Rows()))
	used := image.Pt(int(float64(picture.Cols())*scale), int(float64(picture.Rows())*scale))
	part := s.canvas.Region(image.Rectangle{Max: used})
	gocv.Resize(picture, &part, used, 0, 0, gocv.InterpolationLinear)
	_ = part.Close()
	blob := gocv.BlobFromImage(s.canvas, 1/(255*.226), image.Pt(textWidth, textHeight), gocv.NewScalar(123.7, 116.3, 103.5, 0), false, false)
	s.detect.SetInput(blob, "")
	_ = blob.Close()
	out := s.detect.Forward("")
	defer out.Close() //nolint:errcheck // a Mat's Close always returns nil
	ink, err := out.DataPtrFloat32()
	if err != nil || len(ink) < textWidth*textHeight {
		return "", fmt.Errorf("the text detector gives %d values: %w", len(ink), err)
	}
	mask := gocv.NewMatWithSize(textHeight, textWidth, gocv.MatTypeCV8U)
	defer mask.Close() //nolint:errcheck // as above
	pixels, err := mask.DataPtrUint8()
	if err != nil {
		return "", err
	}
	for i, p := range ink[:textWidth*textHeight] {
		pixels[i] = 0
		if p > textInk {
			pixels[i] = 255
		}
	}
	contours := gocv.FindContours(mask, gocv.RetrievalList, gocv.ChainApproxSimple)
	defer contours.Close()
	best, most := "", math.Inf(-1)
	for i := range contours.Size() {
		q, ok := region(contours.At(i), ink, scale)
		if !ok {
			continue
		}
		flat, ok := s.cut.Cut(picture, q, warp.Whole(image.Pt(160, 48)), image.Pt(160, 48), gocv.InterpolationLinear)
		if !ok {
			continue
		}
		steps, err := s.read.Run(flat)
		if err != nil {
			return "", err
		}
		for _, r := range s.words.Mainland(steps, 1) {
			if r.Log > most {
				best, most = r.Number, r.Log
			}
		}
	}
	return best, nil
}

// region is a contour's box in the picture, if it is text.
func region(points gocv.PointVector, ink []float32, scale float64) (quad.Quad, bool) {
	box := gocv.MinAreaRect(points)
	if min(box.Width, box.Height) < 3 || len(box.Points) != 4 {
		return quad.Quad{}, false
	}
	area := box.BoundingRect.Intersect(image.Rect(0, 0, textWidth, textHeight))
	sum, n := 0., 0
	for y := area.Min.Y; y < area.Max.Y; y++ {
		for x := area.Min.X; x < area.Max.X; x++ {
			sum += float64(ink[y*textWidth+x])
			n++
		}
	}
	if n == 0 || sum/float64(n) < textBox {
		return quad.Quad{}, false
	}
	var q quad.Quad
	for i, p := range box.Points {
		q[i] = quad.Point{X: float64(p.X) / scale, Y: float64(p.Y) / scale}
	}
	slices.SortFunc(q[:], func(a, b quad.Point) int { return cmp.Compare(a.Y, b.Y) })
	if q[0].X > q[1].X {
		q[0], q[1] = q[1], q[0]
	}
	if q[2].X < q[3].X {
		q[2], q[3] = q[3], q[2]
	}
	w, h := q.Size()
	grow := (textUnclip - 1) * w * h / max(1, w+h) / 2
	return q.Grow(grow/max(1, w), grow/max(1, h)), true
}

// BenchmarkLane is a stretch of film at 1280×720 and 15 frames/s, three cars
// that come and the empty lane behind each: per frame, what this program does
// with it, and the straightforward pipeline on the same frames.
func BenchmarkLane(b *testing.B) {
	needModels(b)
	e, err := openEyes("")
	if err != nil {
		b.Fatal(err)
	}
	defer e.close()
	road := newRoadside(b)
	film := func(n int) gocv.Mat {
		i := 0
		if at := n % (carFrames + pauseFrames); at < carFrames {
			i = 1 + n/(carFrames+pauseFrames)%3*(carFrames/3) + at/3
		}
		return road.scene[i]
	}
	var ours float64
	for _, c := range []struct {
		name string
		n    func(i int) int // the film's frame
		s    link.Settings
	}{
		{"film", func(i int) int { return i }, link.Settings{Plates: true}},
		{"film with faces", func(i int) int { return i }, link.Settings{Plates: true, Faces: true}},
		{"empty lane", func(int) int { return carFrames }, link.Settings{Plates: true, Faces: true}},
		{"parked car", func(int) int { return carFrames - 1 }, link.Settings{Plates: true, Faces: true}},
	} {
		b.Run(c.name, func(b *testing.B) {
			c.s.SamePlateMS, c.s.MinPlateScore = 10_000, .9
			c.s.Lane = link.Lane{Sensitivity: 50, SettleMS: 400, MinPlateWidth: .02}
			w := newWatch(c.s, e)
			defer w.close()
			var shots pool
			defer shots.close()
			full := encoder{most: 64 << 10, quality: 85}
			at := int64(time.Hour)
			frame := func(i int) {
				s := shots.take()
				s.picture.Close() //nolint:errcheck // always nil
				whole := film(c.n(i))
				s.picture = whole.Region(image.Rect(0, 0, 1280, 720))
				at += int64(time.Second) / 15
				s.at = at
				if _, err := w.frame(s, func(notes []track.Note, _ map[string]float64) error {
					for _, n := range notes {
						if p, ok := n.Shot.(*shot); ok {
							if _, err := full.encode(p.picture); err != nil {
								return err
							}
						}
						drop(n)
					}
					return nil
				}); err != nil {
					b.Fatal(err)
				}
				s.Drop()
			}
			for i := range 75 { // what has just moved is looked at; that is not the rest
				frame(i)
			}
			measured := measure(b, frame)
			if c.name == "film" {
				ours = measured
			}
			if c.name == "empty lane" || c.name == "parked car" {
				b.ReportMetric(measured*15/10, "%-of-a-core")
			}
		})
	}
	b.Run("straightforward", func(b *testing.B) {
		s := openStraight(b)
		measured := measure(b, func(i int) {
			if _, err := s.look(film(i)); err != nil {
				b.Fatal(err)
			}
		})
		if ours > 0 {
			b.ReportMetric(measured/ours, "times-ours")
		}
	})
}

// measure runs stretches of one car and the pause behind it, and reports p50 and
// p95 of all frames and of those with a car, and the process's memory; it gives
// the mean processor time of a frame in ms, which a busy machine does not change much.
func measure(b *testing.B, frame func(i int)) (mean float64) {
	b.ReportAllocs()
	var took, car []float64
	begin := processorTime()
	for b.Loop() {
		for i := range carFrames + pauseFrames {
			begin := time.Now()
			frame(i)
			t := ms(time.Since(begin))
			if took = append(took, t); i < carFrames {
				car = append(car, t)
			}
		}
	}
	mean = ms(processorTime()-begin) / float64(len(took))
	b.ReportMetric(mean, "cpu-ms/frame")
	reportQuantiles(b, "", took)
	reportQuantiles(b, "car-", car)
	b.ReportMetric(residentMiB(os.Getpid()), "RSS-MiB")
	return mean
}

// processorTime is what this process has used of the cores.
func processorTime() time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// BenchmarkStages are the parts of a frame with a plate.
func BenchmarkStages(b *testing.B) {
	needModels(b)
	e, err := openEyes("")
	if err != nil {
		b.Fatal(err)
	}
	defer e.close()
	road := newRoadside(b)
	picture := road.scene[carFrames/3-1]
	plate := link.Box{Left: 540, Top: 540, Width: 200, Height: 60}
	full, crop := encoder{most: 64 << 10, quality: 85}, worker{crop: encoder{most: 16 << 10, quality: 90}}
	jpeg, err := full.encode(picture)
	if err != nil {
		b.Fatal(err)
	}
	gate := motion.NewGate(nil, 50)
	defer gate.Close()
	sharp := newSharpness()
	defer sharp.close()
	n := 0
	for _, stage := range []struct {
		name string
		once func() error
	}{
		{"decode JPEG", func() error {
			m, err := camera.Decode(jpeg)
			return errors.Join(err, m.Close())
		}},
		{"motion", func() error {
			n++
			gate.Look(road.scene[n%len(road.scene)], int64(n)*int64(time.Second)/15)
			return nil
		}},
		{"sharpness", func() error {
			sharp.of(picture, plate)
			return nil
		}},
		// It shows no face: what is there makes no difference to the nets.
		{"face feature", func() error {
			_, _, err := e.faces.Describe(picture, link.Box{Left: 500, Top: 200, Width: 200, Height: 240}, true)
			return err
		}},
		{"encode JPEG", func() error {
			_, err := full.encode(picture)
			return err
		}},
		{"encode plate crop", func() error {
			_, err := crop.cutOut(picture, plate)
			return err
		}},
	} {
		b.Run(stage.name, func(b *testing.B) {
			var took []float64
			b.ReportAllocs()
			for b.Loop() {
				begin := time.Now()
				if err := stage.once(); err != nil {
					b.Fatal(err)
				}
				took = append(took, ms(time.Since(begin)))
			}
			reportQuantiles(b, "", took)
		})
	}
	b.Run("nets", func(b *testing.B) {
		took := map[string][]float64{}
		b.ReportAllocs()
		for b.Loop() {
			saw, err := e.look(picture, wanted{plates: true, faces: true})
			if err != nil || len(saw.Plates) == 0 {
				b.Fatal(err, saw.Plates)
			}
			for stage, t := range saw.MS {
				took[stage] = append(took[stage], t)
			}
		}
		for stage, t := range took {
			reportQuantiles(b, stage+"-", t)
		}
	})
}

// reportQuantiles reports p50 and p95 of times in ms.
func reportQuantiles(b *testing.B, what string, took []float64) {
	p50, p95 := quantiles(took)
	b.ReportMetric(p50, what+"p50-ms")
	b.ReportMetric(p95, what+"p95-ms")
}

// BenchmarkIdleProcess is the whole vision process on a camera that shows an
// empty lane with a sensor's noise, 1280×720 at 15 frames/s: capture, decoding
// and all.
func BenchmarkIdleProcess(b *testing.B) {
	needModels(b)
	var frames [][]byte
	for seed := range 8 {
		m, err := scenes[1].draw(uint64(seed))
		if err != nil {
			b.Fatal(err)
		}
		enc := encoder{most: 1 << 20, quality: 80}
		jpeg, err := enc.encode(m)
		_ = m.Close()
		if err != nil {
			b.Fatal(err)
		}
		frames = append(frames, jpeg)
	}
	fake := cameratest.New(func(n int) []byte { return frames[n%len(frames)] }, 15)
	server := fake.HTTP()
	defer server.Close()
	defer server.CloseClientConnections()
	s := settings(server.URL)
	s.FPS, s.Lane = 15, link.Lane{Sensitivity: 50, SettleMS: 400, MinPlateWidth: .02, Unreadable: true}
	v := startVision(b, s)
	go func() {
		for {
			if _, err := v.Receive(); err != nil {
				return
			}
		}
	}()
	time.Sleep(15 * time.Second) // start and the first looks
	for b.Loop() {
		begin, from := time.Now(), childTime(b, v.cmd.Process.Pid)
		time.Sleep(20 * time.Second)
		b.ReportMetric(100*(childTime(b, v.cmd.Process.Pid)-from).Seconds()/time.Since(begin).Seconds(), "%-of-a-core")
	}
}

// childTime is the processor time that a process has used.
func childTime(b *testing.B, pid int) time.Duration {
	b.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	const tick = time.Second / 100 // USER_HZ
	return time.Duration(user+system) * tick
}
