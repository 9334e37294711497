package outbox

import (
	"cmp"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// fileName of a picture: names sort by boot and sequence.
func fileName(k key, field string) string {
	return fmt.Sprintf("%s-%012d-%s.jpg", k.boot, k.seq, field)
}

// validField keeps a field's name harmless as part of a file's.
func validField(field string) bool {
	return field != "" && len(field) <= 64 && strings.Trim(field, "abcdefghijklmnopqrstuvwxyz_0123456789") == ""
}

// writePictures writes an event's pictures; one that cannot be written is
// missing from the event, which matters more than its picture.
func (b *Outbox) writePictures(p *pending) (files []File) {
	for field, jpeg := range p.event.Pictures {
		f := File{Field: field, Name: fileName(keyOf(p.id), field), Size: int64(len(jpeg)), CRC: crc32.Checksum(jpeg, castagnoli)}
		err := errors.New("no name for a field")
		switch {
		case b.tight:
			err = syscall.ENOSPC
		case validField(field):
			err = os.WriteFile(filepath.Join(b.o.PictureDir, f.Name), jpeg, 0o600)
		}
		if err != nil {
			b.o.Log.Warn("a picture is lost", "file", f.Name, "err", err)
			_ = os.Remove(filepath.Join(b.o.PictureDir, f.Name))
			continue
		}
		files = append(files, f)
		b.mu.Lock()
		b.images += f.Size
		b.stats.pictureBytesWritten += f.Size
		b.mu.Unlock()
	}
	slices.SortFunc(files, func(x, y File) int { return cmp.Compare(x.Field, y.Field) })
	return files
}

// removeWritten takes back the pictures of events that were not stored.
func (b *Outbox) removeWritten(stored []Stored) {
	for _, s := range stored {
		for _, f := range s.Files {
			b.deletePictures([]string{f.Name})
		}
	}
}

// Picture reads a picture of a stored event; os.ErrNotExist where the quota has
// taken it or a power cut has torn it.
func (b *Outbox) Picture(f File) ([]byte, error) {
	return readPicture(filepath.Join(b.o.PictureDir, filepath.Base(f.Name)), f.CRC)
}

func readPicture(path string, crc uint32) ([]byte, error) {
	jpeg, err := os.ReadFile(path)
	if err == nil && crc32.Checksum(jpeg, castagnoli) != crc {
		return nil, fmt.Errorf("the picture %s is torn: %w", filepath.Base(path), os.ErrNotExist)
	}
	return jpeg, err
}

func (b *Outbox) countPictures(bytes int64) {
	b.mu.Lock()
	b.images += bytes
	b.mu.Unlock()
}

// deletePictures removes files by their paths below the picture directory.
func (b *Outbox) deletePictures(files []string) {
	for _, f := range files {
		path := filepath.Join(b.o.PictureDir, f)
		info, err := os.Stat(path)
		if err == nil {
			err = os.Remove(path)
		}
		if err == nil {
			b.countPictures(-info.Size())
		} else if !errors.Is(err, os.ErrNotExist) {
			b.o.Log.Warn("a picture could not be removed", "err", err)
		}
	}
}

// picture is a file of either directory.
type picture struct {
	path string // below the picture directory
	name string
	size int64
}

// pictures lists all pictures, the oldest first.
func (b *Outbox) pictures() (list []picture, err error) {
	err = filepath.WalkDir(b.o.PictureDir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		below, err := filepath.Rel(b.o.PictureDir, path)
		if err != nil {
			return err
		}
		if info, err := d.Info(); err == nil {
			list = append(list, picture{below, d.Name(), info.Size()})
		}
		return nil
	})
	slices.SortFunc(list, func(x, y picture) int { return strings.Compare(x.name, y.name) })
	return list, err
}

// enforcePictures removes the oldest pictures once there are more than quota
// bytes, until a tenth of it is free. The directory is read only when the count says so.
func (b *Outbox) enforcePictures(quota int64) error {
	b.mu.Lock()
	within := b.images <= quota
	b.mu.Unlock()
	if within {
		return nil
	}
	list, err := b.pictures()
	if err != nil {
		return err
	}
	var total int64
	for _, p := range list {
		total += p.size
	}
	for _, p := range list {
		if total <= quota-quota/10 {
			break
		}
		if err := os.Remove(filepath.Join(b.o.PictureDir, p.path)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		total -= p.size
	}
	b.mu.Lock()
	b.images = total
	b.mu.Unlock()
	return nil
}

// sweep removes pictures that no stored event refers to, and counts the others.
func (b *Outbox) sweep(referred map[string]bool) error {
	list, err := b.pictures()
	if err != nil {
		return fmt.Errorf("cannot read the picture directory: %w", err)
	}
	for _, p := range list {
		if referred[p.path] || filepath.Dir(p.path) == uploads {
			b.images += p.size
			continue
		}
		if err := os.Remove(filepath.Join(b.o.PictureDir, p.path)); err != nil {
			return fmt.Errorf("cannot remove an old picture: %w", err)
		}
	}
	return nil
}

// uploads is the directory, below that of pictures, of those whose events are
// acknowledged already. It is a queue of its own: all there is to know of a
// picture is in its name.
const uploads = "uploads"

func uploadDir(pictureDir string) string { return filepath.Join(pictureDir, uploads) }

// Upload is a picture that is to be uploaded.
type Upload struct {
	Boot    string
	Seq     uint64
	Account int64
	Field   string // full_image_content, say
	Size    int64
	CRC     uint32
	name    string
}

// keepForUpload moves a picture of an acknowledged event into the queue.
func (b *Outbox) keepForUpload(s Stored, f File) error {
	name := fmt.Sprintf("%s-%012d-%d-%08x-%s.jpg", s.ID.Boot, s.ID.Seq, s.Account, f.CRC, f.Field)
	err := os.Rename(filepath.Join(b.o.PictureDir, f.Name), filepath.Join(uploadDir(b.o.PictureDir), name))
	if errors.Is(err, os.ErrNotExist) { // taken by the quota, or moved before
		return nil
	}
	if err == nil {
		b.mu.Lock()
		close(b.moved)
		b.moved = make(chan struct{})
		b.mu.Unlock()
	}
	return err
}

func parseUpload(name string) (u Upload, ok bool) {
	part := strings.SplitN(strings.TrimSuffix(name, ".jpg"), "-", 6)
	if len(part) != 6 || !strings.HasSuffix(name, ".jpg") {
		return u, false
	}
	seq, err1 := strconv.ParseUint(part[2], 10, 64)
	account, err2 := strconv.ParseInt(part[3], 10, 64)
	crc, err3 := strconv.ParseUint(part[4], 16, 32)
	u = Upload{Boot: part[0] + "-" + part[1], Seq: seq, Account: account, Field: part[5], CRC: uint32(crc), name: name}
	return u, err1 == nil && err2 == nil && err3 == nil && validField(u.Field)
}

// Uploads lists the pictures that are to be uploaded, newest first, and gives a
// channel that is closed when there are more.
func (b *Outbox) Uploads() (list []Upload, more <-chan struct{}, err error) {
	b.mu.Lock()
	more = b.moved
	b.mu.Unlock()
	entries, err := os.ReadDir(uploadDir(b.o.PictureDir))
	for _, e := range slices.Backward(entries) {
		u, ok := parseUpload(e.Name())
		info, infoErr := e.Info()
		if ok && infoErr == nil {
			u.Size = info.Size()
			list = append(list, u)
		}
	}
	return list, more, err
}

// ReadUpload reads a picture; os.ErrNotExist as with Picture.
func (b *Outbox) ReadUpload(u Upload) ([]byte, error) {
	return readPicture(filepath.Join(uploadDir(b.o.PictureDir), u.name), u.CRC)
}

// Uploaded forgets a picture: it has arrived, or nobody wants it.
func (b *Outbox) Uploaded(u Upload) { b.deletePictures([]string{filepath.Join(uploads, u.name)}) }
