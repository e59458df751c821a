"""What DVC said of outputs and cache, kept while nothing that it looked at has changed.

DVC takes most of a second to import and to read its pipeline; `nadir status` is asked often.
"""

from __future__ import annotations

import contextlib
import os
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nadir.ground.files import DamagedJsonError, read_json_object, write_json
from nadir.pipeline.graph import open_repository
from nadir.pipeline.record import pipeline_folder
from nadir.pipeline.storage.differences import outputs_that_differ

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_FILES = ("dvc.yaml", "dvc.lock", ".dvcignore")
_SETTINGS = (".dvc/config", ".dvc/config.local")


def known_differences(root: Path, outputs: Iterable[str]) -> dict[str, dict[str, str]]:
    """`differing_outputs`, asked again only where an output, `dvc.yaml` or `dvc.lock` has changed.

    Files are known by place, inode, size and times, as DVC knows them.

    Args:
        root: The project's root.
        outputs: Paths of all outputs below it.

    Raises:
        NadirError: No DVC project, or DVC cannot make sense of it.
    """
    listed = sorted(outputs)

    def look() -> dict[str, dict[str, str]] | None:
        from dvc.exceptions import DvcException

        with open_repository(root) as repo:
            try:
                return outputs_that_differ(repo)
            except (DvcException, OSError):
                return None  # it cannot tell now

    return _kept(root, "outputs.json", lambda: _state(root, listed), look) or {}


def note_no_difference(root: Path, outputs: Iterable[str]) -> None:
    """Note that DVC said just now that no output differs, for `known_differences`.

    Args:
        root: The project's root.
        outputs: Paths of all outputs below it.
    """
    with contextlib.suppress(OSError):
        note = {"of": _state(root, sorted(outputs)), "found": {}}
        write_json(pipeline_folder(root) / "outputs.json", note)


def known_of_files(
    root: Path, name: str, files: Iterable[Path], ask: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """What was read from files, read again only where one of them has changed.

    Args:
        root: The project's root.
        name: Of the file that keeps it.
        files: They, and the code that reads them.
        ask: Reads them; gives what JSON can hold.
    """
    listed = [str(file) for file in files]
    return _kept(root, name, lambda: repr([_stamp(file) for file in listed]), ask) or {}


def known_cache_folder(root: Path, ask: Callable[[], Path]) -> Path:
    """Where DVC's cache lies, asked again only where DVC's settings have changed.

    Args:
        root: The project's root.
        ask: Asks DVC.
    """
    kept = _kept(root, "cache.json", lambda: _settings(root), lambda: {"folder": str(ask())})
    return Path(kept["folder"]) if kept else ask()


def _kept(
    root: Path, name: str, state: Callable[[], str], ask: Callable[[], dict[str, Any] | None]
) -> dict[str, Any] | None:
    file, before = pipeline_folder(root) / name, state()
    with contextlib.suppress(OSError, DamagedJsonError, KeyError):
        kept = read_json_object(file)
        if kept["of"] == before and isinstance(kept["found"], dict):
            return dict(kept["found"])
    found = ask()
    if found is not None and state() == before:
        with contextlib.suppress(OSError):  # who may only read asks each time
            write_json(file, {"of": before, "found": found})
    return found


def _state(root: Path, outputs: list[str]) -> str:
    told = sha256(version("dvc").encode())
    for name in _FILES:
        told.update(repr(_bytes(root / name)).encode())
    for output in outputs:
        for path in _files(root / output):
            told.update(f"{path}\0{_stamp(path)}\0".encode(errors="surrogateescape"))
    return told.hexdigest()


def _settings(root: Path) -> str:
    """DVC's settings of the project, the user and the machine, and what moves the latter two."""
    variables = {name: value for name, value in os.environ.items() if name.startswith("DVC_")}
    homes = [os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config", "/etc/xdg"]
    homes += os.environ.get("XDG_CONFIG_DIRS", "").split(os.pathsep)
    files = [root / name for name in _SETTINGS] + [Path(home) / "dvc/config" for home in homes]
    parts = [version("dvc"), str(root), sorted(variables.items()), *map(_bytes, files)]
    return sha256(repr(parts).encode()).hexdigest()


def _files(output: Path) -> list[str]:
    if not output.is_dir():
        return [str(output)]
    found = [os.path.join(top, file) for top, _, files in os.walk(output) for file in files]  # noqa: PTH118 - as text: there may be many
    return sorted(found)


def _stamp(path: str) -> str:
    try:
        found = os.stat(path)  # noqa: PTH116 - as above
    except OSError:
        return "-"
    return f"{found.st_dev}.{found.st_ino}.{found.st_size}.{found.st_mtime_ns}.{found.st_ctime_ns}"


def _bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
