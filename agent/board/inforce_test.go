package board

import (
	"context"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"gatehouse/configs"
)

// A config that only a restart of the agent changes, and that changes the
// connection too, is used on a healthy network.
func TestAConfigOfBothSortsIsUsed(t *testing.T) {
	address := broker(t)
	p := connectParking(t, address)
	const sn = "265e1040-85e01fb7"
	c := configs.Default()
	c.Device.SN, c.MQTT.Broker = sn, "tcp://"+address
	ctx, cancel := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	opened := make(chan *Board, 8)
	wait.Go(func() {
		o := Options{Config: c, Dir: filepath.Join(t.TempDir(), "state"), Program: "gatehouse-vision", Version: "test", Log: slog.New(slog.DiscardHandler)}
		if err := RunAgent(ctx, o, func(b *Board) { opened <- b }); err != nil {
			t.Error(err)
		}
	})
	defer wait.Wait()
	defer cancel()
	up, down := "device/"+sn+"/message/up/", "device/"+sn+"/message/down/config"
	p.wait(up+"birth", nil)
	const content = `{"mode":"merge","config":{"barrier":{"close_after":"6s"},"mqtt":{"keep_alive":"7s","trial":"10s"}}}`
	p.command(down, 1, `{"id":"stage","payload":{"body":`+stage(t, "c1", "config", content, "", nil, "", 0)+`}}`)
	p.wait(down+"/reply", byID("stage"))
	p.command(down, 1, `{"id":"apply","payload":{"body":{"operator_type":"apply","change_id":"c1"}}}`)
	if r := p.wait(down+"/reply", byID("apply")); r["code"] != 200.0 {
		t.Errorf("%v", r)
	}
	end := p.wait(up+"change", func(m map[string]any) bool { return at(m, "payload", "body", "result") != nil })
	if r := at(end, "payload", "body"); at(r, "state") != "used" {
		t.Errorf("%v", r)
	}
	<-opened
	b := <-opened
	if c := b.InForce(); c.Barrier.CloseAfter != configs.Duration(6*time.Second) || c.MQTT.KeepAlive != configs.Duration(7*time.Second) {
		t.Errorf("%+v %+v", c.Barrier, c.MQTT)
	}
}
