"""Where things lie: the project's root, and the main workspace behind DVC's temporary ones."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

from nadir.ground.errors import NadirError

PARAMS_FILE = "params.yaml"
_LONGEST_BYTES = 400  # leaves room for what lies in `work`
_LONGEST_NAME_BYTES, _LONGEST_PATH_BYTES = 255, 4095  # NAME_MAX, PATH_MAX without its end
_WHY = {
    "brace": "DVC takes for a gap to fill in its messages",
    "query": "ends the name of a database in its address, so that it would be made elsewhere",
    "quotes": "MLflow takes for the end of a text in its database, with both kinds of quotes",
    "unreadable": "no log or table can show",
}
_ODD = re.compile(
    r"(?P<brace>[{}])|(?P<query>\?)|(?P<quotes>'(?=.*\")|\"(?=.*'))"
    r"|(?P<unreadable>[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff])"
)

_WRITTEN = ("data", "models", "reports")


def project_root(start: Path | None = None) -> Path:
    """The folder with `dvc.yaml` and `params.yaml`, at `start` (default: here) or above it.

    Raises:
        NadirError: No such folder, or one whose name cannot be worked with.
    """
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / "dvc.yaml").is_file() and (folder / PARAMS_FILE).is_file():
            _check_name(folder)
            return folder
    raise NadirError(
        "no Nadir project here (no folder with dvc.yaml and params.yaml)",
        where=str(here),
        fix="run the command inside a clone of the project",
    )


def _check_name(root: Path) -> None:
    """Refuse a place where the tools underneath would fail late, or write beside the project."""
    if len(os.fsencode(root)) > _LONGEST_BYTES:
        raise NadirError(
            f"the path of the project is longer than {_LONGEST_BYTES} bytes, and SQLite opens no "
            "database with a path longer than 512",
            where=repr(f"{str(root)[:60]}…"),
            fix="clone the project into a folder with a shorter path",
        )
    # As bytes, since in the locale C Python may read names as ASCII.
    odd = _ODD.search(os.fsencode(root).decode("utf-8", "surrogateescape"))
    if odd:
        raise NadirError(
            f"the path of the project holds {odd[0]!r}, which {_WHY[odd.lastgroup or '']}",
            where=repr(str(root)),
            fix="rename that folder, or clone the project into another one",
        )


def main_workspace(root: Path | None = None) -> Path:
    """The workspace that owns `work/`, the source and the MLflow store.

    `dvc exp run --temp` and `--queue` check the project out below `.dvc/tmp/exps`; there, this is
    the workspace the experiment was started from, so that no image is encoded twice.
    """
    root = root or project_root()
    for parent in root.parents:
        if parent.parts[-3:] == (".dvc", "tmp", "exps"):
            return parent.parents[2]
    return root


def work_folder(name: str) -> Path:
    """`work/<name>` of the main workspace: scratch space that no other file depends on."""
    folder = main_workspace() / "work" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def fullest(*further: Path) -> str:
    """The folder with the least room of all that a run writes to, and how much that is.

    Args:
        further: Folders that are written to beside those of the project.
    """
    root = project_root()
    own = (root, *(root / name for name in _WRITTEN), main_workspace(root) / "work")
    folders = [*own, Path(tempfile.gettempdir()), *further]
    there = [folder for folder in folders if folder.is_dir()]
    free, folder = min((0 if no_inode(f) else shutil.disk_usage(f).free, f) for f in there)
    return f"{folder} ({no_inode(folder) or f'{free / (1 << 20):,.1f} MiB free'})"


def no_inode(folder: Path) -> str:
    """That a folder's disk can hold no further file, however much room it has; else empty."""
    state = os.statvfs(folder)
    if not state.f_files or state.f_favail:
        return ""
    free = state.f_bavail * state.f_frsize / (1 << 20)
    return f"none of its {state.f_files:,} inodes is free, though {free:,.1f} MiB are"


def expanded(location: str | Path) -> Path:
    """A path as a user writes it, with the home folder for `~`.

    Raises:
        NadirError: There cannot be such a file: `~` names nobody, or the path is too long.
    """
    text = str(location)
    if "\0" in text:
        raise _unusable(text, "holds a zero byte")
    try:
        path = Path(text).expanduser()
    except RuntimeError as error:
        raise _unusable(text, "names the home folder of a user who does not exist") from error
    sizes = [len(os.fsencode(part)) for part in path.parts]
    if max(sizes, default=0) > _LONGEST_NAME_BYTES or sum(sizes) + len(sizes) > _LONGEST_PATH_BYTES:
        raise _unusable(text, "is longer than a path can be")
    return path


def _unusable(text: str, why: str) -> NadirError:
    return NadirError(
        f"the path {why}", where=repr(text[:60]), fix="write the path of an existing file or folder"
    )


def resolve_local(location: str) -> Path:
    """A path from `params.yaml`, relative ones resolved against the main workspace."""
    path = expanded(location)
    return path if path.is_absolute() else main_workspace() / path
