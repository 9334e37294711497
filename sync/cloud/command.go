package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
)

// verb is one command of the command line.
type verb struct {
	name, args     string // "device add", "SN PUBLIC_KEY"
	about, aboutZh string
	most           int // arguments without a flag; as many as args has words are needed
	run            func(ctx context.Context, c *call) error
	example        string // of what help shows below, or ""
}

// call is one use of a verb.
type call struct {
	verb  verb
	args  []string // as they were given, without the verb
	words []string // those without a flag, after parse
	data  string   // the cloud's directory, after parse
	out   io.Writer
}

// usageError is a command line that cannot be understood.
type usageError string

func (e usageError) Error() string { return string(e) }

// verbs are all commands; a function, since help is told from them.
func verbs() []verb {
	return []verb{
		{"run", "", "serve until stopped", "运行", 0, run, ""},
		{"device add", "SN PUBLIC_KEY", "enter a board into the factory list (`gatehouse identity` prints both)", "登记设备", 2, administer, ""},
		{"device list", "", "list the factory list", "列出设备", 0, administer, ""},
		{"device events", "SN", "what has arrived of a board's events, and what has not", "事件统计", 1, administer, ""},
		{"account add", "USERNAME", "make an account; prints its AccessKey", "新建账户", 1, administer, ""},
		{"whitelist push", "FILE", "send boards a whitelist, staged or, with --apply, in force", "下发白名单", 1, push, `FILE: {"mode": "replace", "rows": [{"plate": "川A12345", "enable": 1}]}`},
		{"config push", "FILE", "send boards a config, the same way", "下发配置", 1, push, `FILE: {"mode": "merge", "config": {"gate": {"plate_tolerance": 1}}}`},
		{"changes", "", "list what was pushed, and how far each is", "列出下发任务", 0, listChanges, ""},
		{"change apply", "ID", "apply a staged change, or what a stopped roll-out has left", "应用", 1, decide, ""},
		{"change cancel", "ID", "cancel a change where it is not applied yet", "取消", 1, decide, ""},
		{"change", "ID", "a change's devices: state, and why they wait or failed", "任务详情", 1, showChange, ""},
		{"fleet", "", "try a cloud with simulated boards", "模拟设备群", 0, simulate, ""},
	}
}

// command runs one command line.
func command(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 || slices.Contains([]string{"help", "--help", "-h"}, args[0]) {
		fmt.Fprint(out, usage())
		return nil
	}
	if slices.Contains([]string{"version", "--version"}, args[0]) {
		fmt.Fprintln(out, version)
		return nil
	}
	var below []string
	for _, v := range verbs() {
		words := strings.Fields(v.name)
		if slices.Equal(words, args[:min(len(words), len(args))]) {
			return v.run(ctx, &call{verb: v, args: args[len(words):], out: out})
		}
		if words[0] == args[0] {
			below = append(below, v.line())
		}
	}
	if len(below) > 0 {
		if slices.ContainsFunc(args, func(a string) bool { return a == "--help" || a == "-h" }) {
			fmt.Fprintln(out, strings.Join(below, "\n"))
			return nil
		}
		return usageError("say what to do:\n" + strings.Join(below, "\n"))
	}
	return usageError(fmt.Sprintf("unknown command %q; see gatehouse-cloud --help", args[0]))
}

func (v verb) line() string {
	return strings.Join(strings.Fields("  gatehouse-cloud "+v.name+" "+v.args), " ")
}

func usage() string {
	var b strings.Builder
	b.WriteString("gatehouse-cloud: the reference cloud of Gatehouse / 参考云平台\n\n")
	for _, v := range verbs() {
		fmt.Fprintf(&b, "  %s\n        %s / %s\n", v.line(), v.about, v.aboutZh)
	}
	b.WriteString("  gatehouse-cloud version\n\n" +
		"Every command takes --help, which explains its flags, and all but fleet take\n" +
		"--data DIR, the cloud's directory (cloud-data). The first start makes the account\n" +
		"\"admin\" and writes its AccessKey into DIR/admin.accesskey.\n")
	return b.String()
}

// parse reads flags and words in any order; --data is among the flags where
// withData says so. Asked for help it prints it and gives flag.ErrHelp.
func (c *call) parse(f *flag.FlagSet, withData bool) error {
	if withData {
		f.StringVar(&c.data, "data", "cloud-data", "the cloud's directory, `DIR`")
	}
	f.SetOutput(io.Discard)
	f.Usage = func() {}
	for rest := c.args; ; {
		err := f.Parse(rest)
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprintf(c.out, "%s [flags]\n%s / %s\n\n", c.verb.line(), c.verb.about, c.verb.aboutZh)
			if c.verb.example != "" {
				fmt.Fprintf(c.out, "%s\n\n", c.verb.example)
			}
			f.SetOutput(c.out)
			f.PrintDefaults()
			return err
		}
		if err != nil {
			return c.usage(err.Error())
		}
		if f.NArg() == 0 {
			break
		}
		c.words = append(c.words, f.Arg(0))
		rest = f.Args()[1:]
	}
	if withData && c.data == "" {
		return c.usage("--data needs a directory")
	}
	if needed := len(strings.Fields(c.verb.args)); len(c.words) < needed {
		return c.usage("an argument is missing")
	}
	if len(c.words) > c.verb.most {
		return c.usage(fmt.Sprintf("unknown argument %q", c.words[c.verb.most]))
	}
	return nil
}

func (c *call) usage(what string) error {
	return usageError(what + "; usage: " + c.verb.line() + " [flags], and --help explains them")
}

func newFlags(c *call) *flag.FlagSet {
	return flag.NewFlagSet("gatehouse-cloud "+c.verb.name, flag.ContinueOnError)
}
