"""Whether DVC's remote keeps what it is given: `python -m nadir.pipeline.storage.probe`.

A program, because a store that is away holds its client for minutes, and only a process can be
given up.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nadir.ground.secrets import masked
from nadir.ground.workspace import project_root
from nadir.pipeline.storage.remote import default_remote

if TYPE_CHECKING:
    from collections.abc import Callable

_BYTES = 1 << 16


def probe(root: Path) -> dict[str, Any]:
    """Send random bytes to the default remote, fetch and compare them, and remove them again.

    Returns:
        `name` and `url` of the remote (None where there is none), `bytes` that were sent, and
        `fault`, empty when they came back with the same sha256.
    """
    remote = default_remote(root)
    if remote is None:
        return {"name": None, "url": None, "bytes": 0, "fault": ""}
    told = {"name": remote.name, "url": masked(remote.url), "bytes": _BYTES}
    try:
        fault = _round_trip(root)
    # Each kind of store has errors of its own.
    except Exception as error:  # noqa: BLE001
        fault = (str(error).splitlines() or [type(error).__name__])[0][:300]
    return {**told, "fault": masked(fault)}


def _round_trip(root: Path) -> str:
    from dvc.repo import Repo

    sent = secrets.token_bytes(_BYTES)
    with Repo(str(root)) as repo, tempfile.TemporaryDirectory() as name:
        remote = repo.cloud.get_remote()
        fs = remote.fs
        target = fs.join(remote.path, f".nadir-doctor-{secrets.token_hex(8)}")
        source, back = Path(name) / "sent", Path(name) / "back"
        source.write_bytes(sent)
        fs.makedirs(remote.path, exist_ok=True)
        try:
            fs.put_file(str(source), target)
            fs.get_file(target, str(back))
        finally:
            _quietly(lambda: fs.remove(target))
        if _sha256(back.read_bytes()) != _sha256(sent):
            return "what it gives back is not what it was given: the store corrupts files"
        return ""


def _quietly(call: Callable[[], object]) -> None:
    """A store that refused the file has none to remove; its reason is the one to tell."""
    try:
        call()
    except Exception as error:  # noqa: BLE001
        sys.stderr.write(masked(f"the probe was not removed: {error}\n"))


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


if __name__ == "__main__":
    sys.stdout.write(json.dumps(probe(project_root())) + "\n")
