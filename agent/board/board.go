package board

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"gatehouse/agent/gate"
	"gatehouse/agent/settings"
	"gatehouse/agent/supervise"
	"gatehouse/configs"
	"gatehouse/hal/barrier"
	"gatehouse/sync/binding"
	"gatehouse/sync/change"
	"gatehouse/sync/errcode"
	"gatehouse/sync/outbox"
	"gatehouse/sync/session"
	"gatehouse/sync/store"
	"gatehouse/sync/wire"
	"gatehouse/vision/link"
)

// Board is a running board.
type Board struct {
	current atomic.Pointer[configs.Config] // in force; replaced whole
	version string
	log     *slog.Logger
	begin   time.Time

	state    *State
	settings *settings.Settings
	outbox   *outbox.Outbox
	engine   *change.Engine
	barrier  *barrier.Locks
	program  string // gatehouse-vision
	gate     *gate.Gate
	vision   *supervise.Supervisor
	lock     *os.File
	dir      string         // of the state
	clock    *session.Clock // of certificates

	periphery
	channels
	troubles

	commands   chan inbound
	unanswered atomic.Int32            // commands under way: their answer has not arrived at the broker
	results    chan decided            // from the hot path to the outbox
	rebound    chan struct{}           // the binding changed: connect anew
	restart    chan settings.Candidate // start the agent again

	openings *openings // passages that were opened for and are not told yet
	left     []opening // of them, those of the start before; store tells them

	barred time.Time // until when no face opens; onResult's alone
	told   answered  // onResult's alone
	asked  time.Time // when the broker last had the board ask its cloud; rebind's alone
	rows   rowMemory // obey's alone

	mu      sync.Mutex
	early   early // guarded by mu, like what follows
	crowded []decided
	faults  map[string]time.Time // of the vision process, when each was told
	dropped int
	online  bool
	lastErr string
	epoch   int64
	// dialled is the config that the last attempt to connect was made with, upWith
	// that of the last connection that stood, and ackedAtUp how many events had
	// been acknowledged when it did.
	dialled   *configs.Config
	upWith    *configs.Config
	ackedAtUp uint64
}

// Open opens a board below the state directory dir. Program is the path of
// gatehouse-vision.
func Open(c configs.Config, dir, program, version string, log *slog.Logger) (*Board, error) {
	return OpenBoard(Options{Config: c, Dir: dir, Program: program, Version: version, Log: log})
}

// OpenBoard opens a board. A state database that passed its check and cannot be
// used all the same is set aside, so that the board comes up.
func OpenBoard(o Options) (*Board, error) {
	b, err := openBoard(o, "")
	if !store.Unusable(err) {
		return b, err
	}
	aside, asideErr := store.SetAside(filepath.Join(o.Dir, "state.db"))
	if asideErr != nil {
		return nil, errors.Join(err, asideErr)
	}
	o.Log.Error("the state database cannot be used and is set aside", "aside", aside, "err", err)
	return openBoard(o, aside)
}

// openBoard opens a board whose state database was set aside as aside, or not ("").
func openBoard(o Options, aside string) (opened *Board, err error) {
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the state directory: %w", err)
	}
	b := &Board{version: o.Version, dir: o.Dir, clock: newClock(o.Dir), log: o.Log, begin: time.Now(), program: o.Program, commands: make(chan inbound, 64), told: answered{},
		results: make(chan decided, mostResults), rebound: make(chan struct{}, 1), restart: make(chan settings.Candidate, 1)}
	defer func() {
		if err != nil {
			b.Close()
		}
	}()
	if b.lock, err = lock(o.Dir, lockPatience); err != nil {
		return nil, err
	}
	if b.state, err = OpenState(o.Dir, o.Config.Device.SN, o.Log); err != nil {
		return nil, err
	}
	if aside != "" {
		b.state.setAside(aside)
	}
	if err = store.Guard(func() (err error) {
		b.settings, err = settings.Open(b.state.db, o.Config, o.Candidate, settings.Options{Dir: o.Dir, SN: b.state.SN(),
			Sign: b.state.identity.Keys.Sign, Quarantined: b.state.Quarantined, Log: o.Log})
		return err
	}); err != nil {
		return nil, err
	}
	if b.openings, b.left, err = openOpenings(filepath.Join(o.Dir, "openings"), o.Log); err != nil {
		return nil, err
	}
	if list := b.settings.Overrides(); len(list) > 0 {
		o.Log.Warn("the pushed config overrides the board's own file", "what", list)
	}
	c := b.settings.Start()
	b.current.Store(&c)
	if err := b.openParts(c, o); err != nil {
		return nil, err
	}
	b.reportDamages()
	return b, nil
}

// openParts opens what the config decides about.
func (b *Board) openParts(c configs.Config, o Options) (err error) {
	b.outbox, err = outbox.Open(filepath.Join(o.Dir, "events.db"), outbox.Options{
		PictureDir: filepath.Join(o.Dir, "pictures"), MaxBytes: int64(c.Delivery.MaxBytesMiB) << 20,
		MaxAge: time.Duration(c.Delivery.MaxAge), PictureQuota: int64(c.Delivery.PictureQuotaMiB) << 20, Trusted: ClockSynced, Log: o.Log})
	if err != nil {
		return err
	}
	driver, lines := newBarrier(c.Barrier)
	b.barrier = barrier.NewLocks(driver, c.Ports.KeepLocks)
	b.gate = gate.New(b.state.Whitelist, b.state.Faces, b.barrier, gateOptions(c))
	b.vision = supervise.New(supervise.Options{
		Program: o.Program, Args: []string{"run"}, Task: visionTask(c),
		OnResult: b.onResult, OnFault: b.onVisionFault, Log: o.Log})
	if err = store.Guard(func() error { return b.openChanges(o) }); err != nil {
		return err
	}
	b.state.clearing, b.state.cleared = b.settings.Clear, b.cleared
	b.served, b.wired = b.channelParts(c, o.Dir), append(lines, b.inputParts(c.Ports)...)
	if err := b.openEach(o, append(b.wired, b.served...)); err != nil {
		return err
	}
	return b.openPeriphery(c.Ports)
}

// openChanges opens the engine of changes and finishes what was interrupted.
func (b *Board) openChanges(o Options) (err error) {
	b.engine, err = change.New(b.state.db, []change.Kind{b.state.Whitelist.Kind(), b.settings.Kind(b)}, b.reportChange, change.Options{
		Dir: filepath.Join(o.Dir, "changes"), Hold: b.hold, Window: b.window, Trust: b.trust, Log: o.Log})
	return err
}

// newBarrier makes the driver that the config names, and what of it has to be opened.
func newBarrier(c configs.Barrier) (barrier.Driver, []part) {
	switch c.Driver {
	case "serial": // opens its port when it switches
		return barrier.NewRelays(barrier.NewSerial(barrier.SerialOptions{Port: c.Serial.Port, Baud: c.Serial.Baud,
			Protocol: barrier.Protocol(c.Serial.Protocol), Address: c.Serial.Address})), nil
	case "gpio":
		lines := &lateLines{find: func() (barrier.Switch, error) { return barrier.NewGPIO(c.GPIO.Lines, c.GPIO.ActiveLow) }}
		return barrier.NewRelays(lines), []part{{"barrier", lines.open, nil}}
	}
	return barrier.NewSoftware(time.Duration(c.CloseAfter)), nil
}

// lockPatience is how long a start waits for another agent to let go of the
// state directory. One that was killed may still be on its way out, and a child
// that it was just starting holds its files until it has become itself; the
// command line may be reading the state.
const lockPatience = 5 * time.Second

// lock makes sure that one process holds the state directory.
func lock(dir string, patience time.Duration) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "agent.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot lock the state directory: %w", err)
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return f, nil
		case !errors.Is(err, syscall.EWOULDBLOCK):
			f.Close()
			return nil, fmt.Errorf("cannot lock the state directory: %w", err)
		case time.Now().After(deadline):
			f.Close()
			return nil, fmt.Errorf("cannot lock %s: %w", dir, ErrHeld)
		}
	}
}

// ClockSynced asks the kernel whether the clock is synchronised.
func ClockSynced() bool {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	return err == nil && state != unix.TIME_ERROR
}

// monotonic is CLOCK_MONOTONIC in ns, the clock of a frame's capture.
func monotonic() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		return 0
	}
	return t.Nano()
}

// Close closes what Open opened.
func (b *Board) Close() {
	b.closePeriphery()
	b.closeChannels()
	b.openings.close()
	if b.engine != nil {
		b.engine.Close()
	}
	if b.outbox != nil {
		if err := b.outbox.Close(); err != nil {
			b.log.Error("the outbox did not close", "err", err)
		}
	}
	if b.barrier != nil {
		if err := b.barrier.Close(); err != nil {
			b.log.Error("the barrier's outputs may still be on", "err", err)
		}
	}
	if b.state != nil {
		if err := b.state.Close(); err != nil {
			b.log.Error("the state did not close", "err", err)
		}
	}
	if b.lock != nil {
		b.lock.Close()
	}
}

// decided is a result with what the gate did about it.
type decided struct {
	result   *link.Result
	decision gate.Decision
	at       time.Time
	late     bool // of the start before
}

// onResult is the hot path: decide, open, and only then hand on to the disk.
func (b *Board) onResult(r *link.Result) {
	if b.snapshots.take(r) {
		return
	}
	now := time.Now()
	captured := now
	if mono := monotonic(); r.CaptureMonoNS > 0 && r.CaptureMonoNS <= mono {
		captured = now.Add(time.Duration(r.CaptureMonoNS - mono))
	}
	same := time.Duration(b.config().Gate.SamePlate)
	again := b.told.repeats(r, same, now, func() string { return b.gate.Judge(r, b.clock.Now()).Reason })
	notice, noticed := b.noticed(r)
	if again && !noticed {
		return
	}
	d := decided{result: r, at: captured}
	if noticed && (again || notice.decision.Opened || notice.decision.Reason != "unsure" && firstPlate(notice.result) == firstPlate(r)) {
		d.decision = notice.decision
		d.decision.Faces = nil
	} else {
		b.decide(&d, now)
	}
	b.told.note(d, same, now)
	if r.Event == link.EventQuick {
		b.notice(d)
		if d.decision.Opened { // nobody waits for its final result
			b.background.Go(func() { _ = b.vision.Opened(r.Passage) })
		}
	}
	b.handOn(d)
}

// Room for results while the disk stands still; the gate goes on without it.
const (
	mostResults  = 64
	mostOpenings = 1024 // without pictures
)

// handOn gives a result to store without waiting for it. Where the disk has
// stood still for so long that there is no room, what opened the barrier is
// kept without its pictures, and the rest is counted.
func (b *Board) handOn(d decided) {
	select {
	case b.results <- d:
		return
	default:
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !d.decision.Opened || len(b.crowded) >= mostOpenings {
		b.dropped++
		return
	}
	r := *d.result
	r.Full, r.Crop = nil, nil
	d.result = &r
	b.crowded = append(b.crowded, d)
}

// storeCrowded stores what handOn had no room for, and tells how much is lost.
func (b *Board) storeCrowded() {
	b.mu.Lock()
	list, n := b.crowded, b.dropped
	b.crowded, b.dropped = nil, 0
	b.mu.Unlock()
	for _, d := range list {
		b.storeOne(d)
	}
	if n > 0 {
		b.fault("events", fmt.Sprintf("%d results were dropped while the disk stood still", n))
	}
}

// store puts results into the outbox; on the way out, when no more come, it
// stores what is left.
func (b *Board) store(ctx context.Context) {
	for _, l := range b.untold() {
		b.log.Warn("a passage that was opened for before the last stop is told now", "plate", l.Decision.Plate)
		b.storeOne(unfinished(decided{result: l.Result, decision: l.Decision, at: time.UnixMilli(l.AtMS), late: true}))
	}
	for {
		select {
		case d := <-b.results:
			b.storeOne(d)
			b.storeCrowded()
		case <-ctx.Done():
			for {
				select {
				case d := <-b.results:
					b.storeOne(d)
				default:
					b.storeCrowded()
					for _, d := range b.unnoticed() {
						b.storeOne(d)
					}
					return
				}
			}
		}
	}
}

// storeOne keeps a result for delivery. While the board belongs to nobody and
// no broker is configured, there is nobody whose event it would be, and whoever
// binds the board later has no right to see who came by before: it is not kept.
func (b *Board) storeOne(d decided) {
	var vendors wire.IVSResult
	if vendorResult(d.result) {
		vendors = b.message(d)
		b.tellChannels(d, vendors)
	}
	account := b.account()
	if account == 0 && b.config().MQTT.Broker == "" {
		return
	}
	switch d.result.Event {
	case link.EventLane:
		if m, ok := b.laneMessage(d); ok {
			b.put(d, wire.NameLaneResult, m, account, nil)
		}
		return
	case link.EventQuick:
		if d.decision.Opened {
			b.openings.keep(d)
		}
		if b.config().Lane.EarlyResult {
			b.put(d, nameQuick, b.message(d), account, nil)
		}
		return
	}
	pictures := map[string][]byte{}
	if len(d.result.Full) > 0 {
		pictures["full_image_content"] = d.result.Full
	}
	if len(d.result.Crop) > 0 {
		pictures["small_image_content"] = d.result.Crop
	}
	if vendorResult(d.result) {
		b.put(d, wire.NameIVSResult, vendors, account, pictures)
		pictures = nil
	}
	for i := range d.decision.Faces[:min(len(d.decision.Faces), maxFaces)] {
		b.put(d, wire.NameFaceResult, wire.Body{Body: b.faceMessage(d, i)}, account, pictures)
		pictures = nil
	}
	b.openings.told(d.result.Passage)
}

func (b *Board) put(d decided, name string, m any, account int64, pictures map[string][]byte) {
	payload, err := json.Marshal(m)
	if err != nil {
		b.log.Error("a result cannot be written", "err", err)
		return
	}
	e := outbox.Event{Name: name, Payload: payload, Account: account, Pictures: pictures}
	if d.decision.Opened {
		e.Priority = outbox.Decision
	}
	if _, err := b.outbox.Put(context.Background(), e); err != nil {
		b.log.Error("an event could not be stored", "plate", d.decision.Plate, "opened", d.decision.Opened, "err", err)
	}
}

// maxFaces is how many faces of one picture are told about; a crowd is no
// passage.
const maxFaces = 8

// faceMessage tells whom face i is of; features stay on the board.
func (b *Board) faceMessage(d decided, i int) wire.FaceResult {
	f, who := d.result.Faces[i], d.decision.Faces[i]
	m := wire.FaceResult{UserID: who.Name, UserName: who.Name, Similarity: who.Similarity, Threshold: who.Needed, Liveness: f.Live,
		Location: wire.Rect{Left: f.Box.Left, Top: f.Box.Top, Right: f.Box.Left + f.Box.Width, Bottom: f.Box.Top + f.Box.Height},
		Decision: wire.DecisionReport{Opened: d.decision.Opened, Reason: d.decision.Reason, Passage: passageName(d.result.Passage)}, GioOuts: []wire.RelayAction{}}
	if d.decision.Opened {
		m.GioOuts = append(m.GioOuts, wire.RelayAction{IONum: barrier.RaiseOutput, CtrlType: wire.RelayByWhitelist})
	}
	return m
}

// message is a result in the vendor's form, without pictures.
func (b *Board) message(d decided) wire.IVSResult {
	m := wire.NewResult(b.state.SN(), b.config().Device.Name, localIP(), d.at)
	m.AlarmInfoPlate.UserData = wire.B64(b.config().Device.UserData)
	r := &m.AlarmInfoPlate.Result.PlateResult
	for _, p := range d.result.Plates {
		r.AddPlate(license(p), percent(p.Score), p.ColorType, p.Type, wire.Rect{Left: p.Box.Left, Top: p.Box.Top, Right: p.Box.Left + p.Box.Width, Bottom: p.Box.Top + p.Box.Height})
	}
	r.TriggerType, r.Direction, r.PlateID = triggerType(d.result), d.result.Direction, b.plateIDs.of(d.result, b.numbered(d.at))
	r.TimeUsed, r.RecordID = int(time.Since(d.at).Microseconds()), r.PlateID
	r.UniqueID = fmt.Sprintf("%s_%d", b.state.SN(), d.at.UnixMilli())
	r.BeginTime, r.EndTime = around(d, d.result.BeginMonoNS), around(d, d.result.EndMonoNS)
	if len(r.Plates) > 0 {
		r.Plates[0].ClipImgSize = len(d.result.Crop)
	}
	m.Gatehouse = &wire.DecisionReport{Opened: d.decision.Opened, Reason: d.decision.Reason, Listed: d.decision.Listed, Group: d.decision.Group,
		Tolerated: d.decision.Tolerated, Alarm: d.decision.Alarm, Passage: passageName(d.result.Passage), Readings: readings(d.result.Plates)}
	if v := d.result.Votes; v.Frames > 0 {
		m.Gatehouse.Votes = &wire.Votes{Frames: v.Frames, Share: thousandths(v.Share)}
	}
	if d.decision.Opened {
		r.GioOuts = []wire.RelayAction{{IONum: barrier.RaiseOutput, CtrlType: wire.RelayByWhitelist}}
	}
	return m
}

// numbered is the time that a result's number begins with: numbers must not go
// back with a clock that has lost its time.
func (b *Board) numbered(at time.Time) time.Time {
	if floor := b.clock.Now(); floor.Sub(at) > time.Hour {
		return floor
	}
	return at
}

// readings is what the vendor's fields have no room for.
func readings(plates []link.Plate) (out []wire.Reading) {
	for _, p := range plates {
		r := wire.Reading{Kind: p.Kind, Country: p.Country, Score: thousandths(p.Score)}
		for _, c := range p.CharScores {
			r.CharScores = append(r.CharScores, thousandths(c))
		}
		out = append(out, r)
	}
	return out
}

// thousandths rounds down, as percent does.
func thousandths(score float64) float64 { return math.Floor(score*1000+1e-9) / 1000 }

// percent rounds down, so that a client's limit of 90 means what ours of 0.9
// does.
func percent(score float64) int { return int(score*100 + 1e-9) }

// account is the mark of whom events belong to, 0 while the board is not bound.
func (b *Board) account() int64 {
	bound, err := b.state.Binding()
	if err != nil {
		return 0
	}
	return bound.mark()
}

// reportChange takes a change's report over into the outbox.
func (b *Board) reportChange(r wire.ChangeReport) error {
	payload, err := json.Marshal(wire.Body{Body: r})
	if err != nil {
		return err
	}
	_, err = b.outbox.Put(context.Background(), outbox.Event{Name: wire.NameChange, Payload: payload, Priority: outbox.Result, Account: b.account()})
	return err
}

// Bind binds the board and connects it to its new broker.
func (b *Board) Bind(ctx context.Context, c binding.Client, groupID int64, remark string) error {
	err := b.state.Bind(ctx, c, groupID, remark)
	if err == nil || binding.Unsure(err) {
		b.reconnect()
	}
	return err
}

// rebindEvery bounds how often the broker can make the board ask its cloud.
const rebindEvery = 2 * time.Second

// rebind asks the cloud what the board is bound to now: keys, policy or
// credentials have changed. The message itself is a hint only, since whoever
// holds the broker could send one; the answer comes over the cloud's HTTPS,
// sealed for this board. One that comes early is not refused but waits: it may
// be the true one behind false ones.
func (b *Board) rebind(ctx context.Context) error {
	before, err := b.state.Binding()
	if err != nil {
		return err
	}
	if before.asks() == "" {
		return errcode.New(errcode.DeviceNotBound, "")
	}
	select {
	case <-time.After(time.Until(b.asked.Add(rebindEvery))):
	case <-ctx.Done():
		return ctx.Err()
	}
	b.asked = time.Now()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := b.state.Agree(ctx); err != nil {
		return err
	}
	after, err := b.state.Binding()
	if err == nil && (after.Body == nil || before.Body == nil || after.Body.Broker != before.Body.Broker) {
		b.reconnect()
	}
	return err
}

// unbound asks the cloud whether it has unbound the board: the message is a hint
// only, as that of rebind is, and whoever holds the broker could clear the board.
func (b *Board) unbound(ctx context.Context) error {
	if err := b.rebind(ctx); err != nil {
		return err
	}
	bound, err := b.state.Binding()
	if err == nil && bound.Body != nil {
		err = errcode.Busy("The cloud says that the board is still bound!")
	}
	return err
}

// Unbind takes the board out of its account.
func (b *Board) Unbind(ctx context.Context, c binding.Client) error {
	err := b.state.Unbind(ctx, c)
	if err == nil {
		b.reconnect()
	}
	return err
}

func (b *Board) reconnect() {
	select {
	case b.rebound <- struct{}{}:
	default:
	}
}

// connect keeps the board connected, anew after each change of its binding.
func (b *Board) connect(ctx context.Context) {
	for ctx.Err() == nil {
		once, cancel := context.WithCancel(ctx)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			backoff := session.DefaultBackoff()
			backoff.Max = time.Duration(b.config().MQTT.BackoffMax)
			_ = session.Run(once, backoff, func() (session.Options, error) { return b.connection(once) }, b.onState)
		}()
		select {
		case <-ctx.Done():
		case <-b.rebound:
			b.awaitAnswers(ctx)
		}
		cancel()
		<-ended
	}
}

var errNotBound = errors.New("the board is not bound; run `gatehouse bind`")

// onState notes how the connection does; refused credentials may mean that the
// cloud has unbound the board or rotated them: it is asked.
func (b *Board) onState(err error) {
	acknowledged := b.outbox.Stats().Acknowledged
	b.mu.Lock()
	b.online = err == nil
	if err != nil {
		b.lastErr = err.Error()
	} else {
		b.lastErr = ""
		b.upWith, b.ackedAtUp = b.dialled, acknowledged
	}
	b.mu.Unlock()
	switch {
	case err == nil:
		b.log.Info("connected to the broker")
	case errors.Is(err, session.ErrAuth):
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := b.state.Agree(ctx); err != nil {
			b.log.Warn("the cloud could not be asked about the binding", "err", err)
		}
	case !errors.Is(err, errNotBound) && !errors.Is(err, context.Canceled):
		b.log.Warn("not connected to the broker", "err", err)
	}
}
