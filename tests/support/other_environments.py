"""Other releases of libraries, laid over the locked ones in a process of their own.

Each environment is a list of pins in `tests/environments`. It is installed once, into the user's
cache, without dependencies: whatever it does not name is the locked release.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

PINS = Path(__file__).parents[1] / "environments"
LOCKED = "locked"
_INSTALL_SECONDS = 900
_RUN_SECONDS = 600


def cache_folder() -> Path:
    """Where environments stay from one run of the tests to the next."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nadir-tests"


def overlay(name: str) -> Path:
    """Folder with the packages of `tests/environments/<name>.txt`; installed when missing."""
    pins = PINS / f"{name}.txt"
    key = hashlib.sha256(pins.read_bytes()).hexdigest()[:12]
    cache = cache_folder()
    folder = cache / f"{name}-{key}"
    if folder.is_dir():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        new = Path(scratch) / "packages"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
        command += ["--disable-pip-version-check", "--target", str(new), "--requirement", str(pins)]
        subprocess.run(command, check=True, timeout=_INSTALL_SECONDS)
        try:
            new.rename(folder)
        except OSError:
            # Another worker was faster.
            assert folder.is_dir()
    return folder


def run_in(name: str, script: Path, *arguments: str) -> None:
    """Run a script with an environment's packages; `locked` has none of its own.

    Raises:
        AssertionError: The script failed; the message ends with what it wrote.
    """
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    if name != LOCKED:
        environment["PYTHONPATH"] = str(overlay(name))
    environment |= {"TQDM_DISABLE": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        # The script's own folder stays off the path: it holds tests, not packages.
        [sys.executable, "-P", str(script), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=_RUN_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
