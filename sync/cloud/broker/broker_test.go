package broker

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// TestManyBoards holds more boards than NATS allows consumers by default.
func TestManyBoards(t *testing.T) {
	const boards = 1100
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	b, err := Start(address, t.TempDir(), func(username, password string) bool { return password == "right" })
	if err != nil {
		t.Fatal(err)
	}
	defer b.Stop()
	for i := range boards {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		sn := fmt.Sprintf("0000beef-%08x", i)
		if code := subscribe(t, conn, sn); code != 1 {
			t.Fatalf("board %d is given QoS %#x for its commands", i+1, code)
		}
	}
}

// Messages are kept as keepForAWhile says, also where an earlier version has kept
// them on disk.
func TestMessagesAreKeptForAWhile(t *testing.T) {
	dir := t.TempDir()
	for range 2 {
		b, err := Start("127.0.0.1:0", dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		conn, err := nats.Connect("", nats.InProcessServer(b.server), nats.UserInfo(b.Credentials()))
		if err != nil {
			t.Fatal(err)
		}
		js, err := jetstream.New(conn)
		if err != nil {
			t.Fatal(err)
		}
		stream, err := js.Stream(t.Context(), messages)
		if err != nil {
			t.Fatal(err)
		}
		if c := stream.CachedInfo().Config; c.Storage != jetstream.MemoryStorage || c.Retention != jetstream.LimitsPolicy || c.MaxAge != kept {
			t.Errorf("messages are kept as %+v", c)
		}
		err = js.DeleteStream(t.Context(), messages)
		if err == nil {
			_, err = js.CreateStream(t.Context(), jetstream.StreamConfig{Name: messages, Subjects: []string{"$MQTT.msgs.>"}, Retention: jetstream.InterestPolicy})
		}
		conn.Close()
		b.Stop()
		if err != nil {
			t.Fatal(err)
		}
	}
}

// A taken address is told at once.
func TestTakenAddress(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	began := time.Now()
	if _, err := Start(l.Addr().String(), t.TempDir(), nil); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("%v", err)
	}
	if waited := time.Since(began); waited > patience/2 {
		t.Errorf("it took %s", waited)
	}
}

// subscribe greets the broker as a board and returns what the broker grants.
func subscribe(t *testing.T, conn net.Conn, sn string) byte {
	t.Helper()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	hello := packets.NewControlPacket(packets.Connect).(*packets.ConnectPacket)
	hello.ProtocolName, hello.ProtocolVersion, hello.CleanSession, hello.Keepalive = "MQTT", 4, true, 60
	hello.ClientIdentifier, hello.Username, hello.Password = sn, sn, []byte("right")
	hello.UsernameFlag, hello.PasswordFlag = true, true
	sub := packets.NewControlPacket(packets.Subscribe).(*packets.SubscribePacket)
	sub.MessageID, sub.Topics, sub.Qoss = 1, []string{"device/" + sn + "/message/down/#"}, []byte{1}
	for _, p := range []packets.ControlPacket{hello, sub} {
		if err := p.Write(conn); err != nil {
			t.Fatal(err)
		}
		answer, err := packets.ReadPacket(conn)
		if err != nil {
			t.Fatal(err)
		}
		if ack, ok := answer.(*packets.SubackPacket); ok {
			return ack.ReturnCodes[0]
		}
	}
	t.Fatal("no SUBACK")
	return 0
}
