package wire

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Layout is one of the vendor's two default topic layouts (vendor-mqtt.md, 2.1).
type Layout string

const (
	LayoutNew Layout = "new" // device/{sn}/message/up/{name}
	LayoutOld Layout = "old" // {sn}/device/message/up/{name}
)

var serialNumber = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{8}$`)

// ValidSN reports whether sn is a serial number: two groups of eight lower-case hex digits.
func ValidSN(sn string) bool { return serialNumber.MatchString(sn) }

// Topics are the topics of one board in one layout. A board listens to exactly
// one layout: some clients publish each command on both.
type Topics struct {
	base     string            // device/{sn}/message
	override map[string]string // "up/ivs_result" or "ivs_result" → topic
	down     map[string]string // overridden down topic → name
}

// NewTopics makes the topics of board sn. Override replaces single topics;
// its keys are a name (up, or down for a command's name with the prefix
// "down/"), {sn} in its values is replaced.
func NewTopics(layout Layout, sn string, override map[string]string) (Topics, error) {
	if !ValidSN(sn) {
		return Topics{}, fmt.Errorf("cannot make topics: %q is no serial number", sn)
	}
	t := Topics{base: "device/" + sn + "/message/", override: map[string]string{}, down: map[string]string{}}
	switch layout {
	case LayoutNew:
	case LayoutOld:
		t.base = sn + "/device/message/"
	default:
		return Topics{}, fmt.Errorf("cannot make topics: layout %q is neither new nor old", layout)
	}
	for name, topic := range override {
		topic = strings.ReplaceAll(topic, "{sn}", sn)
		if topic == "" || strings.ContainsAny(topic, "+#\x00") {
			return Topics{}, fmt.Errorf("cannot make topics: %q for %s is no topic to publish on", topic, name)
		}
		t.override[name] = topic
		if cmd, ok := strings.CutPrefix(name, "down/"); ok {
			t.down[topic] = cmd
		}
	}
	return t, nil
}

// Up is the topic of the board's own message called name.
func (t Topics) Up(name string) string {
	if topic, ok := t.override[name]; ok {
		return topic
	}
	return t.base + "up/" + name
}

// Down is the topic of the command called name.
func (t Topics) Down(name string) string {
	if topic, ok := t.override["down/"+name]; ok {
		return topic
	}
	return t.base + "down/" + name
}

// Reply is the topic of the answer to the command called name.
func (t Topics) Reply(name string) string { return t.Down(name) + "/reply" }

// DownFilter is what a board subscribes to: its commands, without its own replies.
func (t Topics) DownFilter() []string {
	filters := []string{t.base + "down/+"}
	for topic := range t.down {
		filters = append(filters, topic)
	}
	slices.Sort(filters[1:])
	return filters
}

// ParseDown gives the command's name of a topic the board was sent.
func (t Topics) ParseDown(topic string) (name string, ok bool) {
	if name, ok = t.down[topic]; ok {
		return name, true
	}
	name, ok = strings.CutPrefix(topic, t.base+"down/")
	if !ok || name == "" || strings.Contains(name, "/") || t.override["down/"+name] != "" {
		return "", false
	}
	return name, true
}

// UpFilters are what a cloud subscribes to for all boards in both layouts:
// their messages and their replies.
func UpFilters() []string {
	return []string{"device/+/message/up/+", "device/+/message/down/+/reply", "+/device/message/up/+", "+/device/message/down/+/reply"}
}

// ParseUp takes a board's topic apart, in either layout. Reply is set for an
// answer to a command.
func ParseUp(topic string) (sn, name string, layout Layout, reply, ok bool) {
	level := strings.Split(topic, "/")
	if len(level) < 5 || level[2] != "message" {
		return "", "", "", false, false
	}
	switch {
	case level[0] == "device":
		sn, layout = level[1], LayoutNew
	case level[1] == "device":
		sn, layout = level[0], LayoutOld
	}
	up := level[3] == "up" && len(level) == 5
	reply = level[3] == "down" && len(level) == 6 && level[5] == "reply"
	return sn, level[4], layout, reply, ValidSN(sn) && (up || reply)
}
