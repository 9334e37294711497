package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
)

// eventID names an event for ever.
type eventID struct {
	Boot string `json:"boot"`
	Seq  uint64 `json:"seq"`
}

// event is one recognition as the cloud lists it.
type event struct {
	eventID
	Name       string `json:"name"`
	Plate      string `json:"plate"`
	Confidence int    `json:"confidence"` // 0–100
	Opened     bool   `json:"opened"`
}

// events are the newest the cloud has of the board, newest first.
func (d *demo) events(ctx context.Context) ([]event, error) {
	var list struct {
		Results []event `json:"results"`
	}
	err := d.site.API(ctx, http.MethodGet, "/v2/stp/user/devices/"+d.sn+"/events?offset=0&limit=100", nil, &list)
	return list.Results, err
}

// status is what the demonstration reads of `gatehouse status --json`.
type status struct {
	Barrier struct {
		State      string `json:"state"`
		Opened     int    `json:"opened"`
		LastReason string `json:"last_reason"`
	} `json:"barrier"`
}

func (d *demo) status(ctx context.Context) (s status, err error) {
	out, err := d.board.Command(ctx, "status", "--json")
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(out, &s)
}

// row is one whitelist record as the vendor's white_list_operator has it.
type row struct {
	Plate     string `json:"plate"`
	Enable    int    `json:"enable"`
	NeedAlarm int    `json:"need_alarm"`
}

// create stages a whitelist on the board and waits until the board says so.
func (d *demo) create(ctx context.Context, plates ...string) (id string, err error) {
	rows := make([]row, len(plates))
	for i, p := range plates {
		rows[i] = row{Plate: p, Enable: 1}
	}
	content, err := json.Marshal(map[string]any{"mode": "replace", "rows": rows})
	if err != nil {
		return "", err
	}
	var change struct {
		ID string `json:"id"`
	}
	err = d.site.API(ctx, http.MethodPost, "/v2/stp/user/whitelists", map[string]any{
		"content": string(content),
		"targets": map[string]any{"sns": []string{d.sn}},
		"remark":  "demonstration",
	}, &change)
	if err != nil {
		return "", err
	}
	return change.ID, d.untilState(ctx, change.ID, "staged")
}

// untilState waits until the board has reported the state of a change.
func (d *demo) untilState(ctx context.Context, id, state string) error {
	return d.until(ctx, func() (bool, error) {
		var list struct {
			Results []struct {
				SN    string `json:"sn"`
				State string `json:"state"`
			} `json:"results"`
		}
		err := d.site.API(ctx, http.MethodGet, "/v2/stp/user/whitelists/"+id+"/devices", nil, &list)
		for _, r := range list.Results {
			if r.SN == d.sn && r.State == state {
				return true, nil
			}
		}
		return false, err
	})
}

// command applies or cancels a whitelist and waits for the board's own word.
func (d *demo) command(ctx context.Context, id, verb, state string) error {
	if err := d.site.API(ctx, http.MethodPut, "/v2/stp/user/whitelists/"+id+"/"+verb, nil, nil); err != nil {
		return err
	}
	return d.untilState(ctx, id, state)
}

func (d *demo) stage(ctx context.Context) (_ string, err error) {
	d.change, err = d.create(ctx, d.plate)
	return fmt.Sprintf("%s: %s, staged", d.change, d.plate), err
}

func (d *demo) apply(ctx context.Context) (string, error) {
	return d.change + ": used", d.command(ctx, d.change, "apply", "used")
}

func (d *demo) cancel(ctx context.Context) (string, error) {
	id, err := d.create(ctx, d.plate, "京A00000")
	if err != nil {
		return "", err
	}
	return id + ": cancelled", d.command(ctx, id, "cancel", "cancelled")
}
