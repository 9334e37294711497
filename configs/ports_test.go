package configs

import "testing"

func TestPortsAreChecked(t *testing.T) {
	for text, pointer := range map[string]string{
		`{"ports":{"serial":[{"path":"","baud":9600,"data_bits":8,"parity":"none","stop_bits":1}]}}`:                                                                         "/ports/serial/0/path",
		`{"ports":{"serial":[{"path":"/a","baud":9600,"data_bits":8,"parity":"none","stop_bits":1},{"path":"/a","baud":9600,"data_bits":8,"parity":"none","stop_bits":1}]}}`: "/ports/serial/1/path",
		`{"ports":{"serial":[{"path":"/a","baud":9600,"data_bits":9,"parity":"none","stop_bits":1}]}}`:                                                                       "/ports/serial/0/data_bits",
		`{"ports":{"serial":[{"path":"/a","baud":9600,"data_bits":8,"parity":"mark","stop_bits":1}]}}`:                                                                       "/ports/serial/0/parity",
		`{"ports":{"inputs":["a"],"open_input":1}}`:                                                                                                                          "/ports/open_input",
		`{"ports":{"inputs":[""],"closed_input":0}}`:                                                                                                                         "/ports/closed_input",
		`{"ports":{"inputs":["a"],"open_input":0,"closed_input":0}}`:                                                                                                         "/ports/closed_input",
		`{"ports":{"debounce":"0s"}}`:    "/ports/debounce",
		`{"ports":{"speaker":["","x"]}}`: "/ports/speaker/0",
		`{"barrier":{"driver":"serial","serial":{"port":"/dev/ttyS1","baud":9600,"protocol":"lcus","address":1}},"ports":{"serial":[{"path":"/dev/ttyS1","baud":9600,"data_bits":8,"parity":"none","stop_bits":1}]}}`: "/ports/serial/0/path",
	} {
		_, err := Parse([]byte(text))
		e, ok := err.(*ParamError)
		if !ok || e.Pointer != pointer {
			t.Errorf("%s: %v, want %s", text, err, pointer)
		}
	}
	if _, err := Parse([]byte(`{"ports":{"serial":[{"path":"/dev/ttyS1","baud":9600,"data_bits":8,"parity":"none","stop_bits":1}],"inputs":["gpiochip0/1",""],"open_input":0,"speaker":["espeak-ng","{text}"]}}`)); err != nil {
		t.Error(err)
	}
}

func TestPushIsChecked(t *testing.T) {
	for text, pointer := range map[string]string{
		`{"push":{"servers":["192.0.2.1:80"]}}`:                                         "/push/servers/0",
		`{"push":{"servers":["http://a:1","ftp://b"]}}`:                                 "/push/servers/1",
		`{"push":{"servers":["http://user:word@a:1"]}}`:                                 "/push/servers/0",
		`{"push":{"servers":["http://a:1/x"]}}`:                                         "/push/servers/0",
		`{"push":{"servers":["http://a:1","http://a:1"]}}`:                              "/push/servers/1",
		`{"push":{"servers":["http://a","http://b","http://c","http://d","http://e"]}}`: "/push/servers",
		`{"push":{"results":"plate.php"}}`:                                              "/push/results",
		`{"push":{"register":""}}`:                                                      "/push/register",
		`{"push":{"allow":["reboot"]}}`:                                                 "/push/allow/0",
		`{"push":{"offline":9001}}`:                                                     "/push/offline",
		`{"port8131":{"connections":0}}`:                                                "/port8131/connections",
	} {
		_, err := Parse([]byte(text))
		e, ok := err.(*ParamError)
		if !ok || e.Pointer != pointer {
			t.Errorf("%s: %v, want %s", text, err, pointer)
		}
	}
	if d := Default(); len(d.Push.Servers) != 0 || len(d.Push.Allow) != 0 || d.Port8131.Listen != "" || len(d.Port8131.Allow) != 0 || d.Ports.SetTime || len(d.Ports.Reboot) != 0 {
		t.Error("something that a client may do is allowed by default")
	}
}
