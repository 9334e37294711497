package board

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/configs"
	"gatehouse/sync/outbox"
	"gatehouse/sync/session"
	"gatehouse/sync/upload"
	"gatehouse/sync/wire"
)

// set changes the config in force.
func (b *Board) set(change func(*configs.Config)) {
	c := *b.config()
	change(&c)
	b.current.Store(&c)
}

// withPictures puts a result with two pictures in and gives it as it is sent.
func withPictures(t *testing.T, b *Board) (outbox.Stored, wire.PlateResult) {
	t.Helper()
	text, err := json.Marshal(wire.NewResult(b.state.SN(), "gate", "127.0.0.1", time.Now()))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.outbox.Put(context.Background(), outbox.Event{Name: wire.NameIVSResult, Payload: text, Account: b.account(),
		Pictures: map[string][]byte{"full_image_content": make([]byte, 60<<10), "small_image_content": make([]byte, 3<<10)}}); err != nil {
		t.Fatal(err)
	}
	list, err := b.outbox.List(100)
	if err != nil || len(list) == 0 {
		t.Fatal(list, err)
	}
	last := list[len(list)-1]
	return last, b.envelope(last).Payload.(wire.IVSResult).AlarmInfoPlate.Result.PlateResult
}

func TestPictureModes(t *testing.T) {
	b := open(t, t.TempDir())
	defer b.Close()
	if err := b.state.setBinding(Binding{Cloud: "http://cloud.test/", Body: &wire.BindBody{AccountID: 7}}); err != nil {
		t.Fatal(err)
	}
	if _, r := withPictures(t, b); len(r.FullImageContent) != 80<<10 || len(r.SmallImageContent) != 4<<10 || r.ImagePath != "" {
		t.Errorf("content: %d, %d bytes, %q", len(r.FullImageContent), len(r.SmallImageContent), r.ImagePath)
	}
	b.set(func(c *configs.Config) { c.Pictures.ContentMaxKiB = 50 })
	if _, r := withPictures(t, b); r.FullImageContent != "" || r.SmallImageContent == "" {
		t.Error("the cap on content is not kept, or the plate's picture goes too")
	}
	b.set(func(c *configs.Config) { c.Pictures.Mode = "path" })
	s, r := withPictures(t, b)
	path, err := base64.StdEncoding.DecodeString(r.ImagePath)
	if want := "http://cloud.test/v2/stp/user/devices/" + b.state.SN() + "/events/" + s.ID.Boot + "/3/image"; err != nil || string(path) != want || r.FullImageContent != "" {
		t.Errorf("path: %s, want %s; %d bytes of content", path, want, len(r.FullImageContent))
	}
	if small, _ := base64.StdEncoding.DecodeString(r.ImageFragmentPath); !strings.HasSuffix(string(small), "?kind=small") {
		t.Errorf("path of the plate: %s", small)
	}
	b.set(func(c *configs.Config) { c.Delivery.Ack = "puback" })
	if _, r := withPictures(t, b); r.SmallImageContent == "" || r.ImagePath != "" {
		t.Error("a broker without a cloud gets addresses of pictures that nobody has")
	}
	b.set(func(c *configs.Config) { c.Pictures.Mode = "none" })
	if _, r := withPictures(t, b); r.SmallImageContent != "" || r.FullImageContent != "" || r.ImagePath != "" {
		t.Error("none: there are pictures")
	}
}

// cloudOfPictures takes whole pictures that are signed; the first request fails,
// and by its clock the second comes at the wrong time.
type cloudOfPictures struct {
	key  string // the board's
	now  time.Time
	mu   sync.Mutex
	got  map[string]int
	seen int
}

func (c *cloudOfPictures) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.seen++; c.seen == 1 {
		http.Error(w, "a proxy on the way", http.StatusBadGateway)
		return
	}
	now := c.now
	if c.seen == 2 {
		now = now.Add(25 * time.Hour)
	}
	body, err := io.ReadAll(r.Body)
	if err == nil {
		err = upload.Verify(r, body, c.key, now)
	}
	if err != nil {
		answer(w, nil, err)
		return
	}
	s := upload.State{Received: int64(c.got[r.URL.Path])}
	if r.Method == http.MethodPut {
		c.got[r.URL.Path] += int(r.ContentLength)
		s.Received = int64(c.got[r.URL.Path])
		span, _ := upload.ParseRange(r.Header.Get("Content-Range"))
		s.Complete = s.Received == span.Size
	}
	_ = json.NewEncoder(w).Encode(s)
}

// Pictures of acknowledged events go to the bound cloud, and leave the board
// then, not when the cloud finds a clock wrong. They are signed at the time that
// the board knows best, whatever its clock says.
func TestUpload(t *testing.T) {
	b := open(t, t.TempDir())
	defer b.Close()
	cloud := &cloudOfPictures{key: b.state.PublicKey(), now: time.Now().Add(50 * time.Hour), got: map[string]int{}}
	server := httptest.NewServer(cloud)
	defer server.Close()
	b.clock.Good(cloud.now)
	b.set(func(c *configs.Config) { c.Pictures.Mode = "path" })
	if err := b.state.setBinding(Binding{Cloud: server.URL, Body: &wire.BindBody{AccountID: 7}}); err != nil {
		t.Fatal(err)
	}
	s, _ := withPictures(t, b)
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() { b.upload(ctx) })
	defer done.Wait()
	defer cancel()
	ack, _ := json.Marshal(wire.EventAck{Boot: s.ID.Boot, Ranges: [][2]uint64{{s.ID.Seq, s.ID.Seq}}})
	order(t, b, wire.NameEventAck, "1", string(ack))
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		list, _, err := b.outbox.Uploads()
		if err != nil {
			t.Fatal(err)
		}
		if len(list) == 0 && b.outbox.Stats().PictureBytes == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%+v are not uploaded", list)
		}
	}
	cloud.mu.Lock()
	defer cloud.mu.Unlock()
	if cloud.got[upload.Path(b.state.SN(), s.ID.Boot, s.ID.Seq, upload.Full)] != 60<<10 || cloud.got[upload.Path(b.state.SN(), s.ID.Boot, s.ID.Seq, upload.Small)] != 3<<10 {
		t.Errorf("%v", cloud.got)
	}
}

// The config's files go over what the binding says, and a changed one is noticed.
func TestCredentials(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	c := configs.Broker{Username: "gate", PasswordFile: file("password", "secret\n"), CertFile: file("cert", "C1"), KeyFile: file("key", "K1")}
	o := session.Options{Username: "bound", Password: "bound", CA: []byte("bound")}
	if err := useCredentials(&o, c); err != nil || o.Username != "gate" || o.Password != "secret" || string(o.CA) != "bound" || string(o.Cert) != "C1" || string(o.Key) != "K1" {
		t.Errorf("%v %+v", err, o)
	}
	before, err := readCredentials(c)
	if err != nil {
		t.Fatal(err)
	}
	file("cert", "C2")
	if now, err := readCredentials(c); err != nil || now.equal(before) || !now.equal(now) {
		t.Errorf("a changed certificate is not noticed: %v", err)
	}
	c.CAFile = filepath.Join(dir, "nonesuch")
	if err := useCredentials(&o, c); err == nil {
		t.Error("a missing file is ignored")
	}
	for pointer, bad := range map[string]string{"/broker/key_file": `{"cert_file":"x"}`, "/broker/username": `{"password_file":"x"}`} {
		if _, err := configs.Parse([]byte(`{"broker":` + bad + `}`)); err == nil || !strings.Contains(err.Error(), pointer) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestGoodTimeIsKept(t *testing.T) {
	dir := t.TempDir()
	good := time.Date(2031, 2, 3, 4, 5, 6, 0, time.UTC)
	if err := os.WriteFile(filepath.Join(dir, goodTimeFile), []byte(good.Format(time.RFC3339)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if c := newClock(dir); !c.LastGood().Equal(good) || c.Now().Before(good) {
		t.Errorf("%s, now %s", c.LastGood(), c.Now())
	}
	if err := os.WriteFile(filepath.Join(dir, goodTimeFile), []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if c := newClock(dir); !c.LastGood().IsZero() || c.Now().Before(oldest) {
		t.Errorf("%s, now %s", c.LastGood(), c.Now())
	}
}
