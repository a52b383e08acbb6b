#!/usr/bin/env bash
# Packs a root directory as a container image of one layer: a tar that `ctr -n k8s.io images import`, `kind load image-archive`,
# `docker load` and `skopeo copy oci-archive:` take. Needs no Docker and no privileges. The same content gives the same bytes:
# everything is owned by root, dated by SOURCE_DATE_EPOCH (the epoch itself where that is unset) and in order.
#
#   oci-image.sh --name NAME:TAG --rootfs DIR --output FILE.tar
#                [--entrypoint WORDS] [--cmd WORDS] [--env KEY=VALUE]... [--label KEY=VALUE]... [--user UID:GID]
#                [--workdir DIR] [--architecture amd64|arm64]
#
# WORDS are separated by blanks, or are a JSON list. NAME is whole: registry, path and tag.
set -euo pipefail

fail() { echo "oci-image.sh: $*" >&2; exit 2; }

case $(uname -m) in
    x86_64) architecture=amd64 ;;
    aarch64 | arm64) architecture=arm64 ;;
    *) architecture='' ;;
esac
name='' rootfs='' output='' entrypoint='' cmd='' user='' workdir='/' env=() labels=()
while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || fail "$1 needs a value"
    case $1 in
        --env | --label) [[ $2 == *=* ]] || fail "$1 must be KEY=VALUE, got '$2'" ;;
    esac
    case $1 in
        --name) name=$2 ;;
        --rootfs) rootfs=$2 ;;
        --output) output=$2 ;;
        --entrypoint) entrypoint=$2 ;;
        --cmd) cmd=$2 ;;
        --env) env+=("$2") ;;
        --label) labels+=("$2") ;;
        --user) user=$2 ;;
        --workdir) workdir=$2 ;;
        --architecture) architecture=$2 ;;
        *) fail "unknown option $1" ;;
    esac
    shift 2
done
[[ $name =~ ^[^/]+/.+:[^/:]+$ ]] || fail "--name must be REGISTRY/PATH:TAG, got '$name'"
[ -d "$rootfs" ] || fail "--rootfs: no directory '$rootfs'"
[ -n "$output" ] || fail "--output is missing"
[ -n "$architecture" ] || fail "--architecture is missing: amd64 or arm64"
tar --version 2>/dev/null | grep -q 'GNU tar' || fail "GNU tar is missing (macOS: brew install gnu-tar, and put its gnubin first in PATH)"

date=${SOURCE_DATE_EPOCH:-0}
pack() { tar --create --format=gnu --sort=name --mtime="@$date" --owner=0 --group=0 --numeric-owner "$@"; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
layout=$work/layout
blobs=$layout/blobs/sha256
mkdir -p "$blobs"

pack --directory "$rootfs" . >"$work/layer.tar"
diff_id=$(sha256sum <"$work/layer.tar" | cut -d' ' -f1)
gzip -n <"$work/layer.tar" >"$work/layer.tar.gz"
layer=$(sha256sum <"$work/layer.tar.gz" | cut -d' ' -f1)
mv "$work/layer.tar.gz" "$blobs/$layer"

join() { local IFS=$'\x1f'; echo "$*"; }
NAME=$name DATE=$date ARCHITECTURE=$architecture ENTRYPOINT=$entrypoint CMD=$cmd IMAGE_USER=$user WORKDIR=$workdir \
ENVIRONMENT=$(join "${env[@]}") LABELS=$(join "${labels[@]}") DIFF_ID=$diff_id LAYER=$layer \
    python3 - "$layout" <<'PYTHON'
import datetime, hashlib, json, os, pathlib, sys

layout = pathlib.Path(sys.argv[1])
blobs = layout / "blobs" / "sha256"
given = os.environ
created = datetime.datetime.fromtimestamp(int(given["DATE"]), datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")

def listed(text):  # "a\x1fb" as the shell joined it
    return [item for item in text.split("\x1f") if item]

def words(text):  # separated by blanks, or a JSON list
    if not text.startswith("["):
        return text.split()
    try:
        return json.loads(text)
    except ValueError as error:
        sys.exit(f"oci-image.sh: no JSON list: {text}: {error}")

def blob(value):
    text = json.dumps(value, sort_keys=True).encode()
    digest = hashlib.sha256(text).hexdigest()
    (blobs / digest).write_bytes(text)
    return digest, len(text)

def descriptor(kind, digest, size, **more):
    return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": size, **more}

variables = listed(given["ENVIRONMENT"])
if not any(variable.startswith("PATH=") for variable in variables):
    variables.insert(0, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
process = {
    "Entrypoint": words(given["ENTRYPOINT"]),
    "Cmd": words(given["CMD"]),
    "Env": variables,
    "User": given["IMAGE_USER"],
    "WorkingDir": given["WORKDIR"],
    "Labels": dict(label.split("=", 1) for label in listed(given["LABELS"])),
}
platform = {"architecture": given["ARCHITECTURE"], "os": "linux"}
config = blob({
    **platform,
    "created": created,
    "config": {key: value for key, value in process.items() if value},
    "rootfs": {"type": "layers", "diff_ids": ["sha256:" + given["DIFF_ID"]]},
    "history": [{"created": created, "created_by": "oci-image.sh"}],
})
layer = given["LAYER"], (blobs / given["LAYER"]).stat().st_size
manifest = blob({
    "schemaVersion": 2,
    "mediaType": "application/vnd.oci.image.manifest.v1+json",
    "config": descriptor("config.v1+json", *config),
    "layers": [descriptor("layer.v1.tar+gzip", *layer)],
})
name = given["NAME"]
annotations = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name.rsplit(":", 1)[1]}
index = {
    "schemaVersion": 2,
    "mediaType": "application/vnd.oci.image.index.v1+json",
    "manifests": [descriptor("manifest.v1+json", *manifest, platform=platform, annotations=annotations)],
}
(layout / "index.json").write_text(json.dumps(index, sort_keys=True))
(layout / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
# What `docker load` looks for where Docker does not keep its images in containerd.
docker = [{"Config": f"blobs/sha256/{config[0]}", "RepoTags": [name], "Layers": [f"blobs/sha256/{layer[0]}"]}]
(layout / "manifest.json").write_text(json.dumps(docker, sort_keys=True))
PYTHON

# A reader of the output never sees half of it.
mkdir -p "$(dirname "$output")"
chmod -R u=rwX,go=rX "$layout"
pack --directory "$layout" oci-layout index.json manifest.json blobs >"$output.part"
mv "$output.part" "$output"
