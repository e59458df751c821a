"""The accepted dataset: a small tracked file that drift is measured against.

Only promotion and `nadir data accept` change it, so that a dataset which moves a little every night
is compared with what somebody looked at, and not with the night before.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nadir.ground.errors import NadirError
from nadir.ground.files import write_text

REFERENCE = Path("reference/dataset.json")
"""The accepted one; `{}` until there is one."""
_KEYS = {"images", "tags", "sizes", "luminance"}


def read_reference(root: Path | None = None) -> dict[str, Any] | None:
    """The accepted profile; None when there is none yet.

    Raises:
        NadirError: The file is not a profile.
    """
    path = (root or Path()) / REFERENCE
    return _read(path) or None if path.is_file() else None


def accept(profile: Path, root: Path | None = None) -> bool:
    """Make a profile the accepted one.

    Args:
        profile: As `validate` wrote it.
        root: The project's root; the current folder when None.

    Returns:
        Whether the reference changed.

    Raises:
        NadirError: There is no profile, or the file is none.
    """
    if not profile.is_file():
        raise NadirError(
            "there is no dataset to accept yet",
            where=str(profile),
            fix="run the stage that describes it: nadir run --until validate",
        )
    # One entry per line, so that git shows what changed.
    text = json.dumps(_read(profile), indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    target = (root or Path()) / REFERENCE
    if target.is_file() and target.read_text(encoding="utf-8") == text:
        return False
    write_text(target, text)
    return True


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        value = error
    if value == {} or (isinstance(value, dict) and set(value) == _KEYS):
        return dict(value)
    raise NadirError(
        "not the profile of a dataset",
        where=str(path),
        fix=f"take it back with `git checkout {REFERENCE}`, or write it anew: nadir data accept",
    )
