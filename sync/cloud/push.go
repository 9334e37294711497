package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/term"

	"gatehouse/sync/cloud/client"
	"gatehouse/sync/cloud/platform"
	"gatehouse/sync/errcode"
	"gatehouse/sync/wire"
)

// api calls the HTTP API of the cloud that runs on a directory, over its socket.
type api struct{ client.Client }

// withAPI parses the command line and finds the running cloud; the flag --key
// says for which account it speaks.
func withAPI(ctx context.Context, c *call, f *flag.FlagSet) (*api, error) {
	keyFile := f.String("key", "", "`FILE` with the AccessKey of another account, as `account add` prints it")
	if err := c.parse(f, true); err != nil {
		return nil, err
	}
	running, unlock, err := reach(ctx, c.data)
	if err != nil {
		return nil, err
	}
	if !running {
		unlock()
		return nil, fmt.Errorf("the cloud in %s does not run; start it with `gatehouse-cloud run --data %s`", c.data, c.data)
	}
	if *keyFile == "" {
		*keyFile = filepath.Join(c.data, "admin.accesskey")
	}
	id, secret, err := client.ReadKey(*keyFile)
	if err != nil {
		return nil, err
	}
	return &api{client.Client{Base: "http://cloud", ID: id, Secret: secret, HTTP: localClient(c.data)}}, nil
}

// call is Call with the code before what the cloud says.
func (a *api) call(ctx context.Context, method, path string, in, out any) error {
	err := a.Call(ctx, method, path, in, out)
	var e *errcode.Error
	if errors.As(err, &e) {
		return fmt.Errorf("%d %w", e.Code, e)
	}
	return err
}

const userPath = "/v2/stp/user/"

// kindPaths are the kinds of changes and their paths.
var kindPaths = []struct{ kind, path string }{{"config", "configs"}, {"whitelist", "whitelists"}, {"upgrade", "upgrades"}}

// changed is what the API tells of a change.
type changed struct {
	ID         string         `json:"id"`
	Kind       string         `json:"kind"`
	Sequence   uint64         `json:"sequence"` // rises with each change
	Remark     string         `json:"remark"`
	CreateTime int64          `json:"create_time"`
	Targets    int            `json:"targets"`
	Counts     map[string]int `json:"counts"`
	Failure    string         `json:"failure"`
	Rollout    struct {
		State    string `json:"state"`
		Reason   string `json:"reason"`
		Planned  int    `json:"planned"`
		Released int    `json:"released"`
	} `json:"rollout"`
}

// String is how far the change is, on a line.
func (c changed) String() string {
	text := "not applied"
	if r := c.Rollout; r.State != "" {
		text = "roll-out " + r.State
		if r.Planned > 0 {
			text += fmt.Sprintf(", %d of %d released", r.Released, r.Planned)
		}
		if r.Reason != "" {
			text += ", " + r.Reason
		}
	}
	return text + "; devices: " + platform.Tally(c.Counts, false)
}

// targets are the boards and groups of --to.
type targets struct {
	SNs      []string `json:"sns"`
	GroupIDs []int64  `json:"group_ids"`
}

func (t *targets) String() string { return "" }

// Set takes serial numbers and groups' numbers, separated by commas.
func (t *targets) Set(text string) error {
	for word := range strings.SplitSeq(text, ",") {
		id, err := strconv.ParseInt(word, 10, 64)
		switch {
		case err == nil:
			t.GroupIDs = append(t.GroupIDs, id)
		case wire.ValidSN(word):
			t.SNs = append(t.SNs, word)
		default:
			return errors.New("is neither a serial number nor a group's number")
		}
	}
	return nil
}

// share is --max-failures: a number, or a text such as 10%.
func share(text string) any {
	if n, err := strconv.Atoi(text); err == nil {
		return n
	}
	return text
}

// maxContent is the longest content that goes with the creation; longer ones
// are uploaded as a file before.
const maxContent = 1 << 20

// push creates a change from a file, and follows it.
func push(ctx context.Context, c *call) error {
	var to targets
	f := newFlags(c)
	f.Var(&to, "to", "`SN` of a board, or number of a group (0: the boards without one); several with commas")
	apply := f.Bool("apply", false, "apply it, too; else it is only staged, until `change apply`")
	remark := f.String("remark", "", "`TEXT` that lists show")
	canary := f.Int("canary", 0, "roll-out: so many devices first; 0: as --batch")
	batch := f.Int("batch", 0, "roll-out: so many at a time then; 0: all")
	failures := f.String("max-failures", "0", "roll-out: it stops when more fail, a number or a share such as 10%")
	wait := f.Duration("wait", 0, "roll-out: go on without boards that are away after this time; 0: never")
	base := f.String("base", "", "of a whitelist's delta: the `DIGEST` of the set it starts from")
	patience := patienceFlag(f)
	a, err := withAPI(ctx, c, f)
	if err != nil {
		return err
	}
	defer a.HTTP.CloseIdleConnections()
	if len(to.SNs)+len(to.GroupIDs) == 0 {
		return c.usage("--to is missing")
	}
	content, err := os.ReadFile(c.words[0])
	if err != nil {
		return fmt.Errorf("cannot read the content: %w", err)
	}
	creation := map[string]any{"targets": to, "remark": *remark, "base": *base,
		"rollout": map[string]any{"canary": *canary, "batch": *batch, "max_failures": share(*failures), "wait": int64(wait.Seconds())}}
	if len(content) <= maxContent {
		creation["content"] = string(content)
	} else {
		var file struct {
			File string `json:"file"`
		}
		if err := a.call(ctx, http.MethodPost, platform.FilesPath, content, &file); err != nil {
			return fmt.Errorf("cannot upload the content: %w", err)
		}
		creation["file"] = file.File
	}
	body, err := json.Marshal(creation)
	if err != nil {
		return err
	}
	kind, _, _ := strings.Cut(c.verb.name, " ")
	path := userPath + kind + "s"
	var made changed
	if err := a.call(ctx, http.MethodPost, path, body, &made); err != nil {
		return fmt.Errorf("cannot push the %s: %w", kind, err)
	}
	fmt.Fprintf(c.out, "%s %s for %d devices\n", kind, made.ID, made.Targets)
	if *apply {
		return a.want(ctx, c, path+"/"+made.ID, "apply", *patience)
	}
	return a.follow(ctx, c, path+"/"+made.ID, "staged", *patience)
}

func patienceFlag(f *flag.FlagSet) *time.Duration {
	return f.Duration("patience", 30*time.Second, "give up looking on when nothing has moved for so long, with exit status 1; the cloud goes on; 0: do not look on")
}

// decide is change apply and change cancel.
func decide(ctx context.Context, c *call) error {
	f := newFlags(c)
	patience := patienceFlag(f)
	a, err := withAPI(ctx, c, f)
	if err != nil {
		return err
	}
	defer a.HTTP.CloseIdleConnections()
	path, _, err := a.find(ctx, c.words[0])
	if err != nil {
		return err
	}
	return a.want(ctx, c, path, strings.Fields(c.verb.name)[1], *patience)
}

// want applies or cancels the change at path and follows it. Devices that take
// no part are told; where all do, it is an error.
func (a *api) want(ctx context.Context, c *call, path, verb string, patience time.Duration) error {
	var results struct {
		Successes []struct{}
		Failures  []struct {
			SN    string
			Error struct {
				Code    int
				Message string
			}
		}
	}
	if err := a.call(ctx, http.MethodPut, path+"/"+verb, nil, &results); err != nil {
		return fmt.Errorf("cannot %s the change: %w", verb, err)
	}
	for _, f := range results.Failures {
		fmt.Fprintf(c.out, "%s takes no part: %d %s\n", f.SN, f.Error.Code, f.Error.Message)
	}
	if len(results.Successes) == 0 {
		return fmt.Errorf("cannot %s the change: no device is left for it", verb)
	}
	return a.follow(ctx, c, path, map[string]string{"apply": "used", "cancel": "cancelled"}[verb], patience)
}

// follow shows how devices reach the state that is wanted, until all have or the
// roll-out is over. It is an error that one has failed, or that nothing moves.
func (a *api) follow(ctx context.Context, c *call, path, state string, patience time.Duration) error {
	if patience <= 0 {
		return nil
	}
	show, end := progress(c.out)
	defer end()
	last, moved, began := "", time.Now(), time.Now()
	for {
		var v changed
		if err := a.call(ctx, http.MethodGet, path, nil, &v); err != nil {
			return err
		}
		if line := v.String(); line != last {
			show(line)
			last, moved = line, time.Now()
		}
		n := v.Counts["failed"]
		under := v.Targets - n - v.Counts[state] - v.Counts["used"] - v.Counts["cancelled"]
		if under <= 0 || state == "used" && v.Rollout.State != "running" {
			end()
			if n > 0 {
				return fmt.Errorf("%d of %d devices failed; the first: %s; `gatehouse-cloud change %s` lists all", n, v.Targets, v.Failure, v.ID)
			}
			return nil
		}
		if time.Since(moved) > patience {
			end()
			return fmt.Errorf("%d of %d devices have not answered yet, and nothing has moved for %s; the cloud goes on by itself, `gatehouse-cloud change %s` tells how far it is",
				under, v.Targets, patience, v.ID)
		}
		every := 200 * time.Millisecond
		if time.Since(began) > 2*time.Second {
			every = time.Second
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(every):
		}
	}
}

// progress shows lines: on a terminal each in place of the one before.
func progress(out io.Writer) (show func(line string), end func()) {
	f, ok := out.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return func(line string) { fmt.Fprintln(out, line) }, func() {}
	}
	open := false
	return func(line string) {
			if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 0 && len(line) >= width { // a line that wraps cannot be replaced
				line = line[:width-1]
			}
			fmt.Fprint(out, "\r\x1b[K"+line)
			open = true
		}, func() {
			if open {
				fmt.Fprintln(out)
			}
			open = false
		}
}

// find gives the path of a change of whatever kind, and the change.
func (a *api) find(ctx context.Context, id string) (path string, v changed, err error) {
	for _, k := range kindPaths {
		path = userPath + k.path + "/" + url.PathEscape(id)
		if err = a.call(ctx, http.MethodGet, path, nil, &v); err == nil {
			return path, v, nil
		}
	}
	return "", v, fmt.Errorf("there is no change %s; `gatehouse-cloud changes` lists them", id)
}

// listChanges is the command changes.
func listChanges(ctx context.Context, c *call) error {
	a, err := withAPI(ctx, c, newFlags(c))
	if err != nil {
		return err
	}
	defer a.HTTP.CloseIdleConnections()
	var all []changed
	for _, k := range kindPaths {
		var list struct{ Results []changed }
		if err := a.call(ctx, http.MethodGet, userPath+k.path, nil, &list); err != nil {
			return err
		}
		all = append(all, list.Results...)
	}
	slices.SortFunc(all, func(a, b changed) int { return cmp.Compare(a.Sequence, b.Sequence) })
	for _, v := range all {
		fmt.Fprintln(c.out, v.head())
		fmt.Fprintf(c.out, "    %s\n", v)
	}
	if len(all) == 0 {
		fmt.Fprintln(c.out, "no change was pushed yet")
	}
	return nil
}

// head names a change on a line.
func (c changed) head() string {
	return strings.TrimSpace(fmt.Sprintf("%s  %s %s  %s", time.Unix(c.CreateTime, 0).Format("2006-01-02 15:04:05"), c.Kind, c.ID, c.Remark))
}

// showChange is the command change: its devices, with why they wait or failed.
func showChange(ctx context.Context, c *call) error {
	a, err := withAPI(ctx, c, newFlags(c))
	if err != nil {
		return err
	}
	defer a.HTTP.CloseIdleConnections()
	path, v, err := a.find(ctx, c.words[0])
	if err != nil {
		return err
	}
	var list struct {
		Results []struct {
			SN, State, Step, Reason string
			Progress                int
			Result                  *wire.ChangeResult
		}
	}
	if err := a.call(ctx, http.MethodGet, path+"/devices", nil, &list); err != nil {
		return err
	}
	fmt.Fprintf(c.out, "%s\n%s\n", v.head(), v)
	for _, t := range list.Results {
		line := t.SN + "  " + platform.StateWord(t.State, false)
		if t.Step != "" {
			line += fmt.Sprintf(", %s %d %%", t.Step, t.Progress)
		}
		if t.Reason != "" {
			line += ", " + t.Reason
		}
		if t.Result != nil && t.Result.ErrorCode != 0 {
			line += fmt.Sprintf(", %d %s", t.Result.ErrorCode, t.Result.ErrorMessage)
		}
		fmt.Fprintln(c.out, line)
	}
	return nil
}
