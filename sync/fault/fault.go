// Package fault kills the process at a named point, so that a test can see
// whether a power cut there leaves anything half done (`make crash`).
//
// Without GATEHOUSE_FAULT in the environment a point costs one comparison. With
// GATEHOUSE_FAULT=name, or name:n, the process ends itself with SIGKILL when it
// comes to the point for the n-th time: no deferred function runs, nothing is
// flushed. Not shown by it: what a disk loses that lies about its flushes.
package fault

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

// Points are all names, in the order in which a change comes to them. A test
// holds the list equal to the calls in the source.
var Points = []string{
	"change.content.written", // the content's file is synced, the change not yet recorded
	"change.fetched",         // content by url is there, not yet checked
	"change.command.begin",   // within the transaction of a command, before anything
	"change.command.end",     // at the end of it, before the commit
	"change.command.done",    // behind the commit, before the answer
	"change.step.recorded",   // a step is written down, not yet done
	"change.step.done",       // done, not yet recorded
	"change.finish",          // within the transaction that finishes a change
	"change.finished",        // behind it
	"change.committed",       // before the kind is told: lookups still see the old whitelist
	"change.undo.begin",      // before steps are undone
	"change.undo.done",       // undone, not yet recorded
	"change.report.sink",     // a report is in the outbox, and still in the queue
	"whitelist.batch",        // some rows of a new set are on disk
	"whitelist.built",        // all of them, not yet in force
	"config.trial.begin",     // a new config is in force, on trial
	"config.good.begin",      // before the last good config is written to its file
	"store.file.written",     // a file is synced under its temporary name
	"store.file.renamed",     // it has its name, the directory is not synced
	"outbox.commit",          // within the transaction that stores events
	"outbox.committed",       // behind it, before Put returns
	"opening.kept",           // the barrier was opened on an early notice, and that is written down
	"opening.stored",         // the passage's final result is stored, and the opening still in its file
	"opening.told",           // the opening is out of its file
}

// Env is the name of the variable.
const Env = "GATEHOUSE_FAULT"

var (
	name string
	left atomic.Int64
)

func init() { name = parse(os.Getenv(Env)) }

func parse(text string) string {
	at, n, found := strings.Cut(text, ":")
	count, err := strconv.ParseInt(n, 10, 64)
	if !found || err != nil || count < 1 {
		count = 1
	}
	left.Store(count)
	return at
}

// Point is where the process may be killed. The name must be a constant of Points.
func Point(at string) {
	if name == "" || at != name || left.Add(-1) != 0 {
		return
	}
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // the signal is on its way
}
