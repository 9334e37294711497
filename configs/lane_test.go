package configs

import (
	"errors"
	"testing"
)

func TestLaneAndCaptureAreChecked(t *testing.T) {
	for json, pointer := range map[string]string{
		`{"lane":{"region":[{"x":0,"y":0},{"x":1,"y":0}]}}`:                 "/lane/region",
		`{"lane":{"region":[{"x":0,"y":0},{"x":1.2,"y":0},{"x":0,"y":1}]}}`: "/lane/region",
		`{"lane":{"trigger_line":[{"x":0,"y":0}]}}`:                         "/lane/trigger_line",
		`{"lane":{"direction":"north"}}`:                                    "/lane/direction",
		`{"lane":{"sensitivity":101}}`:                                      "/lane/sensitivity",
		`{"lane":{"trigger_inputs":[9]}}`:                                   "/lane/trigger_inputs",
		`{"lane":{"timed":"1ms"}}`:                                          "/lane/timed",
		`{"capture":{"transport":"ipx"}}`:                                   "/capture/transport",
		`{"capture":{"frame_age":"1ms"}}`:                                   "/capture/frame_age",
		`{"capture":{"format":"H264"}}`:                                     "/capture/format", // OpenCV decodes none from a V4L2 device
		`{"lane":{"trigger_line":[{"x":0,"y":0},{"x":1,"y":1}],
			"loop":[{"x":0,"y":0},{"x":1,"y":0},{"x":0,"y":1}]}}`: "/lane/loop",
	} {
		_, err := Parse([]byte(json))
		var p *ParamError
		if !errors.As(err, &p) || p.Pointer != pointer && p.Pointer != pointer+"/0" && p.Pointer != pointer+"/1/x" {
			t.Errorf("Parse(%s) = %v, want an error at %s", json, err, pointer)
		}
	}
	c, err := Parse([]byte(`{"lane":{"region":[{"x":0.1,"y":0.2},{"x":0.9,"y":0.2},{"x":0.5,"y":1}],"direction":"down"}}`))
	if err != nil || len(c.Lane.Region) != 3 || c.Lane.Region[0].Y != .2 {
		t.Errorf("%+v, %v", c.Lane, err)
	}
}
