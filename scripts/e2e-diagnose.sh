#!/usr/bin/env bash
# Says how a cluster is, after tests on it failed: what is not well, what was told, and what the operator logged.
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
