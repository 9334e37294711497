package main

import (
	"strings"
	"testing"

	"gatehouse/sync/errcode"
	"gatehouse/vision/link"
)

// A misspelt region is told and does not make the gate blind.
func TestWrongRegionIsToldAndReadWithout(t *testing.T) {
	var faults []link.Fault
	e, err := openEyesAsSet(link.Settings{Models: modelDir, Reading: link.Reading{Regions: []string{"atlantis"}}}, func(m link.Message) error {
		faults = append(faults, *m.Fault)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	defer e.close()
	if len(faults) != 1 || faults[0].Code != int(errcode.ParamsError) || !strings.Contains(faults[0].Message, "atlantis") {
		t.Errorf("%+v", faults)
	}
}
