package main

import (
	"bytes"
	"encoding/json"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"gatehouse/sync/errcode"
	"gatehouse/vision/face"
	"gatehouse/vision/link"
	"gatehouse/vision/models"
)

// TestMain is the program itself too, for the tests that need its process.
func TestMain(m *testing.M) {
	if os.Getenv("GATEHOUSE_TEST_VISION") != "" {
		os.Exit(code(command(os.Args[1:], os.Stdout)))
	}
	goleak.VerifyTestMain(m)
}

const (
	testdata = "../../../shared/testdata"
	modelDir = "../../models"
)

// needModels skips where make models has not run.
func needModels(t testing.TB) {
	t.Helper()
	if _, err := models.Verify(modelDir); err != nil {
		t.Skip("no models:", err)
	}
	t.Setenv("GATEHOUSE_MODELS", modelDir)
}

func needTestdata(t testing.TB) {
	t.Helper()
	needModels(t)
	if _, err := os.Stat(testdata); err != nil {
		t.Skip("the labelled pictures are not beside this repository:", err)
	}
}

func rendered(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := renderDemo([]string{dir}, &bytes.Buffer{}); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestCommandLine(t *testing.T) {
	for _, c := range []struct {
		args string
		code int
	}{
		{"", 2}, {"fly", 2}, {"detect", 2}, {"detect --fly x", 2}, {"compare a", 2}, {"run", 2}, {"eval", 2}, {"eval /nowhere", 1},
		{"detect --help", 0}, {"compare --help", 0}, {"eval --help", 0}, {"run --help", 0}, {"render-demo --help", 0}, {"help", 0}, {"version", 0},
	} {
		if got := code(command(strings.Fields(c.args), &bytes.Buffer{})); got != c.code {
			t.Errorf("gatehouse-vision %s exits with %d, not %d", c.args, got, c.code)
		}
	}
}

func TestRenderedScenesAreRead(t *testing.T) {
	needModels(t)
	dir := rendered(t)
	again := rendered(t)
	files, err := filepath.Glob(filepath.Join(dir, "*.jpg"))
	if err != nil || len(files) != len(scenes) {
		t.Fatal(files, err)
	}
	var out bytes.Buffer
	if err := command(append([]string{"detect", "--json", "--draw", filepath.Join(dir, "drawn")}, files...), &out); err != nil {
		t.Fatal(err)
	}
	surely := 0
	dec := json.NewDecoder(&out)
	for i, s := range scenes {
		var got seen
		if err := dec.Decode(&got); err != nil {
			t.Fatal(err)
		}
		a, _ := os.ReadFile(files[i])
		b, _ := os.ReadFile(filepath.Join(again, filepath.Base(files[i])))
		if !bytes.Equal(a, b) {
			t.Errorf("%s is not the same when drawn again", files[i])
		}
		switch {
		case got.File != files[i] || got.Width != 1280 || got.Height != 720 || got.Error != "":
			t.Errorf("%+v", got)
		case s.number == "" && len(got.Plates) > 0:
			t.Errorf("the empty gate has the plate %s", got.Plates[0].Text)
		case s.number == "":
		case len(got.Plates) != 1 || got.Plates[0].Text != s.number:
			t.Errorf("%s is read as %+v", s.number, got.Plates)
		default:
			if got.Plates[0].Score >= .9 {
				surely++
			}
		}
	}
	if surely == 0 {
		t.Error("no rendered plate is read surely; make run needs one")
	}
	if drawn, _ := filepath.Glob(filepath.Join(dir, "drawn", "*.jpg")); len(drawn) != len(files) {
		t.Errorf("%d pictures are drawn", len(drawn))
	}
}

func TestDetectGoesOnAfterDamage(t *testing.T) {
	needModels(t)
	dir := rendered(t)
	for name, b := range map[string]string{"empty.jpg": "", "text.jpg": "this is no picture", "half.jpg": "\xff\xd8\xff\xe0\x00\x10JFIF"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	err := command([]string{"detect", "--json", filepath.Join(dir, "empty.jpg"), filepath.Join(dir, "text.jpg"), filepath.Join(dir, "half.jpg"), dir,
		filepath.Join(dir, "none.jpg"), filepath.Join(dir, "scene_01.jpg")}, &out)
	if code(err) != 1 {
		t.Errorf("exit code %d: %v", code(err), err)
	}
	dec := json.NewDecoder(&out)
	for i, code := range []errcode.Code{errcode.ImageDecodeFailed, errcode.ImageDecodeFailed, errcode.ImageDecodeFailed, errcode.ViewImageFailed, errcode.ViewImageFailed, 0} {
		var got seen
		if err := dec.Decode(&got); err != nil {
			t.Fatal(err)
		}
		if (got.Error == "") != (i == 5) || got.ErrorCode != code {
			t.Errorf("%d: %+v", i, got)
		}
	}
}

// A drawn picture that cannot be stored is told, with what was seen.
func TestDrawnPictureThatCannotBeSaved(t *testing.T) {
	needModels(t)
	dir := t.TempDir()
	car := filepath.Join(dir, "car.jpg")
	if err := scenes[0].write(car, 1); err != nil {
		t.Fatal(err)
	}
	drawn := filepath.Join(dir, "drawn")
	if err := os.MkdirAll(filepath.Join(drawn, drawnName(car)), 0o700); err != nil { // where the file should be
		t.Fatal(err)
	}
	var out bytes.Buffer
	err := command([]string{"detect", "--json", "--draw", drawn, car}, &out)
	var got seen
	if jsonErr := json.Unmarshal(out.Bytes(), &got); jsonErr != nil || code(err) != 1 || got.ErrorCode != errcode.SaveImageFailed || len(got.Plates) != 1 {
		t.Errorf("%v, %+v", err, got)
	}
}

// Faces are compared with the codes and by the quality that the agent goes by.
func TestCompareTellsCodesAndQuality(t *testing.T) {
	needTestdata(t)
	faces, err := filepath.Abs(filepath.Join(testdata, "faces"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	ann, turned := filepath.Join(faces, "gallery", "fl_0001.jpg"), filepath.Join(faces, "gallery", "fl_0014.jpg")
	text, nobody := filepath.Join(dir, "text.jpg"), filepath.Join(dir, "nobody.jpg")
	if err := os.WriteFile(text, []byte("this is no picture"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := scenes[1].write(nobody, 1); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		code errcode.Code
		poor string
	}{
		{[]string{ann, ann}, 0, ""},
		{[]string{ann, turned}, 0, turned + ": the face is turned"},
		{[]string{"--strict", ann, ann}, 0, ""},
		{[]string{"--strict", turned, ann}, errcode.FaceFeatureFailed, ""},
		{[]string{ann, nobody}, errcode.FaceNotDetected, ""},
		{[]string{text, ann}, errcode.ImageDecodeFailed, ""},
		{[]string{ann, filepath.Join(dir, "none.jpg")}, errcode.ViewImageFailed, ""},
	} {
		var out bytes.Buffer
		err := command(append([]string{"compare", "--json"}, c.args...), &out)
		var got compared
		if jsonErr := json.Unmarshal(out.Bytes(), &got); jsonErr != nil {
			t.Fatal(jsonErr, err)
		}
		if got.ErrorCode != c.code || (got.Similarity == nil) != (c.code != 0) || (err == nil) != (c.code == 0) || strings.Join(got.Poor, " ") != c.poor {
			t.Errorf("%v: %+v, %v", c.args, got, err)
		}
		if c.code == errcode.FaceFeatureFailed && !strings.Contains(got.Error, "turned") {
			t.Errorf("the reason is not in %q", got.Error)
		}
	}
}

// vision is the program as the agent's child.
type vision struct {
	*link.Conn
	cmd  *exec.Cmd
	conn net.Conn
}

func startVision(t testing.TB, s link.Settings) vision {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	mine, theirs := os.NewFile(uintptr(fds[0]), "mine"), os.NewFile(uintptr(fds[1]), "theirs")
	conn, err := net.FileConn(mine)
	if err != nil {
		t.Fatal(err)
	}
	_ = mine.Close()
	cmd := exec.Command(os.Args[0], "run")
	cmd.Env = append(os.Environ(), "GATEHOUSE_TEST_VISION=1")
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = theirs.Close()
	t.Cleanup(func() {
		_ = conn.Close() // the program ends when the agent is gone
		ended := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill(); t.Error("it did not end without an agent") })
		_ = cmd.Wait()
		ended.Stop()
	})
	if err := conn.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	v := vision{link.NewConn(conn), cmd, conn}
	if err := v.Send(link.Message{Settings: &s}); err != nil {
		t.Fatal(err)
	}
	return v
}

func (v vision) receive(t *testing.T) link.Message {
	t.Helper()
	m, err := v.Receive()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func settings(camera string) link.Settings {
	return link.Settings{Camera: camera, FPS: 10, StallMS: 2000, Models: modelDir, Plates: true, Faces: true, SamePlateMS: 5000,
		PictureBytes: 64 << 10, CropBytes: 16 << 10, MinPlateScore: .8}
}

func TestChild(t *testing.T) {
	needModels(t)
	v := startVision(t, settings(rendered(t)))
	if m := v.receive(t); m.Hello == nil || m.Hello.PID != v.cmd.Process.Pid || m.Hello.Models["plate_read"] == "" {
		t.Fatalf("the first message is %+v", m)
	}
	var results []*link.Result
	alive := 0
	for asked := false; ; {
		m := v.receive(t)
		switch {
		case m.Alive != nil:
			alive++
			if m.Alive.Done && !asked { // after the last picture it still answers
				asked = true
				if err := v.Send(link.Message{Trigger: &link.Trigger{ID: "look"}}); err != nil {
					t.Fatal(err)
				}
			}
			continue
		case m.Fault != nil:
			t.Fatalf("%+v", m.Fault)
		}
		results = append(results, m.Result)
		if m.Result.TriggerID != "" {
			break
		}
	}
	var want []string
	for _, s := range scenes {
		if s.number != "" {
			want = append(want, s.number)
		}
	}
	if alive == 0 || len(results) != len(want)+1 {
		t.Fatalf("%d results, %d signs of life", len(results), alive)
	}
	for i, r := range results {
		number, trigger := want[min(i, len(want)-1)], link.TriggerVideo
		if i == len(want) {
			trigger = link.TriggerSoftware
		}
		if len(r.Plates) != 1 || r.Plates[0].Text != number || r.Trigger != trigger || r.Seq != uint64(i+1) {
			t.Errorf("result %d: %+v, trigger %d, seq %d", i, r.Plates, r.Trigger, r.Seq)
		}
		if len(r.Full) == 0 || len(r.Full) > 64<<10 || len(r.Crop) == 0 || len(r.Crop) > 16<<10 || r.CaptureMonoNS == 0 || r.Width != 1280 {
			t.Errorf("result %d: pictures of %d and %d bytes", i, len(r.Full), len(r.Crop))
		}
	}
}

// A camera that is away is told, once, and waited for.
func TestACameraThatIsAwayIsWaitedFor(t *testing.T) {
	needModels(t)
	v := startVision(t, settings("/dev/video99"))
	if err := v.Send(link.Message{Trigger: &link.Trigger{ID: "blind", By: link.TriggerInput}}); err != nil {
		t.Fatal(err)
	}
	answered, fault, alive, ok := false, "", 0, false
	for faults := 0; fault == "" || !answered || alive < 6; {
		m := v.receive(t)
		switch {
		case m.Result != nil:
			answered = m.Result.TriggerID == "blind" && len(m.Result.Plates) == 0 && m.Result.Event == link.EventTrigger && m.Result.Trigger == link.TriggerInput
		case m.Alive != nil:
			alive++
			ok = ok || m.Alive.CameraOK
		case m.Fault != nil:
			fault = m.Fault.Message
			if faults++; faults > 1 {
				t.Error("the silence is told again:", fault)
			}
		}
	}
	if !answered || ok || !strings.Contains(fault, "no picture for 2s") || !strings.Contains(fault, "/dev/video99 is not there") {
		t.Errorf("answered %v, camera ok %v, fault %q", answered, ok, fault)
	}
}

// Where the camera alone shall not tell anything, timer and inputs do.
func TestTimerAndInputsTrigger(t *testing.T) {
	needModels(t)
	dir := t.TempDir()
	if err := scenes[0].write(filepath.Join(dir, "car.jpg"), 1); err != nil {
		t.Fatal(err)
	}
	s := settings(dir)
	s.Loop, s.Lane = true, link.Lane{NoVideo: true, TimedMS: 500}
	v := startVision(t, s)
	got := map[int]int{}
	for got[link.TriggerVideo] < 3 || got[link.TriggerInput] < 1 {
		m := v.receive(t)
		switch {
		case m.Hello != nil:
			if err := v.Send(link.Message{Trigger: &link.Trigger{ID: "coil", By: link.TriggerInput}}); err != nil {
				t.Fatal(err)
			}
		case m.Result != nil:
			got[m.Result.Trigger]++
			if m.Result.Event != link.EventTrigger || (m.Result.TriggerID == "coil") != (m.Result.Trigger == link.TriggerInput) {
				t.Errorf("%+v", m.Result)
			}
		}
	}
}

func TestOneEventPerCar(t *testing.T) {
	needTestdata(t)
	s := settings(filepath.Join(testdata, "video", "car_uk.mp4"))
	s.FPS = 15
	v := startVision(t, s)
	var texts []string
	for done := false; !done; {
		m := v.receive(t)
		if m.Result != nil && m.Result.Event == link.EventPassage {
			for _, p := range m.Result.Plates {
				texts = append(texts, p.Text)
			}
		}
		done = m.Alive != nil && m.Alive.Done
	}
	if len(texts) != 1 || texts[0] != "LS15EBC" {
		t.Errorf("the car LS15EBC gave %v", texts)
	}
}

// Each time a film begins again its car comes again, whatever the time after
// which the same plate is told anew.
func TestOneEventPerTimeThatAFilmIsRepeated(t *testing.T) {
	needTestdata(t)
	s := settings(filepath.Join(testdata, "video", "car_uk.mp4"))
	s.FPS, s.Loop, s.SamePlateMS = 5, true, 60_000
	v := startVision(t, s)
	for times := 0; times < 2; {
		m := v.receive(t)
		if m.Result != nil && m.Result.Event == link.EventPassage {
			times++
			if len(m.Result.Plates) != 1 || m.Result.Plates[0].Text != "LS15EBC" {
				t.Errorf("%+v", m.Result.Plates)
			}
		}
	}
}

// What recognition must not fall below on ../shared/testdata. Nothing is trained or
// chosen on it.
func TestMarks(t *testing.T) {
	needTestdata(t)
	var out bytes.Buffer
	if err := command([]string{"eval", "--json", testdata}, &out); err != nil {
		t.Fatal(err)
	}
	var rep report
	if err := json.Unmarshal(out.Bytes(), &rep); err != nil {
		t.Fatal(err)
	}
	crop := func(k string) bool { return strings.HasSuffix(k, "_crop") }
	mainland := func(k string) bool { return strings.HasPrefix(k, "cn_") }
	scenes := rep.sum("", func(k string) bool { return mainland(k) && !crop(k) })
	common := rep.sum("", func(k string) bool { return k == "cn_blue" || strings.HasPrefix(k, "cn_green") })
	crops := rep.sum("", func(k string) bool { return mainland(k) && crop(k) })
	abroad := rep.sum("", func(k string) bool { return strings.HasPrefix(k, "plate_") && !crop(k) })
	all := rep.sum("", func(string) bool { return true })
	pairs := &pairFigures{}
	for _, g := range rep.Pairs {
		pairs.Pairs, pairs.Right = pairs.Pairs+g.Pairs, pairs.Right+g.Right
	}
	for _, c := range []struct {
		what  string
		n, of int
		least float64
	}{
		{"plates found in Chinese scenes", scenes.Found, scenes.Plates, .95},
		{"whole plates right in Chinese scenes", scenes.Right, scenes.Texts, .95},
		{"blue and green plates right", common.Right, common.Texts, .97},
		{"Chinese crops right", crops.Right, crops.Texts, .98},
		{"plates right in scenes from abroad", abroad.Right, abroad.Texts, .85},
		{"readings at 0.95 and above right", all.Confident - all.ConfidentWrong, all.Confident, .99},
		{"face pairs right", pairs.Right, pairs.Pairs, .994},
	} {
		if c.of == 0 || float64(c.n) < c.least*float64(c.of) {
			t.Errorf("%s: %d of %d, the mark is %.1f %%", c.what, c.n, c.of, 100*c.least)
		}
	}
	if all.FalsePlates != 0 {
		t.Errorf("%d plates on pictures without any", all.FalsePlates)
	}
	if n := scenes.ConfidentWrong + abroad.ConfidentWrong; n != 0 {
		t.Errorf("%d confident misreads in scenes", n)
	}
	if rep.Strangers == nil || rep.Strangers.Strangers == 0 || rep.Strangers.Accepted != 0 {
		t.Errorf("strangers: %+v", rep.Strangers)
	}
}

func TestAssign(t *testing.T) {
	box := func(x int) link.Box { return link.Box{Left: x, Top: 10, Width: 100, Height: 30} }
	plates := []link.Plate{{Text: "川A11111", Box: box(400)}, {Text: "川A22222", Box: box(0)}, {Text: "川A33338", Box: box(205)}}
	r := row{truth: "川A2222?/川A2222;川A33333;川A44444", boxes: []link.Box{box(0), box(200), box(800)}}
	if got := assign(r, plates); len(got) != 3 || got[0] != 1 || got[1] != 2 || got[2] != -1 {
		t.Errorf("got %v", got)
	}
	if got := assign(row{truth: "川A11112", unlabelled: true}, plates); got[0] != 0 {
		t.Errorf("a misreading without a box gave %v", got)
	}
	if got := assign(row{truth: "粤Z98765", unlabelled: true}, plates); got[0] != -1 {
		t.Errorf("an unlabelled plate passes for the labelled one: %v", got)
	}
}

func TestEncoderKeepsItsLimit(t *testing.T) {
	needModels(t)
	picture, err := load(filepath.Join(rendered(t), "scene_01.jpg"))
	if err != nil {
		t.Fatal(err)
	}
	defer picture.Close() //nolint:errcheck // a Mat's Close always returns nil
	for _, most := range []int{0, 3000, 20_000, 1 << 20} {
		e := encoder{most: most, quality: 85}
		for range 3 {
			b, err := e.encode(picture)
			if err != nil || len(b) > most || most > 3000 && len(b) == 0 {
				t.Errorf("limit %d: %d bytes, %v", most, len(b), err)
			}
		}
	}
}

func TestFeaturesHaveLengthOne(t *testing.T) {
	needTestdata(t)
	e, err := openEyes(modelDir)
	if err != nil {
		t.Fatal(err)
	}
	defer e.close()
	_, f, err := e.featureOf(filepath.Join(testdata, "faces", "gallery", "fl_0001.jpg"))
	if err != nil || len(f) != 512 || math.Abs(face.Similarity(f, f)-1) > 1e-5 {
		t.Errorf("%d values, %v", len(f), err)
	}
}

func FuzzManifest(f *testing.F) {
	f.Add("file\tkind\ttruth\tboxes_xywh\tnote\na.jpg\tcn_blue\t川A12345;川?/x\t1,2,3,4;5,6,7,8\tfurther unlabelled plates\n")
	f.Add("file\tkind\n\n\t\nx\ty\n")
	f.Fuzz(func(t *testing.T, s string) {
		path := filepath.Join(t.TempDir(), "manifest.tsv")
		if err := os.WriteFile(path, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
		rows, err := readManifest(path)
		if err != nil {
			return
		}
		for _, r := range rows {
			for _, j := range assign(r, []link.Plate{{Text: "川A12345", Box: link.Box{Width: 4, Height: 4}}, {}}) {
				if j < -1 || j > 1 {
					t.Fatal(j)
				}
			}
		}
	})
}

// BenchmarkPicture is one 1280×720 picture with a plate: everything between
// the decoded frame and the message to the agent, and its parts.
func BenchmarkPicture(b *testing.B) {
	needModels(b)
	dir := b.TempDir()
	if err := renderDemo([]string{dir}, &bytes.Buffer{}); err != nil {
		b.Fatal(err)
	}
	e, err := openEyes(modelDir)
	if err != nil {
		b.Fatal(err)
	}
	defer e.close()
	for _, c := range []struct {
		name, file string
		w          wanted
	}{
		{"plate", "scene_01.jpg", wanted{plates: true}},
		{"plate and faces", "scene_01.jpg", wanted{plates: true, faces: true, features: true}},
		{"empty gate", "scene_02.jpg", wanted{plates: true, faces: true, features: true}},
	} {
		picture, err := load(filepath.Join(dir, c.file))
		if err != nil {
			b.Fatal(err)
		}
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := e.look(picture, c.w); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(c.name+", JPEG", func(b *testing.B) {
			enc := encoder{most: 64 << 10, quality: 85}
			for b.Loop() {
				if _, err := enc.encode(picture); err != nil {
					b.Fatal(err)
				}
			}
		})
		_ = picture.Close()
	}
}
