package settings

import (
	"slices"
	"testing"

	bolt "go.etcd.io/bbolt"

	"gatehouse/configs"
)

const account = `{"mode":"merge","config":{"device":{"name":"pushed"},"camera":{"source":"rtsp://theirs"},
	"gate":{"open_by_whitelist":false},"mqtt":{"broker":"tcp://theirs:1883","allow":["open"],"layout":"old","keep_alive":"7s"}}}`

// With the account goes what it has pushed, but for how a broker is talked to;
// a reset takes that too. A restart, or a power cut before the file of the last
// good config has followed, brings nothing back.
func TestClear(t *testing.T) {
	for _, c := range []struct {
		name  string
		clear func(*Settings, *bolt.Tx) error
		want  func(*configs.Config) // over the file
	}{
		{"clear", (*Settings).Clear, func(c *configs.Config) { c.MQTT.Layout, c.MQTT.KeepAlive = "old", 7e9 }},
		{"reset", (*Settings).Reset, func(*configs.Config) {}},
	} {
		for _, cut := range []bool{false, true} {
			t.Run(c.name, func(t *testing.T) {
				dir := t.TempDir()
				b := open(t, dir, base(), nil)
				b.must("stage", "c1", account)
				b.must("apply", "c1", "")
				b.until("c1", state("used"))
				if err := b.db.Update(func(tx *bolt.Tx) error { return c.clear(b.settings, tx) }); err != nil {
					t.Fatal(err)
				}
				if !cut {
					if err := b.settings.Cleared(); err != nil {
						t.Fatal(err)
					}
				}
				file := base()
				for start := range 3 {
					want := file
					c.want(&want)
					if d := configs.Diff(want, b.settings.Committed()); (start > 0 || !cut) && len(d) > 0 {
						t.Errorf("start %d: %+v", start, d)
					}
					b.close()
					file.Camera.Source = "/dev/video0" // the installer's correction
					b = open(t, dir, file, nil)
				}
				b.close()
			})
		}
	}
}

// What the file says and a pushed config says otherwise is known; what only one
// of them says is no contradiction.
func TestOverrides(t *testing.T) {
	dir := t.TempDir()
	file := base()
	file.Gate.MinPlateScore = 0.5
	b := open(t, dir, file, nil)
	if got := b.settings.Overrides(); len(got) != 0 {
		t.Errorf("%q", got)
	}
	b.must("stage", "c1", account)
	b.must("apply", "c1", "")
	b.until("c1", state("used"))
	b.close()
	file.Camera.Source = "/dev/video0"
	b = open(t, dir, file, nil)
	defer b.close()
	if got := b.settings.Overrides(); !slices.Equal(got, []string{"/device/name (change c1)", "/camera/source (change c1)"}) {
		t.Errorf("%q", got)
	}
}
