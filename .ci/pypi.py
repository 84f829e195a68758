"""Packages from PyPI that the checks use."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from programs import ROOT


def packages(source):
    """The folder of a virtual environment with the packages that `requirements.txt` in `source` locks. They are installed
    on the first run."""
    lock = source / "requirements.txt"
    version = hashlib.sha256(lock.read_bytes()).hexdigest()[:12]
    folder = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).absolute() / "ci" / f"{source.name}-pypi-{version}"
    if not (folder / "complete").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        pip = [folder / "bin/pip", "install", "--quiet", "--no-deps", "--require-hashes", "--requirement", lock]
        subprocess.run(pip, check=True)
        (folder / "complete").touch()
    return folder
