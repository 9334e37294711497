package configs

import (
	"fmt"
	"net/url"
	"time"
)

// Push is the vendor's HTTP push, a channel beside MQTT: the board tells
// servers what it sees, and their replies may have it do something.
type Push struct {
	Servers    []string `json:"servers" doc:"addresses of the servers, http://host:port or https://host:port, the first is the main one; none: off" maxitems:"4" maxlen:"256" restart:"agent"`
	Mode       string   `json:"mode" doc:"failover: a back-up server is used only while those before it are down; all: every server is told" enum:"failover|all" restart:"agent"`
	CA         string   `json:"ca" doc:"file with the certificates (PEM) that https servers are checked with; empty: the system's" maxlen:"256" restart:"agent" pushed:"no"`
	Timeout    Duration `json:"timeout" doc:"how long a server may take to answer" unit:"duration" min:"500ms" max:"1m" restart:"agent"`
	Retries    int      `json:"retries" doc:"how often what failed is tried again before it is stored or given up" min:"0" max:"10" restart:"agent"`
	Results    string   `json:"results" doc:"path of recognition results; empty: not told" maxlen:"256" pattern:"^/" restart:"agent"`
	Inputs     string   `json:"inputs" doc:"path of inputs' changes; empty: not told" maxlen:"256" pattern:"^/" restart:"agent"`
	Serial     string   `json:"serial" doc:"path of received serial data; empty: not told" maxlen:"256" pattern:"^/" restart:"agent"`
	Register   string   `json:"register" doc:"path of the heartbeat" maxlen:"256" pattern:"^/" restart:"agent"`
	Heartbeat  string   `json:"heartbeat" doc:"normal: regular, replies are ignored; polling: the next one follows each reply, so that a server that holds its reply can have the board act at any time" enum:"off|normal|polling" restart:"agent"`
	Pictures   string   `json:"pictures" doc:"which pictures go with a result" enum:"none|full|small|both" restart:"agent"`
	Offline    int      `json:"offline" doc:"the most results that are stored while no server is reached; 0: none, and the store is emptied" min:"0" max:"9000" restart:"agent"`
	Allow      []string `json:"allow" doc:"what the servers' replies may do: open the barrier, switch outputs, send serial data, trigger a recognition, take a picture, change rows of the list, speak" enum:"open|output|serial|trigger|snapshot|rows|speak" maxitems:"7" restart:"agent"`
	OpenWithin Duration `json:"open_within" doc:"a reply to a result opens no later than this after the recognition: the vehicle may be gone" unit:"duration" min:"1s" max:"1m" restart:"agent"`
}

// Port8131 is the vendor's TCP protocol, with the board as the server.
type Port8131 struct {
	Listen       string   `json:"listen" doc:"address and port to listen on, e.g. 0.0.0.0:8131; empty: off" maxlen:"64" restart:"agent" pushed:"no"`
	PasswordFile string   `json:"password_file" doc:"file with the password of the login; empty: everybody who reaches the port may do what is allowed" maxlen:"256" restart:"agent" pushed:"no"`
	Connections  int      `json:"connections" doc:"the most clients at one time" min:"1" max:"64" restart:"agent"`
	Allow        []string `json:"allow" doc:"what clients may do: open the barrier or switch outputs, send serial data, trigger a recognition, take a picture, read and change rows of the list, speak, set locks, set the clock" enum:"output|serial|trigger|snapshot|rows|speak|lock|time" maxitems:"8" restart:"agent"`
}

func defaultPush() Push {
	const base = "/devicemanagement/php/"
	return Push{Servers: []string{}, Mode: "failover", Timeout: Duration(5 * time.Second), Retries: 4,
		Results: base + "plateresult.php", Inputs: base + "gio.php", Serial: base + "serial.php", Register: base + "receivedeviceinfo.php",
		Heartbeat: "normal", Pictures: "both", Offline: 9000, Allow: []string{}, OpenWithin: Duration(10 * time.Second)}
}

func defaultPort8131() Port8131 { return Port8131{Connections: 8, Allow: []string{}} }

// validate checks what the tags cannot say.
func (p Push) validate() error {
	for i, s := range p.Servers {
		u, err := url.Parse(s)
		if err != nil || !oneOf(u.Scheme, "http", "https") || u.Hostname() == "" || u.User != nil || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "" {
			return &ParamError{fmt.Sprintf("/push/servers/%d", i), "must look like http://host:port or https://host:port"}
		}
		for _, other := range p.Servers[:i] {
			if other == s {
				return &ParamError{fmt.Sprintf("/push/servers/%d", i), "is given twice"}
			}
		}
	}
	if p.Heartbeat != "off" && p.Register == "" {
		return &ParamError{"/push/register", "must be a path unless heartbeat is off"}
	}
	return nil
}
