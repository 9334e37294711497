package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"gatehouse/agent/board"
	"gatehouse/configs"
)

func status(ctx context.Context, o options, _ io.Reader, out io.Writer) error {
	var text json.RawMessage
	if err := ask(ctx, o, "GET", "/status", nil, &text); err != nil {
		return err
	}
	if o.json {
		return json.NewEncoder(out).Encode(text)
	}
	var s board.Status
	if err := json.Unmarshal(text, &s); err != nil {
		return err
	}
	var c board.ConfigStatus
	if err := ask(ctx, o, "GET", "/config", nil, &c); err != nil {
		return err
	}
	bound := say("nobody (run `gatehouse bind`)")
	if s.Bound.AccountID != 0 {
		bound = say("account %d at %s", s.Bound.AccountID, s.Bound.Cloud)
	}
	broker := say("offline: %s", word(s.Broker.LastError))
	if s.Broker.Online {
		broker = say("online at %s", configs.Redact(s.Broker.URL))
	}
	vision := say("not running")
	switch {
	case s.Vision.Running:
		vision = say("pid %d, %d MiB, %d restarts", s.Vision.PID, s.Vision.RSSBytes>>20, s.Vision.Restarts)
	case s.Vision.Reason != "":
		vision = say("not running: %s", word(s.Vision.Reason))
	}
	camera, _ := seenFrom(s, c.Config.Camera)
	barrier := say("%s, opened %d times", word(s.Barrier.State), s.Barrier.Opened)
	if s.Barrier.LastReason != "" {
		barrier = strings.TrimSpace(say("%s, last decision: %s %s", barrier, s.Barrier.LastPlate, word(s.Barrier.LastReason)))
	}
	wait := say("no opening yet")
	if s.Barrier.FrameP50MS > 0 {
		wait = say("half within %.1f ms, 95 of 100 within %.1f ms", s.Barrier.FrameP50MS, s.Barrier.FrameP95MS)
	}
	lines := [][2]string{
		{say("serial number"), s.SN},
		{say("version"), say("%s, up %s, %d MiB", s.Version, up(s), s.RSSBytes>>20)},
		{say("bound to"), bound},
		{say("broker"), broker},
		{say("vision"), vision},
		{say("camera"), camera},
		{say("barrier"), barrier},
		{say("frame→barrier"), wait},
		{say("whitelist"), say("%d rows, %s", s.Whitelist.Rows, s.Whitelist.Digest)},
		{say("faces"), say("%d people", s.Faces)},
		{say("outbox"), say("%d events wait, %d acknowledged, %d dropped", s.Outbox.Waiting, s.Outbox.Acknowledged, s.Outbox.Dropped)},
		{say("ports"), portsText(s.Ports)},
	}
	for _, t := range s.Troubles {
		lines = append(lines, [2]string{say("trouble"), word(t)})
	}
	for _, t := range s.Overrides {
		lines = append(lines, [2]string{say("override"), word(t)})
	}
	for _, l := range lines {
		if _, err := fmt.Fprintf(out, "%s %s\n", pad(l[0], 14), l[1]); err != nil {
			return err
		}
	}
	return nil
}

func up(s board.Status) time.Duration { return time.Duration(s.UptimeS) * time.Second }

// seenFrom says how the camera of a running agent does; bad is true where
// frames are due and do not come.
func seenFrom(s board.Status, c configs.Camera) (text string, bad bool) {
	v := s.Vision
	switch {
	case c.Source == "":
		return say("none is configured"), false
	case !v.Running:
		return say("not looked at: the vision process does not run"), false
	case v.Alive.Done:
		return say("its pictures have ended"), false
	case v.Alive.CameraOK:
		return say("gives pictures, %.1f frames/s", v.Alive.FPS), false
	case time.Since(time.Unix(v.Since, 0)) < max(time.Duration(c.StallTimeout), 10*time.Second):
		return say("no picture yet: it is being opened"), false
	case v.LastFault == "":
		return say("gives no pictures"), true
	}
	return say("gives no pictures: %s (%s)", v.LastFault, time.Unix(v.LastFaultAt, 0).Format(time.DateTime)), true
}

// portProblems says what of the ports does not work or keeps the gate from working.
func portProblems(p board.Periphery) (list []string) {
	for channel, s := range p.Serial {
		if !s.Open && s.Error != "" {
			list = append(list, say("serial channel %d: %s", channel, s.Error))
		}
	}
	for n, state := range p.Inputs {
		if state == "unknown" {
			list = append(list, say("input %d is not known", n))
		}
	}
	for _, l := range p.Locks {
		switch l.Status {
		case 1:
			list = append(list, say("output %d is locked on by a client", l.IOOut))
		case 2:
			list = append(list, say("output %d is locked off by a client", l.IOOut))
		}
	}
	if p.Waiting > 0 {
		list = append(list, say("%d results wait for the servers of HTTP push", p.Waiting))
	}
	return list
}

func portsText(p board.Periphery) string {
	if problems := portProblems(p); len(problems) > 0 {
		return strings.Join(problems, "; ")
	}
	return say("%d serial ports, %d inputs, no lock", len(p.Serial), len(p.Inputs))
}
