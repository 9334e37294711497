// Package source tells what a camera's source is by its name and what lies
// there, without opening it: it needs no OpenCV, so that who only asks for a
// source can say early what is wrong with it.
package source

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// pictures are the suffixes of what is taken for a picture, videos those of
// what Films takes for a video; any other file may be one, too.
var (
	pictures = []string{".jpg", ".jpeg", ".png", ".bmp", ".webp", ".pgm", ".ppm", ".tif", ".tiff"}
	videos   = []string{".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".mpg", ".mpeg", ".flv", ".wmv", ".3gp", ".gif", ".h264", ".h265"}
)

var device = regexp.MustCompile(`^/dev/video([0-9]+)$`)

// Device is the number of a V4L2 device by its path.
func Device(path string) (number int, ok bool) {
	m := device.FindStringSubmatch(path)
	if m == nil {
		return 0, false
	}
	number, err := strconv.Atoi(m[1])
	return number, err == nil
}

// IsLive reports whether a source's frames come by themselves.
func IsLive(source string) bool {
	return strings.Contains(source, "://") || device.MatchString(source)
}

// IsPicture reports whether a file's name is a picture's.
func IsPicture(name string) bool { return isOf(name, pictures) }

func isOf(name string, types []string) bool {
	return slices.Contains(types, strings.ToLower(filepath.Ext(name)))
}

// Pictures lists a directory's pictures by name, at least one; its
// sub-directories are left alone.
func Pictures(dir string) ([]string, error) {
	files, err := filesOf(dir, pictures)
	if err != nil || len(files) > 0 {
		return files, err
	}
	if films, err := filesOf(dir, videos); err == nil && len(films) > 0 {
		return nil, fmt.Errorf("there is no picture (%s) in %s; it has videos, such as %s", strings.Join(pictures, ", "), dir, films[0])
	}
	return nil, fmt.Errorf("there is no picture (%s) in %s", strings.Join(pictures, ", "), dir)
}

// Films is what there is to look at at a path, one after the other: the file;
// or the directory, if it has pictures, and each video in it by name.
func Films(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	films, err := filesOf(path, videos)
	if err != nil {
		return nil, err
	}
	if stills, err := filesOf(path, pictures); err == nil && len(stills) > 0 {
		return append([]string{path}, films...), nil
	}
	if len(films) == 0 {
		return nil, fmt.Errorf("there is no picture (%s) and no video (%s) in %s", strings.Join(pictures, ", "), strings.Join(videos, ", "), path)
	}
	return films, nil
}

// filesOf lists a directory's files with one of some suffixes by name.
func filesOf(dir string, types []string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, e := range entries {
		if !e.IsDir() && isOf(e.Name(), types) {
			files = append(files, filepath.Join(dir, e.Name()))
		}
	}
	return files, nil
}
