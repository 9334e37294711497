package main

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/sync/binding"
	"gatehouse/sync/errcode"
	"gatehouse/sync/upload"
	"gatehouse/sync/wire"
)

// flaky breaks every third request, half of them after the cloud has taken it.
type flaky struct{ n int }

func (f *flaky) RoundTrip(r *http.Request) (*http.Response, error) {
	f.n++
	if f.n%6 == 3 {
		return nil, http.ErrHandlerTimeout
	}
	a, err := http.DefaultTransport.RoundTrip(r)
	if f.n%6 == 0 && err == nil {
		a.Body.Close()
		return nil, http.ErrHandlerTimeout
	}
	return a, err
}

// A picture is uploaded for an event that came without, over a line that
// breaks; the account sees it, and nobody else brings one.
func TestPicturesAreUploaded(t *testing.T) {
	dir := t.TempDir()
	c := startCloud(t, dir)
	b := newBoard(t, c, sn)
	b.bind(t, c, "bind-1")
	topics, _ := wire.NewTopics(wire.LayoutNew, sn, nil)
	publish, down, _, stop := b.online(t)
	defer stop()
	r := result("川A12345", true)
	r.AlarmInfoPlate.Result.PlateResult.FullImageContent = ""
	if err := publish(topics.Up(wire.NameIVSResult), up(wire.NameIVSResult, r, &wire.EventID{Boot: "00000001-0", Seq: 4})); err != nil {
		t.Fatal(err)
	}
	expect(t, down, wire.NameEventAck)
	image := binding.DevicesPath + "/" + sn + "/events/00000001-0/4/image"
	if code := c.call("GET", image, nil, nil); code != errcode.ViewImageFailed {
		t.Errorf("before it was uploaded: %d", code)
	}
	jpeg := bytes.Repeat([]byte("picture "), 50_000)
	client := upload.Client{URL: "http://" + c.s.http, SN: sn, Key: b.keys.Sign, HTTP: &http.Client{Transport: &flaky{}}}
	attempts := 0
	for err := http.ErrAbortHandler; err != nil; attempts++ {
		if attempts > 20 {
			t.Fatal(err)
		}
		err = client.Send(context.Background(), "00000001-0", 4, upload.Full, jpeg)
		if errcode.From(err) != nil && errcode.From(err).Code != errcode.RequestFailed {
			t.Fatal(err)
		}
	}
	if attempts < 2 {
		t.Error("the line never broke")
	}
	if err := client.Send(context.Background(), "00000001-0", 4, upload.Small, []byte("plate")); err != nil {
		if err = client.Send(context.Background(), "00000001-0", 4, upload.Small, []byte("plate")); err != nil {
			t.Error(err)
		}
	}
	var got, small []byte
	if code := c.call("GET", image, nil, &got); code != 0 || !bytes.Equal(got, jpeg) {
		t.Errorf("%d, %d bytes", code, len(got))
	}
	if code := c.call("GET", image+"?kind=small", nil, &small); code != 0 || string(small) != "plate" {
		t.Errorf("%d %q", code, small)
	}
	if code := c.call("GET", image+"?kind=large", nil, nil); code != errcode.ParamsError {
		t.Errorf("an unknown kind: %d", code)
	}
	var list struct{ Results []struct{ Image bool } }
	if code := c.call("GET", binding.DevicesPath+"/"+sn+"/events", nil, &list); code != 0 || len(list.Results) != 1 || !list.Results[0].Image {
		t.Errorf("%d %+v", code, list)
	}

	strangerKeys, err := binding.NewKeys()
	if err != nil {
		t.Fatal(err)
	}
	refused := func(what string, want errcode.Code, client upload.Client, seq uint64) {
		t.Helper()
		err := client.Send(context.Background(), "00000001-0", seq, upload.Full, []byte("another"))
		if e := errcode.From(err); e == nil || e.Code != want {
			t.Errorf("%s: %v, want %d", what, err, want)
		}
	}
	good := upload.Client{URL: client.URL, SN: sn, Key: b.keys.Sign}
	stranger, unknown := good, good
	stranger.Key, unknown.SN = strangerKeys.Sign, "00000000-00000001"
	if err := stranger.Send(context.Background(), "00000001-0", 4, upload.Full, []byte("another")); err == nil || !strings.Contains(err.Error(), errcode.AuthSignatureError.Message()) {
		t.Errorf("a stranger: %v", err)
	}
	refused("an unknown board", errcode.DeviceNotExist, unknown, 4)
	refused("an event that nobody has told", errcode.ViewImageFailed, good, 5)
	// A cloud that has no place now says so, and the board comes again.
	parts := filepath.Join(dir, "parts")
	if err := errors.Join(os.RemoveAll(parts), os.WriteFile(parts, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := good.Send(context.Background(), "00000001-0", 4, upload.Full, []byte("another")); err == nil || errcode.From(err).Code != errcode.RequestFailed || !strings.Contains(err.Error(), errcode.SaveImageFailed.Message()) {
		t.Errorf("without a place: %v", err)
	}
	if err := c.client().Unbind(context.Background(), sn); err != nil {
		t.Fatal(err)
	}
	refused("a board that was unbound", errcode.DeviceNotBound, good, 4)
}
