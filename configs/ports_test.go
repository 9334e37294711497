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
