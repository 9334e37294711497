package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"gatehouse/configs"
	"gatehouse/hal/camera"
	"gatehouse/hal/camera/source"
	"gatehouse/vision/link"
	"gatehouse/vision/track"
)

// passageRow is one line of passages --json.
type passageRow struct {
	Begin       float64    `json:"begin"` // s from the start of the film
	End         float64    `json:"end"`   // of its last frame until it was told
	At          float64    `json:"picture_at"`
	Event       string     `json:"event"`
	LaneEvent   int        `json:"lane_event,omitempty"`
	Plate       string     `json:"plate"` // empty: none, or unreadable where plates is 1
	Plates      int        `json:"plates"`
	Score       float64    `json:"score"`
	Kind        string     `json:"kind,omitempty"`
	Votes       link.Votes `json:"votes"`
	Direction   string     `json:"direction"`
	Box         link.Box   `json:"box"`
	Film        string     `json:"film,omitempty"`    // where there are several
	File        string     `json:"file,omitempty"`    // picture file of a directory
	PictureFile string     `json:"picture,omitempty"` // written by --out
	Crop        string     `json:"crop,omitempty"`
}

var directionNames = [...]string{"unknown", "left", "right", "up", "down"}

// listing is what passages writes of all films.
type listing struct {
	events  bool
	out     string
	asJSON  bool
	to      io.Writer
	told    int
	frames  int
	looked  int
	damaged int       // pictures and films
	took    []float64 // of each frame that was looked at
}

// film is what passages goes through.
type film struct {
	*listing
	name   string // empty where there is one only
	camera camera.Camera
	watch  *watch
	shots  pool
	fps    float64 // of the frames that are looked at
	skip   int     // frames left out before each of them
	frame  int     // the last one, from 1
}

// passages lists the vehicles that pass in films or directories of pictures.
func passages(args []string, out io.Writer) error {
	f := newFlags("passages", "VIDEO|DIR…", "Lists the passages in a video, or in a directory of pictures: with --fps its pictures, in the order of their names, are the frames of one camera; without, each is a passage of its own. Each film is looked at by itself, a directory's videos too: its times begin at 0, and nothing of the film before is known.")
	asJSON := f.Bool("json", false, "one JSON object per line and passage")
	dir := f.String("out", "", "write each passage's picture and plate into this directory")
	fps := f.Float64("fps", 0, "frames a second that are looked at (video: at most its own, default 15; directory: of its pictures)")
	models := f.String("models", "", "model directory (default: found by itself)")
	laneFile := f.String("lane", "", "a board's config file, or its lane section alone (region, trigger_line, direction, …); the passages are then told as that board tells them")
	events := f.Bool("events", false, "list staying, U-turns and the like too")
	noPlate := f.Bool("no-plate", false, "list vehicles without plate too")
	same := f.Duration("same", 10*time.Second, "how long the same plate is not listed again")
	least := f.Float64("min-score", 0.9, "the score that the gate asks for")
	reading := readingFlags(f)
	from, err := parse(f, args, 1, -1)
	if err != nil {
		return err
	}
	if *fps < 0 || *fps > 1000 || *same < 0 {
		return usageError{errors.New("passages: --fps must be 0 to 1000 and --same not negative")}
	}
	s := link.Settings{Plates: true, SamePlateMS: same.Milliseconds(), MinPlateScore: *least, PictureBytes: 1 << 20, CropBytes: 1 << 18,
		Lane: link.LaneOf(configs.Default().Lane)}
	if *laneFile != "" {
		if s.Lane, err = readLane(*laneFile); err != nil {
			return err
		}
	}
	s.Lane.FinalMayWait = true // no barrier waits for it here
	s.Lane.NoPlate = s.Lane.NoPlate || *noPlate
	if *events {
		s.Lane.UTurn, s.Lane.Passing = true, true
		if s.Lane.StayingMS == 0 {
			s.Lane.StayingMS = 10_000
		}
		if s.Lane.TailGatingMS == 0 {
			s.Lane.TailGatingMS = 3000
		}
	}
	films, err := filmsOf(from, *dir)
	if err != nil {
		return err
	}
	if *dir != "" {
		if err := os.MkdirAll(*dir, 0o755); err != nil {
			return fmt.Errorf("cannot make the directory of --out: %w", err)
		}
	}
	e, err := openEyesWith(*models, reading())
	if err != nil {
		return err
	}
	defer e.close()
	l := &listing{events: *events, out: *dir, asJSON: *asJSON, to: out}
	for _, path := range films {
		v := &film{listing: l, watch: newWatch(s, e), fps: *fps}
		if len(films) > 1 {
			v.name = path
		}
		err := v.play(path)
		v.watch.close()
		v.shots.close()
		if err != nil && (len(films) == 1 || !errors.As(err, new(unplayable))) {
			return err
		}
		if err != nil { // the others can be looked at all the same
			l.damaged++
			_, _ = fmt.Fprintln(os.Stderr, "gatehouse-vision:", err)
		}
	}
	return l.sum()
}

// unplayable is why a film cannot be looked at.
type unplayable struct{ error }

// filmsOf are the sources that paths mean. What is written into out must not be
// among them.
func filmsOf(paths []string, out string) (films []string, err error) {
	written, _ := os.Stat(out)
	for _, path := range paths {
		if info, err := os.Stat(path); err == nil && written != nil && os.SameFile(info, written) {
			return nil, usageError{fmt.Errorf("passages: --out %s is looked at too, and would be full of its own pictures; take another directory", out)}
		}
		if source.IsLive(path) {
			return nil, usageError{errors.New("passages takes videos and directories; a live camera is the agent's")}
		}
		sources, err := source.Films(path)
		if err != nil {
			return nil, fmt.Errorf("cannot look for passages: %w", err)
		}
		films = append(films, sources...)
	}
	return films, nil
}

// play opens a film and lists its passages.
func (v *film) play(path string) error {
	c, err := camera.Open(path, camera.Options{})
	if err != nil {
		return unplayable{err}
	}
	defer c.Close()
	v.camera = c
	return v.run()
}

// readLane reads the lane of a board's config.
func readLane(path string) (link.Lane, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return link.Lane{}, fmt.Errorf("cannot read the lane: %w", err)
	}
	var whole struct{ Lane json.RawMessage }
	if json.Unmarshal(b, &whole) == nil && whole.Lane == nil {
		b = fmt.Appendf(nil, `{"lane": %s}`, b)
	}
	c, err := configs.Parse(b)
	if err != nil {
		return link.Lane{}, fmt.Errorf("cannot read the lane: %s: %w", path, err)
	}
	return link.LaneOf(c.Lane), nil
}

func (v *film) run() error {
	alone := v.camera.Still() && v.fps == 0
	if !v.camera.Still() {
		own := v.camera.FPS()
		if own == 0 {
			own = 25
		}
		want := v.fps
		if want == 0 {
			want = 15
		}
		v.skip = max(0, int(own/want+.5)-1)
		v.fps = own / float64(v.skip+1)
	}
	if !v.asJSON {
		if v.name != "" {
			_, _ = fmt.Fprintln(v.to, v.name)
		}
		_, _ = fmt.Fprintf(v.to, "%8s %8s  %-12s %6s %7s %6s  %-8s %s\n", "begin", "end", "plate", "score", "frames", "agree", "direct.", "picture")
	}
	for {
		s := v.shots.take()
		frame, err := v.next(s)
		switch {
		case errors.Is(err, io.EOF):
			s.Drop()
			return v.tell(v.watch.end())
		case err != nil && v.camera.Still(): // one damaged picture
			v.damaged++
			_, _ = fmt.Fprintln(os.Stderr, "gatehouse-vision:", err)
		case err != nil:
			s.Drop()
			return unplayable{err}
		default:
			v.frames++
			v.frame++
			s.name = frame.Name
			if alone {
				err = v.alone(s)
			} else {
				s.at = int64(float64(v.frame) * 1e9 / v.fps)
				err = v.look(s)
			}
			if err != nil {
				s.Drop()
				return err
			}
		}
		s.Drop()
	}
}

func (v *film) next(s *shot) (frame camera.Frame, err error) {
	for range v.skip + 1 {
		if frame, err = v.camera.Next(&s.picture); err != nil {
			return frame, err
		}
	}
	return frame, nil
}

func (v *film) look(s *shot) error {
	begin := time.Now()
	out, err := v.watch.frame(s, func(notes []track.Note, _ map[string]float64) error {
		v.took = append(v.took, ms(time.Since(begin)))
		return v.tell(notes)
	})
	if out.looked {
		v.looked++
	} else if len(v.took) > 0 {
		v.took = v.took[:len(v.took)-1]
	}
	return err
}

// alone takes a picture for a passage of each plate in it, as the board does.
func (v *film) alone(s *shot) error {
	v.looked++
	begin := time.Now()
	saw, err := v.watch.eyes.look(s.picture, wanted{plates: true, far: true})
	if err != nil {
		return err
	}
	v.took = append(v.took, ms(time.Since(begin)))
	for _, p := range v.watch.inLane(saw, s.picture).Plates {
		s.Keep()
		share := 1.
		n := track.Note{Event: link.EventPassage, Plate: p, Votes: link.Votes{Frames: 1, Share: share}, Shot: s}
		if err := v.tell([]track.Note{n}); err != nil {
			return err
		}
	}
	return nil
}

// tell lists what is told, pictures of passages first written.
func (v *film) tell(notes []track.Note) error {
	var failed error
	for _, n := range notes {
		if failed == nil && (n.Event == link.EventPassage || v.events && n.Event == link.EventLane) {
			failed = v.list(n)
		}
		drop(n)
	}
	return failed
}

func (v *film) list(n track.Note) error {
	v.told++
	row := passageRow{Begin: seconds(n.Begin), End: seconds(n.End), At: seconds(n.ShotAt), Event: n.Event, LaneEvent: n.LaneEvent, Plate: n.Plate.Text, Film: v.name,
		Score: n.Plate.Score, Kind: n.Plate.Kind, Votes: n.Votes, Direction: directionNames[n.Direction], Box: n.Plate.Box}
	if n.Plate.Box.Width > 0 {
		row.Plates = 1
	}
	if s, ok := n.Shot.(*shot); ok {
		row.File = s.name
		if v.out != "" {
			if err := v.write(&row, s); err != nil {
				return err
			}
		}
	}
	if v.asJSON {
		return json.NewEncoder(v.to).Encode(row)
	}
	plate := row.Plate
	switch {
	case n.Event == link.EventLane:
		plate = fmt.Sprintf("%s %s", laneEvents[n.LaneEvent], row.Plate)
	case plate == "" && row.Plates == 0:
		plate = "(no plate)"
	case plate == "":
		plate = "(unreadable)"
	}
	picture := row.PictureFile
	if picture == "" {
		picture = row.File
	}
	_, err := fmt.Fprintf(v.to, "%8.2f %8.2f  %-12s %6.3f %7d %5.0f%%  %-8s %s\n", row.Begin, row.End, plate, row.Score, row.Votes.Frames, 100*row.Votes.Share, row.Direction, picture)
	return err
}

var laneEvents = map[int]string{link.LaneStaying: "staying", link.LaneStayingEnded: "staying ended", link.LaneUTurn: "U-turn",
	link.LanePassing: "passing", link.LaneTailGating: "tail-gating"}

func seconds(ns int64) float64 { return float64(ns/1e6) / 1000 }

// write stores the passage's picture and its plate's.
func (v *film) write(row *passageRow, s *shot) error {
	name := fmt.Sprintf("passage_%03d", v.told)
	full := encoder{most: 1 << 20, quality: 90}
	b, err := full.encode(s.picture)
	if err != nil {
		return err
	}
	row.PictureFile = filepath.Join(v.out, name+".jpg")
	if err := os.WriteFile(row.PictureFile, b, 0o644); err != nil {
		return fmt.Errorf("cannot write the passage's picture: %w", err)
	}
	if row.Plates == 0 {
		return nil
	}
	w := worker{crop: encoder{most: 1 << 18, quality: 90}}
	if b, err = w.cutOut(s.picture, row.Box); err != nil || len(b) == 0 {
		return err
	}
	row.Crop = filepath.Join(v.out, name+"_plate.jpg")
	if err := os.WriteFile(row.Crop, b, 0o644); err != nil {
		return fmt.Errorf("cannot write the plate's picture: %w", err)
	}
	return nil
}

// sum ends the list.
func (l *listing) sum() error {
	if !l.asJSON {
		p50, p95 := quantiles(l.took)
		_, _ = fmt.Fprintf(l.to, "%d listed; %d frames, the nets looked at %d of them, %.0f ms each at the median, %.0f at p95\n", l.told, l.frames, l.looked, p50, p95)
	}
	if l.damaged > 0 {
		return fmt.Errorf("what could not be read: %d of the pictures and films", l.damaged)
	}
	return nil
}
