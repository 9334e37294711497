package wire

// Causes of a gap: why a range of events was dropped.
const (
	GapBytes    = "bytes"     // the outbox was as large as it may be
	GapCount    = "count"     // more events than may wait
	GapAge      = "age"       // they were older than events are kept
	GapDamage   = "damage"    // their records were damaged
	GapDiskFull = "disk_full" // the disk had no room for them
)
