// Package crash shows what a power cut leaves on a board: the real agent and
// the real cloud, the agent killed with SIGKILL at every named fault point
// (package fault) and at random moments under load, and its databases damaged
// in all ways that a worn flash has.
//
// It is tests only. `make crash` runs the long forms and prints the tables,
// SHORT=1 the forms that `make test` runs. Not shown: a disk that lies about its
// flushes, since SIGKILL loses what a process had not written, not what the
// kernel had.
package crash
