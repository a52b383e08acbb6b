#!/usr/bin/env bash
# Builds the gateway and the demo MCP server, and serves the quickstart on this machine: one demo server as a child process
# of the gateway, an interchangeable one over HTTP. Ctrl-C drains the gateway and leaves no process behind.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cargo build --locked --bin mcp-gateway --example demo-mcp-server
bin=${CARGO_TARGET_DIR:-target}/debug
# The manifest names the demo server by its command only.
PATH="$(cd "$bin/examples" && pwd):$PATH"

demo='' gateway=''
demo_log=$(mktemp)
finish() {
    # The gateway first: it may still be answering calls with the demo server's help.
    for process in $gateway $demo; do
        kill -TERM "$process" 2>/dev/null || true
        wait "$process" 2>/dev/null || true
    done
    rm -f "$demo_log"
}
trap finish EXIT

# With a process group each, the two do not get the terminal's Ctrl-C themselves: it comes once, and in order, from here.
set -m
demo-mcp-server --name demo-http --scheme web --http 127.0.0.1:0 2>"$demo_log" &
demo=$!
# It chooses a free port and says which.
until url=$(sed -n 's/^listening on //p' "$demo_log") && [ -n "$url" ]; do
    kill -0 "$demo" 2>/dev/null || { cat "$demo_log" >&2; echo "the demo MCP server did not start" >&2; exit 1; }
    sleep 0.05
done
"$bin/mcp-gateway" run deploy/samples/quickstart.yaml --backend "demo-http=$url" &
gateway=$!

trap 'kill -TERM "$gateway" 2>/dev/null || true' INT TERM HUP
status=0
wait "$gateway" || status=$?
# A signal ends the wait before the gateway has drained.
while kill -0 "$gateway" 2>/dev/null; do
    wait "$gateway" && status=0 || status=$?
done
gateway=''
exit "$status"
