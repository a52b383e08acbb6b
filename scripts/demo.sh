#!/usr/bin/env bash
# From nothing to a tool called through a gateway in a cluster: starts a cluster (scripts/cluster.sh, or that of $KUBECONFIG), installs
# the chart, applies a sample, calls a tool through it, and says what to try next. Can be run again.
#
#   demo.sh         all of that
#   demo.sh call    calls the tool once more
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

sample=deploy/samples/quickstart.yaml
inside() { scripts/cluster.sh exec "$@"; }
step() { printf '\n\033[1m%s\033[0m\n' "$*"; }

call() {
    local address meta call answer
    address=$(inside kubectl get service mcpgw-quickstart --output jsonpath='{.spec.clusterIP}')
    meta='{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}'
    call=(curl --silent --show-error --fail --max-time 30 --retry 5 --retry-all-errors "http://$address:8080/mcp"
        -H 'content-type: application/json' -H 'accept: application/json, text/event-stream'
        -H 'mcp-protocol-version: 2026-07-28' -H 'mcp-method: tools/call' -H 'mcp-name: whoami'
        -d '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"whoami","arguments":{},"_meta":'"$meta"'}}')
    answer=$(inside "${call[@]}")
    echo "$answer"
    [[ $answer == *'(pid '* ]] || { echo "demo.sh: that is no answer of whoami" >&2; exit 1; }
}

case ${1:-} in
    '') ;;
    call) call; exit ;;
    *) echo "demo.sh: unknown argument $1; call, or nothing" >&2; exit 2 ;;
esac

step "A cluster"
if ! scripts/cluster.sh kubeconfig 2>/dev/null; then scripts/cluster.sh up; fi

step "The images, built from this source"
mapfile -t images < <(scripts/images.sh --fast)
scripts/cluster.sh load "${images[@]}"

step "The operator, by its chart"
inside helm upgrade --install mcp-gateway-operator charts/mcp-gateway-operator --namespace mcp-system --create-namespace \
    --wait --timeout 3m >/dev/null
inside kubectl get pods --namespace mcp-system

step "A gateway with three MCP servers: $sample"
inside kubectl apply --filename "$sample"
inside kubectl wait --for=condition=Ready --timeout=2m mcpgateway/quickstart mcpbackend/demo-a mcpbackend/demo-b mcpbackend/demo-http
inside kubectl get mcp

step "A tool, called through it"
call

run='scripts/cluster.sh exec '
[ -z "${KUBECONFIG:-}" ] || run=
cat <<END_OF_TEXT

What to try next:

  ${run}kubectl mcp status        what there is, and how it is (with target/debug on the PATH)
  ${run}kubectl explain mcproute.spec.servers
  ${run}kubectl scale mcpbackend/demo-a --replicas=0
  scripts/demo.sh call              demo-b has taken over; with --replicas=1, demo-a is back
  make cluster-down                 nothing is left
END_OF_TEXT
