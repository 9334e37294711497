// Package broker is the cloud's embedded MQTT broker: a NATS server with MQTT
// and JetStream on, in this process.
//
// Each board authenticates with its own credentials and sees its own topics
// only; a foreign subscription is refused, a foreign publish goes nowhere.
// Boards are asked for through Authenticate, so that a board unbound a moment
// ago is refused at once. Not protected: a board that floods its own topics.
package broker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Authenticate reports whether a board's user name (its serial number) and password are right now.
type Authenticate func(username, password string) bool

// Broker is a running broker.
type Broker struct {
	server   *server.Server
	password string        // of the cloud's own client
	ready    chan struct{} // closed when boards may come, or the broker has failed
	failed   bool          // set before
}

// CloudUser is the user name of the cloud's own client.
const CloudUser = "gatehouse-cloud"

// patience is how long a client may take to greet, and the broker to answer: as
// long as boards wait for it.
const patience = 20 * time.Second

// Start listens for MQTT at address (host:port) and keeps its data below dir.
func Start(address, dir string, auth Authenticate) (*Broker, error) {
	host, portText, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("cannot start the broker: %w", err)
	}
	port, err := strconv.Atoi(portText)
	if err != nil {
		return nil, fmt.Errorf("cannot start the broker: port %q: %w", portText, err)
	}
	// The server does not say that it cannot listen; it is only never ready.
	probe, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("cannot start the broker: %w", err)
	}
	probe.Close()
	b := &Broker{password: rand.Text(), ready: make(chan struct{})}
	o := &server.Options{
		ServerName: "gatehouse-cloud", DontListen: true, NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: dir, JetStreamMaxMemory: 2 * keptMost, JetStreamMaxStore: 4 << 30,
		// A subscription with QoS 1 is a consumer: by default the 1,001st board would get none.
		JetStreamLimits: server.JSLimitOpts{DefaultMaxConsumers: -1},
		// Clients have clean sessions: what a consumer has delivered need not outlive the process.
		// A fleet that comes back at once is slow to be greeted: who is thrown out for
		// it (after 2 s and 5 s, by default) comes again, and all the work is for nothing.
		MQTT: server.MQTTOpts{Host: host, Port: port, AckWait: ackWait, MaxAckPending: 1024, ConsumerMemoryStorage: true,
			AuthTimeout: patience.Seconds(), JSAPITimeout: patience},
	}
	o.CustomClientAuthentication = authenticator{b, auth}
	if b.server, err = server.NewServer(o); err != nil {
		return nil, fmt.Errorf("cannot start the broker: %w", err)
	}
	b.server.Start()
	if !b.server.ReadyForConnections(20 * time.Second) {
		b.server.Shutdown()
		return nil, errors.New("cannot start the broker: it is not ready after 20 s")
	}
	if err := b.keepForAWhile(); err != nil {
		b.failed = true
		close(b.ready) // or Stop would wait for boards that wait for it
		b.Stop()
		return nil, fmt.Errorf("cannot start the broker: %w", err)
	}
	close(b.ready)
	return b, nil
}

// How long a client may take to acknowledge a message with QoS 1, how long one is
// kept, and how many bytes of them at most. A cloud that is further behind loses
// messages that the broker has acknowledged to boards: hence events are
// acknowledged by the cloud. Each that is kept may be looked at for each that a
// board gets, so longer is slower.
const (
	ackWait  = 30 * time.Second
	kept     = 3 * time.Minute
	keptMost = 256 << 20
)

// messages is NATS's own name of their stream, which it makes when the first
// client comes and there is none.
const messages = "$MQTT_msgs"

// keepForAWhile has messages with QoS 1 kept in memory and for a while. NATS's
// way is on disk until all who want them have acknowledged: for that it asks all
// boards' consumers at each acknowledgement, 5 ms with 5,000 boards, and reads
// its files through for each. Sessions are clean: a restart ends them, and
// what was on the way to them is asked for anew (the outbox, pull after birth).
func (b *Broker) keepForAWhile() error {
	conn, err := nats.Connect("", nats.InProcessServer(b.server), nats.UserInfo(b.Credentials()), nats.Timeout(patience))
	if err != nil {
		return err
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := js.DeleteStream(ctx, messages); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return err // that of an earlier version
	}
	_, err = js.CreateStream(ctx, jetstream.StreamConfig{Name: messages, Subjects: []string{"$MQTT.msgs.>"},
		Storage: jetstream.MemoryStorage, Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardOld, MaxAge: kept, MaxBytes: keptMost})
	return err
}

// Credentials are those of the cloud's own client.
func (b *Broker) Credentials() (username, password string) { return CloudUser, b.password }

// Kick ends the connections of a board whose credentials ended.
func (b *Broker) Kick(username string) {
	connections, err := b.server.Connz(&server.ConnzOptions{Username: true, User: username, State: server.ConnOpen})
	if err != nil {
		return
	}
	for _, c := range connections.Conns {
		_ = b.server.DisconnectClientByID(c.Cid)
	}
}

// Stop ends the broker and waits for it.
func (b *Broker) Stop() {
	b.server.Shutdown()
	b.server.WaitForShutdown()
}

type authenticator struct {
	broker *Broker
	auth   Authenticate
}

// Check admits the cloud's own client to everything and a board to its own topics.
func (a authenticator) Check(c server.ClientAuthentication) bool {
	o := c.GetOpts()
	if o.Username == CloudUser {
		if o.Password != a.broker.password {
			return false
		}
		c.RegisterUser(&server.User{Username: CloudUser})
		return true
	}
	<-a.broker.ready
	if a.broker.failed || o.Username == "" || strings.ContainsAny(o.Username, ".*> \t") || !a.auth(o.Username, o.Password) {
		return false
	}
	// MQTT's levels are subject tokens: device/{sn}/message/up/x is device.{sn}.message.up.x.
	var own []string
	for _, base := range []string{"device." + o.Username + ".message.", o.Username + ".device.message."} {
		own = append(own, base+">")
	}
	c.RegisterUser(&server.User{Username: o.Username, Permissions: &server.Permissions{
		Publish:   &server.SubjectPermission{Allow: own},
		Subscribe: &server.SubjectPermission{Allow: own},
	}})
	return true
}
