#!/usr/bin/env bash
# A whole Kubernetes of one node, `node0`, for tests: real pods, Services and DNS, in namespaces of its own. Needs root on
# Linux, neither Docker nor systemd nor a network.
#
#   cluster.sh up              starts it and prints where its kubeconfig is; with $KUBECONFIG, only that
#   cluster.sh exec COMMAND    runs a command where pods, Services and node ports are reached, with kubectl and helm
#   cluster.sh load FILE.tar   gives the node images from files; pods that use them say `imagePullPolicy: Never` or a tag
#   cluster.sh stop|start|restart PROGRAM
#                              ends or starts one program of it: kubelet, kube-apiserver, kube-proxy, …; what lies in
#                              $CLUSTER_DIR/kubelet.conf.d overrides the kubelet's configuration from its next start on
#   cluster.sh kubeconfig      prints where the kubeconfig is
#   cluster.sh down            ends it and leaves nothing behind
#
# $CLUSTER_DIR (target/cluster) holds keys, configuration, logs and audit.log, which has every request to the API server.
# $CLUSTER_NETNS (mcp-cluster) names its network namespace. A machine runs one cluster of a name at a time, and several with
# names and directories of their own.
#
# It consists of one process, the node, in its own mount, pid, network, host name and IPC namespaces, and of everything that
# is started in them. With that process all others end, the kernel sees to it.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
dir=$(realpath -m "${CLUSTER_DIR:-$root/target/cluster}")
name=${CLUSTER_NETNS:-mcp-cluster}
config=$root/tests/cluster/node/config

# Inside the namespace only; nothing of them is routed outside.
node_ip=10.124.0.1
node_ip6=fd00:10:124::1
services=10.96.0.0/16
services6=fd00:10:96::/112
pods=10.244.0.0/16
pods6=fd00:10:244::/56

# Held by the node as long as it lives, before that by the `up` that starts it, and says who that is: "PID DIRECTORY".
lock=/run/$name.lock
saved_sysctls=/run/$name.sysctl
# In each hierarchy of control groups.
cgroup=$name

fail() {
    echo "cluster.sh: $*" >&2
    exit 1
}

# --- the node as one process -------------------------------------------------------------------------------------------

is_up() {
    [ -e "$lock" ] && ! flock --nonblock "$lock" true
}

node_pid() { cut -d' ' -f1 "$lock"; }
node_dir() { cut -d' ' -f2- "$lock"; }

inside() { # inside COMMAND...: in all namespaces of the node
    local pid
    pid=$(node_pid)
    nsenter --net="/run/netns/$name" --mount="/proc/$pid/ns/mnt" --uts="/proc/$pid/ns/uts" --ipc="/proc/$pid/ns/ipc" \
        --pid="/proc/$pid/ns/pid_for_children" -- "$@"
}

# What the node does before it waits for its end. Its own file systems hide the machine's, and vanish with it.
become_node() { # become_node TOOLS
    local directory
    for directory in /run /var/lib /var/log; do mount -t tmpfs -o mode=755 cluster "$directory"; done
    mkdir -p /run/netns /run/lock /var/lib/kubelet /var/log/pods
    # Mounts that the kubelet makes for volumes must reach containers.
    mount --make-rshared /
    hostname node0
    : >"$dir/node.started"
    exec "$1/pause"
}

make_network() {
    ip netns add "$name"
    ip -n "$name" link set lo up
    # Addresses count at once, without a second of asking whether somebody else has them.
    ip netns exec "$name" sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 \
        net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0
    # The other end only makes it a link that is up.
    ip -n "$name" link add node0 type veth peer name node0-peer
    ip -n "$name" link set node0-peer up
    ip -n "$name" link set node0 up
    ip -n "$name" address add "$node_ip/24" dev node0
    ip -n "$name" -6 address add "$node_ip6/64" dev node0 nodad
    # kube-proxy rewrites what is sent there, but a route must be found first.
    ip -n "$name" route add "$services" dev node0
    ip -n "$name" -6 route add "$services6" dev node0
    # For `exec`, which is given this instead of the machine's.
    mkdir -p "/etc/netns/$name"
    printf 'nameserver 10.96.0.10\nsearch default.svc.cluster.local svc.cluster.local cluster.local\n' >"/etc/netns/$name/resolv.conf"
}

hierarchies() { # of control groups: one directory a controller (version 1), or the one for all (version 2)
    if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
        echo /sys/fs/cgroup
    else
        awk '$3 == "cgroup" || $3 == "cgroup2" { print $2 }' /proc/mounts
    fi
}

make_cgroups() {
    local hierarchy controller
    for hierarchy in $(hierarchies); do
        # Groups of version 2 have the controllers that the one above gives them. Some take none below; the kubelet says which.
        if [ -e "$hierarchy/cgroup.controllers" ]; then
            tr ' ' '\n' <"$hierarchy/cgroup.controllers" | while read -r controller; do
                echo "+$controller" 2>/dev/null >"$hierarchy/cgroup.subtree_control" || true
            done
        fi
        mkdir -p "$hierarchy/$cgroup"
        # A group of version 1 takes no process before it has these.
        if [ -e "$hierarchy/$cgroup/cpuset.cpus" ] && [ -e "$hierarchy/cpuset.cpus" ]; then
            cat "$hierarchy/cpuset.cpus" >"$hierarchy/$cgroup/cpuset.cpus"
            cat "$hierarchy/cpuset.mems" >"$hierarchy/$cgroup/cpuset.mems"
        fi
    done
}

remove_cgroups() {
    local hierarchy deadline=$((SECONDS + 30))
    for hierarchy in $(hierarchies); do
        # The last processes may still be ending.
        until [ ! -d "$hierarchy/$cgroup" ] || find "$hierarchy/$cgroup" -depth -type d -exec rmdir {} + 2>/dev/null; do
            [ "$SECONDS" -lt "$deadline" ] || fail "processes are left in $hierarchy/$cgroup"
            sleep 0.05
        done
    done
}

# The kubelet sets these for the whole machine. What they were before the first cluster is there again after the last.
sysctls=(vm.overcommit_memory vm.panic_on_oom kernel.panic kernel.panic_on_oops kernel.keys.root_maxkeys kernel.keys.root_maxbytes)

sysctls_of_another() { find /run -maxdepth 1 -name '*.sysctl' ! -path "$saved_sysctls" -print -quit; }

save_sysctls() {
    local key
    if [ -n "$(sysctls_of_another)" ]; then
        cp "$(sysctls_of_another)" "$saved_sysctls"
        return
    fi
    for key in "${sysctls[@]}"; do
        [ ! -e "/proc/sys/${key//.//}" ] || printf '%s=%s\n' "$key" "$(cat "/proc/sys/${key//.//}")"
    done >"$saved_sysctls"
}

restore_sysctls() {
    [ -s "$saved_sysctls" ] || return 0
    local key value
    if [ -z "$(sysctls_of_another)" ]; then
        while IFS='=' read -r key value; do echo "$value" >"/proc/sys/${key//.//}"; done <"$saved_sysctls"
    fi
    rm "$saved_sysctls"
}

# What a node leaves on the machine, even when it was killed.
remove_remains() {
    remove_cgroups
    [ ! -e "/run/netns/$name" ] || ip netns delete "$name"
    rm -rf "/etc/netns/$name"
    rmdir /etc/netns 2>/dev/null || true
    restore_sysctls
}

destroy() {
    if is_up; then
        kill -KILL "$(node_pid)"
        flock --timeout 30 "$lock" true || fail "processes of the cluster do not end"
    fi
    remove_remains
    rm -f "$lock"
}

# --- its programs ------------------------------------------------------------------------------------------------------

prepare() ( # prepare TOOLS
    # shellcheck source=scripts/keys.sh
    . "$root/scripts/keys.sh"
    # The keys of a cluster that trusts them entirely.
    umask 077
    rm -rf "$dir"
    mkdir -p "$dir/cni" "$dir/kubelet.conf.d"
    cd "$dir"
    new_authority
    certify apiserver /CN=kube-apiserver "subjectAltName=IP:127.0.0.1,IP:10.96.0.1,IP:fd00:10:96::1,IP:$node_ip,IP:$node_ip6,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local"
    certify kubelet-server /CN=node0 "subjectAltName=IP:$node_ip,IP:$node_ip6,DNS:node0"
    certify admin /O=system:masters/CN=admin extendedKeyUsage=clientAuth
    certify kube-controller-manager /CN=system:kube-controller-manager extendedKeyUsage=clientAuth
    certify kube-scheduler /CN=system:kube-scheduler extendedKeyUsage=clientAuth
    certify kube-proxy /CN=system:kube-proxy extendedKeyUsage=clientAuth
    certify kubelet /O=system:nodes/CN=system:node:node0 extendedKeyUsage=clientAuth
    for who in admin kube-controller-manager kube-scheduler kube-proxy kubelet; do kubeconfig "$who" https://127.0.0.1:6443; done
    new_key service-accounts
    for file in kubelet.yaml kube-proxy.yaml containerd.toml cni.conflist; do
        sed -e "s|\$CLUSTER_DIR|$dir|" -e "s|\$CLUSTER_TOOLS|$1|" -e "s|\$CGROUP_ROOT|/$cgroup|" "$config/$file" >"$file"
    done
    mv cni.conflist cni/10-pods.conflist
    : >resolv.conf
    echo "$1" >tools
)

arguments() { # arguments PROGRAM
    case "$1" in
    etcd)
        # What it holds ends with the node: nothing is worth a wait for the disk.
        echo --data-dir=/var/lib/etcd --unsafe-no-fsync --log-level=warn --logger=zap
        ;;
    containerd) echo "--config=$dir/containerd.toml" ;;
    kube-apiserver)
        # One plugin more than usual, which some clusters have: it looks at who may be named as an owner. Debian's etcd 3.4
        # cannot say how far a watch is, which the estimate of sizes waits for again and again.
        echo --etcd-servers=http://127.0.0.1:2379 --advertise-address="$node_ip" --secure-port=6443 \
            --service-cluster-ip-range="$services,$services6" --allow-privileged=true --authorization-mode=Node,RBAC \
            --enable-admission-plugins=NodeRestriction,OwnerReferencesPermissionEnforcement \
            --feature-gates=SizeBasedListCostEstimate=false \
            --tls-cert-file=apiserver.crt --tls-private-key-file=apiserver.key --client-ca-file=ca.crt \
            --kubelet-client-certificate=admin.crt --kubelet-client-key=admin.key --kubelet-certificate-authority=ca.crt \
            --kubelet-preferred-address-types=InternalIP \
            --service-account-issuer=https://kubernetes.default.svc.cluster.local \
            --service-account-key-file=service-accounts.key --service-account-signing-key-file=service-accounts.key \
            --audit-policy-file="$root/tests/cluster/audit-policy.yaml" --audit-log-path="$dir/audit.log" --audit-log-maxsize=0
        ;;
    kube-controller-manager)
        echo --kubeconfig=kube-controller-manager.kubeconfig --leader-elect=false --use-service-account-credentials \
            --allocate-node-cidrs --cluster-cidr="$pods,$pods6" --service-cluster-ip-range="$services,$services6" \
            --service-account-private-key-file=service-accounts.key --root-ca-file=ca.crt \
            --cluster-signing-cert-file=ca.crt --cluster-signing-key-file=ca.key
        ;;
    kube-scheduler) echo --kubeconfig=kube-scheduler.kubeconfig --leader-elect=false ;;
    kube-proxy) echo --config=kube-proxy.yaml --hostname-override=node0 ;;
    kubelet)
        echo --config="$dir/kubelet.yaml" --config-dir="$dir/kubelet.conf.d" --kubeconfig="$dir/kubelet.kubeconfig" \
            --hostname-override=node0 --node-ip="$node_ip,$node_ip6"
        ;;
    *) fail "no program of the cluster: $1" ;;
    esac
}

program_runs() { # program_runs PROGRAM
    local pid
    pid=$(cat "$dir/$1.pid" 2>/dev/null) || return 1
    # The number may be another process's by now, and the dead have no program.
    [ "$(inside readlink "/proc/$pid/exe" 2>/dev/null)" = "$(realpath "$(cat "$dir/tools")/$1")" ]
}

start() { # start PROGRAM
    local tools words
    tools=$(cat "$dir/tools")
    words=$(arguments "$1")
    ! program_runs "$1" || fail "$1 runs already"
    # shellcheck disable=SC2016,SC2086 # for the shell inside; the words of the arguments hold no blanks
    inside bash -c 'cd "$1"; log=$2.log; shift 2; setsid "$@" >>"$log" 2>&1 </dev/null 9>&- & echo $! >"${log%.log}.pid"' start \
        "$dir" "$1" env PATH="$tools:$PATH" "$tools/$1" $words
    until program_runs "$1"; do
        inside kill -0 "$(cat "$dir/$1.pid")" 2>/dev/null || fail "$1 did not start: $(tail -n 5 "$dir/$1.log")"
        sleep 0.05
    done
}

stop() { # stop PROGRAM: killed, since the API server would wait for its watchers, for minutes
    arguments "$1" >/dev/null
    program_runs "$1" || fail "$1 does not run"
    inside kill -KILL "$(cat "$dir/$1.pid")"
    while program_runs "$1"; do sleep 0.05; done
}

restart() { # restart PROGRAM
    stop "$1"
    start "$1"
}

wait_for() { # wait_for SECONDS WHAT COMMAND...
    local deadline=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$deadline" ] || fail "$what within time; see the logs in $dir"
        sleep 0.1
    done
}

wait_for_api_server() { wait_for 60 "the API server was not ready" kubectl get --raw /readyz; }

kubectl() { inside "$(cat "$dir/tools")/kubectl" --kubeconfig="$dir/admin.kubeconfig" "$@"; }
ctr() { inside "$(cat "$dir/tools")/ctr" --namespace=k8s.io "$@"; }

own_image() { # own_image PROGRAM: of one that is static, as localhost/PROGRAM:1
    local tools
    tools=$(cat "$dir/tools")
    if [ ! -e "$tools/images/$1.tar" ]; then
        mkdir -p "$dir/rootfs-$1"
        install -m 755 "$tools/$1" "$dir/rootfs-$1/$1"
        "$root/scripts/oci-image.sh" --name "localhost/$1:1" --rootfs "$dir/rootfs-$1" --entrypoint "/$1" --output "$tools/images/$1.tar"
        rm -r "$dir/rootfs-$1"
    fi
    ctr images import - <"$tools/images/$1.tar" >/dev/null
}

# --- commands ----------------------------------------------------------------------------------------------------------

need_root() {
    [ "$(uname -s)" = Linux ] || fail "a node runs on Linux only; or set KUBECONFIG to a cluster of kind"
    [ "$(id -u)" = 0 ] || fail "a node needs root; or set KUBECONFIG to a cluster of kind"
}

check_machine() {
    local program path
    for program in unshare:util-linux flock:util-linux ip:iproute2 nft:nftables sysctl:procps openssl:openssl python3:python3; do
        command -v "${program%%:*}" >/dev/null || fail "${program%%:*} is missing: install ${program#*:}"
    done
    unshare --mount --pid --fork --net --uts --ipc true 2>/dev/null ||
        fail "this machine lets root create no namespaces; a container needs --privileged"
    [ -n "$(hierarchies)" ] && [ -w "$(hierarchies | head -n 1)" ] || fail "no writable control groups in /sys/fs/cgroup"
    for path in "$dir" "$root" "$HOME" "${XDG_CACHE_HOME:-$HOME}"; do
        case "$path/" in
        *[[:space:]]*) fail "a path with a blank: $path" ;;
        /run/* | /var/run/* | /var/lib/* | /var/log/*) fail "the node has a /run, /var/lib and /var/log of its own, so that $path is not there" ;;
        esac
    done
}

refuse_second() {
    ! is_up || fail "one runs already, of $(node_dir); end it with: CLUSTER_DIR=$(node_dir) $0 down"
}

up() {
    local tools
    if [ -n "${KUBECONFIG:-}" ]; then
        echo "cluster.sh: KUBECONFIG is set: using that cluster" >&2
        echo "$KUBECONFIG"
        return
    fi
    need_root
    check_machine
    refuse_second
    # Builds them where nobody has.
    tools=$("$root/scripts/cluster-tools.sh" node)
    exec 9>>"$lock"
    flock --nonblock 9 || fail "another one starts at the same time"
    echo "$$ $dir" >"$lock"
    trap 'echo "cluster.sh: the cluster did not come up; its logs are in $dir" >&2; exec 9>&-; destroy' EXIT
    # What an earlier one left that was killed.
    remove_remains
    prepare "$tools"
    save_sysctls
    make_cgroups
    make_network
    setsid nsenter --net="/run/netns/$name" unshare --mount --pid --fork --uts --ipc --kill-child=SIGKILL --mount-proc \
        env CLUSTER_DIR="$dir" "${BASH_SOURCE[0]}" become-node "$tools" >"$dir/node.log" 2>&1 </dev/null &
    echo "$! $dir" >"$lock"
    disown
    exec 9>&-
    wait_for 10 "the node did not start" test -e "$dir/node.started"
    start etcd
    start containerd
    start kube-apiserver
    wait_for 10 "containerd was not ready" ctr version
    own_image pause
    own_image coredns
    wait_for_api_server
    start kube-controller-manager
    start kube-scheduler
    start kubelet
    kubectl apply -f - <"$config/coredns.yaml" >/dev/null
    # kube-proxy looks for its node ever more seldom when there is none.
    wait_for 60 "the node did not register" kubectl get node node0
    start kube-proxy
    wait_for 60 "the node was not ready" kubectl wait --for=condition=Ready node/node0 --timeout=30s
    wait_for 60 "DNS was not ready" kubectl -n kube-system rollout status deployment/coredns --timeout=30s
    trap - EXIT
    echo "$dir/admin.kubeconfig"
}

down() {
    need_root
    if is_up && [ "$(node_dir)" != "$dir" ]; then
        fail "the one that runs is of another directory; end it with: CLUSTER_DIR=$(node_dir) $0 down"
    fi
    destroy
    rm -rf "$dir"
}

require_up() {
    is_up || fail "no cluster runs; start it with: $0 up"
    [ "$(node_dir)" = "$dir" ] || fail "the one that runs is of another directory; set CLUSTER_DIR=$(node_dir)"
}

is_foreign() { # Whether $KUBECONFIG says to use a cluster that is not ours.
    [ -n "${KUBECONFIG:-}" ] && [ "$(realpath -m "$KUBECONFIG")" != "$dir/admin.kubeconfig" ]
}

exec_inside() {
    [ $# -gt 0 ] || fail "what to run?"
    is_foreign && exec "$@"
    require_up
    KUBECONFIG=$dir/admin.kubeconfig PATH=$(cat "$dir/tools"):$PATH exec ip netns exec "$name" "$@"
}

load() {
    local file cluster
    [ $# -gt 0 ] || fail "which files?"
    if is_foreign; then
        cluster=$(command kubectl config current-context)
        [ "${cluster#kind-}" != "$cluster" ] || fail "images get into kind's clusters only; load them yourself: $*"
        for file in "$@"; do kind load image-archive "$file" --name "${cluster#kind-}"; done
        return
    fi
    require_up
    for file in "$@"; do ctr images import - <"$file"; done
}

step=${1:-}
[ $# = 0 ] || shift
case "$step" in
up | down | load) "$step" "$@" ;;
exec) exec_inside "$@" ;;
kubeconfig) require_up && echo "$dir/admin.kubeconfig" ;;
start | stop | restart)
    [ $# = 1 ] || fail "which program to $step?"
    require_up
    "$step" "$1"
    [ "$step" = stop ] || [ "$1" != kube-apiserver ] || wait_for_api_server
    ;;
become-node) become_node "$@" ;;
*) fail "what to do? up, down, exec, load, kubeconfig, start, stop or restart" ;;
esac
