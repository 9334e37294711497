// Command gatehouse is the agent on a camera board at a gate, and its command
// line. It never links OpenCV; recognition is gatehouse-vision's.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/term"

	"gatehouse/agent/board"
	"gatehouse/agent/demo"
	"gatehouse/agent/faces"
	"gatehouse/configs"
	"gatehouse/sync/errcode"
	"gatehouse/sync/store"
)

var version = "unknown" // set by the linker

const usage = `gatehouse: the agent on a camera board at a gate / 道口相机板上的守护进程

  gatehouse run                 decide at the gate until stopped / 运行
  gatehouse status [--json]     how the board does / 查看状态
  gatehouse identity [--json] [--new]
                                serial number and public key; --new: of a board that has
                                not run yet / 序列号与公钥
  gatehouse bind --cloud URL --key ID [--group N] [--remark TEXT] [--secret-file FILE]
                                bind the board to an account; asks for the secret / 绑定账户
  gatehouse unbind --cloud URL --key ID [--secret-file FILE]
                                take it out of its account / 解除绑定
  gatehouse events [--json]     what waits for delivery / 待上报事件
  gatehouse face add NAME FILE…  enrol somebody from pictures with one face each / 录入人脸
  gatehouse face list [--json]  who is enrolled / 人脸列表
  gatehouse face remove NAME    take somebody out / 删除人脸
  gatehouse config show|diff [FILE]|validate FILE|reset|schema
                                the config in force, what differs, checks, JSON Schema / 配置
  gatehouse whitelist [PLATE] [--json]
                                rows whose plate contains the text / 白名单
  gatehouse changes [--json]    configs, whitelists and upgrades, and how they stand / 变更
  gatehouse audit [--json]      what was refused, keys and policy / 审计
  gatehouse protocol [NAME…] [--markdown]
                                the messages that the board speaks, all or some / 协议文档
  gatehouse doctor              find out what is wrong, with the way out / 自检
  gatehouse demo                cloud, board and pictures on this machine (make run)
  gatehouse version / 版本

For a board: --state DIR (default ./gatehouse-state) is where it keeps
everything, --config FILE what differs from the defaults. Several boards run
side by side, each with its own --state. gatehouse COMMAND --help tells more.
`

func main() {
	store.RunCheckIfAsked()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(code(command(ctx, os.Args[1:], os.Stdin, os.Stdout), os.Stderr))
}

// usageError is a mistake in the command line; the program exits with 2.
type usageError struct{ error }

// code tells an error to a person, with the way out where it has a code, and
// gives the exit status.
func code(err error, out io.Writer) int {
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return 0
	}
	fmt.Fprintln(out, "gatehouse:", err)
	var known *errcode.Error
	if errors.As(err, &known) {
		fmt.Fprintln(out, "  "+known.Code.Analysis(language()))
	}
	if errors.As(err, new(usageError)) {
		return 2
	}
	return 1
}

// options are the flags of all commands.
type options struct {
	config, state              string
	json                       bool
	cloud, key, remark, secret string
	group                      int64
	dir, camera, lang          string
	once, markdown             bool
	fresh                      bool // identity: make a board where there is none
	named                      bool // the state directory was named
	args                       []string
}

// commands are what the program does. Takes is what stands behind the flags.
var commands = map[string]struct {
	run         func(context.Context, options, io.Reader, io.Writer) error
	takes, does string
}{
	"run":       {runAgent, "", "Decides at the gate until stopped."},
	"status":    {status, "", "Says how the board does."},
	"identity":  {identity, "", "Prints serial number and public key, for the cloud's factory list."},
	"bind":      {bind, "--cloud URL --key ID", "Binds the board to the account of an AccessKey, whose secret is asked for."},
	"unbind":    {unbind, "--cloud URL --key ID", "Takes the board out of its account."},
	"events":    {events, "", "Lists what waits for delivery."},
	"face":      {face, "add NAME FILE… | list | remove NAME", "Enrols people from pictures with one face each, lists them, takes them out."},
	"config":    {config, "show | diff [FILE] | validate FILE | reset | schema", "Shows the config in force, what differs from it, checks a file, takes back what the cloud has pushed, prints the JSON Schema."},
	"whitelist": {rows, "[PLATE]", "Prints rows whose plate contains the text, and whether they would open now."},
	"changes":   {changes, "", "Lists configs, whitelists and upgrades, and how they stand."},
	"audit":     {auditList, "", "Lists what was refused, and what changed about keys and policy."},
	"protocol":  {protocol, "[NAME…]", "Prints the messages that the board speaks, all or some."},
	"doctor":    {doctor, "", "Finds out what is wrong, with the way out."},
	"demo":      {show, "", "Runs cloud, board and pictures on this machine."},
	"version":   {printVersion, "", "Prints the version."},
}

// command runs one command line.
func command(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	if len(args) == 0 {
		fmt.Fprint(os.Stderr, usage)
		return usageError{fail("name a command")}
	}
	if args[0] == "help" || args[0] == "--help" || args[0] == "-h" {
		fmt.Fprint(out, usage)
		return nil
	}
	name := args[0]
	if name == "--version" {
		name = "version"
	}
	c, ok := commands[name]
	if !ok {
		return usageError{fail("unknown command %q; see gatehouse --help", name)}
	}
	o, err := flags(name, args[1:], out)
	if err != nil {
		return err
	}
	return c.run(ctx, o, in, out)
}

func printVersion(_ context.Context, _ options, _ io.Reader, out io.Writer) error {
	_, err := fmt.Fprintln(out, "gatehouse", version)
	return err
}

// flags reads what stands behind a command.
func flags(name string, args []string, out io.Writer) (o options, err error) {
	f := flag.NewFlagSet("gatehouse "+name, flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.Usage = func() {
		c := commands[name]
		fmt.Fprintf(out, "usage: %s\n\n%s\n", strings.TrimSpace(f.Name()+" [flags] "+c.takes), c.does)
		f.SetOutput(out)
		f.PrintDefaults()
		f.SetOutput(io.Discard)
	}
	if name != "version" && name != "protocol" && name != "demo" {
		f.StringVar(&o.config, "config", "", "config file; empty: the defaults")
		f.StringVar(&o.state, "state", "gatehouse-state", "state directory")
	}
	switch name {
	case "identity":
		f.BoolVar(&o.fresh, "new", false, "make a board where there is none, before it runs the first time")
		f.BoolVar(&o.json, "json", false, "print JSON")
	case "status", "events", "face", "config", "audit", "changes", "whitelist":
		f.BoolVar(&o.json, "json", false, "print JSON")
	case "protocol":
		f.BoolVar(&o.markdown, "markdown", false, "print Markdown")
	case "bind", "unbind":
		f.StringVar(&o.cloud, "cloud", "", "address of the cloud's HTTP API, e.g. https://cloud.example")
		f.StringVar(&o.key, "key", "", "id of the installer's AccessKey")
		f.StringVar(&o.secret, "secret-file", "", "file with the AccessKey's secret; empty: it is asked for")
		if name == "bind" {
			f.Int64Var(&o.group, "group", 0, "device group")
			f.StringVar(&o.remark, "remark", "", "remark, e.g. the gate's name")
		}
	case "demo":
		f.StringVar(&o.dir, "dir", ".run", "directory of the demonstration; cleared of an earlier one first")
		f.StringVar(&o.camera, "camera", "", "picture directory, file, device or URL; empty: rendered scenes")
		f.BoolVar(&o.once, "once", false, "end after one pass, with a table")
		f.StringVar(&o.lang, "lang", language(), "en or zh")
	}
	for { // flags may also stand behind names
		if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
			return o, err
		} else if err != nil {
			return o, usageError{fail("%w; see %s --help", err, f.Name())}
		}
		if f.NArg() == 0 {
			break
		}
		o.args, args = append(o.args, f.Arg(0)), f.Args()[1:]
	}
	f.Visit(func(f *flag.Flag) { o.named = o.named || f.Name == "state" })
	switch {
	case len(o.args) > 0 && name != "face" && name != "config" && name != "whitelist" && name != "protocol":
		return o, usageError{fail("unknown argument %q; see %s --help", o.args[0], f.Name())}
	case name != "bind" && name != "unbind":
	case o.cloud == "" || o.key == "":
		return o, usageError{fail("%s needs --cloud URL and --key ID; see %s --help", name, f.Name())}
	case !strings.HasPrefix(o.cloud, "http://") && !strings.HasPrefix(o.cloud, "https://"):
		return o, usageError{fail("--cloud %s lacks http:// or https:// in front", o.cloud)}
	}
	return o, nil
}

// language is that of the user's locale.
func language() string {
	for _, name := range []string{"LC_ALL", "LC_MESSAGES", "LANG"} {
		if v := os.Getenv(name); v != "" {
			if strings.HasPrefix(v, "zh") {
				return "zh"
			}
			break
		}
	}
	return "en"
}

func runAgent(ctx context.Context, o options, _ io.Reader, _ io.Writer) error {
	c, err := configs.Load(o.config)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	program, err := visionProgram(c)
	if err != nil {
		return err
	}
	return board.RunAgent(ctx, board.Options{Config: c, Dir: o.state, Program: program, Version: version, Log: log}, func(b *board.Board) {
		log.Info("the board is ready", "sn", b.Status().SN, "camera", b.InForce().Camera.Source != "", "version", version)
	})
}

// visionProgram is the path of gatehouse-vision.
func visionProgram(c configs.Config) (string, error) {
	if c.Vision.Program != "" {
		return c.Vision.Program, nil
	}
	self, err := os.Executable()
	return filepath.Join(filepath.Dir(self), "gatehouse-vision"), err
}

// identity asks the running agent, or reads the state itself. Only with --new it
// makes a board: a misspelt --state would be a stranger with keys of its own.
func identity(ctx context.Context, o options, _ io.Reader, out io.Writer) error {
	var id struct {
		SN        string `json:"sn"`
		PublicKey string `json:"public_key"`
	}
	err := look(ctx, o, "/status", &id, boardPatience, func(s *board.State) error {
		id.SN, id.PublicKey = s.SN(), s.PublicKey()
		return nil
	})
	if err != nil {
		return err
	}
	if o.json {
		return json.NewEncoder(out).Encode(id)
	}
	_, err = fmt.Fprintln(out, id.SN, id.PublicKey)
	return err
}

// secret reads the AccessKey's secret: from a file, without echo from a
// terminal, or a line from standard input.
func secret(o options, in io.Reader, out io.Writer) (string, error) {
	if o.secret != "" {
		b, err := os.ReadFile(o.secret)
		if err != nil {
			return "", fail("cannot read the secret: %w", err)
		}
		return strings.TrimSpace(string(b)), nil
	}
	if f, ok := in.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		fmt.Fprint(out, say("AccessKey secret: "))
		b, err := term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(out)
		return strings.TrimSpace(string(b)), err
	}
	line, err := bufio.NewReader(in).ReadString('\n')
	if line == "" && err != nil {
		return "", fail("cannot read the secret: give it on standard input or by --secret-file")
	}
	return strings.TrimSpace(line), nil
}

func bind(ctx context.Context, o options, in io.Reader, out io.Writer) error {
	return account(ctx, o, in, out, "/bind", say("bound"))
}

func unbind(ctx context.Context, o options, in io.Reader, out io.Writer) error {
	return account(ctx, o, in, out, "/unbind", say("unbound"))
}

func account(ctx context.Context, o options, in io.Reader, out io.Writer, path, done string) error {
	key, err := secret(o, in, out)
	if err != nil {
		return err
	}
	r := board.BindRequest{Cloud: o.cloud, KeyID: o.key, Secret: key, GroupID: o.group, Remark: o.remark}
	if err := ask(ctx, o, "POST", path, r, nil); err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, done)
	return err
}

func events(ctx context.Context, o options, _ io.Reader, out io.Writer) error {
	var list []struct {
		Name    string          `json:"name"`
		ID      json.RawMessage `json:"id"`
		AddedMS int64           `json:"added_ms"`
	}
	if err := ask(ctx, o, "GET", "/events", nil, &list); err != nil {
		return err
	}
	for _, e := range list {
		var id struct {
			Boot string `json:"boot"`
			Seq  uint64 `json:"seq"`
		}
		if err := json.Unmarshal(e.ID, &id); err != nil {
			return err
		}
		if o.json {
			if err := json.NewEncoder(out).Encode(map[string]any{"boot": id.Boot, "seq": id.Seq, "name": e.Name, "state": "waiting", "added_ms": e.AddedMS}); err != nil {
				return err
			}
			continue
		}
		fmt.Fprintf(out, "%s  %s/%d  %s\n", time.UnixMilli(e.AddedMS).Format(time.DateTime), id.Boot, id.Seq, e.Name)
	}
	if len(list) == 0 && !o.json {
		fmt.Fprintln(out, say("nothing waits"))
	}
	return nil
}

func face(ctx context.Context, o options, _ io.Reader, out io.Writer) error {
	switch {
	case len(o.args) >= 3 && o.args[0] == "add":
		in := board.FaceRequest{Name: o.args[1]}
		for _, name := range o.args[2:] {
			file, err := filepath.Abs(name)
			if err != nil {
				return err
			}
			in.Files = append(in.Files, file)
		}
		if err := ask(ctx, o, "POST", "/faces", in, nil); err != nil {
			return err
		}
		fmt.Fprintln(out, say("%s is enrolled", o.args[1]))
		var s board.Status
		if ask(ctx, o, "GET", "/status", nil, &s) == nil {
			tellCrowded(ctx, o, s.Faces, out)
		}
		return nil
	case len(o.args) == 2 && o.args[0] == "remove":
		if err := ask(ctx, o, "DELETE", "/faces?name="+url.QueryEscape(o.args[1]), nil, nil); err != nil {
			return err
		}
		_, err := fmt.Fprintln(out, say("%s is removed", o.args[1]))
		return err
	case len(o.args) == 1 && o.args[0] == "list":
		var people []faces.Person
		if err := ask(ctx, o, "GET", "/faces", nil, &people); err != nil {
			return err
		}
		for _, p := range people {
			if o.json {
				if err := json.NewEncoder(out).Encode(p); err != nil {
					return err
				}
				continue
			}
			fmt.Fprintf(out, "%s  %s\n", time.Unix(p.Added, 0).Format(time.DateTime), p.Name)
		}
		if len(people) == 0 && !o.json {
			fmt.Fprintln(out, say("nobody is enrolled"))
		}
		if !o.json {
			tellCrowded(ctx, o, len(people), out)
		}
		return nil
	}
	return usageError{fail("face takes add NAME FILE…, list or remove NAME; see gatehouse face --help")}
}

// crowded says what so many people cost by a config; empty: little.
func crowded(c configs.Config, people int) string {
	similarity, right, much := faces.Crowded(c.Faces.FalseAccept, people)
	if !much {
		return ""
	}
	return say("with %d people enrolled and /faces/false_accept at %g a face must be %.2f alike, which about %.0f %% of the right people are at a look; enrol fewer people, or take the risk of a larger /faces/false_accept",
		people, c.Faces.FalseAccept, similarity, 100*right)
}

func tellCrowded(ctx context.Context, o options, people int, out io.Writer) {
	s, err := settled(ctx, o)
	if text := crowded(s.Config, people); err == nil && text != "" {
		fmt.Fprintln(out, "!", text)
	}
}

func show(ctx context.Context, o options, _ io.Reader, out io.Writer) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return demo.Run(ctx, demo.Options{Dir: o.dir, Bin: filepath.Dir(self), Camera: o.camera, Once: o.once, Lang: o.lang, Out: out, Wait: 2 * time.Minute})
}
