package board

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"gatehouse/configs"
	"gatehouse/sync/session"
	"gatehouse/sync/store"
)

// goodTimeFile keeps the last time that was known to be right over a power cut.
const goodTimeFile = "time.good"

// oldest is before any build of this program, for one that does not tell its own.
var oldest = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// built is when this program's source was committed.
func built() time.Time {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if at, err := time.Parse(time.RFC3339, s.Value); s.Key == "vcs.time" && err == nil {
				return at
			}
		}
	}
	return oldest
}

// newClock gives the clock of certificates, with what is known from before.
func newClock(dir string) *session.Clock {
	c := &session.Clock{Built: built()}
	if text, err := os.ReadFile(filepath.Join(dir, goodTimeFile)); err == nil {
		if at, err := time.Parse(time.RFC3339, strings.TrimSpace(string(text))); err == nil {
			c.Good(at)
		}
	}
	return c
}

// keepTime notes the time while the clock is synchronised: at once and every hour.
func (b *Board) keepTime(ctx context.Context) {
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		if ClockSynced() {
			now := time.Now()
			b.clock.Good(now)
			if err := store.WriteFileAtomic(filepath.Join(b.dir, goodTimeFile), []byte(now.UTC().Format(time.RFC3339)+"\n"), 0o600); err != nil {
				b.log.Warn("the time could not be kept", "err", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// credentials are what the config's files say of the broker.
type credentials struct{ password, ca, cert, key []byte }

func (c credentials) equal(o credentials) bool {
	return bytes.Equal(c.password, o.password) && bytes.Equal(c.ca, o.ca) && bytes.Equal(c.cert, o.cert) && bytes.Equal(c.key, o.key)
}

func readCredentials(c configs.Broker) (r credentials, err error) {
	for _, f := range []struct {
		path string
		to   *[]byte
	}{{c.PasswordFile, &r.password}, {c.CAFile, &r.ca}, {c.CertFile, &r.cert}, {c.KeyFile, &r.key}} {
		if f.path == "" {
			continue
		}
		if *f.to, err = os.ReadFile(f.path); err != nil {
			return r, err
		}
	}
	r.password = bytes.TrimRight(r.password, "\r\n")
	return r, nil
}

// useCredentials puts the config's files over what the binding says.
func useCredentials(o *session.Options, c configs.Broker) error {
	r, err := readCredentials(c)
	if err != nil {
		return err
	}
	if c.Username != "" {
		o.Username, o.Password = c.Username, string(r.password)
	}
	if c.CAFile != "" {
		o.CA = r.ca
	}
	o.Cert, o.Key = r.cert, r.key
	return nil
}

// credentialsCheck is how often the files are looked at while connected.
const credentialsCheck = 30 * time.Second

// watchCredentials connects anew once the files have changed and can be read:
// a rotated certificate is used without a restart.
func (b *Board) watchCredentials(ctx context.Context) {
	used, _ := readCredentials(b.config().Broker)
	tick := time.NewTicker(credentialsCheck)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if now, err := readCredentials(b.config().Broker); err == nil && !now.equal(used) {
			used = now
			b.log.Info("the broker's credentials have changed: connecting anew")
			b.reconnect()
		}
	}
}
