"""The crates that are linked into the release binary, from Cargo.lock and the sources that cargo has downloaded."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BINARY = "mde-exporter"


def cargo(*command):
    done = subprocess.run(["cargo", "--locked", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"cargo {' '.join(command)} fails:\n{done.stderr}")
    return done.stdout


def linked():
    """The names and versions of the crates in the release binary, with the features of the release."""
    lines = cargo("tree", "--package", BINARY, "--edges", "normal", "--prefix", "none", "--format", "{p}").splitlines()
    return {tuple(re.match(r"(\S+) v(\S+)", line).groups()) for line in lines}


def crates():
    """The packages of `cargo metadata` that are in the release binary, sorted, each with `dependencies` as a set of
    (name, version) and `checksum`, which is None for a crate of this repository."""
    host = re.search(r"^host: (.*)$", cargo("version", "--verbose"), re.MULTILINE)[1]
    # Without the filter, cargo downloads the crates of every platform.
    metadata = json.loads(cargo("metadata", "--format-version", "1", "--filter-platform", host))
    names = linked()
    nodes = {node["id"]: [dependency["pkg"] for dependency in node["deps"]] for node in metadata["resolve"]["nodes"]}
    by_id = {package["id"]: package for package in metadata["packages"]}
    key = {id: (package["name"], package["version"]) for id, package in by_id.items()}
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text())
    checksums = {(entry["name"], entry["version"]): entry.get("checksum") for entry in lock["package"]}
    found = {
        key[id]: {
            **package,
            "dependencies": {key[dependency] for dependency in nodes[id]} & names,
            "checksum": checksums[key[id]],
        }
        for id, package in by_id.items()
        if key[id] in names
    }
    missing = names - found.keys()
    if missing:
        sys.exit(f"cargo metadata lacks {sorted(missing)}")
    return [found[name] for name in sorted(found)]
