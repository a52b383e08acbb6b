#!/usr/bin/env bash
# Builds the images of MCP servers that the end-to-end tests run in pods, without Docker. Prints the tars, one a line.
#
#   build.sh               everything, python, collector and misbehaving
#   build.sh NAME...       only these
#
# README.md beside this says what is in each. The programs are those that tests/tools pins, on Debian's packages, so this needs
# a Debian-like machine. Tars are kept by a hash of the pins, outside the clone.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=$(cd "$here/../.." && pwd)
kept=${XDG_CACHE_HOME:-$HOME/.cache}/mcp-gateway-operator/test-images

fail() { echo "tests/images/build.sh: $*" >&2; exit 1; }
command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || fail "apt-get is missing; this needs Debian or Ubuntu"

state=$(cat "$here"/*.sh "$here"/*.py "$repository"/scripts/oci-image.sh "$repository"/tests/{tools,collector}/* /etc/os-release | sha256sum | cut -c -16)
mkdir -p "$kept/$state"
# Two runs may start together; the second waits for the first.
exec 9>"$kept/$state/.lock"
flock 9
touch "$kept/$state"
ls -t "$kept" | tail -n +5 | while read -r old; do rm -rf "${kept:?}/$old"; done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The packages and all they need, fetched as for a machine that has none, and unpacked without being set up: nothing runs as
# root, nothing of this machine's own packages is touched.
unpack() { # unpack ROOT PACKAGE...
    local root=$1 scratch=$work/apt package
    shift
    mkdir -p "$scratch/archives/partial"
    : >"$scratch/status"
    local apt=(apt-get -qq -o "Dir::State::status=$scratch/status" -o "Dir::Cache::archives=$scratch/archives"
        -o Debug::NoLocking=1 -o "APT::Sandbox::User=$(id -un)" -o Dpkg::Use-Pty=0)
    # The machine may never have fetched the lists of packages.
    "${apt[@]}" --yes --download-only --no-install-recommends install "$@" >&2 || {
        apt-get -qq update >&2
        "${apt[@]}" --yes --download-only --no-install-recommends install "$@" >&2
    }
    # With these links in place, packages from before and after the merge of /usr lie together.
    mkdir -p "$root"/usr/{bin,sbin,lib,lib64}
    ln -s usr/bin usr/sbin usr/lib usr/lib64 "$root/"
    for package in "$scratch"/archives/*.deb; do
        case ${package##*/} in
            perl* | libperl* | liberror-perl* | libgdbm* | libdb5* | dpkg_* | tar_*) continue ;; # for scripts that nobody runs
        esac
        dpkg-deb --fsys-tarfile "$package" | tar --extract --keep-directory-symlink --no-same-owner --directory "$root"
    done
    rm -rf "$root"/usr/share/{doc,man,locale,lintian,bash-completion,perl5} "$scratch"
}

pack() { # pack NAME ROOT [OPTION...]: the operator runs it as a user that has /home/mcp and /tmp, both mounted
    install -d -m 755 "$2" "$2/home" "$2/home/mcp" "$2/etc"
    install -d -m 1777 "$2/tmp"
    echo 'hosts: files dns' >"$2/etc/nsswitch.conf"
    echo 'mcp:x:65532:65532::/home/mcp:/usr/sbin/nologin' >"$2/etc/passwd"
    echo 'mcp:x:65532:' >"$2/etc/group"
    chmod -R a+rX "$2"
    "$repository/scripts/oci-image.sh" --name "mcp-tests.example/$1:1" --rootfs "$2" --user 65532:65532 \
        --env LANG=C.UTF-8 --workdir /home/mcp --output "$kept/$state/$1.tar" "${@:3}"
}

everything() { # Node.js of npm, with the C++ library of Debian
    local tools root=$work/everything server=/app/node_modules/@modelcontextprotocol/server-everything
    tools=$("$repository/tests/tools/install.sh")
    unpack "$root" libc6 libstdc++6 dash
    install -D -m 755 "$(readlink -f "$tools/bin/node")" "$root/usr/local/bin/node"
    python3 "$here/closure.py" "$tools" @modelcontextprotocol/server-everything "$root/app"
    printf '#!/bin/sh\nexec node %s/dist/index.js "$@"\n' "$server" >"$root/usr/local/bin/mcp-server-everything"
    chmod 755 "$root/usr/local/bin/mcp-server-everything"
    pack everything "$root"
}

collector() { # OpenTelemetry's, static
    install -D -m 755 "$("$repository/scripts/collector.sh")" "$work/collector/usr/local/bin/collector"
    pack collector "$work/collector" --entrypoint /usr/local/bin/collector
}

python() { # Debian's Python and git, with the servers of PyPI
    local tools root=$work/python version site
    tools=$("$repository/tests/tools/install.sh")
    unpack "$root" python3-minimal libpython3-stdlib git dash tzdata
    version=$(readlink "$root/usr/bin/python3")
    site=$root/usr/local/lib/$version/dist-packages
    # Wheels for that Python, which may be another one than this machine's.
    "$tools/venv/bin/python" -m pip install --quiet --no-input --no-deps --disable-pip-version-check --no-compile \
        --only-binary=:all: --python-version "${version#python}" --implementation cp \
        --platform "manylinux_2_28_$(uname -m)" --platform "manylinux2014_$(uname -m)" \
        --target "$site" -r "$repository/tests/tools/requirements.txt" >&2
    local server
    mkdir -p "$root/usr/local/bin"
    for server in time git; do
        printf '#!/usr/bin/python3\nfrom mcp_server_%s import main\nmain()\n' "$server" >"$root/usr/local/bin/mcp-server-$server"
        chmod 755 "$root/usr/local/bin/mcp-server-$server"
    done
    # Compiled here, since the root is read-only there and each session starts a process. The sums in the files, not their
    # dates, so that the tar is the same each time.
    local libraries
    libraries=$root/usr/lib/$(uname -m)-linux-gnu
    "$libraries"/ld-linux-*.so.* --library-path "$libraries" "$root/usr/bin/$version" -I -B -m compileall \
        -q --invalidation-mode unchecked-hash -s "$root" "$root/usr/lib/$version" "$site" >&2
    repository_with_a_commit "$root/srv/repository"
    # It belongs to root there.
    printf '[safe]\n\tdirectory = *\n' >"$root/etc/gitconfig"
    pack python "$root"
}

repository_with_a_commit() { # for mcp-server-git
    local git=(git -C "$1" -c user.name=mcp -c user.email=mcp@mcp-tests.example)
    mkdir -p "$1"
    git -C "$1" init --quiet --initial-branch main --template ''
    echo 'A repository to try mcp-server-git with.' >"$1/README"
    "${git[@]}" add README
    GIT_AUTHOR_DATE='2026-01-01T00:00:00Z' GIT_COMMITTER_DATE='2026-01-01T00:00:00Z' "${git[@]}" commit --quiet -m 'Add a README'
    # An index without the dates and inodes of the files here.
    rm "$1/.git/index"
    git -C "$1" read-tree HEAD
}

[ $# -gt 0 ] || set -- everything python collector misbehaving
for name; do
    case $name in
        misbehaving) "$repository/scripts/images.sh" --fast misbehaving-server ;;
        everything | python | collector)
            [ -e "$kept/$state/$name.tar" ] || "$name"
            echo "$kept/$state/$name.tar"
            ;;
        *) fail "no image is called $name" ;;
    esac
done
