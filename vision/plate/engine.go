package plate

import (
	"fmt"
	"image"
	"math"
	"os"
	"path/filepath"
	"slices"

	"gocv.io/x/gocv"

	"gatehouse/vision/nn"
	"gatehouse/vision/plate/text"
)

// Readers say which recognisers read a plate.
const (
	ReadBoth  = "both"  // the small one of our own, and PP-OCR to confirm it
	ReadSmall = "small" // the small one alone: an eighth of the time
	ReadPPOCR = "pp"    // PP-OCR alone
)

// DefaultReader is who reads where nothing is said.
const DefaultReader = ReadBoth

// The places of the two recognisers in a tally.
const (
	small = iota
	ppocr
	engines
)

// engine is one recogniser with what it can spell.
type engine struct {
	net     *nn.Net
	decoder *text.Decoder
}

func newEngines(dir string, o Options) (all [engines]*engine, err error) {
	abroad, err := templates(o)
	if err != nil {
		return all, fmt.Errorf("%w: %w", ErrOption, err)
	}
	defer func() {
		if err != nil {
			closeEngines(all)
		}
	}()
	if o.Readers != ReadPPOCR {
		e := &engine{}
		if e.decoder, err = text.NewDecoder(smallKeys, abroad, o.Regions); err != nil {
			return all, fmt.Errorf("%w: %w", ErrOption, err)
		}
		if e.net, err = newSmallNet(); err != nil {
			return all, err
		}
		all[small] = e
	}
	if o.Readers != ReadSmall {
		keys, err := os.ReadFile(filepath.Join(dir, "plate_keys.txt"))
		if err != nil {
			return all, err
		}
		e := &engine{}
		if e.decoder, err = text.NewDecoder(string(keys), abroad, o.Regions); err != nil {
			return all, fmt.Errorf("%w: %w", ErrOption, err)
		}
		if e.net, err = nn.Load(dir, "plate_read.onnx", nn.Input{Size: image.Pt(lineWidth, lineHeight), Mean: 127.5, Scale: 1 / 127.5}); err != nil {
			return all, err
		}
		all[ppocr] = e
	}
	return all, spelt(all, o.Regions)
}

// spelt is an error where a region is named whose letters no reader knows: its
// numbers would be missed without a word.
func spelt(all [engines]*engine, regions []string) error {
	for _, name := range regions {
		if !slices.ContainsFunc(all[:], func(e *engine) bool { return e != nil && !slices.Contains(e.decoder.Unspelt(), name) }) {
			return fmt.Errorf("%w: no plate of the region %q can be read: the reader does not know its letters", ErrOption, name)
		}
	}
	return nil
}

// templates are those that come with the program and the option's own, and the
// regions are checked against them.
func templates(o Options) (*text.Abroad, error) {
	abroad := text.BuiltIn()
	if o.Templates != "" {
		file, err := os.Open(o.Templates)
		if err != nil {
			return nil, fmt.Errorf("cannot read the number templates: %w", err)
		}
		err = abroad.AddFile(file)
		_ = file.Close() // it was only read
		if err != nil {
			return nil, fmt.Errorf("%s: %w", o.Templates, err)
		}
	}
	return abroad, abroad.Check(o.Regions)
}

func closeEngines(all [engines]*engine) {
	for _, e := range all {
		if e != nil {
			e.net.Close()
		}
	}
}

// nearly is the probability from which on a mainland number leaves hardly
// anything for one from abroad.
const nearly = 0.97

// alternatives are how many numbers of a kind one cut is asked for.
const alternatives = 4

// read returns what a line may spell.
func (e *engine) read(line gocv.Mat) (mainland, overseas []text.Reading, err error) {
	steps, err := e.net.Run(line)
	if err != nil {
		return nil, nil, err
	}
	mainland = e.decoder.Mainland(steps, alternatives)
	if len(mainland) > 0 && mainland[0].Log > math.Log(nearly) {
		return mainland, nil, nil
	}
	return mainland, e.decoder.Overseas(steps, alternatives), nil
}
