#!/usr/bin/env bash
# suite.sh NAME COMMAND...: runs a command, says how long it took, and fails as it fails.
# With $SUITES, appends "NAME<tab>SECONDS<tab>RESULT" to that file.
set -euo pipefail

name=$1
shift
echo "== $name: $*"
start=$SECONDS
status=0
"$@" || status=$?
took=$((SECONDS - start))
result=passed
[ "$status" = 0 ] || result="FAILED ($status)"
echo "== $name: $result in $took s"
[ -z "${SUITES:-}" ] || printf '%s\t%s\t%s\n' "$name" "$took" "$result" >>"$SUITES"
exit "$status"
