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
	case verb == "schema" && len(o.args) == 1:
		text, err := configs.Schema()
		if err == nil {
			_, err = out.Write(text)
		}
		return err
	}
	return errors.New("config takes show, diff [FILE], validate FILE or schema; see gatehouse --help")
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
		source := "the defaults"
		if o.config != "" {
			source += ", " + o.config
		}
		if s.Pushed != "" {
			source += ", pushed by the cloud as " + s.Pushed
		}
		if s.Trial != "" {
			source += ", on trial: " + s.Trial
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
			restart = "  (starts the " + string(c.Restart) + " anew)"
		}
		fmt.Fprintf(out, "%s  %s -> %s%s\n", c.Pointer, jsonText(c.From), jsonText(c.To), restart)
	}
	if len(list) == 0 && !o.json {
		fmt.Fprintln(out, "no difference / 无差异")
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
		return configs.Config{}, fmt.Errorf("cannot read the config: %w", err)
	}
	var head map[string]json.RawMessage
	if json.Unmarshal(text, &head) == nil && head["mode"] != nil {
		content, err := configs.ParseContent(text)
		if err != nil {
			return configs.Config{}, fmt.Errorf("cannot use %s: %w", path, err)
		}
		c, err := content.Result(s.Base, s.Config)
		if err != nil {
			return c, fmt.Errorf("cannot use %s: %w", path, err)
		}
		return c, nil
	}
	c, err := configs.Parse(text)
	if err != nil {
		return c, fmt.Errorf("cannot use %s: %w", path, err)
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
	_, err = fmt.Fprintln(out, "valid / 有效")
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
		fmt.Fprintln(out, strings.Join(strings.Fields(fmt.Sprintf("%s %s %s %s %s %s", time.Unix(e.At, 0).Format(time.DateTime), e.What, e.Kind, e.ChangeID, code, e.Detail)), " "))
	}
	if len(list) == 0 && !o.json {
		fmt.Fprintln(out, "nothing was refused / 无记录")
	}
	return nil
}

// rows prints rows of the whitelist.
func rows(ctx context.Context, o options, _ io.Reader, out io.Writer) error {
	if len(o.args) > 1 {
		return errors.New("whitelist takes a part of a plate, or nothing; see gatehouse --help")
	}
	var found struct {
		Total   int                    `json:"total_count"`
		Records []wire.WhitelistRecord `json:"dldb_rec"`
	}
	if err := ask(ctx, o, "GET", "/whitelist?plate="+url.QueryEscape(strings.Join(o.args, "")), nil, &found); err != nil {
		return err
	}
	for _, r := range found.Records {
		text, err := json.Marshal(r)
		if err != nil {
			return err
		}
		if o.json {
			fmt.Fprintln(out, string(text))
			continue
		}
		mark := map[bool]string{true: "listed", false: "suspended"}[r.Enable == 1]
		if r.NeedAlarm == 1 {
			mark = "black list"
		}
		fmt.Fprintf(out, "%s  %s  %s %s %s\n", r.Plate, mark, r.EnableTime, r.OverdueTime, r.VehicleComment)
	}
	if !o.json {
		fmt.Fprintf(out, "%d of %d rows / 条\n", len(found.Records), found.Total)
	}
	return nil
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
		line := fmt.Sprintf("%s %s %s %s %s", c.Kind, c.ChangeID, c.State, c.Step, c.Reason)
		if c.Result != nil {
			line += " " + time.Unix(c.Result.At, 0).Format(time.DateTime)
			if c.Result.ErrorCode != 0 {
				line += fmt.Sprintf(" %d %s", c.Result.ErrorCode, c.Result.ErrorMessage)
			}
		}
		fmt.Fprintln(out, strings.Join(strings.Fields(line), " "))
	}
	if len(list) == 0 && !o.json {
		fmt.Fprintln(out, "no changes / 无变更")
	}
	return nil
}
