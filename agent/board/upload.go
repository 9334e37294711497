package board

import (
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"time"

	"golang.org/x/time/rate"

	"gatehouse/configs"
	"gatehouse/sync/errcode"
	"gatehouse/sync/outbox"
	"gatehouse/sync/upload"
)

// pictureKinds are the message's fields of pictures and what they are to the cloud.
var pictureKinds = map[string]string{"full_image_content": upload.Full, "small_image_content": upload.Small}

// pathMode reports whether pictures are uploaded to the bound cloud, which
// acknowledges events itself.
func pathMode(c *configs.Config, bound Binding) bool {
	return c.Pictures.Mode == "path" && bound.Body != nil && bound.Cloud != "" && c.Delivery.Ack != "puback"
}

// uploads reports whether pictures outlive their event's acknowledgement, to be uploaded.
func (b *Board) uploads() bool {
	bound, err := b.state.Binding()
	return err == nil && pathMode(b.config(), bound)
}

// upload brings the pictures of acknowledged events to the cloud, newest first,
// until ctx ends. A line that fails is tried again with full jitter; what the
// cloud refuses is given up.
func (b *Board) upload(ctx context.Context) {
	client := &http.Client{Timeout: time.Minute}
	defer client.CloseIdleConnections()
	wait := time.Second
	for {
		list, more, err := b.outbox.Uploads()
		if err == nil {
			err = b.uploadAll(ctx, client, list)
		}
		pause := time.Minute // the binding may have changed
		if err != nil && ctx.Err() == nil {
			b.log.Warn("pictures are not uploaded yet", "pictures", len(list), "err", err)
			pause = rand.N(wait) + time.Millisecond
			wait = min(2*wait, max(time.Second, time.Duration(b.config().Pictures.RetryMax)))
			more = nil // a new picture is no reason to hurry
		} else {
			wait = time.Second
		}
		select {
		case <-ctx.Done():
			return
		case <-more:
		case <-time.After(pause):
		}
	}
}

// uploadAll uploads the present account's pictures; the first failure of the line ends it.
func (b *Board) uploadAll(ctx context.Context, client *http.Client, list []outbox.Upload) error {
	if len(list) == 0 {
		return nil
	}
	bound, err := b.state.Binding()
	if err != nil || bound.Body == nil || bound.Cloud == "" {
		return err // they wait for their account, or for the quota
	}
	perSecond := b.config().Pictures.UploadKiBS << 10
	c := upload.Client{URL: bound.Cloud, SN: b.state.SN(), Key: b.state.identity.Keys.Sign, HTTP: client, Now: b.clock.Now,
		Limit: rate.NewLimiter(rate.Limit(perSecond), max(perSecond, upload.Piece))}
	for _, u := range list {
		kind, known := pictureKinds[u.Field]
		if u.Account != bound.mark() {
			continue
		}
		jpeg, err := b.outbox.ReadUpload(u)
		if err == nil && known {
			err = c.Send(ctx, u.Boot, u.Seq, kind, jpeg)
		}
		var final *errcode.Error
		switch {
		case errors.As(err, &final):
			b.log.Warn("the cloud refuses a picture; it is given up", "boot", u.Boot, "seq", u.Seq, "err", err)
		case errors.Is(err, fs.ErrNotExist): // taken by the quota, or torn
		case err != nil:
			return err
		}
		b.outbox.Uploaded(u)
	}
	return nil
}
