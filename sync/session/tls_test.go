package session

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/sync/session/brokertest"
)

// secure starts a mosquitto with TLS; more are further lines of its configuration.
func secure(t *testing.T, a *brokertest.Authority, from, to time.Time, more string) *brokertest.Mosquitto {
	t.Helper()
	dir := t.TempDir()
	cert, key := a.Issue("broker", from, to)
	for name, b := range map[string][]byte{"ca": a.PEM, "cert": cert, "key": key} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	lines := "cafile " + filepath.Join(dir, "ca") + "\ncertfile " + filepath.Join(dir, "cert") + "\nkeyfile " + filepath.Join(dir, "key") + "\n" + more
	return brokertest.NewMosquitto(t, lines)
}

// first is how the first attempt with these options ends: nil for connected.
func first(t *testing.T, options func() (Options, error)) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	state := make(chan error, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = Run(ctx, quick, options, func(err error) {
			select {
			case state <- err:
			default:
			}
		})
	}()
	defer func() { cancel(); <-done }()
	select {
	case err := <-state:
		return err
	case <-ctx.Done():
		t.Fatal("neither connected nor refused")
		return nil
	}
}

func yearsAround() (time.Time, time.Time) {
	return time.Now().AddDate(-1, 0, 0), time.Now().AddDate(1, 0, 0)
}

// A broker with a password over TLS, which the board knows by its CA alone.
func TestTLSWithPassword(t *testing.T) {
	a := brokertest.NewAuthority(t)
	passwords := filepath.Join(t.TempDir(), "passwords")
	if out, err := exec.Command("mosquitto_passwd", "-b", "-c", passwords, "board", "right").CombinedOutput(); err != nil {
		t.Skipf("mosquitto_passwd: %v %s", err, out)
	}
	from, to := yearsAround()
	m := secure(t, a, from, to, "allow_anonymous false\npassword_file "+passwords+"\n")
	o := Options{URL: "ssl://" + m.Address, ClientID: "board", Username: "board", Password: "right", CA: a.PEM}
	with := func(change func(*Options)) func() (Options, error) {
		c := o
		change(&c)
		return func() (Options, error) { return c, nil }
	}
	if err := first(t, with(func(*Options) {})); err != nil {
		t.Error(err)
	}
	if err := first(t, with(func(o *Options) { o.Password = "wrong" })); !errors.Is(err, ErrAuth) {
		t.Errorf("a wrong password: %v", err)
	}
	if err := first(t, with(func(o *Options) { o.CA = brokertest.NewAuthority(t).PEM })); err == nil || errors.Is(err, ErrAuth) {
		t.Errorf("a broker of another authority: %v", err)
	}
	if err := first(t, with(func(o *Options) { o.CA = nil })); err == nil {
		t.Error("a broker that nobody vouches for is trusted")
	}
}

// A client certificate is asked for anew at each connection: one that is
// refused is slow to be shown again, and the one that replaces it connects
// without a restart.
func TestClientCertificateRotates(t *testing.T) {
	a := brokertest.NewAuthority(t)
	from, to := yearsAround()
	m := secure(t, a, from, to, "require_certificate true\nuse_identity_as_username true\nallow_anonymous false\n")
	oldCert, oldKey := a.Issue("board", from, time.Now().Add(-time.Hour)) // has expired
	newCert, newKey := a.Issue("board", from, to)
	base := Options{URL: "ssl://" + m.Address, ClientID: "board", CA: a.PEM}
	if err := first(t, func() (Options, error) { return base, nil }); !errors.Is(err, ErrAuth) {
		t.Errorf("without a certificate: %v", err)
	}
	var mu sync.Mutex
	cert, key := oldCert, oldKey
	states := make(chan error, 100)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = Run(ctx, quick, func() (Options, error) {
			mu.Lock()
			defer mu.Unlock()
			o := base
			o.Cert, o.Key = cert, key
			return o, nil
		}, func(err error) {
			select {
			case states <- err:
			default:
			}
		})
	}()
	defer func() { cancel(); <-done }()
	if err := <-states; !errors.Is(err, ErrAuth) {
		t.Errorf("an expired certificate: %v", err)
	}
	mu.Lock()
	cert, key = newCert, newKey
	mu.Unlock()
	for {
		select {
		case err := <-states:
			if err == nil {
				return
			}
		case <-ctx.Done():
			t.Fatal("the new certificate never connects")
		}
	}
}

// A clock that begins at 1970 after a power cut, or lags behind: what is known
// of the time counts, and an expired broker is still refused.
func TestWrongClock(t *testing.T) {
	a := brokertest.NewAuthority(t)
	from, to := yearsAround()
	m := secure(t, a, from, to, "allow_anonymous true\n")
	at := func(wall, good time.Time) func() (Options, error) {
		c := Clock{Built: time.Unix(0, 0), Wall: func() time.Time { return wall }}
		c.Good(good)
		return func() (Options, error) {
			return Options{URL: "ssl://" + m.Address, ClientID: "board", CA: a.PEM, Now: c.Now}, nil
		}
	}
	battery := time.Unix(0, 0)
	if err := first(t, at(battery, time.Time{})); err == nil || !strings.Contains(err.Error(), "not yet valid") {
		t.Errorf("a clock at 1970 that knows no better: %v", err)
	}
	if err := first(t, at(battery, time.Now().AddDate(0, 0, -3))); err != nil {
		t.Errorf("a clock at 1970 that knew the time three days ago: %v", err)
	}
	if err := first(t, at(time.Now().AddDate(2, 0, 0), time.Time{})); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("an expired broker: %v", err)
	}
}

func TestClock(t *testing.T) {
	built, wall := time.Unix(1000, 0), time.Unix(0, 0)
	c := Clock{Built: built, Wall: func() time.Time { return wall }}
	if now := c.Now(); !now.Equal(built) {
		t.Errorf("before it was ever set: %s", now)
	}
	c.Good(time.Unix(2000, 0))
	c.Good(time.Unix(1500, 0)) // time does not go back
	if now := c.Now(); !now.Equal(time.Unix(2000, 0)) {
		t.Errorf("behind the last good time: %s", now)
	}
	wall = time.Unix(3000, 0)
	if now := c.Now(); !now.Equal(wall) {
		t.Errorf("ahead: %s", now)
	}
}
