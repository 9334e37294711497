package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"time"

	"gatehouse/agent/board"
	"gatehouse/configs"
	"gatehouse/sync/audit"
	"gatehouse/sync/wire"
)

// config shows and checks configs.
func config(ctx context.Context, o options, _ io.Reader, out io.Writer) error {
	verb := ""
	if len(o.args) > 0 {
		verb = o.args[0]
	}
	switch {
	case verb == "show" && len(o.args) == 1:
		return configShow(ctx, o, out)
	case verb == "diff" && len(o.args) <= 2:
		return configDiff(ctx, o, out)
	case verb == "validate" && len(o.args) == 2:
		return configValidate(ctx, o, out)
	case verb == "reset" && len(o.args) == 1:
		if err := ask(ctx, o, "POST", "/config/reset", nil, nil); err != nil {
			return err
		}
		_, err := fmt.Fprintln(out, say("the board's own file is in force again, until the cloud pushes the next config"))
		return err
	case verb == "schema" && len(o.args) == 1:
		text, err := configs.Schema()
		if err == nil {
			_, err = out.Write(text)
		}
		return err
	}
	return usageError{fail("config takes show, diff [FILE], validate FILE, reset or schema; see gatehouse config --help")}
}

// settled is the config of a board: of the running agent, else what the next
// start would find. Where no board is, and none was named, it is the file's.
func settled(ctx context.Context, o options) (s board.ConfigStatus, err error) {
	err = look(ctx, o, "/config", &s, 0, func(of *board.State) error {
		base, err := configs.Load(o.config)
		if err == nil {
			s, err = board.ReadConfig(of, base)
		}
		return err
	})
	if errors.Is(err, board.ErrNoBoard) && !o.named {
		base, err := configs.Load(o.config)
		return board.ConfigStatus{Config: base, Base: base}, err
	}
	return s, err
}

func configShow(ctx context.Context, o options, out io.Writer) error {
	s, err := settled(ctx, o)
	if err != nil {
		return err
	}
	if !o.json {
		source := say("the defaults")
		if o.config != "" {
			source += ", " + o.config
		}
		if s.Pushed != "" {
			source += ", " + say("pushed by the cloud as %s", s.Pushed)
		}
		if s.Trial != "" {
			source += ", " + say("on trial: %s", s.Trial)
		}
		fmt.Fprintln(out, "# "+source)
	}
	text, err := json.MarshalIndent(s.Config.Redacted(), "", "  ")
	if err == nil {
		_, err = fmt.Fprintln(out, string(text))
	}
	return err
}

// configDiff prints what is not as the defaults have it, or what a file would
// change and start anew.
func configDiff(ctx context.Context, o options, out io.Writer) error {
	s, err := settled(ctx, o)
	if err != nil {
		return err
	}
	from, to := configs.Default(), s.Config
	if len(o.args) == 2 {
		from = s.Config
		if to, err = proposed(o.args[1], s); err != nil {
			return err
		}
	}
	list := configs.Diff(from, to)
	for _, c := range list {
		if o.json {
			line := map[string]any{"pointer": c.Pointer, "from": c.From, "to": c.To, "restart": c.Restart}
			if err := json.NewEncoder(out).Encode(line); err != nil {
				return err
			}
			continue
		}
		restart := ""
		if len(o.args) == 2 && c.Restart != configs.RestartNone {
			restart = "  " + say("(starts the %s anew)", word(string(c.Restart)))
		}
		fmt.Fprintf(out, "%s  %s -> %s%s\n", c.Pointer, jsonText(c.From), jsonText(c.To), restart)
	}
	if len(list) == 0 && !o.json {
		fmt.Fprintln(out, say("no difference"))
	}
	return nil
}

func jsonText(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// proposed reads a file as the next config: the content of a config change
// (with mode), or a config as --config takes it.
func proposed(path string, s board.ConfigStatus) (configs.Config, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return configs.Config{}, fail("cannot read the config: %w", err)
	}
	var head map[string]json.RawMessage
	if json.Unmarshal(text, &head) == nil && head["mode"] != nil {
		content, err := configs.ParseContent(text)
		if err != nil {
			return configs.Config{}, fail("cannot use %s: %w", path, err)
		}
		c, err := content.Result(s.Base, s.Config)
		if err != nil {
			return c, fail("cannot use %s: %w", path, err)
		}
		return c, nil
	}
	c, err := configs.Parse(text)
	if err != nil {
		return c, fail("cannot use %s: %w", path, err)
	}
	return c, nil
}

func configValidate(ctx context.Context, o options, out io.Writer) error {
	s, err := settled(ctx, o)
	if err != nil {
		return err
	}
	if _, err := proposed(o.args[1], s); err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, say("valid"))
	return err
}

// auditList prints what was refused and who may ask.
func auditList(ctx context.Context, o options, _ io.Reader, out io.Writer) error {
	var list []audit.Entry
	if err := ask(ctx, o, "GET", "/audit", nil, &list); err != nil {
		return err
	}
	for _, e := range list {
		if o.json {
			if err := json.NewEncoder(out).Encode(e); err != nil {
				return err
			}
			continue
		}
		code := ""
		if e.Code != 0 {
			code = fmt.Sprint(e.Code)
		}
		fmt.Fprintln(out, strings.Join(strings.Fields(fmt.Sprintf("%s %s %s %s %s %s", time.Unix(e.At, 0).Format(time.DateTime), word(e.What), word(e.Kind), e.ChangeID, code, e.Detail)), " "))
	}
	if len(list) == 0 && !o.json {
		fmt.Fprintln(out, say("nothing was refused"))
	}
	return nil
}

// rows prints rows of the whitelist.
func rows(ctx context.Context, o options, _ io.Reader, out io.Writer) error {
	if len(o.args) > 1 {
		return usageError{fail("whitelist takes a part of a plate, or nothing; see gatehouse whitelist --help")}
	}
	var found board.Rows
	if err := ask(ctx, o, "GET", "/whitelist?plate="+url.QueryEscape(strings.Join(o.args, "")), nil, &found); err != nil {
		return err
	}
	for i, r := range found.Records {
		text, err := json.Marshal(r)
		if err != nil {
			return err
		}
		if o.json {
			fmt.Fprintln(out, string(text))
			continue
		}
		verdict := ""
		if i < len(found.Verdicts) {
			verdict = word(found.Verdicts[i])
		}
		fmt.Fprintln(out, strings.Join(strings.Fields(fmt.Sprintf("%s %s %s %s", r.Plate, verdict, window(r), r.VehicleComment)), " "))
	}
	if !o.json {
		fmt.Fprintln(out, say("%d of %d rows", len(found.Records), found.TotalCount))
	}
	return nil
}

// window says when a row holds, and its group, which may say more.
func window(r wire.WhitelistRecord) string {
	var parts []string
	if r.EnableTime != "" || r.OverdueTime != "" {
		parts = append(parts, r.EnableTime+"–"+r.OverdueTime)
	}
	if r.TimeSegEnable == 1 {
		parts = append(parts, say("daily %s–%s", r.SegTimeStart, r.SegTimeEnd))
	}
	for _, w := range r.Weekly {
		parts = append(parts, say("weekly %s %s–%s", strings.Trim(fmt.Sprint(w.Days), "[]"), w.Start, w.End))
	}
	if r.Group != "" {
		parts = append(parts, say("group %s", r.Group))
	}
	return strings.Join(parts, ", ")
}

// changes prints the changes that the board keeps.
func changes(ctx context.Context, o options, _ io.Reader, out io.Writer) error {
	var list []wire.ChangeReport
	if err := ask(ctx, o, "GET", "/changes", nil, &list); err != nil {
		return err
	}
	for _, c := range list {
		if o.json {
			if err := json.NewEncoder(out).Encode(c); err != nil {
				return err
			}
			continue
		}
		line := fmt.Sprintf("%s %s %s %s %s", word(c.Kind), c.ChangeID, word(c.State), word(c.Step), word(c.Reason))
		if c.Result != nil {
			line += " " + time.Unix(c.Result.At, 0).Format(time.DateTime)
			if c.Result.ErrorCode != 0 {
				line += fmt.Sprintf(" %d %s", c.Result.ErrorCode, c.Result.ErrorMessage)
			}
		}
		fmt.Fprintln(out, strings.Join(strings.Fields(line), " "))
	}
	if len(list) == 0 && !o.json {
		fmt.Fprintln(out, say("no changes"))
	}
	return nil
}
