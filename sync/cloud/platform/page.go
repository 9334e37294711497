package platform

import (
	"bytes"
	"html/template"
	"net"
	"net/http"
	"strings"

	bolt "go.etcd.io/bbolt"
)

// overviewPage lists devices and the last events. It is served to this machine
// only: it shows plates, and asks for no key.
var overviewPage = template.Must(template.Must(template.New("").Parse(changesPart)).Parse(`<!doctype html><html lang="{{if .Zh}}zh{{else}}en{{end}}"><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><meta http-equiv="refresh" content="3"><title>Gatehouse</title>
<style>body{font:15px system-ui,"Noto Sans CJK SC",sans-serif;margin:2em auto;max-width:60em;padding:0 1em}table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:.35em .8em .35em 0;border-bottom:1px solid #8884}.open{color:#080;font-weight:600}.off{color:#a00}</style>
<h1>Gatehouse</h1>
<h2>{{if .Zh}}设备{{else}}Devices{{end}}</h2>
<table><tr>{{if .Zh}}<th>序列号<th>状态<th>版本<th>备注{{else}}<th>Serial number<th>State<th>Version<th>Remark{{end}}</tr>
{{range .Devices}}<tr><td>{{.SN}}<td class="{{if .State}}off{{end}}">{{if $.Zh}}{{if .State}}离线{{else}}在线{{end}}{{else}}{{if .State}}offline{{else}}online{{end}}{{end}}<td>{{index .Addition "version"}}<td>{{.Remark}}</tr>{{end}}</table>
{{template "changes" .}}
<h2>{{if .Zh}}最近事件{{else}}Last events{{end}}</h2>
<table><tr>{{if .Zh}}<th>时间<th>设备<th>车牌<th>置信度<th>道闸{{else}}<th>Time<th>Device<th>Plate<th>Confidence<th>Barrier{{end}}</tr>
{{range .Events}}<tr><td>{{.When}}<td>{{.SN}}<td>{{.Plate}}{{.UserID}}<td>{{.Confidence}} %<td class="{{if .Opened}}open{{end}}">{{if $.Zh}}{{if .Opened}}打开{{else}}未开{{end}}{{else}}{{if .Opened}}opened{{else}}closed{{end}}{{end}}{{with .Why $.Zh}} ({{.}}){{end}}</tr>{{end}}</table>
`))

// When is the event's time for the page.
func (e event) When() string { return e.when() }

func (p *Platform) overview(w http.ResponseWriter, r *http.Request) {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() || !localHost(r.Host) {
		text := "This page is shown on the cloud's own machine only; from elsewhere it is reached through a port forwarded by ssh (ssh -L)"
		if chinese(r) {
			text = "本页面只能在云平台所在的机器上查看；从其他机器可用 ssh -L 转发端口后查看"
		}
		http.Error(w, text, http.StatusForbidden)
		return
	}
	page := struct {
		Zh      bool
		Devices []device
		Changes []change
		Events  []event
	}{Zh: chinese(r)}
	err = p.db.View(func(tx *bolt.Tx) error {
		err := each(p, tx, devicesBucket, func(_ string, d device) error {
			page.Devices = append(page.Devices, d)
			return nil
		})
		if err != nil {
			return err
		}
		if page.Changes, err = p.lastChanges(tx); err != nil {
			return err
		}
		page.Events = p.latest(tx, 50, 5000, func(e event) bool { return e.Plate != "" || e.UserID != "" })
		return nil
	})
	if err != nil {
		p.refuse(w, r, err)
		return
	}
	var text bytes.Buffer
	if err := overviewPage.Execute(&text, page); err != nil {
		p.refuse(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(text.Bytes())
}

// chinese reports whether the visitor reads Chinese.
func chinese(r *http.Request) bool { return strings.Contains(r.Header.Get("Accept-Language"), "zh") }

// localHost guards against a page elsewhere that has this one fetched under its own name.
func localHost(hostPort string) bool {
	host, _, err := net.SplitHostPort(hostPort)
	if err != nil {
		host = hostPort
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
