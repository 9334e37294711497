package slot

import "testing"

func FuzzParseTrial(f *testing.F) {
	f.Add([]byte(`{"slot":"b","previous":"a","starts":1,"max":3}`))
	f.Add([]byte(`{"slot":"../x","previous":"a","starts":-1,"max":3}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		trial, err := parseTrial(b)
		if err == nil && (trial.Slot == trial.Previous || trial.Max < 1 || trial.Starts < 0) {
			t.Errorf("%+v", trial)
		}
	})
}

func TestSwitchTakesOnlySlots(t *testing.T) {
	d := Dir(t.TempDir())
	if err := d.Switch("../c"); err == nil {
		t.Error("switched to a slot that is none")
	}
	if err := d.Switch(B); err != nil {
		t.Fatal(err)
	}
	if got, err := d.Current(); err != nil || got != B {
		t.Errorf("%s %v", got, err)
	}
}
