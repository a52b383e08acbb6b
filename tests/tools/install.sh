#!/usr/bin/env bash
# Installs the MCP servers, the MCP clients and the conformance suite that the tests run, in the versions pinned here, and
# prints the directory that holds them: bin/node, node_modules/ and venv/. Installs once per set of pins.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

need() { # need COMMAND WHAT-TO-INSTALL
    command -v "$1" >/dev/null || { echo "install.sh: $1 is missing; install $2" >&2; exit 1; }
}
need npm "Node.js 20 or later with npm (https://nodejs.org)"
need git "git"
need python3 "Python 3.10 or later"
python3 -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null ||
    { echo "install.sh: python3 must be 3.10 or later, with venv (Debian: python3-venv)" >&2; exit 1; }

pins=$(cat "$here"/{install.sh,package.json,package-lock.json,requirements.txt} | git hash-object --stdin)
tools="${XDG_CACHE_HOME:-$HOME/.cache}/mcp-gateway-operator/tools/${pins:0:16}"
mkdir -p "$tools"

# Two test runs may start together; the second waits for the first. (macOS has no flock: there, do not.)
if command -v flock >/dev/null; then
    exec 9>"$tools/.lock"
    flock 9
fi

if [ ! -e "$tools/.complete" ]; then
    echo "installing the test tools into $tools" >&2
    cp "$here"/package.json "$here"/package-lock.json "$tools/"
    # No package needs its install script, and the pins are what this project vouches for.
    npm ci --prefix "$tools" --ignore-scripts --no-audit --no-fund --loglevel=error >&2

    mkdir -p "$tools/bin"
    node=$(echo "$tools"/node_modules/node-*/bin/node)
    # On a platform for which npm brings no Node.js, the one on the machine has to do; the suite needs 22.
    [ -x "$node" ] || node=$(command -v node)
    ln -sf "$node" "$tools/bin/node"
    "$tools/bin/node" -e 'process.exit(parseInt(process.versions.node) < 22 ? 1 : 0)' ||
        { echo "install.sh: $node is too old; install Node.js 22 or later" >&2; exit 1; }

    python3 -m venv --clear "$tools/venv"
    "$tools/venv/bin/python" -m pip install --quiet --no-input --no-deps --disable-pip-version-check \
        -r "$here/requirements.txt" >&2
    touch "$tools/.complete"
fi
echo "$tools"
