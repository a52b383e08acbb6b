#!/usr/bin/env bash
# Says how a cluster is, after tests on it failed: what is not well, what was told, and what was logged.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

kubectl() { scripts/cluster.sh exec kubectl "$@"; }

echo "== pods"
kubectl get pods --all-namespaces --output wide
echo "== objects of ours"
kubectl get mcp --all-namespaces
echo "== the last events"
kubectl get events --all-namespaces --sort-by=.lastTimestamp | tail -n 40
echo "== the operator"
kubectl logs --namespace mcp-system --selector app.kubernetes.io/name=mcp-operator --tail=60 --prefix
# Of gateways, servers and shims what was no mere information: their namespaces stay when a test fails.
kubectl get pods --all-namespaces --selector 'app.kubernetes.io/managed-by=mcp-operator' --no-headers \
    --output 'custom-columns=NAMESPACE:.metadata.namespace,NAME:.metadata.name' | while read -r namespace pod; do
    echo "== $namespace/$pod"
    kubectl logs --namespace "$namespace" "$pod" --all-containers --tail=200 </dev/null | grep -v '"level":"INFO"' | tail -n 20
done
