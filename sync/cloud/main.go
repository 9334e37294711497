// Command gatehouse-cloud is the reference cloud: accounts, devices and
// whitelists over HTTP, boards over MQTT with an embedded broker or another one.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"gatehouse/sync/cloud/broker"
	"gatehouse/sync/cloud/platform"
	"gatehouse/sync/session"
	"gatehouse/sync/store"
)

var version = "unknown" // set by the linker

func main() {
	store.RunCheckIfAsked()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := command(ctx, os.Args[1:], os.Stdout)
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return
	}
	fmt.Fprintln(os.Stderr, "gatehouse-cloud:", err)
	var wrong usageError
	if errors.As(err, &wrong) {
		os.Exit(2)
	}
	os.Exit(1)
}

type settings struct {
	data, http, mqtt, url, mqttURL string
	broker, brokerUser, brokerPass string
	boardUser, boardPass           string
}

func run(ctx context.Context, c *call) error {
	var s settings
	f := newFlags(c)
	f.StringVar(&s.http, "http", "127.0.0.1:8480", "address of the HTTP API")
	f.StringVar(&s.url, "url", "", "where boards reach the HTTP API, e.g. https://cloud.example; empty: http:// and the address of --http, with the host of --mqtt-url where that is 0.0.0.0")
	f.StringVar(&s.mqtt, "mqtt", "127.0.0.1:8481", "address of the embedded MQTT broker")
	f.StringVar(&s.mqttURL, "mqtt-url", "", "where boards reach the broker, tcp://host:port or ssl://host:port; empty: the address of --mqtt, with the host of --url where that is 0.0.0.0, or --broker")
	f.StringVar(&s.broker, "broker", "", "another MQTT 3.1.1 broker instead: tcp://host:port or ssl://host:port")
	f.StringVar(&s.brokerUser, "broker-user", "", "the cloud's user name at that broker")
	f.StringVar(&s.brokerPass, "broker-password-file", "", "file with the cloud's password at that broker")
	f.StringVar(&s.boardUser, "board-user", "", "the user name that boards are told for that broker (empty: their serial number and a password of their own, which that broker must know or not ask for)")
	f.StringVar(&s.boardPass, "board-password-file", "", "file with the password of --board-user")
	if err := c.parse(f, true); err != nil {
		return err
	}
	s.data = c.data
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	return serve(ctx, s, log)
}

func serve(ctx context.Context, s settings, log *slog.Logger) error {
	brokerPassword, err1 := readSecret(s.brokerPass)
	boardPassword, err2 := readSecret(s.boardPass)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	at, err := s.addresses()
	if err != nil {
		return err
	}
	var embedded *broker.Broker
	o := platform.Options{PublicURL: at.api, BrokerURL: at.broker, SharedUser: s.boardUser, SharedPassword: boardPassword, Log: log}
	if s.broker == "" {
		o.Kick = func(sn string) { embedded.Kick(sn) }
	}
	unlock, err := lockToRun(ctx, s.data)
	if err != nil {
		return err
	}
	defer unlock()
	p, err := platform.Open(s.data, o)
	if err != nil {
		return err
	}
	defer p.Close()
	connection := session.Options{URL: s.broker, ClientID: "gatehouse-cloud", Username: s.brokerUser, Password: brokerPassword}
	if s.broker == "" {
		if embedded, err = broker.Start(s.mqtt, filepath.Join(s.data, "broker"), p.Authenticate); err != nil {
			return err
		}
		defer embedded.Stop()
		connection.URL = at.own
		connection.Username, connection.Password = embedded.Credentials()
	}
	log.Info("boards are told", "http", o.PublicURL, "mqtt", o.BrokerURL)
	return listen(ctx, s, p, connection, log)
}

// listen serves HTTP, the command line's socket and MQTT until ctx ends.
func listen(ctx context.Context, s settings, p *platform.Platform, connection session.Options, log *slog.Logger) error {
	ctx, cancel := context.WithCancelCause(ctx)
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = p.Serve(ctx, func() (session.Options, error) { return connection, nil })
	}()
	defer func() {
		cancel(nil)
		<-served
	}()
	// Who finds the API there finds boards listened to as well; a broker that
	// is away does not keep the API away for longer.
	p.AwaitBroker(ctx, 3*time.Second)
	socket := socketPath(s.data)
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	local, err := net.Listen("unix", socket)
	if err != nil {
		return fmt.Errorf("cannot serve the command line: %w", err)
	}
	if err := os.Chmod(socket, 0o600); err != nil {
		local.Close()
		return err
	}
	// Last: who finds the API there finds the command line's socket as well.
	api, err := net.Listen("tcp", s.http)
	if err != nil {
		local.Close()
		return fmt.Errorf("cannot serve HTTP: %w", err)
	}
	commands := http.NewServeMux() // the command line's: orders, and the API that all use
	commands.Handle("/", administration(p))
	commands.Handle("/v2/", p.Handler())
	servers := []*http.Server{
		{Handler: p.Handler(), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute},
		{Handler: commands, ReadHeaderTimeout: 10 * time.Second},
	}
	done := make(chan struct{}, len(servers))
	for i, l := range []net.Listener{api, local} {
		go func() {
			if err := servers[i].Serve(l); !errors.Is(err, http.ErrServerClosed) {
				cancel(err)
			}
			done <- struct{}{}
		}()
	}
	log.Info("gatehouse-cloud serves", "http", "http://"+api.Addr().String(), "mqtt", connection.URL, "data", s.data)
	<-ctx.Done()
	for _, server := range servers {
		end, stop := context.WithTimeout(context.Background(), 3*time.Second)
		_ = server.Shutdown(end)
		stop()
		<-done
	}
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

func readSecret(file string) (string, error) {
	if file == "" {
		return "", nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("cannot read the password: %w", err)
	}
	return strings.TrimRight(string(b), "\r\n"), nil
}
