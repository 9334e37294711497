// Package session keeps a board connected to its MQTT broker, for years.
//
// It dials by itself, with full jitter, and makes a fresh paho client for each
// connection; paho's own reconnect and store are off. The reason: a paho token
// also completes, without error, when the connection was lost before the
// acknowledgement came (shared/design/field-notes.md). Here a publish belongs
// to the connection it was sent on, and succeeds only if its PUBACK came on it.
//
// Not promised: that a message whose publish failed did not arrive. Receivers
// know events by their ids.
package session

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/url"
	"sync"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"
)

// ErrAuth is a broker that refuses the credentials (CONNACK 4 or 5).
var ErrAuth = errors.New("the broker refuses the credentials")

// ErrLost is a publish whose connection ended before the acknowledgement.
var ErrLost = errors.New("the connection was lost before the acknowledgement")

// Message is something to publish.
type Message struct {
	Topic   string
	Payload []byte
}

// Options of one connection; they are asked for anew before each.
type Options struct {
	URL                          string // tcp://host:port or ssl://host:port
	ClientID, Username, Password string
	CA                           []byte           // PEM; empty: the system's
	Cert, Key                    []byte           // PEM of a client certificate; empty: none
	Now                          func() time.Time // the time that certificates are checked at; nil: the clock's
	KeepAlive                    time.Duration    // of MQTT itself; 0: 30 s
	Will                         *Message         // QoS 1, not retained
	Subscriptions                []string         // QoS 1
	// OnMessage is called in the order of arrival, from one goroutine; a
	// message's acknowledgement follows its return. It must not block on a
	// Publish of the same connection for long.
	OnMessage func(topic string, payload []byte)
	// OnUp runs in a goroutine of its own once the subscriptions stand; its ctx
	// ends with the connection, and the connection is closed only after it returned.
	OnUp func(ctx context.Context, c *Conn)
	// Dial opens the plain connection; nil: TCP.
	Dial func(ctx context.Context, address string) (net.Conn, error)
	Log  *slog.Logger
}

// Backoff is the wait between two attempts: full jitter below a ceiling that
// doubles from First to Max.
type Backoff struct {
	First, Max time.Duration
	Auth       time.Duration // the ceiling's floor after the credentials were refused
	StableFor  time.Duration // online this long, the ceiling starts anew
}

// DefaultBackoff suits a few thousand boards; Max must grow with the fleet.
func DefaultBackoff() Backoff {
	return Backoff{First: time.Second, Max: 2 * time.Minute, Auth: time.Minute, StableFor: time.Minute}
}

// wait gives the time before the next attempt; attempt counts failures from 0.
func (b Backoff) wait(attempt int, auth bool) time.Duration {
	ceiling := b.Max
	if attempt < 30 {
		ceiling = min(b.Max, b.First<<attempt)
	}
	if auth {
		ceiling = max(ceiling, b.Auth)
		return ceiling/2 + rand.N(ceiling/2+1)
	}
	return rand.N(ceiling + 1)
}

// Run keeps a connection until ctx ends. Before each attempt it asks for the
// options; an error there (no binding yet, say) counts as a failed attempt. OnState,
// if not nil, is told of each connect (nil) and each failure or loss.
func Run(ctx context.Context, b Backoff, options func() (Options, error), onState func(error)) error {
	if onState == nil {
		onState = func(error) {}
	}
	for attempt := 0; ; attempt++ {
		var up time.Time
		o, err := options()
		if err == nil {
			err = connect(ctx, o, func() {
				up = time.Now()
				onState(nil)
			})
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		onState(err)
		if !up.IsZero() && time.Since(up) >= b.StableFor {
			attempt = 0 // a connection that soon ends again is no reason for haste
		}
		timer := time.NewTimer(b.wait(attempt, errors.Is(err, ErrAuth)))
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
	}
}

// Conn is one connection.
type Conn struct {
	client mqtt.Client
	lost   chan struct{} // closed when the connection is lost
	once   sync.Once
	cause  error

	mu     sync.Mutex
	socket net.Conn
}

func (c *Conn) lose(err error) {
	c.once.Do(func() {
		c.cause = err
		close(c.lost)
	})
}

// Fail ends the connection for a reason its user has found; Run makes the next.
func (c *Conn) Fail(err error) { c.lose(err) }

// Publish sends a message, not retained. With QoS 1 it returns nil only when
// this very connection brought the acknowledgement.
func (c *Conn) Publish(ctx context.Context, topic string, qos byte, payload []byte) error {
	return c.Send(topic, qos, payload).Wait(ctx)
}

// Sent is a message that was handed to the connection.
type Sent struct {
	c     *Conn
	topic string
	token mqtt.Token // nil: the connection was lost before
}

// Send hands a message to the connection, behind those sent before it, and
// does not wait for its acknowledgement.
func (c *Conn) Send(topic string, qos byte, payload []byte) *Sent {
	select {
	case <-c.lost:
		return &Sent{c: c, topic: topic}
	default:
		return &Sent{c, topic, c.client.Publish(topic, qos, false, payload)}
	}
}

// Wait waits for the acknowledgement, as Publish does.
func (s *Sent) Wait(ctx context.Context) error {
	if s.token == nil {
		return ErrLost
	}
	select {
	case <-s.token.Done():
	case <-s.c.lost:
		return ErrLost
	case <-ctx.Done():
		return ctx.Err()
	}
	// Without reconnect and with a clean session paho completes what was not
	// acknowledged with an error; TestNoAckNoSuccess holds that.
	if err := s.token.Error(); err != nil {
		return fmt.Errorf("cannot publish on %s: %w", s.topic, err)
	}
	return nil
}

// setupWait bounds dialling, greeting and subscribing.
const setupWait = 30 * time.Second

// connect makes one connection and stays with it until it is lost or ctx ends;
// it calls onUp when the subscriptions stand.
func connect(ctx context.Context, o Options, onUp func()) error {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	c := &Conn{lost: make(chan struct{})}
	settings, err := c.settings(ctx, o)
	if err != nil {
		return err
	}
	c.client = mqtt.NewClient(settings)
	defer c.close()
	if err := c.setUp(ctx, o); err != nil {
		return err
	}
	onUp()
	live, cancel := context.WithCancel(ctx)
	var up sync.WaitGroup
	if o.OnUp != nil {
		up.Go(func() { o.OnUp(live, c) })
	}
	select {
	case <-ctx.Done():
		err = ctx.Err()
	case <-c.lost:
		err = fmt.Errorf("the connection was lost: %w", c.cause)
	}
	cancel()
	up.Wait()
	return err
}

// setUp greets the broker and subscribes.
func (c *Conn) setUp(ctx context.Context, o Options) error {
	ctx, cancel := context.WithTimeout(ctx, setupWait)
	defer cancel()
	if err := c.await(ctx, c.client.Connect()); err != nil {
		if refused(err) {
			return fmt.Errorf("%w (%v)", ErrAuth, err)
		}
		return fmt.Errorf("cannot connect to the broker: %w", err)
	}
	for _, filter := range o.Subscriptions {
		t := c.client.Subscribe(filter, 1, nil)
		if err := c.await(ctx, t); err != nil {
			return fmt.Errorf("cannot subscribe to %s: %w", filter, err)
		}
		if t.(*mqtt.SubscribeToken).Result()[filter] == 0x80 {
			return fmt.Errorf("cannot subscribe to %s: the broker forbids it", filter)
		}
	}
	return nil
}

// refused reports whether the broker does not want these credentials: its
// CONNACK says so, or its TLS alert does (bad, expired or missing certificate).
func refused(err error) bool {
	var alert *net.OpError
	return errors.Is(err, packets.ErrorRefusedBadUsernameOrPassword) || errors.Is(err, packets.ErrorRefusedNotAuthorised) ||
		errors.As(err, &alert) && alert.Op == "remote error"
}

// await waits for a token, for the loss of the connection, or for ctx.
func (c *Conn) await(ctx context.Context, t mqtt.Token) error {
	select {
	case <-t.Done():
		return t.Error()
	case <-c.lost:
		return c.cause
	case <-ctx.Done():
		return ctx.Err()
	}
}

// close ends the connection; the socket is closed too where paho would wait for a dead peer.
func (c *Conn) close() {
	c.client.Disconnect(200)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.socket != nil {
		c.socket.Close()
	}
}

func (c *Conn) settings(ctx context.Context, o Options) (*mqtt.ClientOptions, error) {
	u, err := url.Parse(o.URL)
	if err != nil || u.Scheme != "tcp" && u.Scheme != "ssl" || u.Host == "" {
		return nil, errors.New("cannot connect: the broker's address must look like tcp://host:port or ssl://host:port")
	}
	s := mqtt.NewClientOptions().AddBroker(o.URL).SetClientID(o.ClientID).SetUsername(o.Username).SetPassword(o.Password).
		SetProtocolVersion(4).SetCleanSession(true).SetAutoReconnect(false).SetConnectRetry(false).
		SetConnectTimeout(20 * time.Second).SetWriteTimeout(20 * time.Second).SetPingTimeout(10 * time.Second).
		SetKeepAlive(max(o.KeepAlive, 0)).SetOrderMatters(true).SetStore(mqtt.NewMemoryStore())
	if o.KeepAlive == 0 {
		s.SetKeepAlive(30 * time.Second)
	}
	if o.Will != nil {
		s.SetBinaryWill(o.Will.Topic, o.Will.Payload, 1, false)
	}
	s.SetConnectionLostHandler(func(_ mqtt.Client, err error) { c.lose(err) })
	s.SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) {
		if o.OnMessage != nil {
			o.OnMessage(m.Topic(), m.Payload())
		}
	})
	var secure *tls.Config
	if u.Scheme == "ssl" {
		if secure, err = o.tls(u.Hostname()); err != nil {
			return nil, err
		}
	}
	dial := o.Dial
	if dial == nil {
		dial = func(ctx context.Context, address string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", address)
		}
	}
	s.SetCustomOpenConnectionFn(func(_ *url.URL, _ mqtt.ClientOptions) (net.Conn, error) { return c.dial(ctx, dial, u.Host, secure) })
	return s, nil
}

// tls is how the broker is recognised, and the client shown to it.
func (o Options) tls(host string) (*tls.Config, error) {
	t := &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12, Time: o.Now}
	if len(o.CA) > 0 {
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(o.CA) {
			return nil, errors.New("cannot connect: the broker's CA is no PEM certificate")
		}
	}
	if len(o.Cert) > 0 {
		pair, err := tls.X509KeyPair(o.Cert, o.Key)
		if err != nil {
			return nil, fmt.Errorf("cannot connect: the client certificate cannot be used: %w", err)
		}
		t.Certificates = []tls.Certificate{pair}
	}
	return t, nil
}

// alerted makes a failed write tell what the peer said before it closed: with
// TLS 1.3 a refused client certificate shows only after the handshake.
type alerted struct{ *tls.Conn }

func (a alerted) Write(b []byte) (int, error) {
	n, err := a.Conn.Write(b)
	if err == nil {
		return n, nil
	}
	if a.SetReadDeadline(time.Now().Add(time.Second)) == nil {
		if _, last := a.Read(make([]byte, 1)); refused(last) {
			err = last
		}
	}
	return n, err
}

// dial opens the socket.
func (c *Conn) dial(ctx context.Context, open func(context.Context, string) (net.Conn, error), address string, secure *tls.Config) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	plain, err := open(ctx, address)
	if err != nil {
		return nil, err
	}
	opened := plain
	if secure != nil {
		t := tls.Client(plain, secure)
		if err := t.HandshakeContext(ctx); err != nil {
			plain.Close()
			return nil, err
		}
		opened = alerted{t}
	}
	c.mu.Lock()
	c.socket = opened
	c.mu.Unlock()
	return opened, nil
}
