#!/bin/sh
# Runs every fuzz target of the repository, each for FUZZTIME (default 10s), and
# prints a line for each. The targets are found, not listed: a new one is run
# without being entered anywhere. With RUN only those whose "package name" line
# matches that pattern. What a target finds is kept by go test below the
# package's testdata/fuzz.
set -u
time=${FUZZTIME:-10s}
out=$(mktemp)
trap 'rm -f "$out"' EXIT
failed=0 count=0
targets=$(grep -rn --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*(f \*testing\.F)' . | sed 's|^\(.*\)/[^/]*:[0-9]*:func \(Fuzz[A-Za-z0-9_]*\)(.*|\1 \2|' | sort -u)
[ -n "$targets" ] || { echo "fuzz: no targets were found" >&2; exit 1; }
[ -z "${RUN:-}" ] || targets=$(echo "$targets" | grep -e "$RUN")
[ -n "$targets" ] || { echo "fuzz: no target matches $RUN" >&2; exit 1; }
echo "fuzz: $(echo "$targets" | wc -l) targets, $time each"
while read -r package name; do
	count=$((count + 1))
	if go test -tags=customenv -run '^$' -fuzz "^$name\$" -fuzztime "$time" "$package" >"$out" 2>&1; then
		printf '  ok    %-24s %-20s %s\n' "$package" "$name" "$(grep -o 'execs: [0-9]*' "$out" | tail -1)"
	else
		failed=$((failed + 1))
		printf '  FAIL  %-24s %s\n' "$package" "$name"
		sed 's/^/        /' "$out" | tail -30
	fi
done <<END
$targets
END
echo "fuzz: $count targets, $failed failed"
[ "$failed" = 0 ]
