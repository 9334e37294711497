package cameratest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/bluenviron/gortsplib/v4"
	"github.com/bluenviron/gortsplib/v4/pkg/base"
	"github.com/bluenviron/gortsplib/v4/pkg/description"
	"github.com/bluenviron/gortsplib/v4/pkg/format"
	"github.com/pion/rtp"
)

// RTSP is a camera as an RTSP server with one M-JPEG stream. Its pictures must
// be JPEGs in colour with the standard Huffman tables.
type RTSP struct {
	URL string

	camera *Camera
	server *gortsplib.Server
	stream *gortsplib.ServerStream
	media  *description.Media
	stop   chan struct{}
	wait   sync.WaitGroup

	mu    sync.Mutex
	conns map[*gortsplib.ServerConn]struct{}
}

// RTSP starts the camera as an RTSP server on this machine.
func (c *Camera) RTSP() (*RTSP, error) {
	r := &RTSP{camera: c, stop: make(chan struct{}), conns: map[*gortsplib.ServerConn]struct{}{}}
	var err error
	for range 10 { // UDP needs a pair of ports
		rtpPort := 20000 + 2*rand.IntN(10000)
		r.server = &gortsplib.Server{Handler: r, RTSPAddress: "127.0.0.1:0", WriteQueueSize: 4096, // packets: a large picture has hundreds
			UDPRTPAddress: fmt.Sprintf("127.0.0.1:%d", rtpPort), UDPRTCPAddress: fmt.Sprintf("127.0.0.1:%d", rtpPort+1),
			Listen: func(network, address string) (net.Listener, error) {
				l, err := net.Listen(network, address)
				if err == nil {
					r.URL = fmt.Sprintf("rtsp://%s/lane", l.Addr())
				}
				return l, err
			}}
		if err = r.server.Start(); err == nil {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("cannot start the RTSP camera: %w", err)
	}
	r.media = &description.Media{Type: description.MediaTypeVideo, Formats: []format.Format{&format.MJPEG{}}}
	stream := &gortsplib.ServerStream{Server: r.server, Desc: &description.Session{Medias: []*description.Media{r.media}}}
	if err := stream.Initialize(); err != nil {
		r.server.Close()
		return nil, fmt.Errorf("cannot start the RTSP camera: %w", err)
	}
	r.mu.Lock()
	r.stream = stream
	r.mu.Unlock()
	r.wait.Go(r.run)
	return r, nil
}

// Close ends the server.
func (r *RTSP) Close() {
	close(r.stop)
	r.wait.Wait()
	r.stream.Close()
	r.server.Close()
}

// run sends frames to whoever is connected.
func (r *RTSP) run() {
	encoder, err := r.media.Formats[0].(*format.MJPEG).CreateEncoder()
	if err != nil {
		return
	}
	tick := time.NewTicker(r.camera.period)
	defer tick.Stop()
	begin := time.Now()
	for n := 0; ; n++ {
		select {
		case <-r.stop:
			return
		case <-tick.C:
		}
		m, _ := r.camera.now()
		if m == Refuses || m == Drops && n%(4*beforeDrop) == 0 {
			r.hangUp()
		}
		if !r.watched() {
			continue
		}
		b := r.camera.frame(m)
		if b == nil {
			continue
		}
		packets, err := encoder.Encode(b)
		if err != nil { // garbage as it is
			packets = []*rtp.Packet{{Header: rtp.Header{Version: 2, PayloadType: 26, Marker: true, SequenceNumber: uint16(n)}, Payload: b[:min(len(b), 1400)]}}
		}
		stamp := uint32(time.Since(begin).Seconds() * 90000)
		for _, p := range packets {
			p.Timestamp = stamp
			_ = r.stream.WritePacketRTP(r.media, p)
		}
	}
}

func (r *RTSP) watched() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.conns) > 0
}

func (r *RTSP) hangUp() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.conns {
		c.Close()
	}
}

// OnConnOpen is called by the server.
func (r *RTSP) OnConnOpen(ctx *gortsplib.ServerHandlerOnConnOpenCtx) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conns[ctx.Conn] = struct{}{}
}

// OnConnClose is called by the server.
func (r *RTSP) OnConnClose(ctx *gortsplib.ServerHandlerOnConnCloseCtx) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, ctx.Conn)
}

// OnDescribe is called by the server.
func (r *RTSP) OnDescribe(*gortsplib.ServerHandlerOnDescribeCtx) (*base.Response, *gortsplib.ServerStream, error) {
	if m, _ := r.camera.now(); m == Refuses {
		return &base.Response{StatusCode: base.StatusServiceUnavailable}, nil, nil
	}
	return r.streaming()
}

func (r *RTSP) streaming() (*base.Response, *gortsplib.ServerStream, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stream == nil { // it is just starting
		return &base.Response{StatusCode: base.StatusServiceUnavailable}, nil, nil
	}
	return &base.Response{StatusCode: base.StatusOK}, r.stream, nil
}

// OnSetup is called by the server.
func (r *RTSP) OnSetup(*gortsplib.ServerHandlerOnSetupCtx) (*base.Response, *gortsplib.ServerStream, error) {
	return r.streaming()
}

// OnPlay is called by the server.
func (r *RTSP) OnPlay(*gortsplib.ServerHandlerOnPlayCtx) (*base.Response, error) {
	return &base.Response{StatusCode: base.StatusOK}, nil
}
