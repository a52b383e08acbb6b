#!/usr/bin/env bash
# A Kubernetes control plane for tests: etcd, kube-apiserver and kube-controller-manager on the loopback, without nodes.
#
#   control-plane.sh up     starts one in the background and prints where its kubeconfig is; with $KUBECONFIG, only that
#   control-plane.sh down   ends what `up` started and forgets what it held
#
# Tests, which keep their own, use the steps: `prepare` writes keys and configuration; `etcd`, `kube-apiserver` and
# `kube-controller-manager` become that program.
#
# $CONTROL_PLANE_DIR (target/control-plane) holds everything, $CONTROL_PLANE_PORT (6443) is the API server's.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
step=${1:-}
dir=${CONTROL_PLANE_DIR:-$root/target/control-plane}
port=${CONTROL_PLANE_PORT:-6443}

fail() {
    echo "control-plane.sh: $*" >&2
    exit 1
}

# --- keys and configuration ------------------------------------------------------------------------------------------

# shellcheck source=scripts/keys.sh
. "$root/scripts/keys.sh"

prepare() {
    command -v openssl >/dev/null || fail "install openssl"
    # The keys of a cluster that trusts them entirely.
    umask 077
    mkdir -p "$dir"
    cd "$dir"
    new_authority
    certify apiserver /CN=kube-apiserver \
        'subjectAltName=IP:127.0.0.1,IP:10.96.0.1,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc'
    certify admin /O=system:masters/CN=admin extendedKeyUsage=clientAuth
    certify controller-manager /CN=system:kube-controller-manager extendedKeyUsage=clientAuth
    kubeconfig admin "https://127.0.0.1:$port"
    kubeconfig controller-manager "https://127.0.0.1:$port"
    new_key service-accounts
}

# --- the programs ----------------------------------------------------------------------------------------------------

become() { # become PROGRAM
    local bin
    bin=$("$root/scripts/cluster-tools.sh")
    # etcd and its client give the names of sockets relative to where they run.
    cd "$dir"
    case "$1" in
    etcd)
        # What it holds ends with it: nothing is worth a wait for the disk.
        exec "$bin/etcd" --data-dir=etcd --unsafe-no-fsync --log-level=warn --logger=zap \
            --listen-client-urls=unix://etcd:1 --advertise-client-urls=unix://etcd:1 \
            --listen-peer-urls=unix://etcd:2 --initial-advertise-peer-urls=unix://etcd:2 \
            --initial-cluster=default=unix://etcd:2
        ;;
    kube-apiserver)
        # Clusters advertise an address that pods reach. Nobody is at this one, which documentation is to use; a machine
        # without a default route has none to find, and EndpointSlices refuse the loopback.
        exec "$bin/kube-apiserver" --etcd-servers=unix://etcd:1 \
            --bind-address=127.0.0.1 --secure-port="$port" --advertise-address=192.0.2.1 \
            --service-cluster-ip-range=10.96.0.0/16 --allow-privileged=true --authorization-mode=RBAC \
            --tls-cert-file=apiserver.crt --tls-private-key-file=apiserver.key --client-ca-file=ca.crt \
            --service-account-issuer=https://kubernetes.default.svc \
            --service-account-key-file=service-accounts.key --service-account-signing-key-file=service-accounts.key \
            --audit-policy-file="$root/tests/cluster/audit-policy.yaml" --audit-log-path=audit.log --audit-log-maxsize=0
        ;;
    kube-controller-manager)
        # The default of 20 requests a second is what hundreds of gateways would wait for. Three controllers are for nodes:
        # they would mark pods unready, evict and delete them within a minute, as no kubelet renews a node here.
        exec "$bin/kube-controller-manager" --kubeconfig=controller-manager.kubeconfig --leader-elect=false --secure-port=0 \
            --controllers='*,-node-lifecycle-controller,-taint-eviction-controller,-pod-garbage-collector-controller' \
            --use-service-account-credentials --kube-api-qps=500 --kube-api-burst=1000 \
            --service-account-private-key-file=service-accounts.key --root-ca-file=ca.crt \
            --cluster-signing-cert-file=ca.crt --cluster-signing-key-file=ca.key
        ;;
    esac
}

# --- in the background -----------------------------------------------------------------------------------------------

programs=(etcd kube-apiserver kube-controller-manager)

is_running() { # is_running PROGRAM
    local pid program
    pid=$(cat "$dir/$1.pid" 2>/dev/null) || return 1
    # The number may be another process's by now, and the dead have no program.
    program=$(readlink "/proc/$pid/exe") || return 1
    [ "$(basename "$program")" = "$1" ]
}

background() { # background PROGRAM
    # In a group of its own: Ctrl-C on the terminal is not meant for it.
    setsid "${BASH_SOURCE[0]}" "$1" >>"$dir/$1.log" 2>&1 </dev/null 9>&- &
    local pid=$!
    echo "$pid" >"$dir/$1.pid"
    until is_running "$1"; do
        kill -0 "$pid" 2>/dev/null || { cat "$dir/$1.log" >&2; fail "$1 did not start"; }
        sleep 0.05
    done
}

is_ready() {
    curl --silent --fail --max-time 2 --cacert "$dir/ca.crt" --cert "$dir/admin.crt" --key "$dir/admin.key" \
        "https://127.0.0.1:$port/readyz" >/dev/null
}

up() {
    local program
    if [ -n "${KUBECONFIG:-}" ]; then
        echo "control-plane.sh: KUBECONFIG is set: using that cluster" >&2
        echo "$KUBECONFIG"
        return
    fi
    for program in "${programs[@]}"; do
        ! is_running "$program" || fail "$program runs already; end it with: $0 down"
    done
    # Builds them where nobody has, before anything waits for them.
    "$root/scripts/cluster-tools.sh" >/dev/null
    rm -rf "$dir"
    CONTROL_PLANE_DIR=$dir "${BASH_SOURCE[0]}" prepare
    background etcd
    background kube-apiserver
    local deadline=$((SECONDS + 60))
    until is_ready; do
        [ "$SECONDS" -lt "$deadline" ] || { tail -n 20 "$dir/kube-apiserver.log" >&2; fail "not ready within a minute"; }
        sleep 0.2
    done
    background kube-controller-manager
    echo "$dir/admin.kubeconfig"
}

down() {
    local program
    # Killed, and the API server before etcd: it would wait for it, for minutes.
    for program in kube-controller-manager kube-apiserver etcd; do
        is_running "$program" || continue
        kill -KILL "$(cat "$dir/$program.pid")"
        while is_running "$program"; do sleep 0.05; done
    done
    rm -rf "$dir"
}

case "$step" in
up | down | prepare) "$step" ;;
etcd | kube-apiserver | kube-controller-manager) become "$step" ;;
*) fail "what to do? up, down, prepare, etcd, kube-apiserver or kube-controller-manager" ;;
esac
