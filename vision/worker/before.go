package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
)

// readReport reads what eval --json has written.
func readReport(path string) (rep report, err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return rep, fmt.Errorf("cannot read the file of --baseline: %w", err)
	}
	if err := json.Unmarshal(b, &rep); err != nil {
		return rep, fmt.Errorf("cannot read the file of --baseline, %s: %w", path, err)
	}
	return rep, nil
}

// compare prints an earlier report and this one side by side.
func (rep report) compare(out io.Writer, before report) {
	w := newTable(out)
	arrow := func(b, a string) string { return b + " → " + a }
	was := map[string]*figures{}
	for _, k := range before.plateKinds() {
		was[k.Kind] = k
	}
	w.row("plates, before → after", "plates", "found", "whole plate right", "of these ≥ 0.90", fmt.Sprintf("wrong at ≥ %.2f", confident), "kind right", "ms p50")
	for _, k := range rep.plateKinds() {
		b := was[k.Kind]
		if b == nil {
			b = &figures{}
		}
		gates := arrow(strconv.Itoa(b.Gate), strconv.Itoa(k.Gate))
		if b.Gate == 0 && b.Right > 0 {
			gates = strconv.Itoa(k.Gate) // older files do not have it
		}
		speed := fmt.Sprintf("%.0f", k.P50MS)
		if b.P50MS > 0 {
			speed = arrow(fmt.Sprintf("%.0f", b.P50MS), speed)
		}
		w.row(k.named(), strconv.Itoa(k.Plates), arrow(share(b.Found, b.Plates), share(k.Found, k.Plates)), arrow(share(b.Right, b.Texts), share(k.Right, k.Texts)), gates,
			arrow(strconv.Itoa(b.ConfidentWrong), fmt.Sprintf("%d of %d", k.ConfidentWrong, k.Confident)), arrow(strconv.Itoa(b.KindRight), strconv.Itoa(k.KindRight)), speed)
	}
	w.end()
	others := map[string]*figures{}
	for _, k := range before.Kinds {
		others[k.Kind] = k
	}
	w.row("others, before → after", "pictures", "plates that are none", "faces found", "faces too many", "faces that are none")
	for _, k := range rep.Kinds {
		b := others[k.Kind]
		if k.Plates > 0 || b == nil {
			continue
		}
		w.row(k.Kind, strconv.Itoa(k.Scenes), arrow(strconv.Itoa(b.FalsePlates), strconv.Itoa(k.FalsePlates)), arrow(share(b.FacesFound, b.Faces), share(k.FacesFound, k.Faces)),
			arrow(strconv.Itoa(b.FacesExtra), strconv.Itoa(k.FacesExtra)), arrow(strconv.Itoa(b.FalseFaces), strconv.Itoa(k.FalseFaces)))
	}
	w.end()
	if b, a := before.allPairs(), rep.allPairs(); a.Pairs > 0 {
		w.row("face pairs", arrow(share(b.Right, b.Pairs), share(a.Right, a.Pairs)))
	}
	if b, a := before.Strangers, rep.Strangers; b != nil && a != nil {
		w.row("strangers accepted", arrow(share(b.Accepted, b.Strangers), share(a.Accepted, a.Strangers)))
		w.row("people named right", arrow(share(b.Named, b.Known), share(a.Named, a.Known)))
	}
	w.row("all pictures, ms p50 / p95", arrow(fmt.Sprintf("%.0f / %.0f", before.P50MS, before.P95MS), fmt.Sprintf("%.0f / %.0f", rep.P50MS, rep.P95MS)))
	w.end()
}
