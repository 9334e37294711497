package main

import (
	"bufio"
	"crypto/md5" //nolint:gosec // what RTSP's digest authentication uses (RFC 2617)
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// describe asks an RTSP camera for its stream, with one DESCRIBE and, where the
// camera asks who it is, a second one (RFC 2326, 10.2). It gives the status:
// 200, 401 where name or password are refused, 404 where there is no such
// stream. Neither status nor error shows the address.
func describe(address *url.URL) (status int, err error) {
	at := *address
	at.User = nil
	port := at.Port()
	if port == "" {
		port = "554"
	}
	conn, err := net.DialTimeout("tcp", net.JoinHostPort(at.Hostname(), port), patience)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return 0, err
	}
	r := textproto.NewReader(bufio.NewReader(conn))
	authorization := ""
	for sequence := 1; ; sequence++ {
		if _, err := fmt.Fprintf(conn, "DESCRIBE %s RTSP/1.0\r\nCSeq: %d\r\nAccept: application/sdp\r\n%s\r\n", &at, sequence, authorization); err != nil {
			return 0, err
		}
		line, err := r.ReadLine()
		if err != nil {
			return 0, err
		}
		parts := strings.SplitN(line, " ", 3)
		if len(parts) < 2 || !strings.HasPrefix(parts[0], "RTSP/") {
			return 0, errors.New("what answers speaks no RTSP")
		}
		if status, err = strconv.Atoi(parts[1]); err != nil {
			return 0, errors.New("what answers speaks no RTSP")
		}
		head, err := r.ReadMIMEHeader()
		if err != nil {
			return 0, err
		}
		if n, _ := strconv.Atoi(head.Get("Content-Length")); n > 0 {
			if _, err := io.CopyN(io.Discard, r.R, int64(n)); err != nil {
				return status, nil
			}
		}
		if status != 401 || address.User == nil || sequence > 1 {
			return status, nil
		}
		authorization = "Authorization: " + credentials(head.Values("Www-Authenticate"), address.User, at.String()) + "\r\n"
	}
}

var parameter = regexp.MustCompile(`(\w+)="([^"]*)"`)

// credentials answers a challenge: by digest where that is offered, else openly.
func credentials(challenges []string, user *url.Userinfo, uri string) string {
	password, _ := user.Password()
	for _, c := range challenges {
		if len(c) < 7 || !strings.EqualFold(c[:7], "Digest ") {
			continue
		}
		p := map[string]string{}
		for _, m := range parameter.FindAllStringSubmatch(c, -1) {
			p[strings.ToLower(m[1])] = m[2]
		}
		answer := sum(sum(user.Username()+":"+p["realm"]+":"+password) + ":" + p["nonce"] + ":" + sum("DESCRIBE:"+uri))
		return fmt.Sprintf(`Digest username="%s", realm="%s", nonce="%s", uri="%s", response="%s"`, user.Username(), p["realm"], p["nonce"], uri, answer)
	}
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user.Username()+":"+password))
}

func sum(text string) string {
	h := md5.Sum([]byte(text)) //nolint:gosec // see above
	return hex.EncodeToString(h[:])
}
