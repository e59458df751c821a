"""Whether registering would change nothing, known without asking the registry.

It depends on the registry's contents, on `dvc.lock` and the parameters, and on where git and DVC
would send a version. While none of these changes, what registering said last holds.
"""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from nadir.ground.workspace import PARAMS_FILE
from nadir.tracking.lock_file import LOCK_FILE
from nadir.tracking.registry.remembered import recall, remember
from nadir.tracking.registry.versions import Version, find_version
from nadir.tracking.revision import GitError, git
from nadir.tracking.store.connection import connect, store_faults
from nadir.tracking.store.state import store_state

if TYPE_CHECKING:
    from collections.abc import Sequence

_VARIABLES = ("DVC_EXP_AUTO_PUSH", "DVC_EXP_GIT_REMOTE")


def settled(root: Path, *, settings: str) -> list[str] | None:
    """What registering would say, if it would do nothing.

    Args:
        root: The project's root.
        settings: DVC's, as a text.

    Returns:
        Its lines; None when the registry has to be asked.
    """
    known = recall(root, _question(root, settings))
    if known is None or not all(Path(file).is_file() for file in known["files"]):
        return None
    return [str(line) for line in known["lines"]]


@store_faults()
def note_settled(
    root: Path,
    version: Version,
    lines: Sequence[str],
    *,
    settings: str,
    files: Sequence[Path] = (),
) -> None:
    """Note that nothing is left to register, unless somebody has changed the version meanwhile.

    Args:
        root: The project's root.
        version: As it was registered or found.
        lines: What registering it again would say.
        settings: DVC's, as a text.
        files: That the lines name; without one, registering writes it again.

    Raises:
        NadirError: The store cannot be asked.
    """
    state = store_state(root)
    if state is None:
        return
    now = find_version(connect(root), version.name, md5=version.md5)
    # Its tags are others by now: judging and sharing have written theirs.
    same = now is not None and (now.version, now.aliases) == (version.version, version.aliases)
    if same and store_state(root) == state:
        answer = {"lines": list(lines), "files": [str(file) for file in files]}
        remember(root, _question(root, settings), answer, state=state)


def _question(root: Path, settings: str) -> str:
    parts = [settings, *(os.environ.get(name, "") for name in _VARIABLES)]
    for name in (PARAMS_FILE, LOCK_FILE):
        path = root / name
        parts.append(sha256(path.read_bytes()).hexdigest() if path.is_file() else "")
    parts += [_told(root, "config", "--list"), _told(root, "rev-parse", "--abbrev-ref", "HEAD")]
    return "registered:" + sha256("\0".join(parts).encode()).hexdigest()


def _told(root: Path, *command: str) -> str:
    try:
        return git(root, *command)
    except GitError as error:
        return str(error)
