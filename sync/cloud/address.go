package main

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
)

// addresses are where boards reach the cloud, and where its own client reaches
// the embedded broker.
type addresses struct {
	api, broker string // what boards are told
	own         string // of the embedded broker; "" with another one
}

// unspecified reports whether an address to listen at is that of all nets: it
// says nothing about where boards reach it.
func unspecified(host string) bool {
	ip := net.ParseIP(host)
	return host == "" || ip != nil && ip.IsUnspecified()
}

// addresses finds what boards are told: --url and --mqtt-url, or else what is
// listened at; for an address of all nets the host is that of the other flag.
func (s settings) addresses() (a addresses, err error) {
	var known string // the host that is said by --url or --mqtt-url
	if s.url != "" {
		u, err := url.Parse(s.url)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "" {
			return a, usageError("--url must look like https://cloud.example")
		}
		known = u.Hostname()
	}
	if s.mqttURL != "" {
		u, err := url.Parse(s.mqttURL)
		if err != nil || u.Scheme != "tcp" && u.Scheme != "ssl" || u.Hostname() == "" || u.Port() == "" || u.Path != "" {
			return a, usageError("--mqtt-url must look like tcp://host:port or ssl://host:port")
		}
		if known == "" {
			known = u.Hostname()
		}
	}
	told := func(flag, listen string) (string, error) {
		host, port, err := net.SplitHostPort(listen)
		if err != nil {
			return "", usageError(fmt.Sprintf("%s must look like 127.0.0.1:8480: %v", flag, err))
		}
		if unspecified(host) {
			if host = known; host == "" {
				return "", errors.New("cannot tell boards where this cloud is: " + flag + " " + listen + " means all nets; give --url http://HOST:PORT with a host that boards reach")
			}
		}
		return net.JoinHostPort(host, port), nil
	}
	if a.api = strings.TrimSuffix(s.url, "/"); a.api == "" {
		if a.api, err = told("--http", s.http); err != nil {
			return a, err
		}
		a.api = "http://" + a.api
	}
	if a.broker = s.mqttURL; a.broker == "" {
		a.broker = s.broker
	}
	if s.broker != "" {
		return a, nil
	}
	if a.broker == "" {
		if a.broker, err = told("--mqtt", s.mqtt); err != nil {
			return a, err
		}
		a.broker = "tcp://" + a.broker
	}
	host, port, err := net.SplitHostPort(s.mqtt)
	if err != nil {
		return a, usageError("--mqtt must look like 127.0.0.1:8481")
	}
	if unspecified(host) {
		if host = "127.0.0.1"; strings.Contains(s.mqtt, "::") {
			host = "::1"
		}
	}
	a.own = "tcp://" + net.JoinHostPort(host, port)
	return a, nil
}
