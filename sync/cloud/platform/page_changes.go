package platform

import (
	"fmt"
	"slices"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"
)

// changesPart of the overview page shows the last changes and how far their
// roll-outs are.
const changesPart = `{{define "changes"}}{{if .Changes}}<h2>{{if .Zh}}下发任务{{else}}Changes{{end}}</h2>
<table><tr>{{if .Zh}}<th>时间<th>类型<th>备注<th>进度<th>设备<th>灰度{{else}}<th>Time<th>Kind<th>Remark<th>Progress<th>Devices<th>Roll-out{{end}}</tr>
{{range .Changes}}<tr><td>{{.When}}<td>{{.KindWord $.Zh}}<td>{{.Remark}}<td><progress max="{{.Targets}}" value="{{index .Counts "used"}}"></progress> {{index .Counts "used"}}/{{.Targets}}<td>{{.Tally $.Zh}}{{with .Failure}}<br><span class="off">{{.}}</span>{{end}}<td class="{{if eq .Rollout.State "stopped"}}off{{end}}">{{.Phase $.Zh}}</tr>{{end}}</table>{{end}}{{end}}`

// shownChanges is how many changes the page lists.
const shownChanges = 20

// lastChanges are the newest changes, newest first.
func (p *Platform) lastChanges(tx *bolt.Tx) (list []change, err error) {
	err = each(p, tx, changesBucket, func(_ string, c change) error {
		list = append(list, c)
		return nil
	})
	slices.SortFunc(list, func(a, b change) int { return int(b.Sequence) - int(a.Sequence) })
	list = list[:min(shownChanges, len(list))]
	for i := range list {
		list[i].Failure = p.firstFailure(tx, &list[i])
	}
	return list, err
}

// When is the change's time for the page.
func (c change) When() string { return time.Unix(c.CreateTime, 0).Format("01-02 15:04:05") }

var stateWords = []struct {
	state string
	words
}{
	{"pending", words{"not heard from", "未响应"}}, {"staged", words{"staged", "已下发"}}, {"applying", words{"applying", "应用中"}},
	{"used", words{"applied", "已应用"}}, {"cancelled", words{"cancelled", "已取消"}}, {"failed", words{"failed", "失败"}},
}

// StateWord is a device's state in words.
func StateWord(state string, zh bool) string {
	for _, w := range stateWords {
		if w.state == state {
			return w.in(zh)
		}
	}
	return state
}

// Tally tells in words how many devices are in which state.
func Tally(counts map[string]int, zh bool) string {
	var parts []string
	for _, w := range stateWords {
		if n := counts[w.state]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, StateWord(w.state, zh)))
		}
	}
	return strings.Join(parts, ", ")
}

// Tally tells the change's devices by state.
func (c change) Tally(zh bool) string { return Tally(c.Counts, zh) }

// Phase tells where the roll-out stands, in words.
func (c change) Phase(zh bool) string {
	text := map[string]words{"": {"not applied", "未应用"}, rolloutRunning: {"running", "进行中"}, rolloutStopped: {"stopped", "已停止"},
		rolloutDone: {"done", "完成"}, rolloutCancelled: {"cancelled", "已取消"}}[c.Rollout.State].in(zh)
	if c.Rollout.Planned > 0 {
		text += fmt.Sprintf(" %d/%d", c.Rollout.Released, c.Rollout.Planned)
	}
	switch {
	case c.Rollout.Reason == "":
	case zh: // the one reason there is
		text += fmt.Sprintf("：%d 台设备失败", c.Rollout.Failed)
	default:
		text += ": " + c.Rollout.Reason
	}
	return text
}
