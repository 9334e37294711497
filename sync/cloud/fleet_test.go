package main

import (
	"context"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"gatehouse/sync/cloud/fleet"
)

// asCloud is the environment variable that makes this test's program the cloud's.
const asCloud = "GATEHOUSE_TEST_AS_CLOUD"

// A small fleet comes up, gets its whitelist, loses its broker and comes back,
// and loses no event: with the embedded broker and with mosquitto.
func TestFleet(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(asCloud, "1")
	for _, broker := range []string{"embedded", "mosquitto"} {
		t.Run(broker, func(t *testing.T) {
			if _, err := os.Stat("/usr/sbin/mosquitto"); err != nil && broker == "mosquitto" {
				t.Skip("mosquitto is not installed")
			}
			var out strings.Builder
			o := fleet.Options{Program: program, Boards: 30, Broker: broker, EventsEvery: 300 * time.Millisecond, BackoffMax: time.Second,
				Rows: 20, Within: 500 * time.Millisecond, Steady: time.Second, Limit: time.Minute, Out: &out}
			if err := fleet.Run(context.Background(), o); err != nil {
				t.Fatalf("%v\n%s", err, out.String())
			}
			for _, want := range []string{
				`switched on within 500ms: 95 % after [0-9.]+m?s`, `back after the broker's restart: 95 % after [0-9.]+m?s`,
				`whitelist of 20 rows .* used by all after`, `processor time a connect`,
			} {
				if !regexp.MustCompile(want).MatchString(out.String()) {
					t.Errorf("the report has no %s:\n%s", want, out.String())
				}
			}
			if m := regexp.MustCompile(`events: (\d+) put, (\d+) acknowledged`).FindStringSubmatch(out.String()); m == nil || m[1] != m[2] || m[1] == "0" {
				t.Errorf("events: %v", m)
			}
		})
	}
}

func TestFleetIsRefused(t *testing.T) {
	for args, want := range map[string]string{
		"--boards 0":        "--boards must be 1 to 50000",
		"--broker nonsense": "--broker must be embedded, mosquitto or tcp://host:port",
		"many":              `unknown argument "many"`,
	} {
		if err := command(context.Background(), append([]string{"fleet"}, strings.Fields(args)...), &strings.Builder{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", args, err)
		}
	}
}
