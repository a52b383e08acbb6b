#!/usr/bin/env bash
# Runs cargo-deny in the version pinned here, which it builds on first use (2 to 4 minutes) into a cache of its own.
set -euo pipefail

version=0.20.2
root="${XDG_CACHE_HOME:-$HOME/.cache}/mcp-gateway-operator/cargo-deny-$version"
if [ ! -x "$root/bin/cargo-deny" ]; then
    echo "building cargo-deny $version into $root" >&2
    cargo install --quiet --locked --version "$version" --root "$root" cargo-deny >&2
fi
exec "$root/bin/cargo-deny" "$@"
