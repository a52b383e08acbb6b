#!/usr/bin/env bash
# Shows within a minute that the cluster which `scripts/cluster.sh up` gave is one that tests can build on: images from files,
# Services of both IP families, DNS, node ports, probes, exec and logs, mounted ConfigMaps, Pod Security, the audit log.
# Works on a cluster of kind too, with $KUBECONFIG, but for node ports and the audit log, which are out of reach there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
cluster=scripts/cluster.sh
passed=0

kubectl() { "$cluster" exec kubectl --namespace smoke "$@"; }
in_pod() { kubectl exec deployment/web -- "$@"; }

show() { # show SECONDS WHAT COMMAND...: the command succeeds within that time
    local start=$SECONDS limit=$1 what=$2
    shift 2
    until "$@" >"$scratch/said" 2>&1; do
        [ $((SECONDS - start)) -lt "$limit" ] || {
            echo "FAILED after $limit s: $what: $*" >&2
            cat "$scratch/said" >&2
            kubectl get pods,services,endpointslices --output wide >&2
            exit 1
        }
        sleep 0.2
    done
    echo "ok - $what ($((SECONDS - start)) s)"
    passed=$((passed + 1))
}

scratch=$(mktemp -d)
trap 'kubectl delete namespace smoke --wait=false >/dev/null 2>&1 || true; rm -rf "$scratch"' EXIT

# --- an image of its own -------------------------------------------------------------------------------------------------

busybox=$(scripts/cluster-tools.sh node)/busybox
mkdir -p "$scratch/rootfs/bin"
install -m 755 "$busybox" "$scratch/rootfs/bin/busybox"
for applet in sh id touch rm test cat httpd nslookup wget; do ln -s busybox "$scratch/rootfs/bin/$applet"; done
scripts/oci-image.sh --name localhost/busybox:1 --rootfs "$scratch/rootfs" --user 65532:65532 --output "$scratch/busybox.tar"
"$cluster" load "$scratch/busybox.tar" >/dev/null

# --- what pods and their surroundings do -----------------------------------------------------------------------------------

answers() { # answers TEXT COMMAND...: the command prints just that
    local text=$1
    shift
    [ "$("$@")" = "$text" ]
}

prints() { # prints TEXT COMMAND...: the command prints that somewhere
    local text=$1
    shift
    "$@" 2>&1 | grep --fixed-strings --quiet -- "$text"
}

addresses_of_pods() { # By the name of the headless Service, of both families.
    local address
    in_pod nslookup web-pods.smoke.svc.cluster.local >"$scratch/found"
    for address in $(kubectl get pods --selector app=web --output jsonpath='{.items[*].status.podIPs[*].ip}'); do
        grep --fixed-strings --quiet "$address" "$scratch/found" || return 1
    done
}

refuses_root() {
    ! kubectl run root --image localhost/busybox:1 >"$scratch/refused" 2>&1 && grep --quiet 'violates PodSecurity "restricted' "$scratch/refused"
}

kubectl apply --filename - <tests/cluster/smoke.yaml >/dev/null
show 60 "pods of an image from a file get ready" kubectl rollout status deployment/web --timeout 50s
show 10 "their logs are read" prints "started as 65532" kubectl logs deployment/web
show 10 "a Service is reached by its name" answers first in_pod wget -qO- http://web.smoke
show 10 "a headless Service has its pods' addresses" addresses_of_pods
for address in $(kubectl get service web --output jsonpath='{.spec.clusterIPs[*]}'); do
    case "$address" in *:*) address="[$address]" ;; esac
    show 10 "pods reach $address" answers first in_pod wget -qO- "http://$address"
    [ -n "${KUBECONFIG:-}" ] || show 10 "and tests do" answers first "$cluster" exec curl --silent --max-time 2 --noproxy '*' "http://$address"
done
if [ -z "${KUBECONFIG:-}" ]; then
    node=$(kubectl get node node0 --output jsonpath='{.status.addresses[0].address}')
    show 10 "a node port is reached" answers first "$cluster" exec curl --silent --max-time 2 --noproxy '*' "http://$node:30080"
    show 10 "tests resolve names of the cluster" answers first "$cluster" exec curl --silent --max-time 2 --noproxy '*' http://web.smoke.svc.cluster.local
fi
show 10 "a pod that is not restricted is refused" refuses_root

kubectl patch configmap page --patch '{"data": {"index.html": "second"}}' >/dev/null
show 30 "a changed ConfigMap gets into a running pod" answers second in_pod wget -qO- http://127.0.0.1:8080

kubectl scale deployment/web --replicas 1 >/dev/null
show 20 "one pod is left" answers 1 kubectl get deployment web --output 'jsonpath={.status.replicas}'
in_pod rm /tmp/alive
show 30 "a container whose probe fails starts again" answers 1 kubectl get pods --selector app=web --output 'jsonpath={.items[*].status.containerStatuses[0].restartCount}'
show 30 "and gets ready" kubectl wait --for condition=Ready pod --selector app=web --timeout 20s

if [ -z "${KUBECONFIG:-}" ]; then
    audit=$(dirname "$("$cluster" kubeconfig)")/audit.log
    show 5 "the audit log has what was asked for" grep --quiet '"verb":"patch".*"resource":"configmaps","namespace":"smoke","name":"page"' "$audit"
fi
echo "$passed passed, 0 failed"
