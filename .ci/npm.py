"""Packages from the npm registry that the checks use.

    python3 .ci/npm.py FOLDER...      only installs the packages of these folders
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from programs import ROOT


def packages(source):
    """The folder with the packages that the lock in `source` names. They are installed on the first run."""
    files = [source / "package.json", source / "package-lock.json"]
    version = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]
    folder = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "ci" / f"{source.name}-{version}"
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for file in files:
            shutil.copy(file, folder)
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        subprocess.run(command, cwd=folder, check=True)
        (folder / "complete").touch()
    return folder / "node_modules"


if __name__ == "__main__":
    for name in sys.argv[1:]:
        packages(Path(name).resolve())
