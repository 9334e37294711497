package platform

import "strings"

// words is a word of the page in its two languages.
type words struct{ en, zh string }

func (w words) in(zh bool) string {
	if zh {
		return w.zh
	}
	return w.en
}

// reasonWords are the reasons of a board's decisions (package wire, DecisionReport).
var reasonWords = map[string]words{
	"listed":        {"listed", "在白名单中"},
	"not_listed":    {"not listed", "不在白名单中"},
	"out_of_time":   {"not at this time", "不在允许时段"},
	"suspended":     {"suspended", "已停用"},
	"blacklisted":   {"on the black list", "在黑名单中"},
	"unsure":        {"read unsurely", "识别不可靠"},
	"no_plate":      {"no plate", "未识别到车牌"},
	"face_known":    {"known face", "已录入人脸"},
	"face_unknown":  {"unknown face", "陌生人脸"},
	"face_not_live": {"face is a print or screen", "非活体人脸"},
	"switched_off":  {"switched off", "该开闸方式已关闭"},
	"locked":        {"output is locked", "输出被锁定"},
	"output_failed": {"output failed", "输出故障"},
	"commanded":     {"commanded", "远程指令"},
}

var kindWords = map[string]words{"config": {"config", "配置"}, "whitelist": {"whitelist", "白名单"}, "upgrade": {"upgrade", "升级"}}

// Why is the reason of the gate's decision in words; one that a newer board
// may have is told as it is.
func (e event) Why(zh bool) string {
	if w, ok := reasonWords[e.Reason]; ok {
		return w.in(zh)
	}
	return strings.ReplaceAll(e.Reason, "_", " ")
}

// KindWord is the change's kind in words.
func (c change) KindWord(zh bool) string { return kindWords[c.Kind].in(zh) }
