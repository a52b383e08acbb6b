#!/usr/bin/env bash
# Builds the project's images without Docker, for the machine's own architecture: static programs in an otherwise empty root.
# Prints the tars, one a line. Releases, for both architectures, come from the Dockerfile.
#
#   images.sh [--fast] [NAME...]      mcp-gateway, mcp-operator and demo-mcp-server, or only those named, into target/images
#
# With --fast they are compiled for tests: in a fraction of the time, and slower.
# An image is built again only when what goes into it has changed, committed or not: tars are kept, by a hash of that, outside
# the clone.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

registry=ghcr.io/mcp-gateway-operator
version=$(sed -n 's/^version = "\(.*\)"/\1/p;T;q' Cargo.toml)
output=${CARGO_TARGET_DIR:-target}/images
kept=${XDG_CACHE_HOME:-$HOME/.cache}/mcp-gateway-operator/images
# Of each image: enough for a few branches and what came before them.
versions_kept=8

fail() { echo "images.sh: $*" >&2; exit 1; }

profile=release
[ "${1:-}" != --fast ] || { profile=image; shift; }

sources() { # sources NAME
    case $1 in
        mcp-gateway | mcp-operator) echo src ;;
        # They are programs of their own, which use nothing of src.
        demo-mcp-server) echo deploy/demo ;;
        misbehaving-server) echo tests/misbehaving ;;
        *) fail "no image is called $1" ;;
    esac
}

state() { # state NAME: a hash of what decides the content: sources and pins, recipe, compiler and C library, authorities
    {
        echo "$profile"
        find "$(sources "$1")" Cargo.toml Cargo.lock scripts/{images,image-root,oci-image}.sh /usr/share/ca-certificates/mozilla \
            -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum
        rustc -vV
        ldd --version | sed -n 1p
    } | sha256sum | cut -c -16
}

build() { # build NAME TAR
    local root before
    before=$(state "$1")
    root=$(mktemp -d)
    scripts/image-root.sh "$1" "$root" "$profile"
    scripts/oci-image.sh --name "$registry/$1:$version" --rootfs "$root" --output "$2.new" \
        --entrypoint "/usr/local/bin/$1" --user 65532:65532 \
        --label "org.opencontainers.image.title=$1" --label "org.opencontainers.image.version=$version" \
        --label org.opencontainers.image.licenses=Apache-2.0
    rm -r "$root"
    [ "$(state "$1")" = "$before" ] || fail "sources changed while they were compiled; run it again"
    mv "$2.new" "$2"
}

[ $# -gt 0 ] || set -- mcp-gateway mcp-operator demo-mcp-server
mkdir -p "$output"
for name; do
    sources "$name" >/dev/null
    mkdir -p "$kept/$name"
    # Two runs may start together; the second waits for the first.
    exec 9>"$kept/$name/.lock"
    flock 9
    tar=$kept/$name/$(state "$name").tar
    [ -e "$tar" ] || build "$name" "$tar"
    touch "$tar"
    ls -t "$kept/$name" | tail -n +$((versions_kept + 1)) | while read -r old; do rm -f "$kept/$name/$old"; done

    # Nodes that start many pods at once pull it as often.
    [ "$name" = mcp-operator ] && limit=40 || limit=30
    size=$(($(stat -c %s "$tar") / 1000000))
    [ "$size" -lt "$limit" ] || fail "the image of $name has $size MB; $limit are allowed"
    cp "$tar" "$output/$name.tar.part"
    mv "$output/$name.tar.part" "$output/$name.tar"
    echo "$output/$name.tar"
done
