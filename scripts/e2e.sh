#!/usr/bin/env bash
# Runs the end-to-end tests: on a cluster of this machine's own, which it starts and ends (scripts/cluster.sh), or on the one of
# $KUBECONFIG, which must have the images and whose Services this machine must reach (docs/operations.md).
#
#   e2e.sh            all of it: install for one namespace and uninstall, everything on an installed chart, uninstall
#   e2e.sh FILTER...  only these tests; the chart stays installed on a cluster of $KUBECONFIG
#
# The tests' program and the images are built before (make e2e).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# How many tests run at a time: each has pods of its own, and two cores serve them all.
threads=${E2E_THREADS:-4}

if [ -n "${KUBECONFIG:-}" ]; then
    echo "e2e.sh: KUBECONFIG is set: using that cluster" >&2
else
    # One that was left from a run that was killed is nobody's.
    export CLUSTER_DIR=${CLUSTER_DIR:-$PWD/target/e2e-cluster} CLUSTER_NETNS=${CLUSTER_NETNS:-mcp-e2e}
    scripts/cluster.sh down
    trap 'status=$?; [ $status = 0 ] || scripts/e2e-diagnose.sh >&2 || true; scripts/cluster.sh down; exit $status' EXIT
    scripts/cluster.sh up
    export E2E_AUDIT_LOG=$CLUSTER_DIR/audit.log
    mapfile -t images < <(scripts/images.sh --fast && tests/images/build.sh)
    scripts/cluster.sh load "${images[@]}"
fi

tests() { # tests ARGUMENTS-OF-THE-TEST-PROGRAM...
    scripts/cluster.sh exec cargo test --locked --test e2e -- --show-output "$@"
}

if [ $# -gt 0 ]; then
    tests --test-threads="$threads" "$@"
    exit
fi
# What the tests build on, by itself: a cluster that cannot do it would fail them for reasons of its own.
tests/cluster/smoke.sh
tests --test-threads=1 first::
tests --test-threads="$threads" --skip first:: --skip reload:: --skip last::
# By itself, since it tells how long a change takes.
tests --test-threads=1 reload::
tests --test-threads=1 last::
