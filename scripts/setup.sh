#!/usr/bin/env bash
# Checks what this machine has, says what to install where something is missing, and fetches the rest into a cache of the
# project's own. `make run` needs only Rust and a C compiler; the rest is for tests and lints.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

missing=0
need() { # need COMMAND WHAT-TO-INSTALL
    if command -v "$1" >/dev/null; then
        printf '  %-8s %s\n' "$1" "$(command -v "$1")"
    else
        printf '  %-8s MISSING: install %s\n' "$1" "$2"
        missing=1
    fi
}

echo "This machine has:"
need cargo "Rust (https://rustup.rs)"
need cc "a C compiler (Debian: build-essential)"
need git "git"
need npm "Node.js 20 or later with npm (https://nodejs.org)"
need python3 "Python 3.10 or later, with venv (Debian: python3-venv)"
need openssl "openssl"
need ip "iproute2"
[ "$missing" = 0 ] || exit 1

# Cargo says itself when it is too old for this package; rustfmt and clippy are parts that rustup can leave out.
for part in fmt clippy; do
    cargo "$part" --version >/dev/null || { echo "install it: rustup component add rustfmt clippy" >&2; exit 1; }
done
cargo fetch --locked
tests/tools/install.sh
# Builds the Kubernetes programs on first use: ten minutes of a core.
scripts/cluster-tools.sh
scripts/cargo-deny.sh --version
