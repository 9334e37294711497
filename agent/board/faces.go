package board

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"gatehouse/agent/faces"
	"gatehouse/sync/errcode"
	"gatehouse/vision/link"
)

// FaceRequest asks a running agent to enrol somebody.
type FaceRequest struct {
	Name  string   `json:"name"`
	Files []string `json:"files"` // absolute paths of 1 to 8 pictures, each with one face, that person's
}

// maxEnrol is how many pictures of one person make one feature.
const maxEnrol = 8

// enrolWait bounds looking at one picture, the loading of the models included.
const enrolWait = 60 * time.Second

// serveFaces answers the command line's face commands.
func (b *Board) serveFaces(mux *http.ServeMux) {
	mux.HandleFunc("GET /faces", func(w http.ResponseWriter, _ *http.Request) { answer(w, b.state.Faces.List(), nil) })
	mux.HandleFunc("POST /faces", func(w http.ResponseWriter, r *http.Request) {
		var in FaceRequest
		if err := json.NewDecoder(io.LimitReader(r.Body, 64<<10)).Decode(&in); err != nil {
			answer(w, nil, errcode.New(errcode.ParseJSONFailed, ""))
			return
		}
		answer(w, nil, b.enrol(r.Context(), in))
	})
	mux.HandleFunc("DELETE /faces", func(w http.ResponseWriter, r *http.Request) {
		answer(w, nil, b.state.Faces.Remove(r.URL.Query().Get("name")))
	})
}

// enrol has a vision process of its own look at the pictures, and keeps what
// their features have in common.
func (b *Board) enrol(ctx context.Context, in FaceRequest) error {
	if len(in.Files) == 0 || len(in.Files) > maxEnrol {
		return errcode.Param("files", fmt.Sprintf("must be 1 to %d pictures of one person", maxEnrol))
	}
	for _, file := range in.Files {
		if info, err := os.Stat(file); !filepath.IsAbs(file) || err != nil || !info.Mode().IsRegular() {
			return errcode.Param("files", "must be the paths of pictures that the agent can read")
		}
	}
	ctx, cancel := context.WithTimeout(ctx, enrolWait)
	defer cancel()
	args := []string{"detect", "--json", "--features"}
	if models := b.config().Vision.Models; models != "" {
		args = append(args, "--models", models)
	}
	out, err := exec.CommandContext(ctx, b.program, append(args, in.Files...)...).Output()
	var features [][]float32
	for answers := json.NewDecoder(bytes.NewReader(out)); len(features) < len(in.Files); {
		var seen struct {
			File  string       `json:"file"`
			Faces []link.Face  `json:"faces"`
			Error string       `json:"error"`
			Code  errcode.Code `json:"error_code"`
		}
		if jsonErr := answers.Decode(&seen); jsonErr != nil {
			var exit *exec.ExitError
			if errors.As(err, &exit) {
				err = fmt.Errorf("%w: %.300s", err, exit.Stderr)
			}
			return &errcode.Error{Code: errcode.FaceDetectFailed, Detail: fmt.Sprintf("The vision process gave no answer: %v", errors.Join(err, ctx.Err())), Err: err}
		}
		if seen.Error != "" {
			code := cmp.Or(seen.Code, errcode.FaceDetectFailed)
			return errcode.New(code, strings.TrimPrefix(seen.Error, code.Message()))
		}
		feature, err := only(seen.Faces, filepath.Base(seen.File))
		if err != nil {
			return err
		}
		features = append(features, feature)
	}
	joined, err := faces.Joined(features)
	if err != nil {
		return err
	}
	return b.state.Faces.Add(in.Name, joined, time.Now())
}

// only is the feature of a picture's only face, or why it has none.
func only(found []link.Face, file string) ([]float32, error) {
	switch {
	case len(found) == 0:
		return nil, errcode.New(errcode.FaceNotDetected, file+": take a picture of the face alone, from the front!")
	case len(found) > 1:
		return nil, errcode.New(errcode.FaceDetectFailed, fmt.Sprintf("%s shows %d faces; take a picture with a single face!", file, len(found)))
	case len(found[0].Feature) == 0:
		why := "cannot be compared"
		if q := found[0].Quality; q != nil && !q.Usable() {
			why = "is " + q.Why
		}
		return nil, errcode.New(errcode.FaceFeatureFailed, fmt.Sprintf("%s: the face %s; take a near, sharp and well lit picture from the front!", file, why))
	}
	return found[0].Feature, nil
}
