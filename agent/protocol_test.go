package main

import (
	"strings"
	"testing"

	"gatehouse/sync/wire"
)

func TestProtocolCommand(t *testing.T) {
	run := func(args ...string) (string, error) {
		var out strings.Builder
		err := command(t.Context(), append([]string{"protocol"}, args...), nil, &out)
		return out.String(), err
	}
	if page, err := run("--markdown"); err != nil || page != wire.Protocol {
		t.Errorf("%v, %d bytes", err, len(page))
	}
	page, err := run()
	if err != nil || strings.Contains(page, "](#") || strings.Contains(page, "|---") || strings.Contains(page, "<!--") || len(page) < 10000 {
		t.Errorf("%v\n%.300s", err, page)
	}
	part, err := run("gpio_out", "GPIOOut")
	if err != nil || !strings.Contains(part, " gpio_out, client → board\n") || !strings.Contains(part, "  delay  integer  ") || strings.Contains(part, "ivs_trigger,") {
		t.Errorf("%v\n%s", err, part)
	}
	for _, name := range []string{" WhitelistRecord\n", " ChangeReport\n", " ChangeResult\n"} { // named by the commands, and by what they name
		if part, err := run("white_list_operator", "config"); err != nil || strings.Count(part, name) != 1 {
			t.Errorf("%v: %d times%s\n%s", err, strings.Count(part, name), name, part)
		}
	}
	if both, err := run("snapshot"); err != nil || strings.Count(both, " snapshot, ") != 2 {
		t.Errorf("%v\n%s", err, both)
	}
	if _, err := run("dance"); err == nil {
		t.Error("there is a message dance")
	}
}
