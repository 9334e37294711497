package packaging

import (
	"os"
	"strings"
	"testing"

	"gatehouse/configs"
)

// README names every field of the config that the cloud may not set.
func TestReadmeNamesWhatTheCloudMayNotSet(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	local := 0
	for _, f := range configs.Fields() {
		if !f.Local {
			continue
		}
		local++
		section, field, _ := strings.Cut(strings.TrimPrefix(f.Pointer, "/"), "/")
		if !strings.Contains(string(readme), "`"+section+"."+field+"`") && !strings.Contains(string(readme), "`"+section+".*`") {
			t.Errorf("%s is missing", f.Pointer)
		}
	}
	if local < 10 {
		t.Errorf("only %d such fields were found", local)
	}
}
