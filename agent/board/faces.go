package board

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"gatehouse/sync/errcode"
	"gatehouse/vision/link"
)

// FaceRequest asks a running agent to enrol somebody.
type FaceRequest struct {
	Name string `json:"name"`
	File string `json:"file"` // absolute path of a picture with one face
}

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

// enrol has a vision process of its own look at the picture, and keeps the
// feature of the only face on it.
func (b *Board) enrol(ctx context.Context, in FaceRequest) error {
	if info, err := os.Stat(in.File); !filepath.IsAbs(in.File) || err != nil || !info.Mode().IsRegular() {
		return errcode.Param("file", "must be the path of a picture that the agent can read")
	}
	ctx, cancel := context.WithTimeout(ctx, enrolWait)
	defer cancel()
	args := []string{"detect", "--json", "--features"}
	if b.config().Vision.Models != "" {
		args = append(args, "--models", b.config().Vision.Models)
	}
	cmd := exec.CommandContext(ctx, b.program, append(args, in.File)...)
	out, err := cmd.Output()
	var seen struct {
		Faces []link.Face `json:"faces"`
		Error string      `json:"error"`
	}
	if jsonErr := json.Unmarshal(out, &seen); jsonErr != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %.300s", err, exit.Stderr)
		}
		return &errcode.Error{Code: errcode.FaceDetectFailed, Detail: fmt.Sprintf("The vision process gave no answer: %v", errors.Join(err, ctx.Err())), Err: err}
	}
	switch {
	case seen.Error != "":
		return errcode.New(errcode.ImageDecodeFailed, seen.Error)
	case len(seen.Faces) == 0:
		return errcode.New(errcode.FaceNotDetected, "Take a picture of the face alone, from the front!")
	case len(seen.Faces) > 1:
		return errcode.New(errcode.FaceDetectFailed, fmt.Sprintf("The picture shows %d faces; take one with a single face!", len(seen.Faces)))
	case len(seen.Faces[0].Feature) == 0:
		return errcode.New(errcode.FaceFeatureFailed, "")
	}
	return b.state.Faces.Add(in.Name, seen.Faces[0].Feature, time.Now())
}
