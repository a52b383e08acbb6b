"""Copies an npm package and all it needs out of a node_modules directory: closure.py TOOLS PACKAGE DESTINATION.

TOOLS has package-lock.json and node_modules. Where packages lie is kept, so that each finds what it found before.
"""

import json
import pathlib
import shutil
import sys

tools, package, destination = pathlib.Path(sys.argv[1]), sys.argv[2], pathlib.Path(sys.argv[3])
locked = json.loads((tools / "package-lock.json").read_text())["packages"]


def resolve(importer, name):
    """Where Node.js finds `name` when a module in `importer` asks for it: in the nearest node_modules upwards."""
    while True:
        candidate = f"{importer}/node_modules/{name}".lstrip("/")
        if candidate in locked:
            return candidate
        if not importer:
            return None
        importer = importer.rpartition("node_modules/")[0].rstrip("/")


wanted, found = [resolve("", package)], set()
while wanted:
    place = wanted.pop()
    if place is None or place in found:
        continue
    found.add(place)
    needs = locked[place].get("dependencies", {}) | locked[place].get("peerDependencies", {})
    wanted += [resolve(place, name) for name in needs]

if None in found or not found:
    sys.exit(f"closure.py: {package} is not in {tools}/package-lock.json")
for place in sorted(found):
    if (tools / place).is_dir():
        shutil.copytree(tools / place, destination / place, ignore=shutil.ignore_patterns("node_modules"), dirs_exist_ok=True)
