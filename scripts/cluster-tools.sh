#!/usr/bin/env bash
# Prints the directory that holds the programs of a Kubernetes cluster in tests.
#
#   cluster-tools.sh         etcd, kube-apiserver, kube-controller-manager and kubectl, for a control plane
#   cluster-tools.sh node    these and all of a node: kube-scheduler, kubelet, kube-proxy, containerd and runc, CNI plugins,
#                            CoreDNS, a pause program; besides them helm, a static busybox, and in crds/ the custom resource
#                            definitions of Gateway API and of Prometheus' operator
#
# Takes the Kubernetes programs and etcd from $KUBEBUILDER_ASSETS where that is set and has them. Otherwise they are built from
# Go modules in the versions that tests/cluster pins (about ten CPU-minutes, five more for a node, once per set of pins);
# etcd, containerd, runc and busybox are Debian's, unpacked without installing them, so that no service starts.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache="${XDG_CACHE_HOME:-$HOME/.cache}/mcp-gateway-operator"
tier=${1:-control-plane}
programs=(etcd kube-apiserver kube-controller-manager kubectl)

fail() {
    echo "cluster-tools.sh: $*" >&2
    exit 1
}

case "$tier" in
control-plane) ;;
node) programs+=(kube-scheduler kubelet kube-proxy) ;;
*) fail "which tools? node, or nothing for a control plane's" ;;
esac

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
    if [ "$tier" = control-plane ] && has_all "$assets"; then
        echo "$assets"
        exit
    fi
fi

# The machine's own Go must not fetch another one, and the pins are what this project vouches for.
export GOTOOLCHAIN=local GOFLAGS=-mod=readonly GOWORK=off CGO_ENABLED=0
go=$("$root/scripts/go.sh")

# Two runs may start together; the second waits for the first. (macOS has no flock: there, do not.)
mkdir -p "$cache"
if command -v flock >/dev/null; then
    exec 9>"$cache/.cluster.lock"
    flock 9
fi

# --- the Kubernetes programs and etcd ----------------------------------------------------------------------------------

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

unpack() { # unpack DIRECTORY FILE=PACKAGE...: from Debian's packages without installing them, so that no service starts
    { command -v apt-get && command -v dpkg; } >/dev/null || fail "install ${*##*=}"
    local to=$1 scratch file packages
    shift
    mapfile -t packages < <(printf '%s\n' "${@##*=}" | sort -u)
    scratch=$(mktemp -d "$to/.unpacked.XXXXXX")
    echo "unpacking Debian's ${packages[*]} into $to" >&2
    (
        cd "$scratch"
        # The machine may never have fetched the lists of packages.
        apt-get download -q "${packages[@]}" >&2 || { apt-get update -q && apt-get download -q "${packages[@]}"; } >&2
        for file in *.deb; do dpkg -x "$file" .; done
    )
    for file in "${@%%=*}"; do mv "$scratch/$file" "$to/"; done
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
        unpack "$bin" usr/bin/etcd=etcd-server
    else
        to_build+=("$program")
    fi
done
[ ${#to_build[@]} = 0 ] || build "${to_build[@]}"
if [ "$tier" = control-plane ]; then
    echo "$bin"
    exit
fi

# --- what a node needs besides -------------------------------------------------------------------------------------------

[ "$(uname -s)" = Linux ] || fail "a node runs on Linux only"
pins=$({ cat "$root"/tests/cluster/{node,crds}/go.{mod,sum} "$root"/tests/cluster/node/*/*.go "${BASH_SOURCE[0]}" && echo "$bin"; } |
    git hash-object --stdin)
node="$cache/node-${pins:0:16}"
if [ -e "$node/.complete" ]; then
    echo "$node"
    exit
fi
mkdir -p "$node/crds"

echo "building CoreDNS, helm and CNI plugins into $node" >&2
(cd "$root/tests/cluster/node" && GOBIN="$node" "$go" install -trimpath -ldflags='-s -w' ./coredns ./pause tool) >&2

module() { # module PATH: where its source is, in the pinned version
    (cd "$root/tests/cluster/crds" && "$go" mod download -json "$1") | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p'
}
gateway_api=$(module sigs.k8s.io/gateway-api)
prometheus_operator=$(module github.com/prometheus-operator/prometheus-operator)
install -m 644 "$gateway_api"/config/crd/standard/gateway.networking.k8s.io_{gatewayclasses,gateways,httproutes,referencegrants}.yaml \
    "$prometheus_operator"/example/prometheus-operator-crd/monitoring.coreos.com_{servicemonitors,prometheusrules}.yaml "$node/crds/"

unpack "$node" usr/bin/{containerd,containerd-shim-runc-v2,ctr}=containerd usr/sbin/runc=runc bin/busybox=busybox-static
for program in "${programs[@]}"; do ln -sf "$bin/$program" "$node/$program"; done
touch "$node/.complete"
echo "$node"
