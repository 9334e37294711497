package main

import (
	"net"
	"strings"
	"testing"
)

// Boards are told addresses that lead somewhere, or the cloud does not start.
func TestAddresses(t *testing.T) {
	for _, c := range []struct {
		s                      settings
		api, broker, own, fail string
	}{
		{settings{http: "127.0.0.1:1", mqtt: "127.0.0.1:2"}, "http://127.0.0.1:1", "tcp://127.0.0.1:2", "tcp://127.0.0.1:2", ""},
		{settings{http: "10.0.0.5:1", mqtt: ":2"}, "", "", "", "--mqtt :2 means all nets"},
		{settings{http: "0.0.0.0:1", mqtt: "0.0.0.0:2"}, "", "", "", "--http 0.0.0.0:1 means all nets"},
		{settings{http: "0.0.0.0:1", mqtt: "0.0.0.0:2", url: "http://gate.example:1/"}, "http://gate.example:1", "tcp://gate.example:2", "tcp://127.0.0.1:2", ""},
		{settings{http: "[::]:1", mqtt: "[::]:2", url: "http://[fd00::5]:1"}, "http://[fd00::5]:1", "tcp://[fd00::5]:2", "tcp://[::1]:2", ""},
		{settings{http: "0.0.0.0:1", mqtt: "0.0.0.0:2", mqttURL: "ssl://gate.example:8883"}, "http://gate.example:1", "ssl://gate.example:8883", "tcp://127.0.0.1:2", ""},
		{settings{http: "127.0.0.1:1", mqtt: "127.0.0.1:2", url: "https://gate.example", mqttURL: "ssl://mqtt.example:8883"}, "https://gate.example", "ssl://mqtt.example:8883", "tcp://127.0.0.1:2", ""},
		{settings{http: "127.0.0.1:1", mqtt: "nonsense", broker: "tcp://b:1883"}, "http://127.0.0.1:1", "tcp://b:1883", "", ""},
		{settings{http: "127.0.0.1:1", mqtt: "127.0.0.1"}, "", "", "", "--mqtt must look like"},
		{settings{http: "127.0.0.1:1", mqtt: "127.0.0.1:2", url: "gate.example"}, "", "", "", "--url must look like"},
		{settings{http: "127.0.0.1:1", mqtt: "127.0.0.1:2", mqttURL: "gate.example:8883"}, "", "", "", "--mqtt-url must look like"},
	} {
		a, err := c.s.addresses()
		if c.fail != "" {
			if err == nil || !strings.Contains(err.Error(), c.fail) {
				t.Errorf("%+v: %v, want %q", c.s, err, c.fail)
			}
			continue
		}
		if err != nil || a.api != c.api || a.broker != c.broker || a.own != c.own {
			t.Errorf("%+v: %+v, %v", c.s, a, err)
		}
	}
}

// A cloud that listens on all nets tells boards the name it was given, and
// finds its own broker.
func TestACloudForOtherMachines(t *testing.T) {
	_, port, err := net.SplitHostPort(free(t))
	if err != nil {
		t.Fatal(err)
	}
	c := &cloud{t: t, s: settings{data: t.TempDir(), http: free(t), mqtt: "0.0.0.0:" + port, url: "http://localhost:1"}}
	c.start()
	defer c.stop()
	r := c.robot(t, 1, 0)
	if want := "tcp://localhost:" + port; r.body.Broker.URL != want {
		t.Errorf("the board is told %s, want %s", r.body.Broker.URL, want)
	}
	defer r.online()()
	v := c.create(whitelists, map[string]any{"content": `{"mode":"replace","rows":[]}`, "targets": map[string]any{"sns": []string{r.sn}}})
	c.until(whitelists, v.ID, func(v changeView) bool { return v.Counts["staged"] == 1 })
}
