"""What this user may write, and what others may read."""

from __future__ import annotations

import os
import shlex
import stat
import tempfile
from typing import TYPE_CHECKING

from nadir.doctor.finding import Check, Finding, failed, ok, warning

if TYPE_CHECKING:
    from pathlib import Path

    from nadir.doctor.scene import Scene

_FOLDERS = (".", ".git", ".dvc", ".dvc/tmp", ".dvc/cache", "data", "models", "reports", "work")
_SECRETS = (".env", ".dvc/config.local")


def _writable(scene: Scene) -> Finding:
    """By a file written into each folder that a run writes into."""
    refused = [name for name in _FOLDERS if not _takes_a_file(scene.root / name)]
    if not refused:
        return ok("every folder that a run writes into can be written")
    listed = " ".join(shlex.quote(name) for name in refused)
    return failed(
        f"user {os.getuid()} cannot write {', '.join(refused)}",
        f"as their owner or root, `chown -R {os.getuid()}:{os.getgid()} {listed}`; a disk that is "
        "mounted read-only must be mounted anew",
    )


def _takes_a_file(folder: Path) -> bool:
    """Whether a file can be made there; a folder that is not there yet is made by the run."""
    if not folder.is_dir():
        return not folder.exists()
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _foreign(scene: Scene) -> Finding:
    """Results of a run as root, in a container or with sudo, which this user cannot replace."""
    if os.getuid() == 0:
        return ok("root may replace every file")
    for name in ("data", "models", "reports", "work"):
        for folder, folders, files in os.walk(scene.root / name):
            for entry in (*folders, *files):
                path = os.path.join(folder, entry)  # noqa: PTH118 - of a walk over many files
                if os.lstat(path).st_uid != os.getuid():
                    return warning(
                        f"another user owns {os.path.relpath(path, scene.root)}, and maybe more",
                        f"as root, `chown -R {os.getuid()}:{os.getgid()} {name}`; run as one user",
                    )
    return ok("all results are this user's")


def _secret_files(scene: Scene) -> Finding:
    seen = [name for name in _SECRETS if _others_read(scene.root / name)]
    if not seen:
        return ok("files with passwords are their owner's alone")
    return warning(
        f"every user of this machine may read {', '.join(seen)}", f"`chmod 600 {' '.join(seen)}`"
    )


def _others_read(path: Path) -> bool:
    return path.is_file() and bool(path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))


PERMISSIONS = (
    Check("writable", "permissions", _writable),
    Check("owner", "permissions", _foreign),
    Check("secret-files", "permissions", _secret_files),
)
