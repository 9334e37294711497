package board

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"gatehouse/configs"
	"gatehouse/sync/session/brokertest"
	"gatehouse/sync/wire"
)

// paho connects a plain paho client.
func paho(b *testing.B, url, id string) mqtt.Client {
	b.Helper()
	c := mqtt.NewClient(mqtt.NewClientOptions().AddBroker(url).SetClientID(id).SetAutoReconnect(false))
	if t := c.Connect(); t.Wait() && t.Error() != nil {
		b.Fatal(t.Error())
	}
	b.Cleanup(func() { c.Disconnect(100) })
	return c
}

// subscribe has each message that arrives on topic counted.
func subscribe(b *testing.B, c mqtt.Client, topic string) chan struct{} {
	b.Helper()
	came := make(chan struct{}, 16)
	if t := c.Subscribe(topic, 1, func(mqtt.Client, mqtt.Message) { came <- struct{}{} }); t.Wait() && t.Error() != nil {
		b.Fatal(t.Error())
	}
	return came
}

// BenchmarkCommand measures a command and its reply between a client and the
// board over mosquitto, against two paho clients that answer each other with
// the same bytes and do nothing else.
func BenchmarkCommand(b *testing.B) {
	m := brokertest.NewMosquitto(b, "")
	url := "tcp://" + m.Address
	command := func(i int) []byte {
		return fmt.Appendf(nil, `{"id":"%d","sn":"265e1040-85e01fb7","name":"ivs_trigger","version":"1.0","timestamp":1,"payload":{"type":"ivs_trigger","body":{}}}`, i)
	}
	const down = "device/265e1040-85e01fb7/message/down/ivs_trigger"
	round := func(b *testing.B, client mqtt.Client, came chan struct{}) {
		b.Helper()
		i := 0
		for b.Loop() {
			i++
			client.Publish(down, 1, false, command(i))
			select {
			case <-came:
			case <-time.After(20 * time.Second):
				b.Fatal("no answer")
			}
		}
	}
	b.Run("raw-paho", func(b *testing.B) {
		client, answerer := paho(b, url, "client"), paho(b, url, "answerer")
		came := subscribe(b, client, down+"/reply")
		if t := answerer.Subscribe(down, 1, func(c mqtt.Client, m mqtt.Message) { c.Publish(down+"/reply", 1, false, m.Payload()) }); t.Wait() && t.Error() != nil {
			b.Fatal(t.Error())
		}
		round(b, client, came)
	})
	b.Run("board", func(b *testing.B) {
		c := configs.Default()
		c.Device.SN, c.MQTT.Broker = "265e1040-85e01fb7", url
		board, err := Open(c, b.TempDir(), "gatehouse-vision", "bench", slog.New(slog.DiscardHandler))
		if err != nil {
			b.Fatal(err)
		}
		defer board.Close()
		client := paho(b, url, "client")
		came := subscribe(b, client, down+"/reply")
		birth := subscribe(b, client, "device/265e1040-85e01fb7/message/up/"+wire.NameBirth)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() { defer close(done); _ = board.Run(ctx) }()
		defer func() { cancel(); <-done }()
		<-birth
		round(b, client, came)
	})
	if !json.Valid(command(1)) {
		b.Error("the command is no JSON")
	}
}
