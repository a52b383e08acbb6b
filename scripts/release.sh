#!/usr/bin/env bash
# What the release workflow needs to know of the project.
#
#   release.sh check TAG              says the version, if the tag, the package, the chart and CHANGELOG.md agree on it
#   release.sh notes VERSION          prints what CHANGELOG.md says of it
#   release.sh krew VERSION DIR URL   prints the manifest for krew: the archives are in DIR, and will be at URL
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() { echo "release.sh: $*" >&2; exit 1; }

notes() { # notes VERSION: from its heading to the next one, without empty lines at both ends
    local text
    text=$(awk -v heading="## [$1]" 'index($0, "## ") == 1 { inside = index($0, heading) == 1; next } inside' CHANGELOG.md)
    text=$(sed -e '/./,$!d' <<<"$text")
    [ -n "$text" ] || fail "CHANGELOG.md says nothing of $1: rename Unreleased to [$1], with the date"
    printf '%s\n' "$text"
}

check() { # check TAG
    local version=${1#v} chart=charts/mcp-gateway-operator/Chart.yaml name found
    [ "v$version" = "$1" ] || fail "a tag of a release begins with v, got $1"
    for name in package chart application; do
        case $name in
            package) found=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1) ;;
            chart) found=$(sed -n 's/^version: *"\{0,1\}\([^"]*\)"\{0,1\}$/\1/p' $chart) ;;
            application) found=$(sed -n 's/^appVersion: *"\{0,1\}\([^"]*\)"\{0,1\}$/\1/p' $chart) ;;
        esac
        [ "$found" = "$version" ] || fail "the tag is $1, and the version of the $name is $found"
    done
    notes "$version" >/dev/null
    echo "$version"
}

krew() { # krew VERSION DIR URL
    local version=$1 dir=$2 url=$3 platform sum
    local edits=(-e '/^#/d' -e "s|@VERSION@|$version|g" -e "s|@URL@|$url|g")
    for platform in linux_amd64 linux_arm64 darwin_amd64 darwin_arm64; do
        sum=$(sha256sum "$dir/kubectl-mcp_${version}_$platform.tar.gz" | cut -d ' ' -f 1)
        edits+=(-e "s|@SHA256_$platform@|$sum|")
    done
    sed "${edits[@]}" deploy/krew/mcp.yaml
}

case "${1:-} $#" in
    'check 2') check "$2" ;;
    'notes 2') notes "$2" ;;
    'krew 4') krew "$2" "$3" "$4" ;;
    *) fail "check TAG, notes VERSION, or krew VERSION DIR URL" ;;
esac
