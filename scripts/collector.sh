#!/usr/bin/env bash
# Prints the path of the OpenTelemetry Collector of tests/collector, which is built from Go modules (about three CPU-minutes,
# once per set of pins). It is static: it runs in an image without anything else.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache="${XDG_CACHE_HOME:-$HOME/.cache}/mcp-gateway-operator"

# The machine's own Go must not fetch another one, and the pins are what this project vouches for.
export GOTOOLCHAIN=local GOFLAGS=-mod=readonly GOWORK=off CGO_ENABLED=0
go=$("$root/scripts/go.sh")

# Two runs may start together; the second waits for the first. (macOS has no flock: there, do not.)
mkdir -p "$cache"
if command -v flock >/dev/null; then
    exec 9>"$cache/.collector.lock"
    flock 9
fi

pins=$({ cat "$root"/tests/collector/{main.go,go.mod,go.sum} && "$go" version; } | git hash-object --stdin)
program="$cache/collector-${pins:0:16}"
if [ ! -x "$program" ]; then
    echo "building the OpenTelemetry Collector into $cache" >&2
    (cd "$root/tests/collector" && "$go" build -trimpath -ldflags='-s -w' -o "$program.new" .) >&2
    mv "$program.new" "$program"
fi
echo "$program"
