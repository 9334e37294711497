//go:build onnxruntime

package nn

import (
	"cmp"
	"fmt"
	"image"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	ort "github.com/yalue/onnxruntime_go"
	"gocv.io/x/gocv"
)

// BenchmarkBackends runs each net on the same input in OpenCV and in ONNX
// Runtime, whose library ONNXRUNTIME names (make backends). The
// program itself does not link it.
func BenchmarkBackends(b *testing.B) {
	library := os.Getenv("ONNXRUNTIME")
	if library == "" {
		b.Skip("make backends runs this")
	}
	ort.SetSharedLibraryPath(library)
	if err := ort.InitializeEnvironment(); err != nil {
		b.Fatal(err)
	}
	defer ort.DestroyEnvironment() //nolint:errcheck // the benchmark ends
	var files []string
	for _, pattern := range []string{"../../models/*.onnx", "../plate/weights/*.onnx"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			b.Fatal(err)
		}
		files = append(files, found...)
	}
	for _, file := range files {
		in, out, err := ort.GetInputOutputInfo(file)
		if err != nil || len(in) != 1 || len(in[0].Dimensions) != 4 || slices.Min(in[0].Dimensions) < 1 {
			b.Logf("%s is left out: %v %v", filepath.Base(file), in, err)
			continue
		}
		name := filepath.Base(file)
		var ours float64 // ms
		b.Run(name+"/opencv", func(b *testing.B) { ours = inOpenCV(b, file, in[0].Dimensions) })
		for _, threads := range []int{1, 2} {
			b.Run(fmt.Sprintf("%s/onnxruntime-%d", name, threads), func(b *testing.B) {
				if theirs := inONNXRuntime(b, file, in[0], out, threads); ours > 0 {
					b.ReportMetric(theirs/ours, "times-ours")
				}
			})
		}
	}
}

func inOpenCV(b *testing.B, file string, dims ort.Shape) (p50 float64) {
	net := gocv.ReadNetFromONNX(file)
	if net.Empty() {
		b.Skip("OpenCV does not load it")
	}
	defer net.Close() //nolint:errcheck // always nil
	kind := gocv.MatTypeCV8UC3
	if dims[1] == 1 {
		kind = gocv.MatTypeCV8UC1
	}
	picture := gocv.NewMatWithSizeFromScalar(gocv.NewScalar(90, 120, 60, 0), int(dims[2]), int(dims[3]), kind)
	defer picture.Close() //nolint:errcheck // always nil
	return timed(b, func() {
		blob := gocv.BlobFromImage(picture, 1./127.5, image.Pt(int(dims[3]), int(dims[2])), gocv.NewScalar(127.5, 127.5, 127.5, 0), false, false)
		net.SetInput(blob, "")
		_ = blob.Close()
		out := net.Forward("")
		_ = out.Close()
	})
}

func inONNXRuntime(b *testing.B, file string, in ort.InputOutputInfo, out []ort.InputOutputInfo, threads int) (p50 float64) {
	options, err := ort.NewSessionOptions()
	if err != nil {
		b.Fatal(err)
	}
	defer options.Destroy() //nolint:errcheck // the benchmark ends
	if err := options.SetIntraOpNumThreads(threads); err != nil {
		b.Fatal(err)
	}
	names := make([]string, len(out))
	for i := range out {
		names[i] = out[i].Name
	}
	session, err := ort.NewDynamicAdvancedSession(file, []string{in.Name}, names, options)
	if err != nil {
		b.Fatal(err)
	}
	defer session.Destroy() //nolint:errcheck // the benchmark ends
	input, err := ort.NewTensor(in.Dimensions, make([]float32, in.Dimensions.FlattenedSize()))
	if err != nil {
		b.Fatal(err)
	}
	defer input.Destroy() //nolint:errcheck // the benchmark ends
	return timed(b, func() {
		results := make([]ort.Value, len(out))
		if err := session.Run([]ort.Value{input}, results); err != nil {
			b.Fatal(err)
		}
		for _, r := range results {
			_ = r.Destroy()
		}
	})
}

// timed reports the median and the 95th percentile in ms beside the mean, and
// gives the median.
func timed(b *testing.B, once func()) (p50 float64) {
	once()
	var took []time.Duration
	for b.Loop() {
		begin := time.Now()
		once()
		took = append(took, time.Since(begin))
	}
	slices.SortFunc(took, cmp.Compare)
	p50 = float64(took[len(took)/2].Microseconds()) / 1000
	b.ReportMetric(p50, "p50-ms")
	b.ReportMetric(float64(took[len(took)*95/100].Microseconds())/1000, "p95-ms")
	return p50
}
