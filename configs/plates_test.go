package configs

import (
	"strings"
	"testing"
)

func TestPlatesAreChecked(t *testing.T) {
	if c, err := Parse([]byte(`{"plates": {"regions": ["cn", "south-america", "*"], "reader": "both"}}`)); err != nil || len(c.Plates.Regions) != 3 {
		t.Errorf("%+v, %v", c.Plates, err)
	}
	for what, pointer := range map[string]string{
		`{"plates": {"regions": ["Europe!"]}}`: "/plates/regions/0",
		`{"plates": {"reader": "nobody"}}`:     "/plates/reader",
	} {
		if _, err := Parse([]byte(what)); err == nil || !strings.Contains(err.Error(), pointer) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
