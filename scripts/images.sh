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
# Enough for a few branches and what came before them. The tars of a state take about 30 MB.
kept_states=8

fail() { echo "images.sh: $*" >&2; exit 1; }

profile=release
[ "${1:-}" != --fast ] || { profile=image; shift; }

# What decides the content: sources and pins, the recipe, the compiler and the C library, the authorities.
content() {
    echo "$profile"
    find Cargo.toml Cargo.lock src deploy/demo tests/misbehaving scripts/{images,image-root,oci-image}.sh \
        /usr/share/ca-certificates/mozilla -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum
    rustc -vV
    ldd --version | sed -n 1p
}
state=$(content | sha256sum | cut -c -16)

# Two runs may start together; the second waits for the first.
mkdir -p "$kept/$state" "$output"
touch "$kept/$state"
exec 9>"$kept/$state/.lock"
flock 9
ls -t "$kept" | tail -n +$((kept_states + 1)) | while read -r old; do rm -rf "${kept:?}/$old"; done

[ $# -gt 0 ] || set -- mcp-gateway mcp-operator demo-mcp-server
for name; do
    tar=$kept/$state/$name.tar
    if [ ! -e "$tar" ]; then
        root=$(mktemp -d)
        scripts/image-root.sh "$name" "$root" "$profile"
        scripts/oci-image.sh --name "$registry/$name:$version" --rootfs "$root" --output "$root.tar" \
            --entrypoint "/usr/local/bin/$name" --user 65532:65532 \
            --label "org.opencontainers.image.title=$name" --label "org.opencontainers.image.version=$version" \
            --label org.opencontainers.image.licenses=Apache-2.0
        rm -r "$root"
        [ "$(content | sha256sum | cut -c -16)" = "$state" ] || fail "sources changed while they were compiled; run it again"
        mv "$root.tar" "$tar"
    fi
    # Nodes that start many pods at once pull it as often.
    [ "$name" = mcp-operator ] && limit=40 || limit=30
    size=$(($(stat -c %s "$tar") / 1000000))
    [ "$size" -lt "$limit" ] || fail "the image of $name has $size MB; $limit are allowed"
    cp "$tar" "$output/$name.tar.part"
    mv "$output/$name.tar.part" "$output/$name.tar"
    echo "$output/$name.tar"
done
