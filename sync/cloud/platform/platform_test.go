package platform

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/url"
	"testing"

	"go.uber.org/goleak"

	"gatehouse/sync/errcode"
	"gatehouse/sync/store"
)

func TestMain(m *testing.M) {
	store.RunCheckIfAsked()
	goleak.VerifyTestMain(m)
}

func TestScan(t *testing.T) {
	items := []map[string]any{{"id": 1, "name": "north"}, {"id": 2, "name": "south"}, {"id": 3, "name": "southeast"}}
	for where, want := range map[string]int{
		`[{"name":"name","value":"south*","oper":"regex"}]`:                                  2,
		`[{"name":"id","value":2,"oper":"gte"},{"name":"name","value":"south","oper":"ne"}]`: 1,
		`[{"name":"id","value":1,"oper":"eq"}]`:                                              1,
		`[{"name":"name","value":"?o*th","oper":"regex"}]`:                                   2,
		`[]`: 3,
	} {
		p, err := scan(url.Values{"where": {base64.StdEncoding.EncodeToString([]byte(where))}}, items)
		if err != nil || p.Total != want {
			t.Errorf("%s: %d, %v; want %d", where, p.Total, err, want)
		}
	}
	p, err := scan(url.Values{"offset": {"1"}, "limit": {"1"}}, items)
	if got := p.Results.([]map[string]any); err != nil || p.Total != 3 || len(got) != 1 || got[0]["id"] != 2 {
		t.Errorf("%+v %v", p, err)
	}
	if p, err := scan(url.Values{"offset": {"9"}, "limit": {"9"}}, items); err != nil || len(p.Results.([]map[string]any)) != 0 {
		t.Errorf("behind the end: %+v %v", p, err)
	}
}

func FuzzScan(f *testing.F) {
	f.Add("0", "1", []byte(`[{"name":"name","value":"a*?b","oper":"regex"}]`))
	f.Fuzz(func(t *testing.T, offset, limit string, where []byte) {
		_, err := scan(url.Values{"offset": {offset}, "limit": {limit}, "where": {base64.StdEncoding.EncodeToString(where)}}, []map[string]any{{"name": "x", "id": 1}})
		var e *errcode.Error
		if err != nil && !errors.As(err, &e) {
			t.Errorf("%v has no code", err)
		}
	})
}

func FuzzParseEvent(f *testing.F) {
	f.Add("ivs_result", []byte(`{"payload":{"AlarmInfoPlate":{"result":{"PlateResult":{"license":"5bedQTEyMzQ1"}}}},"event":{"boot":"1-1","seq":1}}`))
	f.Add("gap", []byte(`{"payload":{"body":{"boot":"1-1","from":1,"to":9}},"event":{"boot":"1-1","seq":1}}`))
	f.Fuzz(func(t *testing.T, name string, text []byte) {
		var up upEnvelope
		if json.Unmarshal(text, &up) != nil || up.Event == nil {
			return
		}
		_, _, err := parseEvent("265e1040-85e01fb7", name, up)
		var e *errcode.Error
		if err != nil && !errors.As(err, &e) {
			t.Errorf("%v has no code", err)
		}
	})
}
