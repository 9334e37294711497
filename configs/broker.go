package configs

import "time"

// Broker is how the board proves itself to a broker that is not its bound
// cloud's, or that asks for more. The files are read before each connection and
// watched: a new certificate is used without a restart.
type Broker struct {
	Username     string `json:"username" doc:"user name at the broker; empty: as bound" maxlen:"256" restart:"session" pushed:"no"`
	PasswordFile string `json:"password_file" doc:"file with the password of the user name" maxlen:"256" restart:"session" pushed:"no"`
	CAFile       string `json:"ca_file" doc:"file with the certificates (PEM) that the broker is checked with; empty: as bound, else the system's" maxlen:"256" restart:"session" pushed:"no"`
	CertFile     string `json:"cert_file" doc:"file with the board's certificate (PEM); empty: none" maxlen:"256" restart:"session" pushed:"no"`
	KeyFile      string `json:"key_file" doc:"file with the key (PEM) of the board's certificate" maxlen:"256" restart:"session" pushed:"no"`
}

func (b Broker) validate() error {
	if (b.CertFile == "") != (b.KeyFile == "") {
		return &ParamError{"/broker/key_file", "and /broker/cert_file must be given together, or neither"}
	}
	if b.PasswordFile != "" && b.Username == "" {
		return &ParamError{"/broker/username", "must be given with /broker/password_file"}
	}
	return nil
}

// Pictures is how pictures leave the board.
type Pictures struct {
	Mode          string   `json:"mode" doc:"content: within the message, as far as they fit; path: the message names the cloud's address of the picture, which is uploaded there over HTTP once the event is acknowledged (without a bound cloud: as content); none: not at all" enum:"content|path|none" restart:"none"`
	ContentMaxKiB int      `json:"content_max_kib" doc:"the most room for pictures within one message, as it is sent (base64)" unit:"KiB" min:"4" max:"120" restart:"none"`
	UploadKiBS    int      `json:"upload_kib_s" doc:"the most that uploads take of the line" unit:"KiB/s" min:"1" max:"100000" restart:"none"`
	RetryMax      Duration `json:"retry_max" doc:"the longest wait between two attempts to upload" unit:"duration" min:"1s" max:"24h" restart:"none"`
}

func defaultPictures() Pictures {
	return Pictures{Mode: "content", ContentMaxKiB: 120, UploadKiBS: 256, RetryMax: Duration(10 * time.Minute)}
}
