#!/usr/bin/env bash
# Compiles one program of this project statically and lays out the root directory of its image. Used by scripts/images.sh and
# by the Dockerfile, so that both make the same.
#
#   image-root.sh NAME DIRECTORY [CARGO-PROFILE [CARGO-TARGET]]      by default release, for the machine's own target
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() { echo "image-root.sh: $*" >&2; exit 1; }

[ $# -ge 2 ] || fail "usage: image-root.sh NAME DIRECTORY [CARGO-PROFILE [CARGO-TARGET]]"
name=$1 root=$2 profile=${3:-release} target=${4:-$(rustc -vV | sed -n 's/^host: //p')}
[[ $target == *-linux-gnu ]] || fail "$target is not Linux with glibc; use the Dockerfile"
# Mozilla's authorities only: a machine's /etc/ssl/certs may have others, which are nobody else's business.
authorities=/usr/share/ca-certificates/mozilla
[ -d "$authorities" ] || fail "$authorities is missing; install ca-certificates"

# Each program has only the features it needs, so that the data plane's has no Kubernetes client in it.
case $name in
    mcp-gateway) features=gateway kind=--bin ;;
    mcp-operator) features=operator kind=--bin ;;
    demo-mcp-server | misbehaving-server) features=gateway kind=--example ;;
    *) fail "no image is called $name" ;;
esac

# The resolver of glibc is linked in, which since 2.34 has files and DNS built in. With --target the flags are not for what
# runs while compiling. Backtraces show no paths of the machine that compiled. With CARGO_AUDITABLE, the program carries the list
# of its crates, from which scanners make an SBOM.
flags=(-C target-feature=+crt-static --remap-path-prefix "$PWD=/src" --remap-path-prefix "${CARGO_HOME:-$HOME/.cargo}=/cargo")
CARGO_ENCODED_RUSTFLAGS=$(IFS=$'\x1f'; echo "${flags[*]}") \
    cargo ${CARGO_AUDITABLE:+auditable} build --locked --profile "$profile" --target "$target" \
    --no-default-features --features "$features" "$kind" "$name" >&2

program=${CARGO_TARGET_DIR:-target}/$target/$profile/$name
[ "$kind" = --bin ] || program=${program%/*}/examples/$name
headers=$(readelf --program-headers --wide "$program")
[[ $headers != *INTERP* ]] || fail "$program is not static"

# Modes are given, not left to the umask: the program runs as a user that owns nothing here.
install -d -m 755 "$root" "$root"/{usr,usr/local,usr/local/bin,etc,etc/ssl,etc/ssl/certs}
install -d -m 1777 "$root/tmp"
install -m 755 "$program" "$root/usr/local/bin/$name"
(LC_ALL=C; cat "$authorities"/*.crt) >"$root/etc/ssl/certs/ca-certificates.crt"
echo 'hosts: files dns' >"$root/etc/nsswitch.conf"
chmod 644 "$root/etc/ssl/certs/ca-certificates.crt" "$root/etc/nsswitch.conf"
