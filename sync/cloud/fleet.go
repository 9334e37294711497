package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"golang.org/x/term"

	"gatehouse/sync/cloud/fleet"
)

// simulate is the command fleet.
func simulate(ctx context.Context, c *call) error {
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("cannot find this program: %w", err)
	}
	o := fleet.Options{Program: program, Out: c.out}
	f := newFlags(c)
	f.IntVar(&o.Boards, "boards", 5000, "how many boards, 1 to 50000")
	f.StringVar(&o.Broker, "broker", "embedded", "embedded, mosquitto (one is started), or tcp://host:port, which must let boards in without asking")
	f.StringVar(&o.RestartBroker, "restart-command", "", "shell command that restarts the broker at tcp://host:port")
	f.DurationVar(&o.EventsEvery, "events-every", 20*time.Second, "the mean time between two events of a board; 0: none")
	f.DurationVar(&o.BackoffMax, "backoff-max", 30*time.Second, "the longest wait of a board between two attempts")
	f.DurationVar(&o.Within, "within", 10*time.Second, "the boards are switched on within this time, evenly")
	f.IntVar(&o.Rows, "rows", 500, "rows of the whitelist that is rolled out")
	f.DurationVar(&o.Steady, "steady", 10*time.Second, "how long the fleet is watched at rest")
	if err := c.parse(f, false); err != nil {
		return err
	}
	if term.IsTerminal(int(os.Stderr.Fd())) {
		o.Progress = os.Stderr
	}
	return fleet.Run(ctx, o)
}
