package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

const head = `# The messages of a Gatehouse board

<!-- Generated from the types of sync/wire by ` + "`go generate ./sync/wire`" + `; do not edit. -->

Two protocols in one envelope over MQTT 3.1.1: the vendor's camera protocol, so that existing parking systems work unchanged, and
our own messages for binding, changes and delivery. The vendor's HTTP push and TCP port stand behind them. A field whose meaning
begins with "base64" is standard base64, padded: of a text in UTF-8, or of bytes where it says so.

## Topics

| | layout "new" | layout "old" |
|---|---|---|
| board → client | ` + "`device/{sn}/message/up/{name}`" + ` | ` + "`{sn}/device/message/up/{name}`" + ` |
| client → board | ` + "`device/{sn}/message/down/{name}`" + ` | ` + "`{sn}/device/message/down/{name}`" + ` |
| answer | ` + "`device/{sn}/message/down/{name}/reply`" + ` | ` + "`{sn}/device/message/down/{name}/reply`" + ` |

A board listens to one layout (mqtt.layout). Each topic can be replaced (mqtt.topics): ` + "`name`" + ` for a message of the board,
` + "`down/name`" + ` for a command, {sn} is filled in. Nothing is retained. The board publishes with QoS 1 and takes commands with any QoS.

## Envelope

`

const answers = `
Every command is answered, but for reboot_dev that is carried out and event_ack. code is 200, or

| code | meaning |
|---|---|
| 400 | a body that cannot be read, or a parameter out of range; error_message names it |
| 401 | signature or login |
| 404 | no such command, change or record |
| 405 | this board does not have it, or its config does not allow it: mqtt.allow lists what clients may do, by the words given with the commands below |
| 409 | not at this moment, or no longer: locked, moving, busy, too late, applied or cancelled already; 1016: too many commands wait that take their time, send it again later |
| 500 | it failed: hardware, disk, no vision process |

error_code and error_message are ours, from the error table (sync/errcode/CODES.md). What moves something is done once for a
command that the broker delivers twice: same topic, id and body within ten seconds. Clients may use an id for several commands.
So is a row command (white_list_operator) that comes again behind one with another id.
Reading is tolerant: a body may be {}, [], null or absent, a timestamp of any unit, an id of any form.
`

// page collects the document and the types that it has to explain.
type page struct {
	strings.Builder
	s       *source
	pending []string
	done    map[string]bool
}

var link = regexp.MustCompile(`\]\(#([a-z0-9]+)\)`)

// document renders the page of package wire in dir.
func document(dir string) (string, error) {
	s, err := read(dir)
	if err != nil {
		return "", err
	}
	p := &page{s: s, done: map[string]bool{}}
	p.WriteString(head)
	for _, t := range []struct{ name, of string }{{"Messages of the board", "Up"}, {"Commands", "Down"}, {"Answers", "Reply"}} {
		fmt.Fprintf(p, "### %s\n\n", t.name)
		if err := p.typeTable(t.of); err != nil {
			return "", err
		}
		p.WriteString("\n")
		p.done[t.of] = true
	}
	p.WriteString(strings.TrimPrefix(answers, "\n"))
	for _, section := range []struct {
		title string
		list  []message
	}{{"The vendor's camera protocol", vendorMessages}, {"Our messages", ourMessages}, {"HTTP push", pushMessages}} {
		fmt.Fprintf(p, "\n## %s\n", section.title)
		for _, m := range section.list {
			if err := p.message(m); err != nil {
				return "", fmt.Errorf("%s: %w", m.name, err)
			}
		}
	}
	p.WriteString("\n## TCP port 8131\n\nFrames of 'V' 'Z' kind (0 data, 1 heartbeat) sequence length (32 bits, big endian), then JSON in GBK (a request in UTF-8 is known by its plates). A request has cmd, id and its\n" +
		"fields, the answer cmd, id, state_code (as code above) and error_msg. Off unless port8131.listen is set; what clients may do is port8131.allow.\n\n")
	p.table([]string{"cmd", "fields", "what it does"}, tcpCommands)
	p.WriteString("\n## Types\n")
	for len(p.pending) > 0 {
		name := p.pending[0]
		p.pending = p.pending[1:]
		if p.done[name] {
			continue
		}
		p.done[name] = true
		fmt.Fprintf(p, "\n### %s\n\n", name)
		if doc := s.docs[name]; doc != "" {
			p.WriteString(doc + "\n\n")
		}
		if err := p.typeTable(name); err != nil {
			return "", err
		}
	}
	return p.String(), nil
}

func (p *page) message(m message) error {
	fmt.Fprintf(p, "\n### %s, %s\n\n%s\n", m.name, m.direction, m.means)
	if m.of != "" {
		fmt.Fprintf(p, "\n%s: [%s](#%s).\n", m.in, m.of, strings.ToLower(m.of))
		p.pending = append(p.pending, m.of)
	}
	if len(m.rows) > 0 {
		fmt.Fprintf(p, "\nFields in %s:\n\n", m.in)
		p.table([]string{"field", "type", "meaning"}, m.rows)
	}
	if m.reply != "" {
		fmt.Fprintf(p, "\nThe answer's payload: %s", m.reply)
		if m.replyOf != "" {
			fmt.Fprintf(p, ", [%s](#%s)", m.replyOf, strings.ToLower(m.replyOf))
			p.pending = append(p.pending, m.replyOf)
		}
		p.WriteString(".\n")
	}
	return nil
}

func (p *page) typeTable(name string) error {
	rows, err := p.s.fields(name)
	if err != nil {
		return err
	}
	p.table([]string{"field", "type", "meaning"}, rows)
	return nil
}

// table writes rows, and notes the types that they link to.
func (p *page) table(columns []string, rows []row) {
	fmt.Fprintf(p, "| %s |\n|%s\n", strings.Join(columns, " | "), strings.Repeat("---|", len(columns)))
	escape := strings.NewReplacer("|", `\|`)
	for _, r := range rows {
		fmt.Fprintf(p, "| %s | %s | %s |\n", escape.Replace(r.name), escape.Replace(r.kind), escape.Replace(r.means))
		for _, l := range link.FindAllStringSubmatch(r.kind+r.means, -1) {
			for name := range p.s.types {
				if strings.ToLower(name) == l[1] && !slices.Contains(p.pending, name) {
					p.pending = append(p.pending, name)
				}
			}
		}
	}
}
