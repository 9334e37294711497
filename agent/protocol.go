package main

import (
	"context"
	"io"
	"regexp"
	"strings"
	"unicode/utf8"

	"gatehouse/sync/wire"
)

// protocol prints the documentation of the messages: all of it, or the parts
// on the messages and types that are named, and the types that these name.
func protocol(_ context.Context, o options, _ io.Reader, out io.Writer) error {
	page := wire.Protocol
	if len(o.args) > 0 {
		var err error
		if page, err = wire.ProtocolOf(o.args...); err != nil {
			return err
		}
	}
	if !o.markdown {
		page = plainText(page)
	}
	_, err := io.WriteString(out, page)
	return err
}

var (
	markdownLink    = regexp.MustCompile(`\[(\w+)\]\(#\w+\)`)
	markdownComment = regexp.MustCompile(`(?s)<!--.*?-->\n\n?`)
)

// plainText makes a page for a terminal: tables in columns, no marks.
func plainText(page string) string {
	page = markdownLink.ReplaceAllString(markdownComment.ReplaceAllString(page, ""), "$1")
	var out strings.Builder
	var table [][]string
	flush := func() {
		writeColumns(&out, table)
		table = nil
	}
	for line := range strings.Lines(page) {
		line = strings.TrimRight(line, "\n")
		if strings.HasPrefix(line, "|") {
			if !strings.HasPrefix(line, "|---") {
				table = append(table, cells(line))
			}
			continue
		}
		flush()
		out.WriteString(strings.ReplaceAll(strings.TrimLeft(line, "#"), "`", "") + "\n")
	}
	flush()
	return out.String()
}

// cells takes a table's line apart.
func cells(line string) (list []string) {
	const bar = "\x00" // for a bar within a cell
	for c := range strings.SplitSeq(strings.Trim(strings.ReplaceAll(line, `\|`, bar), "|"), "|") {
		list = append(list, strings.ReplaceAll(strings.ReplaceAll(strings.TrimSpace(c), bar, "|"), "`", ""))
	}
	return list
}

// writeColumns writes rows with their columns aligned.
func writeColumns(out *strings.Builder, rows [][]string) {
	var width []int
	for _, r := range rows {
		for i, c := range r {
			if i == len(width) {
				width = append(width, 0)
			}
			width[i] = max(width[i], utf8.RuneCountInString(c))
		}
	}
	for _, r := range rows {
		line := ""
		for i, c := range r {
			line += "  " + c
			if i < len(r)-1 {
				line += strings.Repeat(" ", width[i]-utf8.RuneCountInString(c))
			}
		}
		out.WriteString(strings.TrimRight(line, " ") + "\n")
	}
}
