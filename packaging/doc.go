// Package packaging holds what turns the tree into something that can be
// installed: the set-up of a development machine, systemd units, packages and
// the tests that hold the architecture. It has no code of its own.
package packaging
