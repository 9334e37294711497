// Command gatehouse-cloud is the reference cloud: accounts, devices and
// whitelists over HTTP, boards over MQTT with an embedded broker or another one.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"gatehouse/sync/binding"
	"gatehouse/sync/cloud/broker"
	"gatehouse/sync/cloud/platform"
	"gatehouse/sync/session"
	"gatehouse/sync/store"
)

var version = "unknown" // set by the linker

const usage = `gatehouse-cloud: the reference cloud of Gatehouse / 参考云平台

  gatehouse-cloud run [--data DIR] [--http ADDR] [--mqtt ADDR | --broker URL …]
                                   serve until stopped / 运行
  gatehouse-cloud device add SN PUBLIC_KEY [--data DIR]
                                   enter a board into the factory list / 登记设备
  gatehouse-cloud device list [--data DIR]
                                   list the factory list / 列出设备
  gatehouse-cloud device events SN [--data DIR]
                                   what has arrived of a board's events, and what has not / 事件统计
  gatehouse-cloud account add USERNAME [--data DIR]
                                   make an account; prints its AccessKey / 新建账户
  gatehouse-cloud fleet [--boards N] [--broker embedded|mosquitto|tcp://HOST:PORT] …
                                   try a cloud with simulated boards / 模拟设备群
  gatehouse-cloud version

The first start makes the account "admin" and writes its AccessKey into
DIR/admin.accesskey. "gatehouse-cloud run --help" explains the flags of run.
`

func main() {
	store.RunCheckIfAsked()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := command(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "gatehouse-cloud:", err)
		os.Exit(1)
	}
}

// command runs one command line.
func command(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 || args[0] == "help" || args[0] == "--help" || args[0] == "-h" {
		fmt.Fprint(out, usage)
		return nil
	}
	switch args[0] {
	case "run":
		return run(ctx, args[1:])
	case "version":
		fmt.Fprintln(out, version)
		return nil
	case "fleet":
		return simulate(ctx, args[1:], out)
	case "device", "account":
		return administer(ctx, args, out)
	}
	return fmt.Errorf("unknown command %q; see gatehouse-cloud --help", args[0])
}

type settings struct {
	data, http, mqtt, url          string
	broker, brokerUser, brokerPass string
	boardUser, boardPass           string
}

func run(ctx context.Context, args []string) error {
	var s settings
	f := flag.NewFlagSet("gatehouse-cloud run", flag.ContinueOnError)
	f.StringVar(&s.data, "data", "cloud-data", "directory of all data")
	f.StringVar(&s.http, "http", "127.0.0.1:8480", "address of the HTTP API")
	f.StringVar(&s.url, "url", "", "where boards reach the HTTP API, e.g. https://cloud.example; empty: http:// and the address of --http")
	f.StringVar(&s.mqtt, "mqtt", "127.0.0.1:8481", "address of the embedded MQTT broker; boards are told it as it is")
	f.StringVar(&s.broker, "broker", "", "another MQTT 3.1.1 broker instead: tcp://host:port or ssl://host:port")
	f.StringVar(&s.brokerUser, "broker-user", "", "the cloud's user name at that broker")
	f.StringVar(&s.brokerPass, "broker-password-file", "", "file with the cloud's password at that broker")
	f.StringVar(&s.boardUser, "board-user", "", "the user name that boards are told for that broker (empty: their serial number and a password of their own, which that broker must know or not ask for)")
	f.StringVar(&s.boardPass, "board-password-file", "", "file with the password of --board-user")
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() > 0 {
		return fmt.Errorf("unknown argument %q; see gatehouse-cloud run --help", f.Arg(0))
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	return serve(ctx, s, log)
}

func serve(ctx context.Context, s settings, log *slog.Logger) error {
	brokerPassword, err1 := readSecret(s.brokerPass)
	boardPassword, err2 := readSecret(s.boardPass)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	var embedded *broker.Broker
	o := platform.Options{PublicURL: strings.TrimSuffix(s.url, "/"), BrokerURL: s.broker, SharedUser: s.boardUser, SharedPassword: boardPassword, Log: log}
	if o.PublicURL == "" {
		o.PublicURL = "http://" + s.http
		if host, _, err := net.SplitHostPort(s.http); err == nil && (host == "" || net.ParseIP(host).IsUnspecified()) {
			log.Warn("boards cannot fetch long contents from " + o.PublicURL + "; give --url with an address that they reach")
		}
	}
	if s.broker == "" {
		o.BrokerURL = "tcp://" + s.mqtt
		o.Kick = func(sn string) { embedded.Kick(sn) }
	}
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
		connection.URL = o.BrokerURL
		connection.Username, connection.Password = embedded.Credentials()
	}
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
	servers := []*http.Server{
		{Handler: p.Handler(), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute},
		{Handler: administration(p), ReadHeaderTimeout: 10 * time.Second},
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

func socketPath(data string) string { return filepath.Join(data, "cloud.sock") }

// administration answers the command line of this machine's owner.
func administration(p *platform.Platform) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if err := order(p, r.PostForm["arg"], w); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
	})
}

// administer has the running cloud carry out a command, or does it itself
// where none runs.
func administer(ctx context.Context, args []string, out io.Writer) error {
	data := "cloud-data"
	var words []string
	for i := 0; i < len(args); i++ {
		switch {
		case args[i] == "--help" || args[i] == "-h":
			fmt.Fprint(out, usage)
			return nil
		case args[i] == "--data" && i+1 < len(args):
			i++
			data = args[i]
		case strings.HasPrefix(args[i], "--data="):
			data = strings.TrimPrefix(args[i], "--data=")
		default:
			words = append(words, args[i])
		}
	}
	socket := socketPath(data)
	if c, err := net.Dial("unix", socket); err == nil {
		c.Close()
		return askRunning(ctx, socket, words, out)
	}
	p, err := platform.Open(data, platform.Options{})
	if err != nil {
		return err
	}
	defer p.Close()
	return order(p, words, out)
}

func askRunning(ctx context.Context, socket string, words []string, out io.Writer) error {
	client := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	defer client.CloseIdleConnections()
	form := map[string][]string{"arg": words}
	r, err := client.PostForm("http://cloud/", form)
	if err != nil {
		return fmt.Errorf("cannot ask the running cloud: %w", err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(io.LimitReader(r.Body, 16<<20))
	if err != nil {
		return err
	}
	if r.StatusCode != http.StatusOK {
		return errors.New(strings.TrimSpace(string(b)))
	}
	_, err = out.Write(b)
	return err
}

// order carries out an administrative command.
func order(p *platform.Platform, words []string, out io.Writer) error {
	switch strings.Join(words[:min(2, len(words))], " ") {
	case "device add":
		if len(words) != 4 {
			return errors.New("give a serial number and a public key: device add SN PUBLIC_KEY (`gatehouse identity` on the board prints both)")
		}
		if !binding.ValidPublicKey(words[3]) {
			return errors.New("the public key must be 64 lower-case hex digits; `gatehouse identity` on the board prints it")
		}
		return p.AddBoard(words[2], words[3])
	case "device list":
		lines, err := p.Boards()
		for _, l := range lines {
			fmt.Fprintln(out, l)
		}
		return err
	case "device events":
		if len(words) != 3 {
			return errors.New("give a serial number: device events SN")
		}
		reports, err := p.Series(words[2], 0)
		for _, r := range reports {
			fmt.Fprintln(out, r)
		}
		return err
	case "account add":
		if len(words) != 3 {
			return errors.New("give a user name: account add USERNAME")
		}
		id, secret, err := p.AddAccount(words[2], "")
		if err == nil {
			fmt.Fprintln(out, id, secret)
		}
		return err
	}
	return fmt.Errorf("unknown command %q; see gatehouse-cloud --help", strings.Join(words, " "))
}
