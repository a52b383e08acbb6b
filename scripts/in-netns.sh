#!/usr/bin/env bash
# in-netns.sh COMMAND...: runs a command in a network namespace of its own, which ends with the last process in it.
#
# Inside there is a loopback, and every address of 10.123.0.0/16 is this machine: processes bind them and reach each other
# there without setting any up. EndpointSlices accept such addresses, which they do not of 127.0.0.0/8. Nothing leads out.
set -euo pipefail

fail() {
    echo "in-netns.sh: $*" >&2
    echo "in-netns.sh: NOT RUN: $command" >&2
    exit 1
}

command="$*"
[ -n "$command" ] || { echo "in-netns.sh: what to run?" >&2; exit 2; }
for program in unshare ip; do
    command -v "$program" >/dev/null || fail "install $program (Debian: util-linux, iproute2)"
done

enter=(unshare --net)
# Without privileges, where the machine lets users have namespaces: root of one of them, and nobody else outside.
[ "$(id -u)" = 0 ] || enter=(unshare --user --map-root-user --net)
"${enter[@]}" true ||
    fail "this machine lets $(id -un) create no network namespace; run as root, or in a container with CAP_SYS_ADMIN"

# shellcheck disable=SC2016 # for the shell inside
exec "${enter[@]}" bash -euc 'ip link set lo up; ip route add local 10.123.0.0/16 dev lo; exec "$@"' in-netns.sh "$@"
