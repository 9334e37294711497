package whitelist

import (
	"encoding/json"
	"fmt"
	"hash/maphash"
	"iter"
	"slices"
	"time"

	"gatehouse/sync/errcode"
	"gatehouse/sync/wire"
)

// snapshot is an immutable set, made for the lookup: a row takes about 30 bytes
// and none of them is a pointer that the garbage collector must follow. It is
// cut into shards, so that a command for one row copies one part in 256.
type snapshot struct {
	version uint64 // of the transaction it was made in
	rows    int
	sum     Sum
	shards  [shardCount]*shard
	groups  []group // by number; 0 is no group
	doubted bool    // it is not the set that was put in force, see builder
}

const shardCount = 256

// group is what holds for the rows that name it. One that is named and not
// described (yet, or any more) restricts nothing, unless the set is doubted.
type group struct {
	name    string
	known   bool
	enabled bool
	rule    rule
	sum     Sum
}

// shard is a hash table with open addressing. A slot holds 8 bits of the hash
// and where the row begins plus one, 0 where it is free. A row is its head and
// its plate, so that a lookup touches two places of the memory.
type shard struct {
	slots []uint32 // a power of two, at most half of them used
	data  string   // rows, one behind the other
	rows  int
	rules []rule
}

// A row's head: the plate's length, flags, group and rule (big endian).
const headSize = 8

// maxShardData is what 24 bits can address. With MaxRows rows a shard has
// 160 KiB on average and, the hash being seeded by chance, never near this many.
const maxShardData = 1<<24 - 1024

// row is one plate of a shard.
type row struct {
	plate string
	rule  uint32
	group uint16
	flags uint8
}

const (
	flagEnabled = 1 << iota
	flagAlarm
)

// at reads the row that begins at i; next is where the one behind it does.
func (s *shard) at(i int) (r row, next int) {
	h := s.data[i : i+headSize]
	next = i + headSize + int(h[0])
	return row{plate: s.data[i+headSize : next], flags: h[1], group: uint16(h[2])<<8 | uint16(h[3]),
		rule: uint32(h[4])<<24 | uint32(h[5])<<16 | uint32(h[6])<<8 | uint32(h[7])}, next
}

// all gives the rows in order.
func (s *shard) all() iter.Seq[row] {
	return func(yield func(row) bool) {
		if s == nil {
			return
		}
		for i := 0; i < len(s.data); {
			var r row
			if r, i = s.at(i); !yield(r) {
				return
			}
		}
	}
}

var seed = maphash.MakeSeed()

// place is where a hash belongs.
func place(h uint64) (shard int, tag uint32) { return int(h >> 56), uint32(h>>48) & 0xff }

// find gives the row of a plate; ok is false where there is none.
func find[T string | []byte](s *shard, plate T, h uint64) (r row, ok bool) {
	if s == nil {
		return r, false
	}
	_, tag := place(h)
	mask := uint64(len(s.slots) - 1)
	for i := h & mask; ; i = (i + 1) & mask {
		slot := s.slots[i]
		if slot == 0 {
			return r, false
		}
		if slot>>24 == tag {
			if r, _ = s.at(int(slot&0xffffff) - 1); r.plate == string(plate) {
				return r, true
			}
		}
	}
}

func (s *snapshot) lookup(plate string, at time.Time) (Entry, Verdict) {
	return judge(s, plate, maphash.String(seed, plate), at)
}

// lookupBytes is lookup without a string.
func (s *snapshot) lookupBytes(plate []byte, at time.Time) (Entry, Verdict) {
	return judge(s, plate, maphash.Bytes(seed, plate), at)
}

func judge[T string | []byte](s *snapshot, plate T, h uint64, at time.Time) (Entry, Verdict) {
	n, _ := place(h)
	sh := s.shards[n]
	r, ok := find(sh, plate, h)
	if !ok {
		return Entry{}, NotListed
	}
	g := &s.groups[r.group]
	e := Entry{Plate: r.plate, Group: g.name}
	switch {
	case r.flags&flagEnabled == 0 || g.known && !g.enabled:
		return e, Suspended
	case r.flags&flagAlarm != 0:
		return e, Blacklisted
	case !sh.rules[r.rule].holds(at) || g.known && !g.rule.holds(at):
		return e, OutOfTime
	}
	return e, Listed
}

// builder makes a snapshot from all rows of a set, or one from another.
type builder struct {
	shards [shardCount]shardBuilder
	groups []group
	names  map[string]uint16
	rows   int
	sum    Sum
	// doubted is a set that is not whole: a group that nothing describes may be
	// one whose description is lost, so no row of it passes.
	doubted bool
}

func newBuilder() *builder { return newBuilderFrom([]group{{}}) }

func newBuilderFrom(groups []group) *builder {
	b := &builder{groups: groups, names: map[string]uint16{}}
	for i := 1; i < len(groups); i++ {
		b.names[groups[i].name] = uint16(i)
	}
	return b
}

// number gives the group of a name, a new one where it was not named before.
func (b *builder) number(name string) (uint16, error) {
	if name == "" {
		return 0, nil
	}
	n, ok := b.names[name]
	if !ok {
		if len(b.groups) > MaxGroups {
			return 0, errcode.Param("group", fmt.Sprintf("is one of more than %d", MaxGroups))
		}
		n = uint16(len(b.groups))
		b.groups, b.names[name] = append(b.groups, b.undescribed(name)), n
	}
	return n, nil
}

// setGroup describes a group; value is its stored form.
func (b *builder) setGroup(g wire.WhitelistGroup, value []byte, zone *time.Location) error {
	u, err := checkGroup(&g, zone)
	if err != nil {
		return err
	}
	n, err := b.number(g.Name)
	if err != nil {
		return err
	}
	b.dropGroup(g.Name)
	b.groups[n] = group{name: g.Name, known: true, enabled: g.Enable == 1, rule: u, sum: groupSum(value)}
	b.sum = b.sum.plus(b.groups[n].sum)
	return nil
}

// undescribed is a group of which there is only the name.
func (b *builder) undescribed(name string) group { return group{name: name, known: b.doubted} }

// doubt has no row pass whose group nothing describes.
func (b *builder) doubt() {
	b.doubted = true
	for i := 1; i < len(b.groups); i++ {
		if !b.groups[i].known {
			b.groups[i] = b.undescribed(b.groups[i].name)
		}
	}
}

// dropGroup forgets a group's description.
func (b *builder) dropGroup(name string) {
	if n, ok := b.names[name]; ok && b.groups[n].known {
		b.sum = b.sum.minus(b.groups[n].sum)
		b.groups[n] = b.undescribed(name)
	}
}

// add adds a row; value is its stored form. A plate must come once.
func (b *builder) add(r wire.WhitelistRecord, value []byte, zone *time.Location) error {
	u, err := check(&r, zone)
	if err != nil {
		return err
	}
	n, err := b.number(r.Group)
	if err != nil {
		return err
	}
	h := maphash.String(seed, r.Plate)
	i, _ := place(h)
	if err := b.shards[i].add(r.Plate, flags(&r), n, u); err != nil {
		return err
	}
	b.rows++
	b.sum = b.sum.plus(rowSum(value))
	return nil
}

func flags(r *wire.WhitelistRecord) (f uint8) {
	if r.Enable == 1 {
		f |= flagEnabled
	}
	if r.NeedAlarm == 1 {
		f |= flagAlarm
	}
	return f
}

// snapshot ends the building.
func (b *builder) snapshot(version uint64) *snapshot {
	s := &snapshot{version: version, rows: b.rows, sum: b.sum, groups: b.groups, doubted: b.doubted}
	for i := range b.shards {
		s.shards[i] = b.shards[i].shard()
	}
	return s
}

// shardBuilder makes a shard.
type shardBuilder struct {
	data    []byte
	rows    int
	rules   []rule
	numbers map[rule]uint32
}

func (b *shardBuilder) add(plate string, flags uint8, group uint16, u rule) error {
	if len(b.data) >= maxShardData || len(plate) > maxPlate {
		return errcode.New(errcode.RequestFailed, "The whitelist has too many rows!")
	}
	n, ok := b.numbers[u]
	if !ok {
		if b.numbers == nil {
			b.numbers = map[rule]uint32{}
		}
		n = uint32(len(b.rules))
		b.rules, b.numbers[u] = append(b.rules, u), n
	}
	b.data = append(b.data, byte(len(plate)), flags, byte(group>>8), byte(group), byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	b.data = append(b.data, plate...)
	b.rows++
	return nil
}

// shard gives the table, nil where there is no row; what was used to build it is let go.
func (b *shardBuilder) shard() *shard {
	if b.rows == 0 {
		return nil
	}
	size := 2
	for size < 2*b.rows {
		size *= 2
	}
	s := &shard{slots: make([]uint32, size), data: string(b.data), rows: b.rows, rules: slices.Clip(slices.Clone(b.rules))}
	for at := 0; at < len(s.data); {
		r, next := s.at(at)
		h := maphash.String(seed, r.plate)
		_, tag := place(h)
		i := h & uint64(size-1)
		for s.slots[i] != 0 {
			i = (i + 1) & uint64(size-1)
		}
		s.slots[i] = tag<<24 | uint32(at+1)
		at = next
	}
	*b = shardBuilder{}
	return s
}

// edit is one row as it is to be, or to be gone.
type edit struct {
	plate string
	value []byte // stored form; nil: removed
}

// apply gives the snapshot after edits of rows; groups and sum come from the
// caller, who knows the old forms. Only the shards that the edits touch are copied.
func (s *snapshot) apply(edits []edit, b *builder, zone *time.Location) (*snapshot, error) {
	var touched [shardCount]map[string]bool
	for _, e := range edits {
		i, _ := place(maphash.String(seed, e.plate))
		if touched[i] == nil {
			touched[i] = map[string]bool{}
		}
		touched[i][e.plate] = true
	}
	for i, plates := range touched {
		if plates == nil {
			continue
		}
		for r := range s.shards[i].all() {
			if plates[r.plate] {
				continue
			}
			if err := b.shards[i].add(r.plate, r.flags, r.group, s.shards[i].rules[r.rule]); err != nil {
				return nil, err
			}
		}
	}
	for _, e := range edits {
		if e.value == nil {
			continue
		}
		var r wire.WhitelistRecord
		if err := json.Unmarshal(e.value, &r); err != nil {
			return nil, err
		}
		u, err := check(&r, zone)
		if err != nil {
			return nil, err
		}
		n, err := b.number(r.Group)
		if err != nil {
			return nil, err
		}
		i, _ := place(maphash.String(seed, e.plate))
		if err := b.shards[i].add(e.plate, flags(&r), n, u); err != nil {
			return nil, err
		}
	}
	next := &snapshot{rows: b.rows, sum: b.sum, groups: b.groups, doubted: b.doubted, shards: s.shards}
	for i, plates := range touched {
		if plates != nil {
			next.shards[i] = b.shards[i].shard()
		}
	}
	return next, nil
}
