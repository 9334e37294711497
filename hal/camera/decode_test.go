package camera

import (
	"encoding/binary"
	"hash/crc32"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// giantPNG says that it has so many pixels and holds none of them.
func giantPNG(w, h uint32) []byte {
	chunk := func(kind string, data []byte) []byte {
		b := binary.BigEndian.AppendUint32(nil, uint32(len(data)))
		b = append(append(b, kind...), data...)
		return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[4:]))
	}
	size := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, w), h)
	return append(append([]byte("\x89PNG\r\n\x1a\n"), chunk("IHDR", append(size, 8, 2, 0, 0, 0))...), chunk("IEND", nil)...)
}

// OpenCV would end the process for these; so would this test.
func TestPicturesThatAreTooLarge(t *testing.T) {
	for name, b := range map[string][]byte{
		"a large PNG":          giantPNG(60_000, 60_000),
		"a wide PNG":           giantPNG(2_000_000, 1),
		"one too wide to warp": giantPNG(1<<15, 1),
		"a comment ends in CR": append([]byte("P6\n#\r9999999 \n10 10\n255\n"), make([]byte, 400)...),
		"the largest PNG":      giantPNG(1<<31-1, 1<<31-1),
		"a large PGM":          []byte("P5 99999 # wide\n99999 255\n"),
		"a PGM without end":    []byte("P5 99999999999999999999999999999999999999 1 255 "),
		"a PGM without a size": []byte("P5 # nothing"),
		"a PGM of size 0":      []byte("P5 0 0 255\n"),
		"nothing":              nil,
		"text":                 []byte("this is no picture"),
	} {
		if m, err := Decode(b); err == nil {
			t.Errorf("%s is decoded to %d×%d", name, m.Cols(), m.Rows())
		}
	}
	m, err := Decode([]byte("P5\n# made by hand\n2 1\n255\n\x00\xff"))
	if err != nil || m.Cols() != 2 || m.Rows() != 1 {
		t.Fatal(err)
	}
	_ = m.Close()
}

// Only files are read, and not of any size.
func TestReadPicture(t *testing.T) {
	dir := t.TempDir()
	pipe, large, good := filepath.Join(dir, "pipe.jpg"), filepath.Join(dir, "large.jpg"), filepath.Join(dir, "good.pgm")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, size := range map[string]int64{large: MaxFile + 1, good: 20} {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, size); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{dir, pipe, large, filepath.Join(dir, "none.jpg")} {
		if _, err := ReadPicture(path); err == nil {
			t.Errorf("%s is read", path)
		}
	}
	if b, err := ReadPicture(good); err != nil || len(b) != 20 {
		t.Error(len(b), err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(giantPNG(60_000, 60_000))
	f.Add([]byte("P6 2 1 255\nabcdef"))
	f.Add([]byte("P6\n#\r9999999 \n10 10\n255\n123456"))
	f.Add([]byte("\xff\xd8\xff\xe0\x00\x10JFIF"))
	f.Add([]byte("BM\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := Decode(b); err == nil {
			_ = m.Close()
		}
	})
}
