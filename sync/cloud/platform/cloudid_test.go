package platform

import "testing"

// A cloud that is started again is the same one to its boards; another is not.
func TestCloudID(t *testing.T) {
	dir := t.TempDir()
	id := func(dir string) string {
		p, err := Open(dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		return p.cloudID()
	}
	first := id(dir)
	if len(first) != 32 || id(dir) != first || id(t.TempDir()) == first {
		t.Errorf("%s, then %s", first, id(dir))
	}
}
