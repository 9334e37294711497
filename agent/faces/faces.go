// Package faces is the library of people whom a board knows by their face:
// names with the features of enrolled pictures, in the state database, and the
// search for the most similar one in memory.
//
// Only features are kept, never pictures; a feature never leaves the board.
package faces

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	bolt "go.etcd.io/bbolt"

	"gatehouse/sync/errcode"
	"gatehouse/sync/store"
)

// Size is the number of values of a feature.
const Size = 512

// MaxName is the longest name in bytes.
const MaxName = 64

// Person is one enrolled face.
type Person struct {
	Name  string `json:"name"`
	Added int64  `json:"added"` // Unix s
}

type record struct {
	Person
	Feature string `json:"feature"` // base64 of Size float32, little endian
}

// Library is safe for concurrent use.
type Library struct {
	db  *store.DB
	log *slog.Logger

	writing sync.Mutex // held from the database's transaction until mu's fields agree with it

	mu       sync.RWMutex
	people   []Person  // in no order
	features []float32 // Size of each, in the order of people
	damaged  int
}

var bucket = []byte("faces")

// Open reads the library. A damaged record is left out and counted.
func Open(db *store.DB, log *slog.Logger) (*Library, error) {
	err := db.Update(func(tx *bolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(bucket)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot open the face library: %w", err)
	}
	l := &Library{db: db, log: log}
	return l, l.Reload()
}

// Reload reads the library anew. It must not be called within a transaction.
func (l *Library) Reload() error {
	l.writing.Lock()
	defer l.writing.Unlock()
	var people []Person
	var features []float32
	damaged := 0
	err := l.db.View(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucket)
		return store.ForEach(b, func(key, _ []byte, _ error) error {
			var r record
			feature := []float32(nil)
			_, err := store.GetJSON(b, key, &r)
			if err == nil {
				feature, err = decode(r.Feature)
			}
			if err != nil {
				damaged++
				l.log.Error("a face cannot be read and is left out", "key", string(key), "err", err)
				return nil
			}
			people, features = append(people, r.Person), append(features, feature...)
			return nil
		})
	})
	if err != nil {
		return fmt.Errorf("cannot read the face library: %w", err)
	}
	l.mu.Lock()
	l.people, l.features, l.damaged = people, features, damaged
	l.mu.Unlock()
	return nil
}

func encode(feature []float32) string {
	b := make([]byte, 0, 4*len(feature))
	for _, v := range feature {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	}
	return base64.StdEncoding.EncodeToString(b)
}

func decode(text string) ([]float32, error) {
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, err
	}
	feature := make([]float32, len(b)/4)
	for i := range feature {
		feature[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return feature, check(feature)
}

// check refuses what is no feature: it would be similar to nobody, or to all.
func check(feature []float32) error {
	if len(feature) != Size {
		return fmt.Errorf("a feature has %d values, not %d", Size, len(feature))
	}
	var length float64
	for _, v := range feature {
		length += float64(v) * float64(v)
	}
	if !(math.Abs(length-1) < .01) { // also for a NaN
		return errors.New("a feature has the length 1")
	}
	return nil
}

// Add enrols a person: 1103 for a name that cannot be, 3302 for one that is
// taken, 3003 for a feature that is none.
func (l *Library) Add(name string, feature []float32, at time.Time) error {
	switch {
	case strings.TrimSpace(name) != name || name == "" || len(name) > MaxName || !utf8.ValidString(name):
		return errcode.Param("name", fmt.Sprintf("must be 1 to %d bytes of UTF-8 without spaces around", MaxName))
	case check(feature) != nil:
		return errcode.New(errcode.FaceFeatureFailed, check(feature).Error())
	}
	l.writing.Lock()
	defer l.writing.Unlock()
	err := l.db.Update(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucket)
		if b.Get([]byte(name)) != nil {
			return errcode.New(errcode.FaceUserExists, name+" is enrolled; remove the old face first!")
		}
		return store.PutJSON(b, []byte(name), record{Person{name, at.Unix()}, encode(feature)})
	})
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.people, l.features = append(l.people, Person{name, at.Unix()}), append(l.features, feature...)
	return nil
}

// Remove takes a person out; 3301 for one who is not enrolled.
func (l *Library) Remove(name string) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	err := l.db.Update(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucket)
		if name == "" || b.Get([]byte(name)) == nil {
			return errcode.New(errcode.FaceUserNotExist, name)
		}
		return b.Delete([]byte(name))
	})
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.IndexFunc(l.people, func(p Person) bool { return p.Name == name })
	if last := len(l.people) - 1; i >= 0 { // the last one takes the place
		l.people[i] = l.people[last]
		copy(l.features[i*Size:(i+1)*Size], l.features[last*Size:])
		l.people, l.features = l.people[:last], l.features[:last*Size]
	}
	return nil
}

// Clear removes everybody within a transaction; Reload follows it.
func Clear(tx *bolt.Tx) error {
	if err := tx.DeleteBucket(bucket); err != nil {
		return err
	}
	_, err := tx.CreateBucket(bucket)
	return err
}

// List gives everybody by name.
func (l *Library) List() []Person {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return slices.SortedFunc(slices.Values(l.people), func(a, b Person) int { return strings.Compare(a.Name, b.Name) })
}

// Len is how many are enrolled.
func (l *Library) Len() int {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return len(l.people)
}

// Digest names who is enrolled with which feature, so that two libraries can be
// compared: SHA-256 over names and features in the order of the names.
func (l *Library) Digest() string {
	l.mu.RLock()
	defer l.mu.RUnlock()
	order := make([]int, len(l.people))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, k int) int { return strings.Compare(l.people[i].Name, l.people[k].Name) })
	h := sha256.New()
	for _, i := range order {
		fmt.Fprintf(h, "%q %s\n", l.people[i].Name, encode(l.features[i*Size:(i+1)*Size]))
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

// Needed is Similarity for this library.
func (l *Library) Needed(falseAccept float64) float64 { return Similarity(falseAccept, l.Len()) }

// Joined makes one feature of several pictures of one person: 3004 where two
// of them are less alike than two pictures of one person are.
func Joined(features [][]float32) ([]float32, error) {
	joined := make([]float32, Size)
	for i, f := range features {
		if err := check(f); err != nil {
			return nil, errcode.New(errcode.FaceFeatureFailed, err.Error())
		}
		for k, g := range features[:i] {
			if s := cosine(f, g); s < samePerson {
				return nil, errcode.New(errcode.FaceCompareFailed, fmt.Sprintf("Pictures %d and %d show different people (similarity %.2f)!", k+1, i+1, s))
			}
		}
		for k, v := range f {
			joined[k] += v
		}
	}
	length := float32(math.Sqrt(cosine(joined, joined)))
	if length == 0 {
		return nil, errcode.New(errcode.FaceFeatureFailed, "")
	}
	for k := range joined {
		joined[k] /= length
	}
	return joined, nil
}

// samePerson is the least similarity of two pictures of one person
// (vision/face, Threshold).
const samePerson = 0.35

// cosine is the dot product of two features of Size values.
func cosine(a, b []float32) float64 {
	a, b = a[:Size], b[:Size]
	var s, t, u, v float32 // four sums, so that the processor need not wait for one
	for k := 0; k < Size; k += 4 {
		s += a[k] * b[k]
		t += a[k+1] * b[k+1]
		u += a[k+2] * b[k+2]
		v += a[k+3] * b[k+3]
	}
	return float64(s + t + u + v)
}

// Match gives the most similar person and the cosine similarity, -1 to 1. An
// empty library, or something that is no feature, gives "" and -1. It allocates
// nothing.
func (l *Library) Match(feature []float32) (name string, similarity float64) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	similarity = -1
	if len(feature) != Size {
		return "", -1
	}
	for i := range l.people {
		if s := cosine(l.features[i*Size:(i+1)*Size], feature); s > similarity {
			name, similarity = l.people[i].Name, s
		}
	}
	return name, similarity
}
