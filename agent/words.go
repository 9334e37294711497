package main

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

// say gives a sentence in the user's language; the English one is its name.
func say(format string, a ...any) string { return fmt.Sprintf(translated(format), a...) }

// fail is an error in the user's language.
func fail(format string, a ...any) error { return fmt.Errorf(translated(format), a...) }

func translated(english string) string {
	if chinese := chinese[english]; chinese != "" && language() == "zh" {
		return chinese
	}
	return english
}

var codeWord = regexp.MustCompile(`^[a-z]+(_[a-z]+)+$`)

// word gives a reason, kind or state, as JSON has it, in the user's language;
// what is not in the table stays as it is.
func word(w string) string {
	if t := translated(w); t != w || !codeWord.MatchString(w) {
		return t
	}
	return strings.ReplaceAll(w, "_", " ")
}

func wordList(list []string) string {
	words := make([]string, len(list))
	for i, w := range list {
		words[i] = word(w)
	}
	return strings.Join(words, "; ")
}

// pad fills s up to so many terminal columns; Chinese characters take two.
func pad(s string, columns int) string {
	n := utf8.RuneCountInString(s)
	for _, c := range s {
		if c >= 0x2e80 {
			n++
		}
	}
	return s + strings.Repeat(" ", max(0, columns-n))
}

// chinese has every sentence and word that the command line says.
var chinese = map[string]string{
	// Reasons, kinds and states, and what other packages often say.
	"listed":                        "可开闸",
	"not_listed":                    "不在名单",
	"out_of_time":                   "不在有效时间",
	"suspended":                     "已停用",
	"blacklisted":                   "黑名单",
	"unsure":                        "识别不确定",
	"no_plate":                      "无车牌",
	"face_known":                    "已录入人脸",
	"face_not_live":                 "非活体人脸",
	"face_unknown":                  "陌生人脸",
	"switched_off":                  "功能已关闭",
	"locked":                        "道闸被锁定",
	"output_failed":                 "输出失败",
	"commanded":                     "远程命令开闸",
	"open":                          "开",
	"closed":                        "关",
	"unknown":                       "未知",
	"config":                        "配置",
	"upgrade":                       "升级",
	"staged":                        "已下发",
	"applying":                      "应用中",
	"used":                          "已应用",
	"cancelled":                     "已取消",
	"download":                      "下载中",
	"waiting":                       "等待中",
	"refused":                       "已拒绝",
	"applied":                       "已应用",
	"undone":                        "已撤销",
	"keys":                          "密钥",
	"policy":                        "策略",
	"quarantined":                   "已移开",
	"damaged":                       "已损坏",
	"events":                        "事件",
	"session":                       "连接",
	"the barrier is moving":         "道闸正在动作",
	"no maintenance window is open": "不在维护时间窗内",
	"its content was being fetched": "内容尚在下载",
	"the board is not bound; run `gatehouse bind`":                                                            "设备未绑定；请运行 `gatehouse bind`",
	"cannot find the model files: run make models, or name their directory with --models or GATEHOUSE_MODELS": "找不到模型文件：请运行 make models，或用 --models 或 GATEHOUSE_MODELS 指定目录",

	// Sentences.
	"%d MiB are free at %s, %d should be; old pictures go first when it is full": "剩余 %d MiB（%s），应不少于 %d MiB；写满时先删除旧图片",
	"%d events wait, %d acknowledged, %d dropped":                                "%d 条待上报，%d 条已确认，%d 条已丢弃",
	"%d of %d rows": "%d / %d 条",
	"%d people":     "%d 人",
	"%d results wait for the servers of HTTP push": "%d 条结果等待 HTTP 推送",
	"%d rows, %s":                                         "%d 条，%s",
	"%d serial ports, %d inputs":                          "%d 个串口，%d 路输入",
	"%d serial ports, %d inputs, no lock":                 "%d 个串口，%d 路输入，无锁定",
	"%d things are wrong":                                 "发现 %d 个问题",
	"%s answers with status %d":                           "%s 应答状态码 %d",
	"%s answers, but has no stream under this path (404)": "%s 有应答，但没有该路径的码流（404）",
	"%s asks for a user name and password (401): rtsp://user:password@… in /camera/source": "%s 需要用户名和密码（401）：请在 /camera/source 写成 rtsp://用户名:密码@…",
	"%s cannot be reached; check power, cable and address: %w":                             "无法连接 %s，请检查电源、网线和地址：%w",
	"%s does not run (are OpenCV 4.6's libraries installed?): %w: %.200s":                  "%s 无法运行（是否已安装 OpenCV 4.6 的库？）：%w：%.200s",
	"%s is damaged; the agent sets it aside at its next start: %w":                         "%s 已损坏，守护进程下次启动时会将其移开：%w",
	"%s is enrolled":      "%s 已录入",
	"%s is removed":       "%s 已删除",
	"%s is there":         "%s 可访问",
	"%s is there, but %s": "%s 可访问，但%s",
	"%s is valid":         "%s 有效",
	"%s needs --cloud URL and --key ID; see %s --help":             "%s 需要 --cloud 地址 和 --key 编号，见 %s --help",
	"%s refuses the user name or password in /camera/source (401)": "%s 拒绝了 /camera/source 中的用户名或密码（401）",
	"%s, %d MiB free":                               "%s，剩余 %d MiB",
	"%s, all hashes right":                          "%s，校验全部正确",
	"%s, last decision: %s %s":                      "%s，最近判定：%s %s",
	"%s, opened %d times":                           "%s，已开闸 %d 次",
	"%s, up %s":                                     "%s，已运行 %s",
	"%s, up %s, %d MiB":                             "%s，已运行 %s，%d MiB",
	"%w; see %s --help":                             "%w；见 %s --help",
	"(starts the %s anew)":                          "（将重启%s）",
	"--cloud %s lacks http:// or https:// in front": "--cloud %s 前缺少 http:// 或 https://",
	"AccessKey secret: ":                            "AccessKey 密钥：",
	"GPIO lines %s":                                 "GPIO 线 %s",
	"a damaged database was set aside: %s; send it to the maker, then remove it": "损坏的数据库已移开：%s；请发给厂商后删除",
	"a program that /ports names is not there: %w":                               "/ports 中指定的程序不存在：%w",
	"account %d at %s": "账户 %d，%s",
	"agent":            "守护进程",
	"an agent holds %s but does not answer; see its log": "守护进程占用着 %s 但没有应答，请查看其日志",
	"barrier":                    "道闸",
	"bound":                      "已绑定",
	"bound to":                   "绑定",
	"broker":                     "消息服务",
	"camera":                     "相机",
	"cannot read the config: %w": "无法读取配置：%w",
	"cannot read the secret: %w": "无法读取密钥：%w",
	"cannot read the secret: give it on standard input or by --secret-file": "无法读取密钥：请从标准输入或用 --secret-file 提供",
	"cannot use %s: %w": "%s 无法使用：%w",
	"clock":             "时钟",
	"cloud":             "云平台",
	"config file":       "配置文件",
	"config in force":   "生效配置",
	"config takes show, diff [FILE], validate FILE, reset or schema; see gatehouse config --help": "config 的用法：show、diff [文件]、validate 文件、reset 或 schema；见 gatehouse config --help",
	"the board's own file is in force again, until the cloud pushes the next config":              "设备自己的配置文件重新生效，直到云平台下发新的配置",
	"databases": "数据库",
	"face takes add NAME FILE…, list or remove NAME; see gatehouse face --help": "face 后接 add 姓名 图片…、list 或 remove 姓名，见 gatehouse face --help",
	"faces":                         "人脸",
	"frame→barrier":                 "抓拍到开闸",
	"gives no pictures":             "没有图像",
	"gives no pictures: %s (%s)":    "没有图像：%s（%s）",
	"gives pictures, %.1f frames/s": "图像正常，%.1f 帧/秒",
	"group %s":                      "分组 %s",
	"half within %.1f ms, 95 of 100 within %.1f ms": "中位 %.1f 毫秒，95%% 在 %.1f 毫秒内",
	"input %d is not known":                         "输入 %d 状态未知",
	"its pictures have ended":                       "图像已播放完",
	"name a command":                                "请给出命令",
	"models":                                        "模型",
	"no agent runs with --state %s; start it with `gatehouse run`": "--state %s 没有运行中的守护进程，请用 `gatehouse run` 启动",
	"no changes":     "无变更",
	"no difference":  "无差异",
	"no opening yet": "尚未开闸",
	"no permission for %s: run this as the agent's user (sudo)": "没有访问 %s 的权限：请以守护进程的用户运行（sudo）",
	"no picture yet: it is being opened":                        "还没有图像：正在打开",
	"nobody is enrolled":                                        "未录入人脸",
	"none is configured":                                        "未配置",
	"none is configured; set /camera/source to a directory, file, /dev/videoN or rtsp:// URL": "未配置；请将 /camera/source 设为目录、文件、/dev/videoN 或 rtsp:// 地址",
	"none is named; the defaults":                     "未指定，使用默认值",
	"nobody (run `gatehouse bind`)":                   "未绑定（请运行 `gatehouse bind`）",
	"not known while the agent does not run":          "守护进程未运行，无法得知",
	"not known: the file cannot be used":              "无法得知：配置文件不能使用",
	"not looked at: the config in force is not known": "未检查：生效配置未知",
	"not looked at: the vision process does not run":  "未检查：识别进程未运行",
	"not running":                          "未运行",
	"not running: %s":                      "未运行：%s",
	"nothing can be written to %s: %w":     "无法写入 %s：%w",
	"nothing waits":                        "无待上报事件",
	"nothing was refused":                  "无记录",
	"offline: %s":                          "离线：%s",
	"on trial: %s":                         "试用中：%s",
	"online at %s":                         "在线，%s",
	"open, checked when the agent started": "已打开，守护进程启动时检查过",
	"outbox":                               "待上报",
	"output %d is locked off by a client":  "输出 %d 被客户端锁定为关",
	"output %d is locked on by a client":   "输出 %d 被客户端锁定为开",
	"override":                             "覆盖",
	"pid %d, %d MiB, %.1f frames/s":        "进程 %d，%d MiB，%.1f 帧/秒",
	"pid %d, %d MiB, %d restarts":          "进程 %d，%d MiB，重启 %d 次",
	"ports":                                "端口",
	"pushed by the cloud as %s":            "由云平台下发，编号 %s",
	"relay board at %s, %d baud, %s":       "继电器板 %s，%d 波特，%s",
	"runs, but was restarted %d times; last reason: %s": "运行中，但已重启 %d 次；最近原因：%s",
	"runs, but: %s": "运行中，但：%s",
	"serial channel %d has no device: %w; see /ports/serial/%d/path": "串口通道 %d 没有设备：%w；见 /ports/serial/%d/path",
	"serial channel %d: %s": "串口通道 %d：%s",
	"serial number":         "序列号",
	"software only: no relay is driven; set /barrier/driver to serial or gpio at a real gate": "仅软件道闸，不驱动继电器；真实道口请将 /barrier/driver 设为 serial 或 gpio",
	"sound":                                "完好",
	"state":                                "状态目录",
	"synchronised":                         "已同步",
	"the address cannot be read":           "地址无法解析",
	"the agent cannot keep it running: %s": "守护进程无法使其保持运行：%s",
	"the agent was started with another one, or before this was changed (%s, …): start it anew": "守护进程启动时用的是另一文件，或此后文件有改动（%s 等）：请重新启动",
	"the board is not bound; run gatehouse bind --cloud URL --key ID":                           "设备未绑定；请运行 gatehouse bind --cloud 地址 --key 编号",
	"the board's own":       "设备自己的配置",
	"the broker %s answers": "消息服务 %s 有应答",
	"the broker %s answers, but does not let the board in: %s": "消息服务 %s 有应答，但拒绝设备接入：%s",
	"the broker %s cannot be reached: %w":                      "无法连接消息服务 %s：%w",
	"the camera is not there: %w":                              "相机不存在：%w",
	"the clock is not synchronised: switch NTP on (timedatectl set-ntp true); events are marked, binding needs it within a day": "时钟未同步：请开启 NTP（timedatectl set-ntp true）；事件会带标记，绑定要求误差在一天以内",
	"the defaults": "默认值",
	"the relay board's port is not there (/barrier/serial/port): %w":                   "继电器板的串口不存在（/barrier/serial/port）：%w",
	"there is no board in %s; `gatehouse run` makes one, or name another with --state": "%s 中没有设备；`gatehouse run` 会新建，或用 --state 指定其他目录",
	"there is no message or type %q; gatehouse protocol lists all":                     "没有消息或类型 %q；gatehouse protocol 列出全部",
	"this board has no GPIO chip (/dev/gpiochip*)":                                     "本板没有 GPIO 芯片（/dev/gpiochip*）",
	"trouble":                            "故障",
	"unbound":                            "已解除绑定",
	"unknown argument %q; see %s --help": "未知参数 %q，见 %s --help",
	"unknown command %q; see gatehouse --help": "未知命令 %q，见 gatehouse --help",
	"valid":           "有效",
	"version":         "版本",
	"vision":          "识别进程",
	"weekly %s %s–%s": "每周 %s %s–%s",
	"daily %s–%s":     "每日 %s–%s",
	"whitelist":       "白名单",
	"whitelist takes a part of a plate, or nothing; see gatehouse whitelist --help": "whitelist 后接车牌的一部分，或不接，见 gatehouse whitelist --help",
	"with %d people enrolled and /faces/false_accept at %g a face must be %.2f alike, which about %.0f %% of the right people are at a look; enrol fewer people, or take the risk of a larger /faces/false_accept": "已录入 %d 人，/faces/false_accept 为 %g 时人脸相似度须达 %.2f，本人一次约有 %.0f %% 能达到；请减少录入人数，或承担更大的 /faces/false_accept 的风险",
}
