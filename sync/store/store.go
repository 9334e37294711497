// Package store opens the board's databases and keeps what is in them
// trustworthy.
//
// A damaged bbolt file can kill the process that opens it, past any recover,
// or give wrong values with a clean check (shared/design/field-notes.md).
// Hence two defences: a database is checked in a child process before it is
// opened, after a walk over its pages that holds every length and place in it
// against the file, and set aside when either fails; and every record carries a CRC,
// so that a wrong value is an error, never an answer.
//
// Not protected: a record whose key was damaged into another valid key's place
// is caught (the CRC covers the key); a database replaced by an older copy of
// itself is not.
package store

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"gatehouse/sync/fault"
)

// ErrDamaged is a record whose CRC does not fit.
var ErrDamaged = errors.New("the record is damaged")

// Options of a database.
type Options struct {
	// Bulk is for a queue that grows and drains: no free list on disk, a map in
	// memory. Without it the free list is synced: slower to write, sooner open.
	Bulk bool
	// MaxBytes is the file's largest size, 0 for no limit. A write past it fails.
	MaxBytes int
	Log      *slog.Logger
}

// DB is an open database.
type DB struct {
	*bolt.DB // use View and Update of DB: they count and know of Rotate
	// Doubtful says that one of the database's two heads was damaged: it is as
	// it was after the last transaction, or after the one before.
	Doubtful bool
	// Quarantined is the path under which a damaged predecessor was set aside, or "".
	Quarantined string

	path    string
	options *bolt.Options
	page    int64        // bytes; bbolt's own Info must not be asked while a commit may map the file anew
	swap    sync.RWMutex // held by View and Update, and for writing by Rotate
	commits atomic.Int64
	earlier atomic.Int64 // bytes written to files that were rotated away
}

// checkEnv names the database that a re-executed process is to check.
const checkEnv = "GATEHOUSE_CHECK_DATABASE"

// checkTimeout bounds the check of a database of so many bytes; one that takes
// longer counts as damaged.
func checkTimeout(size int64) time.Duration {
	return 20*time.Second + time.Duration(size>>22)*time.Second // 4 MiB/s
}

// A check that could not be made is tried again.
const (
	checkTries = 3
	checkPause = 300 * time.Millisecond
)

// RunCheckIfAsked is called first in the main function (and TestMain) of every
// program that opens a database: when the process was started to check one, it
// does so and exits, 0 for sound.
func RunCheckIfAsked() {
	path := os.Getenv(checkEnv)
	if path == "" {
		return
	}
	if err := check(path); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func fileSize(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// check is bbolt's own, of a database whose pages lead nowhere wrong.
func check(path string) error {
	db, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true, Timeout: time.Second, PreLoadFreelist: true})
	if err != nil {
		return fmt.Errorf("cannot open %s: %w", path, err)
	}
	defer db.Close()
	return db.View(func(tx *bolt.Tx) error {
		for err := range tx.Check() {
			return fmt.Errorf("cannot trust %s: %w", path, err)
		}
		return nil
	})
}

// Open opens the database at path, making it if there is none. A damaged one is
// renamed to <path>.corrupt.<time> and a new one is made: see Quarantined.
func Open(path string, o Options) (*DB, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	db := &DB{}
	aside := func(reason error) (err error) {
		if db.Quarantined, err = SetAside(path); err == nil {
			o.Log.Error("database is damaged and set aside", "path", path, "aside", db.Quarantined, "reason", reason)
		}
		return err
	}
	if _, err := os.Stat(path); err == nil {
		if reason := Check(path); reason != nil {
			if err := aside(reason); err != nil {
				return nil, err
			}
		} else if heads(path) == 1 {
			o.Log.Error("one of the database's two heads is damaged; the last change may be missing", "path", path)
			db.Doubtful = true
		}
	}
	options := &bolt.Options{Timeout: 3 * time.Second, FreelistType: bolt.FreelistArrayType, MaxSize: o.MaxBytes}
	if o.Bulk {
		options.NoFreelistSync, options.FreelistType = true, bolt.FreelistMapType
	}
	db.path, db.options = path, options
	opened, err := openFile(path, options)
	if Unusable(err) { // the check has not seen it, or could not be made
		if err := aside(err); err != nil {
			return nil, err
		}
		opened, err = openFile(path, options)
	}
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("cannot open %s: another process holds it", path)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open %s: %w", path, err)
	}
	if o.Bulk {
		opened.AllocSize = bulkStep
	}
	db.DB, db.page = opened, int64(opened.Info().PageSize)
	return db, nil
}

// openFile opens a database's file, making it if there is none. Where bbolt
// panics over its content, or a page cannot be read, the error is Unusable.
func openFile(path string, o *bolt.Options) (db *bolt.DB, err error) {
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		if err := create(path); err != nil {
			return nil, err
		}
	}
	defer caught(&err)()
	db, err = bolt.Open(path, 0o600, o)
	for _, damaged := range []error{bolterrors.ErrInvalid, bolterrors.ErrVersionMismatch, bolterrors.ErrChecksum} {
		if errors.Is(err, damaged) {
			return nil, fmt.Errorf("%w: %w", errContent, err)
		}
	}
	return db, err
}

// caught begins to make panics and memory faults of this goroutine, with which
// bbolt answers damage, into errors; what it gives is deferred.
func caught(err *error) func() {
	before := debug.SetPanicOnFault(true) // a page behind the file's end, or one that the flash cannot read
	return func() {
		debug.SetPanicOnFault(before)
		if p := recover(); p != nil {
			*err = fmt.Errorf("%w: %v", errContent, p)
		}
	}
}

// errContent is a database whose content cannot be worked with.
var errContent = errors.New("the database's content is damaged")

// Guard calls f, which works with a database that was just opened, and gives
// its error marked for Unusable, or the panic that bbolt ends in where a page is
// not what it should be.
func Guard(f func() error) (err error) {
	defer caught(&err)()
	if err = f(); err == nil {
		return nil
	}
	var system syscall.Errno
	if errors.As(err, &system) || errors.Is(err, bolterrors.ErrMaxSizeReached) || errors.Is(err, ErrForeign) {
		return err // the disk is full, say: the content is not at fault
	}
	return fmt.Errorf("%w: %w", errContent, err)
}

// ErrForeign marks an error that says nothing against a database's content.
var ErrForeign = errors.New("the database belongs to another")

// Unusable reports whether an error of Guard speaks against the database's
// content: it should be set aside, since the next start would end the same way.
func Unusable(err error) bool { return errors.Is(err, errContent) }

// keepAside is how many damaged databases are kept for whoever looks into it.
const keepAside = 3

// SetAside renames a damaged database, so that a new one can be made, and
// removes the oldest of those that were set aside before.
func SetAside(path string) (aside string, err error) {
	aside = path + ".corrupt." + time.Now().UTC().Format("20060102T150405.000")
	if err := os.Rename(path, aside); err != nil {
		return "", fmt.Errorf("cannot set the damaged database aside: %w", err)
	}
	// Where this fails and the power with it, the next start does it again.
	_ = syncDir(aside)
	old, err := filepath.Glob(path + ".corrupt.*") // sorted by their time
	if err != nil {
		return aside, nil
	}
	for len(old) > keepAside {
		_ = os.Remove(old[0])
		old = old[1:]
	}
	return aside, nil
}

// Check reads all of a database that no process has open, and tells what is
// wrong with it: first our own walk over its pages, then bbolt's check in a
// process of its own, since what it makes of damage can kill it.
func Check(path string) error {
	// Somebody else's open database is not damaged: leave it to Open to say so.
	if locked(path) {
		return nil
	}
	var system syscall.Errno
	err := checkPages(path)
	for try := 1; try < checkTries && errors.As(err, &system); try++ {
		time.Sleep(checkPause)
		err = checkPages(path)
	}
	switch {
	case err == nil:
	case errors.As(err, &system) && system != syscall.EIO:
		return nil // no more files can be opened, say: that says nothing of this one
	default:
		return fmt.Errorf("cannot trust %s: %w", path, err)
	}
	self, err := os.Executable()
	if err != nil {
		return nil // cannot check; the CRCs remain
	}
	for range checkTries {
		var known bool
		if known, err = checked(self, path); known {
			return err
		}
		time.Sleep(checkPause)
	}
	return nil // nothing is known; the CRCs remain
}

// checked runs the check once; known is false where it could not be started, or
// was ended by somebody else, for want of memory say.
func checked(self, path string) (known bool, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), checkTimeout(fileSize(path)))
	defer cancel()
	cmd := exec.CommandContext(ctx, self)
	cmd.Env = append(os.Environ(), checkEnv+"="+path)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return true, nil
	case !errors.As(err, &exit):
		return false, nil
	case ctx.Err() == nil && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL:
		return false, nil
	}
	return true, fmt.Errorf("%w: %.300s", err, out)
}

// locked reports whether a process has the database open (bbolt holds a flock).
func locked(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return errors.Is(err, syscall.EWOULDBLOCK)
	}
	return syscall.Flock(int(f.Fd()), syscall.LOCK_UN) != nil
}

// create makes an empty database so that a power cut leaves either none or a whole one.
func create(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("cannot make the database's directory: %w", err)
	}
	temporary := path + ".new"
	if err := os.Remove(temporary); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	db, err := bolt.Open(temporary, 0o600, nil)
	if err != nil {
		return fmt.Errorf("cannot create %s: %w", path, err)
	}
	if err := errors.Join(db.Sync(), db.Close()); err != nil {
		return fmt.Errorf("cannot create %s: %w", path, err)
	}
	return Rename(temporary, path)
}

// Rename moves a synced file into place and syncs the directory.
func Rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	fault.Point("store.file.renamed")
	return syncDir(to)
}

// syncDir syncs the directory that path is in.
func syncDir(path string) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// WriteFileAtomic replaces the file at path: after it returns nil the new
// content survives a power cut, before that the old one does.
func WriteFileAtomic(path string, data []byte, perm os.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	if err := errors.Join(err, f.Chmod(perm), f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	fault.Point("store.file.written")
	if err := Rename(f.Name(), path); err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	return nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func sum(key, value []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value)
}

// Put stores value under key with its CRC.
func Put(b *bolt.Bucket, key, value []byte) error {
	record := make([]byte, 4, 4+len(value))
	binary.BigEndian.PutUint32(record, sum(key, value))
	return b.Put(key, append(record, value...))
}

// Get gives the value under key, nil where there is none, ErrDamaged where its
// CRC does not fit. It is valid until the transaction ends.
func Get(b *bolt.Bucket, key []byte) ([]byte, error) {
	record := b.Get(key)
	if record == nil {
		return nil, nil
	}
	return open(key, record)
}

// Headroom is how many bytes Seal needs in front of a value.
const Headroom = 4

// Seal makes a record of a value that has Headroom bytes before it, in place;
// it is stored with bbolt's own Put and read with Get.
func Seal(key, record []byte) {
	binary.BigEndian.PutUint32(record, sum(key, record[Headroom:]))
}

func open(key, record []byte) ([]byte, error) {
	if len(record) < 4 || binary.BigEndian.Uint32(record) != sum(key, record[4:]) {
		return nil, fmt.Errorf("%w (key %q)", ErrDamaged, key)
	}
	return record[4:], nil
}

// PutJSON stores v as JSON.
func PutJSON(b *bolt.Bucket, key []byte, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return Put(b, key, text)
}

// GetJSON reads the JSON under key into v; found is false where there is none.
func GetJSON(b *bolt.Bucket, key []byte, v any) (found bool, err error) {
	text, err := Get(b, key)
	if text == nil || err != nil {
		return false, err
	}
	return true, json.Unmarshal(text, v)
}

// ForEach calls f for each record in key order; err is ErrDamaged for a
// damaged one (value nil), and f decides whether to go on.
func ForEach(b *bolt.Bucket, f func(key, value []byte, err error) error) error {
	c := b.Cursor()
	for k, record := c.First(); k != nil; k, record = c.Next() {
		value, err := open(k, record)
		if err := f(k, value, err); err != nil {
			return err
		}
	}
	return nil
}
