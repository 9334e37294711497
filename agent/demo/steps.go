package demo

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// words is a sentence in the two languages in which people read it.
type words struct{ en, zh string }

func (w words) in(lang string) string {
	if lang == "zh" {
		return w.zh
	}
	return w.en
}

// step is one line of the closing table.
type step struct {
	name   string
	result string
	took   time.Duration
	failed bool
}

// reporter prints each step as it happens and the table at the end.
type reporter struct {
	out   io.Writer
	lang  string
	steps []step
}

// do runs one step. what says what is going on, before it starts; f gives the
// step's result in words. After a failed step none is run any more.
func (r *reporter) do(what words, f func() (string, error)) error {
	name := what.in(r.lang)
	fmt.Fprintf(r.out, "▶ %s …\n", name)
	begin := time.Now()
	result, err := f()
	s := step{name: name, result: result, took: time.Since(begin), failed: err != nil}
	mark := "✔"
	if err != nil {
		s.result, mark = err.Error(), "✘"
	}
	r.steps = append(r.steps, s)
	fmt.Fprintf(r.out, "  %s %s (%s)\n", mark, s.result, s.took.Round(time.Millisecond))
	return err
}

// table prints all steps with result and time.
func (r *reporter) table() {
	head := [3]string{words{"step", "步骤"}.in(r.lang), words{"result", "结果"}.in(r.lang), words{"time", "用时"}.in(r.lang)}
	rows := [][3]string{head}
	for _, s := range r.steps {
		result, _, _ := strings.Cut(s.result, "\n")
		if s.failed {
			result = words{"FAILED: ", "失败："}.in(r.lang) + result
		}
		rows = append(rows, [3]string{s.name, result, s.took.Round(time.Millisecond).String()})
	}
	var width [3]int
	for _, row := range rows {
		for i, cell := range row {
			width[i] = max(width[i], columns(cell))
		}
	}
	fmt.Fprintln(r.out)
	for i, row := range rows {
		fmt.Fprintf(r.out, "%s  %s  %s\n", pad(row[0], width[0]), pad(row[1], width[1]), row[2])
		if i == 0 {
			fmt.Fprintln(r.out, strings.Repeat("-", width[0]+width[1]+width[2]+4))
		}
	}
}

// columns is how many terminal columns s takes: Chinese characters take two.
func columns(s string) int {
	n := utf8.RuneCountInString(s)
	for _, c := range s {
		if c >= 0x2e80 {
			n++
		}
	}
	return n
}

func pad(s string, width int) string { return s + strings.Repeat(" ", max(0, width-columns(s))) }
